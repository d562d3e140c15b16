//! What comes out of the receiver, checked as it comes.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::{Plan, payload, session_id};
use crate::link::outgoing::Totals;
use crate::link::{Delivery, Nanos, Settled, Sink, Turn};

/// A set of small numbers.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    /// Was it not in the set before?
    fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    fn remove(&mut self, number: u32) -> bool {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        let known = self.0.get(word).is_some_and(|bits| bits & bit != 0);
        if known {
            self.0[word] &= !bit;
        }
        known
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// One session.
#[derive(Debug, Default)]
struct Received {
    seen: Bits,
    /// Came early and not yet in turn.
    early: Bits,
    /// Least sequence that may come next in turn.
    next: u32,
}

/// A sink that knows what may come.
#[derive(Debug)]
pub(super) struct Check {
    plan: Plan,
    pub(super) now: Nanos,
    sessions: FxHashMap<u64, Received>,
    pub(super) settled: BTreeMap<(u16, usize), Settled>,
    /// In this epoch, by lane and slot.
    pub(super) delivered: BTreeMap<(u16, usize), Totals>,
    /// Deliveries of every kind, for the whole run.
    pub(super) records: u64,
    pub(super) early: u64,
    pub(super) recovered: u64,
    pub(super) stopping: bool,
    pub(super) epochs: Vec<u32>,
    pub(super) mismatches: Vec<(u16, u8, Option<u8>)>,
    /// Heartbeats that told of another table.
    pub(super) tables_differed: u64,
    /// When each record came (session, sequence), if asked for.
    pub(super) log: Option<Vec<(Nanos, u64, u32)>>,
    scratch: Vec<u8>,
}

impl Check {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            plan: plan.clone(),
            now: 0,
            sessions: FxHashMap::default(),
            settled: BTreeMap::new(),
            delivered: BTreeMap::new(),
            records: 0,
            early: 0,
            recovered: 0,
            stopping: false,
            epochs: Vec::new(),
            mismatches: Vec::new(),
            tables_differed: 0,
            log: None,
            scratch: Vec::new(),
        }
    }

    /// The receiver started again and its accounts with it: what came early has nobody left to give it its turn.
    pub(super) fn restarted(&mut self) {
        self.delivered.clear();
        self.settled.clear();
        self.sessions.values_mut().for_each(|received| received.early = Bits::default());
    }

    /// All that came early had its turn, too.
    pub(super) fn nothing_is_open(&self) {
        for (session, received) in &self.sessions {
            assert_eq!(received.early.count(), 0, "session {session}: early records never had their turn");
        }
    }

    /// First session of the newest epoch that was told.
    fn first_session(&self) -> u64 {
        self.plan.sessions * self.epochs.last().map_or(0, |epoch| u64::from(epoch - super::FIRST_EPOCH))
    }

    /// Did this record come?
    pub(super) fn came(&self, session: u64, sequence: u32) -> bool {
        let word = self.sessions.get(&session).and_then(|received| received.seen.0.get(sequence as usize / 64));
        word.is_some_and(|word| word & (1 << (sequence % 64)) != 0)
    }

    fn note(&mut self, session: u64, delivery: &Delivery<'_>) {
        let sequence = delivery.head.sequence;
        let received = self.sessions.entry(session).or_default();
        if delivery.turn == Turn::AfterEarly {
            assert!(received.early.remove(sequence), "session {session} record {sequence} did not come early");
        } else {
            assert!(received.seen.insert(sequence), "session {session} record {sequence} came twice");
        }
        if delivery.turn == Turn::Early {
            assert!(!self.plan.ordered, "session {session} record {sequence} came out of turn");
            received.early.insert(sequence);
            self.early += 1;
            return;
        }
        assert!(sequence >= received.next, "session {session} record {sequence} after {}", received.next);
        received.next = sequence + 1;
        let delivered = self.delivered.entry((delivery.lane, delivery.slot)).or_default();
        delivered.records += 1;
        delivered.bytes += delivery.payload.len() as u64;
    }
}

impl Sink for Check {
    fn record(&mut self, delivery: &Delivery<'_>) {
        let id = delivery.head.session;
        let session = u64::from_be_bytes(id[..8].try_into().expect("8 bytes"));
        let sequence = delivery.head.sequence;
        assert_eq!(id, session_id(session), "a session that nobody opened");
        assert!(self.plan.sessions > session - self.first_session(), "session {session} is of an old epoch");
        let place = (self.plan.lane_of(session), self.plan.slot_of(session));
        assert_eq!((delivery.lane, delivery.slot), place, "session {session}");
        payload(&self.plan, session, sequence, &mut self.scratch);
        assert!(delivery.payload == self.scratch, "session {session} record {sequence} differs");
        self.note(session, delivery);
        self.records += u64::from(delivery.turn != Turn::AfterEarly);
        self.recovered += u64::from(delivery.recovered);
        if let Some(log) = &mut self.log
            && delivery.turn != Turn::AfterEarly
        {
            log.push((self.now, session, sequence));
        }
    }

    fn settled(&mut self, settled: &Settled) {
        self.settled.insert((settled.lane, settled.slot), *settled);
    }

    fn new_epoch(&mut self, epoch: u32) {
        self.epochs.push(epoch);
        self.restarted();
    }

    fn stream_mismatch(&mut self, channel: u16, theirs: u8, ours: Option<u8>) {
        self.mismatches.push((channel, theirs, ours));
    }

    fn tables_differ(&mut self, _: u64) {
        self.tables_differed += 1;
    }

    fn stopping(&mut self) {
        self.stopping = true;
    }
}
