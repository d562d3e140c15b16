//! The receiving lane's side of a session: its bytes on their way from the link to its socket.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::session::{ByteTrack, HeardBytes};

/// Bytes collected for a session before they are handed over within a batch; allocated at once.
const CHUNK_BYTES: usize = 64 << 10;

/// What a session's task gets.
#[derive(Debug)]
pub enum Arrived {
    /// The next bytes.
    Data(Bytes),
    /// The end, in order.
    Close,
    /// The end of a session of which not everything came: which bytes, in order; the last range may take in several.
    Incomplete(Vec<Range<u64>>),
}

/// Ranges of missing bytes told apart; more are told as one from there to the last.
const RANGES_MAX: usize = 64;

/// What all sessions of a host together may have waiting.
#[derive(Debug)]
pub struct Memory {
    waiting_bytes: AtomicUsize,
    max_bytes: AtomicUsize,
}

impl Memory {
    /// Room for so many bytes.
    pub fn new(max_bytes: u64) -> Arc<Self> {
        let memory = Self { waiting_bytes: AtomicUsize::new(0), max_bytes: AtomicUsize::new(0) };
        memory.set_max(max_bytes);
        Arc::new(memory)
    }

    /// Changes the bound, for what comes from now on.
    pub fn set_max(&self, max_bytes: u64) {
        self.max_bytes.store(usize::try_from(max_bytes).unwrap_or(usize::MAX), Release);
    }
}

/// What waits in one way, and all ways' sum.
#[derive(Debug)]
struct Waiting {
    bytes: AtomicUsize,
    all: Arc<Memory>,
}

impl Waiting {
    /// So many more. True: all are within `room_bytes`, and within the host's bound.
    fn add(&self, bytes: usize, room_bytes: usize) -> bool {
        let all_bytes = self.all.waiting_bytes.fetch_add(bytes, AcqRel) + bytes;
        let own_bytes = self.bytes.fetch_add(bytes, AcqRel) + bytes;
        own_bytes <= room_bytes && all_bytes <= self.all.max_bytes.load(Acquire)
    }

    fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, AcqRel);
        self.all.waiting_bytes.fetch_sub(bytes, AcqRel);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.remove(self.bytes.load(Acquire));
    }
}

/// The lane's end of a session's way to its task. Bounded by the lane, which counts what waits.
#[derive(Debug)]
pub struct Way {
    pieces: UnboundedSender<Arrived>,
    waiting: Arc<Waiting>,
}

/// The task's end.
#[derive(Debug)]
pub struct WayEnd {
    pieces: UnboundedReceiver<Arrived>,
    waiting: Arc<Waiting>,
}

/// Both ends of a way, whose bytes count in `memory`.
pub fn way(memory: &Arc<Memory>) -> (Way, WayEnd) {
    let (sender, receiver) = unbounded_channel();
    let waiting = Arc::new(Waiting { bytes: AtomicUsize::new(0), all: Arc::clone(memory) });
    (Way { pieces: sender, waiting: Arc::clone(&waiting) }, WayEnd { pieces: receiver, waiting })
}

impl WayEnd {
    /// The next piece; `None` once the lane has dropped the session.
    pub async fn next(&mut self) -> Option<Arrived> {
        self.pieces.recv().await
    }

    /// So many bytes do not wait any more.
    pub fn taken(&self, bytes: usize) {
        self.waiting.remove(bytes);
    }
}

/// What became of a record's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They are on their way.
    Taken,
    /// They came before.
    Stale,
    /// So many bytes before them never came.
    Gap(u32),
    /// They came, but others before them never did: they are only accounted for.
    Counted,
    /// The session's bytes are not taken any more.
    Ended,
}

/// One session's bytes.
#[derive(Debug)]
pub struct Inflow {
    track: ByteTrack,
    /// Bytes of this batch.
    collected: BytesMut,
    /// `None` once it has ended, in order or not.
    way: Option<Way>,
    room_bytes: usize,
    /// What is missing, for a session whose end tells that; `None`: a gap ends the session.
    missing: Option<Vec<Range<u64>>>,
    /// Bytes up to the track's place, missing ones too.
    position_bytes: u64,
}

impl Inflow {
    /// Bytes of a session from its start, of which `room_bytes` may wait for its socket.
    pub fn new(way: Way, room_bytes: usize) -> Self {
        Self {
            track: ByteTrack::default(),
            collected: BytesMut::new(),
            way: Some(way),
            room_bytes,
            missing: None,
            position_bytes: 0,
        }
    }

