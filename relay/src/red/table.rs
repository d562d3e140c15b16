//! RED's streams as lanes use them. A stream's slot is its place in the link receiver's table.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::neighbour::{Neighbours, NextHop};
use crate::config::{Site, StreamKind};
use crate::link::{Nanos, ReceiverChannel};
use crate::telemetry::counters::{Lanes, ReceiveCounters, ReceiveStream};

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
    /// Its counters.
    pub counters: Arc<Lanes<ReceiveStream>>,
}

/// All streams. Immutable: a reload makes a new table and hands it to every lane.
#[derive(Debug, Default)]
pub struct Table {
    entries: Vec<Option<Entry>>,
    slots: HashMap<u16, usize>,
    channels: Vec<ReceiverChannel>,
}

impl Table {
    /// The table for `site`; slots are taken over from `before`, as the link receiver does.
    pub fn new(
        site: &Site,
        before: Option<&Table>,
        counters: &ReceiveCounters,
        neighbours: Option<&Neighbours>,
    ) -> Self {
        let mut table = Self { slots: before.map(|table| table.slots.clone()).unwrap_or_default(), ..Self::default() };
        for stream in site.streams.iter().filter(|stream| stream.kind != StreamKind::TcpBilateral) {
            let free = table.slots.len();
            let slot = *table.slots.entry(stream.channel).or_insert(free);
            if table.entries.len() <= slot {
                table.entries.resize_with(slot + 1, || None);
            }
            let neighbours = neighbours.filter(|_| !stream.kind.is_tcp());
            table.entries[slot] = Some(Entry {
                kind: stream.kind,
                name: stream.name.clone(),
                destination: stream.destination,
                next_hop: neighbours.map(|neighbours| neighbours.next_hop(stream.destination.ip())),
                max_sessions: stream.max_sessions,
                idle_ns: stream.idle.as_nanos() as Nanos,
                counters: counters.stream(stream.channel, &stream.name),
            });
            table.channels.push(ReceiverChannel {
                channel: stream.channel,
                stream_type: stream.kind.wire_number(),
                // Bytes have no other order than their own.
                ordered: stream.ordered || stream.kind.is_tcp(),
            });
        }
        table
    }

    /// The stream at `slot`.
    pub fn get(&self, slot: usize) -> Option<&Entry> {
        self.entries.get(slot)?.as_ref()
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
