//! RED's streams as lanes use them. A stream's slot is its place in the link receiver's table.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::files::Store;
use super::neighbour::{Neighbours, NextHop};
use super::tcp::{TcpRules, places};
use crate::config::{Role, Site, Stream, StreamKind};
use crate::host;
use crate::link::{Nanos, ReceiverChannel, SenderChannel};
use crate::session::SessionLimit;
use crate::telemetry::counters::{Lanes, ReceiveCounters, ReceiveStream, SendCounters, SendStream};

/// BLUE ends an idle session in order; one that RED finds idle for so much longer has lost its end.
const IDLE_MORE: Duration = Duration::from_secs(10);

/// Files that may wait for RED's disk where BLUE does not hear of it. Each takes a descriptor; what waits of their bytes has a
/// bound of its own, `buffer`. Fewer would lose files when thousands of small ones come at once.
const UNANSWERED_FILES: u32 = 1024;

/// One stream.
#[derive(Debug)]
pub struct Entry {
    /// What it carries.
    pub kind: StreamKind,
    /// Its name, for logs.
    pub name: String,
    /// Where it is delivered.
    pub destination: SocketAddr,
    /// The way there, with the XDP driver.
    pub next_hop: Option<Arc<NextHop>>,
    /// Most sessions at a time.
    pub max_sessions: u32,
    /// Its sessions end after this long without traffic, on BLUE.
    pub idle_ns: Nanos,
    /// How its TCP sessions are delivered.
    pub tcp: TcpRules,
    /// Where its files go.
    pub files: Option<Arc<Store>>,
    /// Its TCP sessions here.
    pub limit: SessionLimit,
    /// Its counters.
    pub counters: Arc<Lanes<ReceiveStream>>,
    /// On the return link, if there is one: its channel, and its counters there.
    pub returns: Option<(SenderChannel, Arc<Lanes<SendStream>>)>,
}

/// All streams. Immutable: a reload makes a new table and hands it to every lane.
#[derive(Debug, Default)]
pub struct Table {
    entries: Vec<Option<Entry>>,
    slots: HashMap<u16, usize>,
    channels: Vec<ReceiverChannel>,
    /// By channel, also of those that were taken out of the site file: they have files to store still, and their journal.
    stores: HashMap<u16, Arc<Store>>,
}

impl Table {
    /// The table for `site`; slots are taken over from `before`, as the link receiver does.
    pub fn new(
        site: &Site,
        before: Option<&Table>,
        counters: &ReceiveCounters,
        returns: Option<&SendCounters>,
        neighbours: Option<&Neighbours>,
    ) -> anyhow::Result<Self> {
        let (slots, stores) = before.map(|table| (table.slots.clone(), table.stores.clone())).unwrap_or_default();
        let mut table = Self { slots, stores, ..Self::default() };
        for stream in &site.channels() {
            let free = table.slots.len();
            let slot = *table.slots.entry(stream.channel).or_insert(free);
            if table.entries.len() <= slot {
                table.entries.resize_with(slot + 1, || None);
            }
            let neighbours = neighbours.filter(|_| stream.kind.is_udp());
            let known = before.and_then(|table| table.get(slot));
            let channel = |counters: &SendCounters| {
                let counters = counters.stream(stream.channel, &stream.name);
                host::sender_channel(stream).map(|channel| (channel, counters))
            };
            table.entries[slot] = Some(Entry {
                kind: stream.kind,
                name: stream.name.clone(),
                destination: stream.destination,
                next_hop: neighbours.map(|neighbours| neighbours.next_hop(stream.destination.ip())),
                max_sessions: stream.max_sessions,
                idle_ns: stream.idle.as_nanos() as Nanos,
                tcp: tcp_rules(site, stream),
                files: store(site, stream, &mut table.stores)?,
                limit: SessionLimit::new(most_sessions(site, stream), known.map(|entry| &entry.limit)),
                counters: counters.stream(stream.channel, &stream.name),
                returns: returns.filter(|_| stream.kind.is_bytes()).map(channel).transpose()?,
            });
            table.channels.push(ReceiverChannel {
                channel: stream.channel,
                stream_type: stream.kind.wire_number(),
                // Bytes have no other order than their own.
                ordered: stream.ordered || stream.kind.is_bytes(),
            });
        }
        Ok(table)
    }

    /// The streams on the return link.
    pub fn return_channels(&self) -> Vec<SenderChannel> {
        self.iter().filter_map(|entry| entry.returns.as_ref()).map(|(channel, _)| channel.clone()).collect()
    }

    /// The stores of files.
    pub fn files(&self) -> impl Iterator<Item = &Arc<Store>> {
        self.iter().filter_map(|entry| entry.files.as_ref())
    }

    /// The stream at `slot`.
    pub fn get(&self, slot: usize) -> Option<&Entry> {
        self.entries.get(slot)?.as_ref()
    }

    /// One more than the highest slot.
    pub fn slots(&self) -> u16 {
        self.entries.len() as u16
    }

    /// What the link's receiver needs to know, in the order in which it gives slots.
    pub fn channels(&self) -> &[ReceiverChannel] {
        &self.channels
    }

    /// The streams.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }
}

/// The store of a files channel: the one there is, told what has changed, or a new one.
fn store(site: &Site, stream: &Stream, stores: &mut HashMap<u16, Arc<Store>>) -> anyhow::Result<Option<Arc<Store>>> {
    let Some(files) = site.files.iter().find(|files| files.channel == stream.channel) else { return Ok(None) };
    if let Some(store) = stores.get(&stream.channel) {
        store.set_files(files);
        return Ok(Some(Arc::clone(store)));
    }
    let store = Arc::new(Store::open(site, files)?);
    stores.insert(stream.channel, Arc::clone(&store));
    Ok(Some(store))
}

/// Without a return link BLUE begins the next file while RED still brings the last ones to disk.
fn most_sessions(site: &Site, stream: &Stream) -> u32 {
    let places = places(stream.max_sessions);
    let is_ahead = stream.kind == StreamKind::Files && site.link.return_link.is_none();
    if is_ahead { places.max(UNANSWERED_FILES) } else { places }
}

fn tcp_rules(site: &Site, stream: &Stream) -> TcpRules {
    TcpRules {
        destination: stream.destination,
        connect_timeout: stream.connect_timeout,
        keepalive: stream.keepalive,
        idle: stream.idle + IDLE_MORE,
        room_bytes: site.session_room(Role::Red, stream),
        impersonate: stream.impersonate,
        bilateral: stream.kind == StreamKind::TcpBilateral,
    }
}
