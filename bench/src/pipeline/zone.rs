//! What stands around the link in the pipelines, without sockets: BLUE's zone, whose frames are stripped and tagged, and
//! RED's, for which frames are built again.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use relay::link::{Delivery, Nanos, Settled, Sink};
use relay::packet::{UdpTemplate, parse_udp};
use relay::session::{FlowKey, FlowTable, Heard, SessionId, SessionLimit, StreamRules, Track};
use relay::wire::{RecordHead, RecordType};
use rustc_hash::FxHashMap;

/// Frames that arrive together, as a lane takes them from its queue.
pub const BATCH: usize = 64;
/// Ethernet, IPv4 and UDP headers, rounded up to what a frame in packet memory is aligned to.
const HEADERS_MAX: usize = 64;

fn template(source: [u8; 4], destination: [u8; 4]) -> Result<UdpTemplate> {
    let end = |address: [u8; 4]| SocketAddr::from((Ipv4Addr::from(address), 5000));
    UdpTemplate::new([2; 6], [4; 6], end(source), end(destination)).context("both are IPv4")
}

/// One stream, one session at a time.
struct Rules(SessionLimit);

impl StreamRules for Rules {
    fn limit(&self, _: u16) -> Option<&SessionLimit> {
        Some(&self.0)
    }

    fn idle_ns(&self, _: u16) -> Nanos {
        Nanos::MAX
    }
}

/// A batch of frames as BLUE's card gives them, and the sessions that they belong to.
pub struct BlueZone {
    frames: Vec<Vec<u8>>,
    flows: FlowTable,
    rules: Rules,
}

impl BlueZone {
    /// Frames of one sender, with `payload_bytes` of payload.
    pub fn new(payload_bytes: usize) -> Result<Self> {
        let template = template([10, 1, 0, 1], [10, 1, 0, 2])?;
        let mut frame = vec![0; HEADERS_MAX + payload_bytes];
        let len = template.write(&mut frame, &vec![0x5A; payload_bytes]).context("a frame has room")?;
        frame.truncate(len);
        Ok(Self { frames: vec![frame; BATCH], flows: FlowTable::default(), rules: Rules(SessionLimit::new(1, None)) })
    }

    /// Writes the numbers from `first` on to both ends of the frames' payloads: what RED looks at.
    pub fn number(&mut self, first: u32) {
        for (frame, number) in self.frames.iter_mut().zip(first..) {
            let payload = frame.len() - parse_udp(frame).map_or(0, |datagram| datagram.payload.len());
            frame[payload..payload + 4].copy_from_slice(&number.to_be_bytes());
            let end = frame.len();
            frame[end - 4..].copy_from_slice(&number.to_be_bytes());
        }
    }

    /// Strips and tags the first `count` frames, and gives each as a record to `each`.
    pub fn take(
        &mut self,
        now: Nanos,
        count: usize,
        mut each: impl FnMut(&RecordHead, &[u8]) -> Result<()>,
    ) -> Result<()> {
        for frame in &self.frames[..count] {
            let datagram = parse_udp(frame)?;
            let key = FlowKey { source: datagram.source, slot: 0 };
            let (session, sequence, _) = self.flows.next(now, key, &self.rules)?;
            each(&RecordHead { kind: RecordType::Datagram, flags: 0, session, sequence }, datagram.payload)?;
        }
        Ok(())
    }
}

/// Rebuilds what the link delivers, and counts it.
pub struct RedZone {
    payload_bytes: usize,
    template: UdpTemplate,
    sessions: FxHashMap<SessionId, Track>,
    frames: Vec<Vec<u8>>,
    next_frame: usize,
    /// Datagrams rebuilt.
    pub delivered: u64,
    /// Of them, by FEC.
    pub recovered: u64,
    /// Those that are not what was sent.
    pub wrong: u64,
    /// What BLUE counted and RED did not, by the link's account.
    pub missing: u64,
}

impl RedZone {
    /// For datagrams of `payload_bytes`.
    pub fn new(payload_bytes: usize) -> Result<Self> {
        Ok(Self {
            payload_bytes,
            template: template([10, 2, 0, 1], [10, 2, 0, 2])?,
            sessions: FxHashMap::default(),
            frames: vec![vec![0; HEADERS_MAX + payload_bytes]; BATCH],
            next_frame: 0,
            delivered: 0,
            recovered: 0,
            wrong: 0,
            missing: 0,
        })
    }
}

impl Sink for RedZone {
    fn record(&mut self, delivery: &Delivery<'_>) {
        if delivery.head.kind != RecordType::Datagram {
            return;
        }
        let track = self.sessions.entry(delivery.head.session).or_default();
        let in_turn = track.datagram(delivery.head.sequence) != Heard::Stale;
        let frame = &mut self.frames[self.next_frame];
        let built = self.template.write(frame, delivery.payload);
        self.next_frame = (self.next_frame + 1) % BATCH;
        self.delivered += 1;
        self.recovered += u64::from(delivery.recovered);
        let number = delivery.head.sequence.to_be_bytes();
        let whole = delivery.payload.len() == self.payload_bytes
            && delivery.payload.starts_with(&number)
            && delivery.payload.ends_with(&number);
        self.wrong += u64::from(!whole || !in_turn || built.is_none());
    }

    fn settled(&mut self, settled: &Settled) {
        self.missing = settled.missing_records;
    }

    fn new_epoch(&mut self, _: u32) {}

    fn stream_mismatch(&mut self, _: u16, _: u8, _: Option<u8>) {
        self.wrong += 1;
    }

    fn tables_differ(&mut self, _: u64) {}

    fn stopping(&mut self) {}
}
