//! Senders and a receiver over the in-memory link: whatever it does to frames, each record comes exactly as it was
//! sent, once and in order, or is missing from the account.
//!
//! [`World`] is the harness: it pushes records whose every byte anyone can work out, lets simulated time pass from one
//! clock's ring to the next, and checks each record as it is delivered. Nothing here sleeps or reads a real clock.

mod channels;
mod check;
mod clocks;
mod frames;
mod hostile;
mod isolation;
mod port;
mod promise;
mod properties;
mod restart;
mod soak;
mod unordered;

use std::collections::BTreeMap;
use std::sync::Arc;

use check::Check;

use super::memory::{Faults, MemoryLink, Seeded};
use super::outgoing::Totals;
use super::*;
use crate::fec::{Encoder, Protection, RepairTable, Scheme};
use crate::wire::{Direction, FRAME_OVERHEAD, LinkKey, RecordHead, RecordType};

const US: Nanos = 1_000;
const MS: Nanos = 1_000_000;
const SECOND: Nanos = 1_000_000_000;

/// The epoch of a world's first sender.
const FIRST_EPOCH: u32 = 7;

/// How a run goes.
#[derive(Clone, Debug)]
struct Plan {
    seed: u64,
    scheme: Scheme,
    protection: Protection,
    block_symbols: u16,
    symbol_bytes: u16,
    lanes: u16,
    channels: u16,
    sessions: u64,
    payload_min: u64,
    payload_max: u64,
    /// Mean time between records.
    gap_ns: Nanos,
    flush_ns: Nanos,
    deadline_ns: Nanos,
    hold_ns: Nanos,
    heartbeat_ns: Nanos,
    rate: Option<Rate>,
    /// Frames of each lane's port.
    frames_max: usize,
    pool_bytes: usize,
    faults: Faults,
    ordered: bool,
    sealed: bool,
}

impl Plan {
    /// The main job: 1,400-byte datagrams on a 1500-byte link with the site file's defaults.
    fn main(seed: u64) -> Self {
        Self {
            seed,
            scheme: Scheme::RaptorQ,
            protection: Protection::Promise { loss: 0.001, residual: 1e-9, burst: 4 },
            block_symbols: 128,
            symbol_bytes: 1424,
            lanes: 1,
            channels: 1,
            sessions: 1,
            payload_min: 1400,
            payload_max: 1400,
            gap_ns: 50 * US,
            flush_ns: 50 * US,
            deadline_ns: 5 * MS,
            hold_ns: 5 * MS,
            heartbeat_ns: 250 * MS,
            rate: None,
            frames_max: 100_000,
            pool_bytes: 32 << 20,
            faults: Faults::default(),
            ordered: true,
            sealed: true,
        }
    }

    /// No repair symbols, so that what is lost is lost.
    fn bare(seed: u64) -> Self {
        Self { scheme: Scheme::None, ..Self::main(seed) }
    }

    fn lane_of(&self, session: u64) -> u16 {
        (session % u64::from(self.lanes)) as u16
    }

    fn slot_of(&self, session: u64) -> usize {
        (session / u64::from(self.lanes) % u64::from(self.channels)) as usize
    }

    fn key(&self) -> LinkKey {
        if self.sealed { LinkKey::sealed([9; 32]) } else { LinkKey::unsealed() }
    }

    fn repair(&self) -> Arc<RepairTable> {
        Arc::new(RepairTable::new(self.scheme, self.protection, self.block_symbols).expect("possible"))
    }

    fn encoder(&self) -> Encoder {
        Encoder::new(&[(self.scheme, self.block_symbols)])
    }

    fn sender_channels(&self) -> Vec<SenderChannel> {
        let repair = self.repair();
        let one = |channel| SenderChannel {
            channel,
            stream_type: 1,
            scheme: self.scheme,
            block_symbols: self.block_symbols,
            flush_ns: self.flush_ns,
            deadline_ns: self.deadline_ns,
            repair: Arc::clone(&repair),
        };
        (1..=self.channels).map(one).collect()
    }

    fn receiver_channels(&self) -> Vec<ReceiverChannel> {
        (1..=self.channels).map(|channel| ReceiverChannel { channel, stream_type: 1, ordered: self.ordered }).collect()
    }

    fn sender(&self, lane: u16, epoch: u32, now: Nanos, encoder: Encoder) -> Sender<MemoryLink> {
        // Heartbeats need 500 bytes, which every real link has.
        let frame_bytes = usize::from(self.symbol_bytes).max(500) + FRAME_OVERHEAD;
        let config = SenderConfig {
            lane,
            epoch,
            direction: Direction::Forward,
            key: self.key(),
            symbol_bytes: self.symbol_bytes,
            heartbeat_ns: self.heartbeat_ns,
            rate: self.rate,
        };
        let link = MemoryLink::new(frame_bytes, self.frames_max, self.faults, self.seed ^ u64::from(lane) << 50);
        let mut sender = Sender::new(config, link);
        sender.set_channels(now, self.sender_channels(), encoder);
        sender
    }

