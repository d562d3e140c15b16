//! BLUE's streams as lanes use them: looked up by port, known by a slot that never changes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::tcp::ClientCounts;
use crate::config::{Impersonate, Network, Role, Site, Stream, StreamKind};
use crate::fec::Encoder;
use crate::host;
use crate::link::{Nanos, ReceiverChannel, SenderChannel};
use crate::session::{SessionLimit, SharedRate, StreamRules};
use crate::steer::{self, Protocol, Rule, STREAMS_MAX};
use crate::telemetry::counters::{Lanes, ReceiveCounters, ReceiveStream, SendCounters, SendStream};

/// One stream.
#[derive(Debug)]
pub struct Entry {
    /// What it carries.
    pub kind: StreamKind,
    /// Its name, for logs.
    pub name: String,
    /// Identifies it on the wire.
    pub channel: u16,
    /// Its port on BLUE.
    pub port: u16,
    /// Who may send.
    pub sources: Vec<Network>,
    /// Its sessions.
    pub limit: SessionLimit,
    /// Its rate.
    pub rate: Option<Arc<SharedRate>>,
    /// Its sessions end after this long without traffic.
    pub idle_ns: Nanos,
    /// Its counters.
    pub counters: Arc<Lanes<SendStream>>,
    /// What became of clients when they connected, and of their sessions.
    pub clients: Arc<ClientCounts>,
    /// TCP: how clients' connections are treated.
    pub tcp: TcpRules,
    /// Its counters on the return link, if there is one.
    pub returns: Option<Arc<Lanes<ReceiveStream>>>,
    sender: SenderChannel,
}

/// How a TCP stream treats its clients' connections.
#[derive(Clone, Copy, Debug)]
pub struct TcpRules {
    /// RED answers an open within this time, or not at all.
    pub open_timeout: Duration,
    /// A client that says nothing for so long is asked whether it still lives.
    pub keepalive: Duration,
    /// Most bytes that wait for one client.
    pub room_bytes: usize,
    /// RED shows the client's address to the destination.
    pub shows_client: bool,
}

impl Entry {
    /// May `address` send to this stream?
    pub fn allows(&self, address: IpAddr) -> bool {
        self.sources.iter().any(|network| network.contains(address))
    }
}

/// All streams. Immutable: a reload makes a new table and hands it to every lane.
#[derive(Debug)]
pub struct Table {
    entries: Vec<Option<Entry>>,
    /// Slot of every UDP port: looked up for every datagram.
    by_port: Box<[Option<u16>]>,
    /// Slot of every channel that there was since the start.
    slots: HashMap<u16, u16>,
    /// By slot: counts of clients, also of streams that are gone and may come back.
    clients: Vec<Arc<ClientCounts>>,
    /// Slot of every TCP stream in the order in which the return link's receiver numbers them: as they first came.
    return_slots: Vec<u16>,
}

impl Table {
    /// The table for `site`. Slots, session counts and rates are taken over from `before`.
    /// `returns` are the counters of the return link, if there is one.
    pub fn new(
        site: &Site,
        before: Option<&Table>,
        counters: &SendCounters,
        returns: Option<&ReceiveCounters>,
    ) -> anyhow::Result<Self> {
        let mut slots = before.map(|table| table.slots.clone()).unwrap_or_default();
        let return_slots = before.map(|table| table.return_slots.clone()).unwrap_or_default();
        let clients = before.map(|table| table.clients.clone()).unwrap_or_default();
        let by_port = vec![None; usize::from(u16::MAX) + 1].into();
        let mut table = Self { entries: Vec::new(), by_port, slots: HashMap::new(), clients, return_slots };
        for stream in &site.channels() {
            let free = slots.len() as u16;
            let slot = *slots.entry(stream.channel).or_insert(free);
            anyhow::ensure!(
                u32::from(slot) < STREAMS_MAX,
                "more than {STREAMS_MAX} different channels since the start; restart to use new ones"
            );
            let known = before.and_then(|table| table.get(slot));
            if table.entries.len() <= usize::from(slot) {
                table.entries.resize_with(usize::from(slot) + 1, || None);
            }
            if table.clients.len() <= usize::from(slot) {
                table.clients.resize_with(usize::from(slot) + 1, Arc::default);
            }
            let clients = Arc::clone(&table.clients[usize::from(slot)]);
            let entry = Entry::new(site, stream, known, clients, counters, returns)?;
            if stream.kind.is_udp() {
                table.by_port[usize::from(stream.source_port)] = Some(slot);
            } else if !table.return_slots.contains(&slot) {
                table.return_slots.push(slot);
            }
            table.entries[usize::from(slot)] = Some(entry);
        }
        table.slots = slots;
        Ok(table)
    }

    /// The stream at `slot`.
    pub fn get(&self, slot: u16) -> Option<&Entry> {
        self.entries.get(usize::from(slot))?.as_ref()
    }

