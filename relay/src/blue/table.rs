//! BLUE's streams as lanes use them: looked up by port, known by a slot that never changes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::Context as _;

use crate::config::{self, Network, Site, Stream, StreamKind};
use crate::fec::{Encoder, Protection, RepairTable, Scheme};
use crate::link::{Nanos, SenderChannel};
use crate::session::{SessionLimit, SharedRate, StreamRules};
use crate::steer::{self, Protocol, Rule, STREAMS_MAX};
use crate::telemetry::counters::{Lanes, SendCounters, SendStream};
use crate::telemetry::reasons::SendRefused;

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
    sender: SenderChannel,
    /// Clients refused by their source, and by the limit, when they connected.
    refused_clients: [AtomicU64; 2],
}

impl Entry {
    /// Counts a client that was refused when it connected.
    pub fn count_refused_client(&self, reason: SendRefused) {
        self.refused_clients[usize::from(reason == SendRefused::SessionLimit)].fetch_add(1, Relaxed);
    }

    /// Clients refused by their source, and by the limit, when they connected.
    pub fn refused_clients(&self) -> [u64; 2] {
        self.refused_clients.each_ref().map(|count| count.load(Relaxed))
    }

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
}

impl Table {
    /// The table for `site`. Slots, session counts and rates are taken over from `before`.
    pub fn new(site: &Site, before: Option<&Table>, counters: &SendCounters) -> anyhow::Result<Self> {
        let mut slots = before.map(|table| table.slots.clone()).unwrap_or_default();
        let by_port = vec![None; usize::from(u16::MAX) + 1].into();
        let mut table = Self { entries: Vec::new(), by_port, slots: HashMap::new() };
        for stream in carried(site) {
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
            if stream.kind == StreamKind::UdpUnilateral {
                table.by_port[usize::from(stream.source_port)] = Some(slot);
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
        self.iter().filter(|(_, entry)| !entry.kind.is_tcp())
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
        let schemes: Vec<_> = self.iter().map(|(_, entry)| (entry.sender.scheme, entry.sender.block_symbols)).collect();
        Encoder::new(&schemes)
    }

    /// What the XDP program needs to know.
    pub fn rules(&self) -> Vec<Rule> {
        let rule = |(slot, entry): (u16, &Entry)| Rule {
            slot: u32::from(slot),
            protocol: if entry.kind.is_tcp() { Protocol::Tcp } else { Protocol::Udp },
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
    fn new(stream: &Stream, known: Option<&Entry>, counters: &SendCounters) -> anyhow::Result<Self> {
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
        let refused_clients = known.map(Entry::refused_clients).unwrap_or_default().map(AtomicU64::new);
        Ok(Self {
            kind: stream.kind,
            refused_clients,
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

/// The streams that this version carries.
fn carried(site: &Site) -> impl Iterator<Item = &Stream> {
    site.streams.iter().filter(|stream| stream.kind != StreamKind::TcpBilateral)
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