    fn receiver(&self, epoch_min: u32, packet_floors: Vec<(u16, u64)>) -> Receiver {
        let mut receiver = Receiver::new(ReceiverConfig {
            claim: Claim::first(),
            key: self.key(),
            direction: Direction::Forward,
            epoch_min,
            packet_floors,
            symbol_bytes: self.symbol_bytes,
            hold_ns: self.hold_ns,
            heartbeat_ns: self.heartbeat_ns,
            pool_bytes: self.pool_bytes,
        });
        receiver.set_channels(&self.receiver_channels());
        receiver
    }
}

/// The payload of a session's record, eight bytes at a time.
fn payload_words(seed: u64, session: u64, sequence: u32) -> Seeded {
    Seeded::new(seed ^ (session << 32) ^ u64::from(sequence))
}

/// Puts a record's payload into `to`; its length, too, is the record's own.
fn payload(plan: &Plan, session: u64, sequence: u32, to: &mut Vec<u8>) {
    let mut words = payload_words(plan.seed, session, sequence);
    let len = (plan.payload_min + words.below(plan.payload_max - plan.payload_min + 1)) as usize;
    to.clear();
    while to.len() < len {
        to.extend_from_slice(&words.next_u64().to_be_bytes());
    }
    to.truncate(len);
}

fn session_id(session: u64) -> [u8; 16] {
    let mut id = [0x5E; 16];
    id[..8].copy_from_slice(&session.to_be_bytes());
    id
}

struct World {
    plan: Plan,
    now: Nanos,
    epoch: u32,
    random: Seeded,
    senders: Vec<Sender<MemoryLink>>,
    receiver: Receiver,
    check: Check,
    /// Number of the first session of this epoch: no epoch continues a session of another.
    first_session: u64,
    next_sequence: BTreeMap<u64, u32>,
    /// By lane and slot, in this epoch.
    sent: BTreeMap<(u16, usize), Totals>,
    scratch: Vec<u8>,
    /// Every frame that arrived, if asked for.
    recording: Option<Vec<Vec<u8>>>,
    encoder: Encoder,
}

impl World {
    fn new(plan: &Plan) -> Self {
        let encoder = plan.encoder();
        Self {
            now: MS,
            epoch: FIRST_EPOCH,
            random: Seeded::new(!plan.seed),
            senders: (0..plan.lanes).map(|lane| plan.sender(lane, FIRST_EPOCH, MS, encoder.share())).collect(),
            receiver: plan.receiver(0, Vec::new()),
            check: Check::new(plan),
            first_session: 0,
            next_sequence: BTreeMap::new(),
            sent: BTreeMap::new(),
            scratch: Vec::new(),
            recording: None,
            plan: plan.clone(),
            encoder,
        }
    }

    /// Sends the next record of some session.
    fn push(&mut self) {
        let session = self.first_session + self.random.below(self.plan.sessions);
        self.push_on(session).expect("the link has room");
    }

    /// Sends the next record of `session`.
    fn push_on(&mut self, session: u64) -> Result<(), PushError> {
        let (lane, slot) = (self.plan.lane_of(session), self.plan.slot_of(session));
        let sequence = self.next_sequence.entry(session).or_default();
        payload(&self.plan, session, *sequence, &mut self.scratch);
        let head =
            RecordHead { kind: RecordType::Datagram, flags: 0, session: session_id(session), sequence: *sequence };
        self.senders[usize::from(lane)].push(self.now, slot, &head, &self.scratch)?;
        *sequence += 1;
        let sent = self.sent.entry((lane, slot)).or_default();
        sent.records += 1;
        sent.bytes += self.scratch.len() as u64;
        Ok(())
    }

    /// Lets `pass_ns` pass, stopping at every clock that rings.
    fn pass(&mut self, pass_ns: Nanos) {
        let until = self.now + pass_ns;
        loop {
            let mut next = until + 1;
            for sender in &mut self.senders {
                if sender.heartbeat_due(self.now) {
                    sender.heartbeat(self.now);
                }
                next = next.min(sender.poll(self.now).expect("memory does not fail"));
            }
            self.deliver();
            next = next.min(self.receiver.poll(self.now, &mut self.check)).max(self.now + 1);
            if next > until {
                break;
            }
            self.now = next;
        }
        self.now = until;
    }