    /// The stream that listens on TCP `port`, and its slot.
    pub fn by_tcp_port(&self, port: u16) -> Option<(u16, &Entry)> {
        self.tcp().find(|(_, entry)| entry.port == port)
    }

    /// The stream or files of `channel`, and their slot.
    pub fn by_channel(&self, channel: u16) -> Option<(u16, &Entry)> {
        self.iter().find(|(_, entry)| entry.channel == channel)
    }

    /// The stream that listens on UDP `port`, and its slot.
    pub fn by_port(&self, port: u16) -> Option<(u16, &Entry)> {
        let slot = self.by_port[usize::from(port)]?;
        Some((slot, self.get(slot)?))
    }

    /// All streams with their slots.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Entry)> {
        (0..).zip(&self.entries).filter_map(|(slot, entry)| Some((slot, entry.as_ref()?)))
    }

    /// The UDP streams.
    pub fn udp(&self) -> impl Iterator<Item = (u16, &Entry)> {
        self.iter().filter(|(_, entry)| entry.kind.is_udp())
    }

    /// The TCP streams.
    pub fn tcp(&self) -> impl Iterator<Item = (u16, &Entry)> {
        self.iter().filter(|(_, entry)| entry.kind.is_tcp())
    }

    /// One more than the highest slot.
    pub fn slots(&self) -> usize {
        self.entries.len()
    }

    /// What the link's sender needs to know.
    pub fn sender_channels(&self) -> Vec<SenderChannel> {
        self.iter().map(|(_, entry)| entry.sender.clone()).collect()
    }

    /// An encoder for all streams; makes its plans, so call it outside of a lane.
    pub fn encoder(&self) -> Encoder {
        host::encoder(&self.sender_channels())
    }

    /// What the return link's receiver needs to know: the TCP streams, in the order in which it numbers them.
    pub fn return_channels(&self) -> Vec<ReceiverChannel> {
        let entries = self.return_slots.iter().filter_map(|slot| self.get(*slot));
        entries.map(|entry| host::byte_channel(entry.channel, entry.kind)).collect()
    }

    /// The stream that the return link's receiver numbers `slot`, and its slot here.
    pub fn returned(&self, slot: usize) -> Option<(u16, &Entry)> {
        let slot = *self.return_slots.get(slot)?;
        Some((slot, self.get(slot)?))
    }

    /// What the XDP program needs to know.
    pub fn rules(&self) -> Vec<Rule> {
        let rule = |(slot, entry): (u16, &Entry)| Rule {
            slot: u32::from(slot),
            protocol: if entry.kind.is_tcp() { Protocol::Tcp } else { Protocol::Udp },
            port: entry.port,
            sources: entry.sources.iter().map(|network| (network.address, network.prefix_len)).collect(),
        };
        self.iter().filter(|(_, entry)| entry.kind != StreamKind::Files).map(rule).collect::<Vec<steer::Rule>>()
    }
}

impl StreamRules for Table {
    fn limit(&self, slot: u16) -> Option<&SessionLimit> {
        self.get(slot).map(|entry| &entry.limit)
    }

    fn idle_ns(&self, slot: u16) -> Nanos {
        self.get(slot).map_or(0, |entry| entry.idle_ns)
    }
}

impl Entry {
    fn new(
        site: &Site,
        stream: &Stream,
        known: Option<&Entry>,
        clients: Arc<ClientCounts>,
        counters: &SendCounters,
        returns: Option<&ReceiveCounters>,
    ) -> anyhow::Result<Self> {
        let same_rate = known.and_then(|entry| entry.rate.clone());
        let rate = stream.rate_bps.map(|bps| {
            same_rate.filter(|rate| rate.bits_per_second() == bps).unwrap_or_else(|| Arc::new(SharedRate::new(bps)))
        });
        let returns = returns.filter(|_| stream.kind.is_bytes());
        Ok(Self {
            kind: stream.kind,
            name: stream.name.clone(),
            channel: stream.channel,
            port: stream.source_port,
            sources: stream.sources.clone(),
            limit: SessionLimit::new(stream.max_sessions, known.map(|entry| &entry.limit)),
            rate,
            idle_ns: stream.idle.as_nanos() as Nanos,
            counters: counters.stream(stream.channel, &stream.name),
            clients,
            tcp: TcpRules {
                // RED's answer is repeated with a heartbeat if it was lost.
                open_timeout: stream.connect_timeout + 2 * site.link.heartbeat,
                keepalive: stream.keepalive,
                room_bytes: site.session_room(Role::Blue, stream),
                shows_client: stream.impersonate != Impersonate::Off,
            },
            returns: returns.map(|counters| counters.stream(stream.channel, &stream.name)),
            sender: host::sender_channel(stream)?,
        })
    }
}
