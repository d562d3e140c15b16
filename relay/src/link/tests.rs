//! Sender and receiver over the in-memory link: whatever it does to frames, each record comes exactly as it was sent,
//! once and in order, or is missing from the account.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::memory::{Faults, MemoryLink, Seeded};
use super::*;
use crate::fec::{Encoder, Protection, RepairTable, Scheme};
use crate::wire::{Direction, FRAME_OVERHEAD, LinkKey, RecordHead, RecordType};

const MS: Nanos = 1_000_000;

/// How a run goes.
#[derive(Clone, Debug)]
struct Plan {
    seed: u64,
    scheme: Scheme,
    protection: Protection,
    block_symbols: u16,
    symbol_bytes: u16,
    channels: u16,
    sessions: u64,
    records: u64,
    payload_max: u64,
    /// Mean time between records.
    gap_ns: Nanos,
    faults: Faults,
    ordered: bool,
    sealed: bool,
}

/// The payload of a session's record: anyone can work it out, so that the sink can check every byte.
fn payload(seed: u64, session: u64, sequence: u32, len: usize) -> impl Iterator<Item = u8> {
    let mut random = Seeded::new(seed ^ (session << 32) ^ u64::from(sequence));
    (0..len).map(move |_| random.next_u64() as u8)
}

fn session_id(session: u64) -> [u8; 16] {
    let mut id = [0x5E; 16];
    id[..8].copy_from_slice(&session.to_be_bytes());
    id
}

#[derive(Debug, Default)]
struct Received {
    /// Sequences by session, as they came (not those announced again for the account).
    sequences: Vec<u32>,
    /// Records in turn, early ones included.
    in_turn: u64,
}

#[derive(Debug, Default)]
struct Check {
    seed: u64,
    lens: HashMap<(u64, u32), usize>,
    sessions: HashMap<u64, Received>,
    settled: HashMap<usize, Settled>,
    delivered: HashMap<usize, u64>,
    recovered: u64,
    stopping: bool,
    epochs: Vec<u32>,
}

impl Sink for Check {
    fn record(&mut self, delivery: &Delivery<'_>) {
        let id = delivery.head.session;
        let session = u64::from_be_bytes(id[..8].try_into().expect("8 bytes"));
        let sequence = delivery.head.sequence;
        assert_eq!(id, session_id(session), "a session that nobody opened");
        let len = self.lens.get(&(session, sequence)).copied();
        assert_eq!(len, Some(delivery.payload.len()), "session {session} record {sequence}");
        assert!(delivery.payload.iter().copied().eq(payload(self.seed, session, sequence, delivery.payload.len())));
        let received = self.sessions.entry(session).or_default();
        if delivery.turn != Turn::AfterEarly {
            received.sequences.push(sequence);
        }
        if delivery.turn != Turn::Early {
            received.in_turn += 1;
            *self.delivered.entry(delivery.slot).or_default() += 1;
            self.recovered += u64::from(delivery.recovered);
        }
    }

    fn settled(&mut self, settled: &Settled) {
        self.settled.insert(settled.slot, *settled);
    }

    fn new_epoch(&mut self, epoch: u32) {
        self.epochs.push(epoch);
    }

    fn stream_mismatch(&mut self, channel: u16, theirs: u8, ours: Option<u8>) {
        panic!("channel {channel}: {theirs} is not {ours:?}");
    }

    fn stopping(&mut self) {
        self.stopping = true;
    }
}

struct World {
    plan: Plan,
    now: Nanos,
    random: Seeded,
    sender: Sender<MemoryLink>,
    receiver: Receiver,
    check: Check,
    next_sequence: HashMap<u64, u32>,
    sent: HashMap<usize, u64>,
}

fn key(plan: &Plan) -> LinkKey {
    if plan.sealed { LinkKey::sealed([9; 32]) } else { LinkKey::unsealed() }
}