    /// The same from the first `offset` that came on, but what is missing, also before that, is noted up to the session's end,
    /// and told there. Offsets wrap: what comes at 4 GiB must not be taken for the beginning.
    pub fn noting_gaps(way: Way, room_bytes: usize, offset: u32) -> Self {
        let mut inflow = Self { missing: Some(Vec::new()), ..Self::new(way, room_bytes) };
        if offset > 0 {
            inflow.note_gap(offset);
        }
        inflow
    }

    /// Does it note gaps?
    pub fn notes_gaps(&self) -> bool {
        self.missing.is_some()
    }

    /// Are its bytes still taken?
    pub fn is_open(&self) -> bool {
        self.way.is_some()
    }

    /// Has it bytes of this batch?
    pub fn has_collected(&self) -> bool {
        !self.collected.is_empty()
    }

    /// Takes bytes that begin at `offset`.
    pub fn data(&mut self, offset: u32, payload: &[u8]) -> Fate {
        if !self.is_open() {
            return Fate::Ended;
        }
        match self.track.data(offset, payload.len()) {
            HeardBytes::Stale => Fate::Stale,
            HeardBytes::Gap(bytes) if !self.notes_gaps() => Fate::Gap(bytes),
            HeardBytes::Gap(bytes) => {
                self.note_gap(bytes);
                self.data(offset, payload)
            }
            HeardBytes::Next if self.missing.as_ref().is_some_and(|missing| !missing.is_empty()) => {
                self.position_bytes += payload.len() as u64;
                Fate::Counted
            }
            HeardBytes::Next => {
                self.position_bytes += payload.len() as u64;
                if self.collected.capacity() - self.collected.len() < payload.len() {
                    self.collected.reserve(CHUNK_BYTES.max(payload.len()));
                }
                self.collected.extend_from_slice(payload);
                Fate::Taken
            }
        }
    }

    /// The sender stands at `offset`: how many bytes before it never came.
    pub fn missing_bytes(&self, offset: u32) -> u32 {
        match self.track.mark(offset) {
            HeardBytes::Gap(bytes) => bytes,
            HeardBytes::Next | HeardBytes::Stale => 0,
        }
    }

    /// The next `bytes` never came; goes on behind them.
    pub fn note_gap(&mut self, bytes: u32) {
        let end = self.position_bytes + u64::from(bytes);
        if let Some(missing) = &mut self.missing {
            let full = missing.len() >= RANGES_MAX;
            match missing.last_mut() {
                Some(last) if full || last.end == self.position_bytes => last.end = end,
                _ => missing.push(self.position_bytes..end),
            }
        }
        self.track.skip(bytes);
        self.position_bytes = end;
    }

    /// Hands the batch's bytes over. False: more wait than there is room for.
    #[must_use]
    pub fn hand_over(&mut self) -> bool {
        let Some(way) = &self.way else { return true };
        let bytes = self.collected.split().freeze();
        if bytes.is_empty() {
            return true;
        }
        let in_room = way.waiting.add(bytes.len(), self.room_bytes);
        // A task that is gone has said why.
        let _ = way.pieces.send(Arrived::Data(bytes));
        in_room
    }

    /// Ends it.
    pub fn close(&mut self) {
        // It is whole: its last batch is let through, whatever the room.
        let _ = self.hand_over();
        if let Some(way) = self.way.take() {
            let missing = self.missing.take().unwrap_or_default();
            let end = if missing.is_empty() { Arrived::Close } else { Arrived::Incomplete(missing) };
            let _ = way.pieces.send(end);
        }
        self.collected = BytesMut::new();
    }

