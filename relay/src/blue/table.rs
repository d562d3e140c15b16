//! BLUE's streams as lanes use them: looked up by port, known by a slot that never changes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context as _;

use crate::config::{self, Network, Site, Stream, StreamKind};
use crate::fec::{Encoder, Protection, RepairTable, Scheme};
use crate::link::{Nanos, SenderChannel};
use crate::session::{SessionLimit, SharedRate, StreamRules};
use crate::steer::{self, Protocol, Rule, STREAMS_MAX};
use crate::telemetry::counters::{BlueCounters, BlueStream, Lanes};
use crate::wire::table_digest;

/// One UDP stream.
#[derive(Debug)]
pub struct Entry {
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
    pub counters: Arc<Lanes<BlueStream>>,
    sender: SenderChannel,
}

impl Entry {
    /// May `address` send to this stream?
    pub fn allows(&self, address: IpAddr) -> bool {
        self.sources.iter().any(|network| network.contains(address))
    }
}

/// All UDP streams. Immutable: a reload makes a new table and hands it to every lane.
#[derive(Debug)]
pub struct Table {
    entries: Vec<Option<Entry>>,
    by_port: HashMap<u16, u16>,
    slots: HashMap<u16, u16>,
}

impl Table {
    /// The table for `site`. Slots, session counts and rates are taken over from `before`.
    pub fn new(site: &Site, before: Option<&Table>, counters: &BlueCounters) -> anyhow::Result<Self> {
        let mut slots = before.map(|table| table.slots.clone()).unwrap_or_default();
        let mut table = Self { entries: Vec::new(), by_port: HashMap::new(), slots: HashMap::new() };
        for stream in udp_streams(site) {
            let free = slots.len() as u16;
            let slot = *slots.entry(stream.channel).or_insert(free);
            anyhow::ensure!(
                u32::from(slot) < STREAMS_MAX,
                "more than {STREAMS_MAX} different channels since the start; restart to use new ones"
            );
            let known = before.and_then(|table| table.get(slot));
            let entry = Entry::new(stream, known, counters)?;
            if table.entries.len() <= usize::from(slot) {
                table.entries.resize_with(usize::from(slot) + 1, || None);
            }
            table.by_port.insert(stream.source_port, slot);
            table.entries[usize::from(slot)] = Some(entry);
        }
        table.slots = slots;
        Ok(table)
    }

    /// The stream at `slot`.
    pub fn get(&self, slot: u16) -> Option<&Entry> {
        self.entries.get(usize::from(slot))?.as_ref()
    }

    /// The stream that listens on UDP `port`, and its slot.
    pub fn by_port(&self, port: u16) -> Option<(u16, &Entry)> {
        let slot = *self.by_port.get(&port)?;
        Some((slot, self.get(slot)?))
    }

    /// All streams with their slots.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Entry)> {
        (0..).zip(&self.entries).filter_map(|(slot, entry)| Some((slot, entry.as_ref()?)))
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
        let schemes: Vec<_> = self.iter().map(|(_, entry)| (entry.sender.scheme, entry.sender.block_symbols)).collect();
        Encoder::new(&schemes)
    }

    /// Stands for the table in heartbeats.
    pub fn digest(&self) -> u64 {
        table_digest(self.iter().map(|(_, entry)| (entry.channel, entry.sender.stream_type)))
    }

    /// What the XDP program needs to know. TCP streams are not relayed yet, so that their ports stay the kernel's.
    pub fn rules(&self) -> Vec<Rule> {
        let rule = |(slot, entry): (u16, &Entry)| Rule {
            slot: u32::from(slot),
            protocol: Protocol::Udp,
            port: entry.port,
            sources: entry.sources.iter().map(|network| (network.address, network.prefix_len)).collect(),
        };
        self.iter().map(rule).collect::<Vec<steer::Rule>>()
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
    fn new(stream: &Stream, known: Option<&Entry>, counters: &BlueCounters) -> anyhow::Result<Self> {
        let limit =
            known.map_or_else(|| SessionLimit::new(stream.max_sessions), |e| e.limit.with_max(stream.max_sessions));
        let same_rate = known.and_then(|entry| entry.rate.clone());
        let rate = stream.rate_bps.map(|bps| {
            same_rate.filter(|rate| rate.bits_per_second() == bps).unwrap_or_else(|| Arc::new(SharedRate::new(bps)))
        });
        let fec = &stream.fec;
        let scheme = scheme(fec.scheme);
        let repair = RepairTable::new(scheme, protection(fec.protection), fec.block_symbols)
            .with_context(|| format!("stream \"{}\": `protect` cannot be kept", stream.name))?;
        Ok(Self {
            name: stream.name.clone(),
            channel: stream.channel,
            port: stream.source_port,
            sources: stream.sources.clone(),
            limit,
            rate,
            idle_ns: stream.idle.as_nanos() as Nanos,
            counters: counters.stream(stream.channel, &stream.name),
            sender: SenderChannel {
                channel: stream.channel,
                stream_type: stream.kind.wire_number(),
                scheme,
                block_symbols: fec.block_symbols,
                flush_ns: fec.flush.as_nanos() as Nanos,
                deadline_ns: fec.deadline.as_nanos() as Nanos,
                repair: Arc::new(repair),
            },
        })
    }
}

fn udp_streams(site: &Site) -> impl Iterator<Item = &Stream> {
    site.streams.iter().filter(|stream| stream.kind == StreamKind::UdpUnilateral)
}

fn scheme(scheme: config::Scheme) -> Scheme {
    match scheme {
        config::Scheme::RaptorQ => Scheme::RaptorQ,
        config::Scheme::ReedSolomon => Scheme::ReedSolomon,
        config::Scheme::None => Scheme::None,
    }
}

fn protection(protection: config::Protection) -> Protection {
    match protection {
        config::Protection::Promise { loss, residual, burst } => Protection::Promise { loss, residual, burst },
        config::Protection::Share { repair, repair_min } => Protection::Share { repair, repair_min },
    }
}