fn make_sender(plan: &Plan, epoch: u32, now: Nanos, faults: Faults) -> Sender<MemoryLink> {
    // Heartbeats need 500 bytes, which every real link has.
    let frame_bytes = usize::from(plan.symbol_bytes).max(500) + FRAME_OVERHEAD;
    let config = SenderConfig {
        lane: 0,
        epoch,
        direction: Direction::Forward,
        key: key(plan),
        symbol_bytes: plan.symbol_bytes,
        heartbeat_ns: 20 * MS,
        rate: None,
    };
    let repair = Arc::new(RepairTable::new(plan.scheme, plan.protection, plan.block_symbols).expect("possible"));
    let channels = (1..=plan.channels).map(|channel| SenderChannel {
        channel,
        stream_type: 1,
        scheme: plan.scheme,
        block_symbols: plan.block_symbols,
        flush_ns: 50_000,
        deadline_ns: 5 * MS,
        repair: Arc::clone(&repair),
    });
    let mut sender = Sender::new(config, MemoryLink::new(frame_bytes, 100_000, faults, plan.seed));
    sender.set_channels(now, channels.collect(), Encoder::new(&[(plan.scheme, plan.block_symbols)]), 1);
    sender
}

fn make_receiver(plan: &Plan, epoch_min: u32, packet_floors: Vec<(u16, u64)>) -> Receiver {
    let mut receiver = Receiver::new(ReceiverConfig {
        claim: Claim::first(),
        key: key(plan),
        direction: Direction::Forward,
        epoch_min,
        packet_floors,
        symbol_bytes: plan.symbol_bytes,
        hold_ns: 5 * MS,
        pool_bytes: 16 << 20,
    });
    let channels: Vec<ReceiverChannel> =
        (1..=plan.channels).map(|channel| ReceiverChannel { channel, stream_type: 1, ordered: plan.ordered }).collect();
    receiver.set_channels(&channels);
    receiver
}

impl World {
    fn new(plan: &Plan) -> Self {
        Self {
            now: MS,
            random: Seeded::new(!plan.seed),
            sender: make_sender(plan, 7, MS, plan.faults),
            receiver: make_receiver(plan, 0, Vec::new()),
            check: Check { seed: plan.seed, ..Check::default() },
            next_sequence: HashMap::new(),
            sent: HashMap::new(),
            plan: plan.clone(),
        }
    }

    fn push(&mut self) {
        let session = self.random.below(self.plan.sessions);
        let slot = (session % u64::from(self.plan.channels)) as usize;
        let sequence = self.next_sequence.entry(session).or_default();
        let len = self.random.below(self.plan.payload_max + 1) as usize;
        let bytes: Vec<u8> = payload(self.plan.seed, session, *sequence, len).collect();
        let head =
            RecordHead { kind: RecordType::Datagram, flags: 0, session: session_id(session), sequence: *sequence };
        self.sender.push(self.now, slot, &head, &bytes).expect("the link has room");
        self.check.lens.insert((session, *sequence), len);
        *sequence += 1;
        *self.sent.entry(slot).or_default() += 1;
    }

    /// Lets `pass_ns` pass, stopping at every clock that rings.
    fn pass(&mut self, pass_ns: Nanos) {
        let until = self.now + pass_ns;
        loop {
            if self.sender.heartbeat_due(self.now) {
                self.sender.heartbeat(self.now);
            }
            let sender_next = self.sender.poll(self.now).expect("memory does not fail");
            self.deliver();
            let receiver_next = self.receiver.poll(self.now, &mut self.check);
            let next = sender_next.min(receiver_next).max(self.now + 1);
            if next > until {
                break;
            }
            self.now = next;
        }
        self.now = until;
    }

    fn deliver(&mut self) {
        let (now, receiver, check) = (self.now, &mut self.receiver, &mut self.check);
        self.sender
            .port_mut()
            .receive(usize::MAX, &mut |frame| receiver.frame(now, frame, check))
            .expect("memory does not fail");
    }

    fn run(&mut self) {
        for _ in 0..self.plan.records {
            self.push();
            let gap_ns = self.random.below(2 * self.plan.gap_ns + 1);
            self.pass(gap_ns);
        }
    }

    /// The sender stops; its last words arrive.
    fn finish(&mut self) {
        self.sender.stop(self.now);
        self.pass(MS);
        self.sender.port_mut().settle();
        self.sender.port_mut().set_faults(Faults::default());
        for _ in 0..3 {
            self.sender.heartbeat(self.now);
            self.pass(20 * MS);
        }
        assert!(self.check.stopping);
        assert!(self.sender.is_drained());
        assert_eq!(self.receiver.pool_used(), 0, "symbols are still held: {:?}", self.receiver.counters());
    }