    /// What has arrived goes to the receiver.
    fn deliver(&mut self) {
        let (now, receiver, check, recording) = (self.now, &mut self.receiver, &mut self.check, &mut self.recording);
        check.now = now;
        for sender in &mut self.senders {
            let each = &mut |frame: &mut [u8]| {
                if let Some(recording) = recording {
                    recording.push(frame.to_vec());
                }
                receiver.frame(now, frame, check);
            };
            sender.port_mut().receive(usize::MAX, each).expect("memory does not fail");
        }
    }

    /// Frames go to the receiver once more.
    fn replay(&mut self, frames: &[Vec<u8>]) {
        for frame in frames {
            self.receiver.frame(self.now, &mut frame.clone(), &mut self.check);
        }
    }

    /// Sends records at the plan's pace.
    fn run(&mut self, records: u64) {
        for _ in 0..records {
            self.push();
            let gap_ns = self.random.below(2 * self.plan.gap_ns + 1);
            self.pass(gap_ns);
        }
    }

    /// Sends records at an even pace.
    fn run_evenly(&mut self, records: u64, gap_ns: Nanos) {
        for _ in 0..records {
            self.push();
            self.pass(gap_ns);
        }
    }

    fn set_faults(&mut self, faults: Faults) {
        self.senders.iter_mut().for_each(|sender| sender.port_mut().set_faults(faults));
    }

    /// The senders start again, with the next epoch. Gives back what they had still on the way.
    fn restart_senders(&mut self) -> Vec<Vec<u8>> {
        let mut in_flight = Vec::new();
        for sender in &mut self.senders {
            sender.port_mut().settle();
            let each = &mut |frame: &mut [u8]| in_flight.push(frame.to_vec());
            sender.port_mut().receive(usize::MAX, each).expect("memory does not fail");
        }
        self.epoch += 1;
        let (plan, epoch, now, encoder) = (&self.plan, self.epoch, self.now, &self.encoder);
        self.senders = (0..plan.lanes).map(|lane| plan.sender(lane, epoch, now, encoder.share())).collect();
        self.first_session += plan.sessions;
        self.sent.clear();
        in_flight
    }

    /// The receiver starts again, with what the last one would have remembered if `remembers`.
    fn restart_receiver(&mut self, remembers: bool) {
        let floors = self.receiver.packet_floors().collect();
        self.receiver = if remembers {
            self.plan.receiver(self.receiver.epoch(), floors)
        } else {
            self.plan.receiver(0, Vec::new())
        };
        self.check.restarted();
    }

    /// The senders stop; their last words arrive.
    fn finish(&mut self) {
        let now = self.now;
        self.senders.iter_mut().for_each(|sender| sender.stop(now));
        self.pass(MS);
        self.senders.iter_mut().for_each(|sender| sender.port_mut().settle());
        self.set_faults(Faults::default());
        for _ in 0..3 {
            let now = self.now;
            self.senders.iter_mut().for_each(|sender| sender.heartbeat(now));
            self.pass(self.plan.heartbeat_ns.max(self.plan.hold_ns));
        }
        assert!(self.check.stopping);
        assert!(self.senders.iter().all(Sender::is_drained));
        assert_eq!(self.receiver.pool_used(), 0, "symbols are still held: {:?}", self.receiver.counters());
    }

    /// Every record came once and in order (see [`Check`]), and all that did not come are in the account. Returns how
    /// many those are.
    fn verify(&self) -> u64 {
        self.check.nothing_is_open();
        let mut missing = 0;
        for (place, sent) in &self.sent {
            let delivered = self.check.delivered.get(place).copied().unwrap_or_default();
            let settled = self.check.settled.get(place).expect("a heartbeat settles every channel");
            let before = settled.before_join_records;
            assert_eq!(settled.sent_records, sent.records, "{place:?}");
            assert_eq!(delivered.records + settled.missing_records + before, sent.records, "{place:?}: {settled:?}");
            if before == 0 {
                assert_eq!(delivered.bytes + settled.missing_bytes, sent.bytes, "{place:?}: {settled:?}");
            }
            missing += settled.missing_records;
        }
        missing
    }

    fn finish_and_verify(&mut self) -> u64 {
        self.finish();
        self.verify()
    }

    fn frames_sent(&self) -> u64 {
        self.senders.iter().map(|sender| sender.port().counts.frames).sum()
    }
}

/// Runs a plan from its beginning to its end. Returns the world and how many records are missing.
fn run(plan: &Plan, records: u64) -> (World, u64) {
    let mut world = World::new(plan);
    world.run(records);
    let missing = world.finish_and_verify();
    (world, missing)
}