    /// Drops it.
    pub fn abandon(&mut self) {
        self.way = None;
        self.collected = BytesMut::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next_bytes(end: &mut WayEnd) -> Vec<u8> {
        match end.next().await {
            Some(Arrived::Data(bytes)) => bytes.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn bytes_come_once_in_order_and_then_the_end() {
        let (way, mut end) = way(&Memory::new(1000));
        let mut inflow = Inflow::new(way, 100);
        assert_eq!(inflow.data(0, b"one "), Fate::Taken);
        assert_eq!(inflow.data(0, b"one "), Fate::Stale);
        assert_eq!(inflow.data(4, b"batch"), Fate::Taken);
        assert!(inflow.hand_over());
        assert_eq!(next_bytes(&mut end).await, b"one batch");
        assert_eq!(inflow.data(9, b"!"), Fate::Taken);
        inflow.close();
        assert_eq!(next_bytes(&mut end).await, b"!");
        assert!(matches!(end.next().await, Some(Arrived::Close)));
        assert_eq!(inflow.data(10, b"?"), Fate::Ended);
    }

    #[test]
    fn what_is_missing_is_said() {
        let mut inflow = Inflow::new(way(&Memory::new(1000)).0, 100);
        assert_eq!(inflow.data(3, b"x"), Fate::Gap(3));
        assert_eq!((inflow.missing_bytes(7), inflow.missing_bytes(0)), (7, 0));
    }

    #[test]
    fn more_than_there_is_room_for_is_said() {
        let (way, end) = way(&Memory::new(1000));
        let mut inflow = Inflow::new(way, 5);
        assert_eq!(inflow.data(0, b"123"), Fate::Taken);
        assert!(inflow.hand_over());
        assert_eq!(inflow.data(3, b"456"), Fate::Taken);
        assert!(!inflow.hand_over());
        end.taken(6);
        assert_eq!(inflow.data(6, b"78901"), Fate::Taken);
        assert!(inflow.hand_over());
    }

    #[tokio::test]
    async fn what_is_missing_is_told_at_the_end() {
        let (way, mut end) = way(&Memory::new(1000));
        let mut inflow = Inflow::noting_gaps(way, 1000, 0);
        assert_eq!(inflow.data(0, b"0123"), Fate::Taken);
        assert_eq!(inflow.data(6, b"6789"), Fate::Counted);
        assert_eq!(inflow.missing_bytes(12), 2);
        inflow.note_gap(2);
        assert_eq!(inflow.data(14, b"45"), Fate::Counted, "adjacent gaps are one");
        inflow.close();
        assert_eq!(next_bytes(&mut end).await, b"0123");
        match end.next().await {
            Some(Arrived::Incomplete(missing)) => assert_eq!(missing, [4..6, 10..14]),
            other => panic!("{other:?}"),
        }
    }

    /// A receiver that has joined far behind the beginning hears the offset 0 once more.
    #[tokio::test]
    async fn bytes_after_the_wrap_are_no_beginning() {
        let (way, mut end) = way(&Memory::new(1000));
        let joined = 3 << 30;
        let mut inflow = Inflow::noting_gaps(way, 1000, joined);
        assert_eq!(inflow.data(joined, b"0123"), Fate::Counted);
        inflow.note_gap(0_u32.wrapping_sub(joined + 4));
        assert_eq!(inflow.data(0, b"head"), Fate::Counted);
        inflow.close();
        match end.next().await {
            Some(Arrived::Incomplete(missing)) => assert_eq!(missing[0], 0..3 << 30),
            other => panic!("{other:?}"),
        }
    }

    /// However much is lost, what is remembered of it is bounded.
    #[tokio::test]
    async fn many_gaps_are_told_as_few() {
        let (way, mut end) = way(&Memory::new(1000));
        let mut inflow = Inflow::noting_gaps(way, 1000, 0);
        for second in 0..1000 {
            assert_eq!(inflow.data(2 * second + 1, b"x"), Fate::Counted);
        }
        inflow.close();
        match end.next().await {
            Some(Arrived::Incomplete(missing)) => assert_eq!((missing.len(), missing[63].clone()), (64, 126..1999)),
            other => panic!("{other:?}"),
        }
    }

    /// RED remembers sessions for seconds after their end.
    #[test]
    fn a_session_that_has_ended_holds_no_buffer() {
        let (way, _end) = way(&Memory::new(1000));
        let mut inflow = Inflow::new(way, 1000);
        assert_eq!(inflow.data(0, b"123"), Fate::Taken);
        inflow.close();
        assert_eq!(inflow.collected.capacity(), 0);
    }

    #[test]
    fn all_sessions_together_are_bounded_and_what_is_dropped_counts_no_more() {
        let memory = Memory::new(10);
        let fill = || {
            let (way, end) = way(&memory);
            let mut inflow = Inflow::new(way, 100);
            assert_eq!(inflow.data(0, b"123456"), Fate::Taken);
            (inflow.hand_over(), inflow, end)
        };
        let (in_room, first, end) = fill();
        assert!(in_room);
        assert!(!fill().0);
        drop((first, end));
        assert!(fill().0);
    }
}