    /// Every record came once (in order, if asked for), and all that did not come are in the account.
    fn verify(&self) -> u64 {
        for (session, received) in &self.check.sessions {
            let mut sequences = received.sequences.clone();
            if !self.plan.ordered {
                sequences.sort_unstable();
            }
            let once_in_order = sequences.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(once_in_order, "session {session}: {:?}", received.sequences);
            assert_eq!(received.sequences.len() as u64, received.in_turn, "early and in-turn accounts differ");
        }
        let mut missing = 0;
        for (slot, sent) in &self.sent {
            let delivered = self.check.delivered.get(slot).copied().unwrap_or(0);
            let settled = self.check.settled.get(slot).expect("a heartbeat settles every channel");
            assert_eq!(settled.sent_records, *sent, "slot {slot}");
            assert_eq!(delivered + settled.missing_records, *sent, "slot {slot}");
            missing += settled.missing_records;
        }
        missing
    }
}

fn run(plan: &Plan) -> (World, u64) {
    let mut world = World::new(plan);
    world.run();
    world.finish();
    let missing = world.verify();
    (world, missing)
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let shape = (any::<u64>(), 0_u8..3, 1_u16..100, 30_u16..150, 1_u16..4, 1_u64..20);
    let traffic = (1_u64..800, prop_oneof![Just(500_u64), Just(20_000), Just(400_000)], any::<bool>(), any::<bool>());
    let protection = prop_oneof![
        (0.001_f64..0.1, 0_u16..20).prop_map(|(loss, burst)| Protection::Promise { loss, residual: 1e-9, burst }),
        (0.0_f64..0.5, 0_u16..4).prop_map(|(repair, repair_min)| Protection::Share { repair, repair_min }),
    ];
    (shape, traffic, protection).prop_map(|(shape, traffic, protection)| {
        let (seed, scheme, block_symbols, half, channels, sessions) = shape;
        let (payload_max, gap_ns, ordered, sealed) = traffic;
        let symbol_bytes = half * 2;
        let block_bytes = u64::from(block_symbols) * u64::from(symbol_bytes);
        Plan {
            seed,
            scheme: [Scheme::None, Scheme::RaptorQ, Scheme::ReedSolomon][usize::from(scheme)],
            protection,
            block_symbols,
            symbol_bytes,
            channels,
            sessions,
            records: 300,
            payload_max: payload_max.min(block_bytes - 24),
            gap_ns,
            faults: Faults::default(),
            ordered,
            sealed,
        }
    })
}

fn any_faults() -> impl Strategy<Value = Faults> {
    let share = || prop_oneof![Just(0_u16), 0_u16..500, 0_u16..8000];
    (share(), share(), 1_u16..30, share(), share(), 1_u16..200, share(), share()).prop_map(
        |(lose, burst, burst_frames, duplicate, delay, delay_frames, corrupt, truncate)| Faults {
            lose,
            burst: burst / 8,
            burst_frames,
            duplicate,
            delay,
            delay_frames,
            corrupt,
            truncate,
        },
    )
}

/// Cases of each property: `RELAY_SOAK` runs many times as many.
fn cases(few: u32) -> ProptestConfig {
    let soak = std::env::var_os("RELAY_SOAK").is_some();
    ProptestConfig::with_cases(if soak { few * 20 } else { few })
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_perfect_link_loses_nothing(plan in any_plan()) {
        let (world, missing) = run(&plan);
        prop_assert_eq!(missing, 0);
        prop_assert_eq!(world.receiver.counters().blocks_abandoned, 0);
    }

    #[test]
    fn any_fault_leaves_an_exact_account(mut plan in any_plan(), faults in any_faults()) {
        plan.faults = faults;
        run(&plan);
    }

    /// Reordering and duplication within a few milliseconds cost nothing at all.
    #[test]
    fn reordering_and_duplication_lose_nothing(mut plan in any_plan(), delay_frames in 1_u16..40) {
        plan.gap_ns = 20_000;
        plan.faults = Faults { duplicate: 6000, delay: 6000, delay_frames, ..Faults::default() };
        let (_, missing) = run(&plan);
        // Only what is held back past the `hold` of the last block may miss its turn.
        prop_assert!(missing == 0 || delay_frames > 10, "{} missing", missing);
    }
}
