//! Which of several receivers has which lane of the sender, so that a frame is taken once among all of them.
//!
//! A network card may put the same recorded frame into any queue, each of which has a receiver with a replay window of
//! its own. One word per lane, changed by compare-and-swap, says who has the lane and how far it has come:
//!
//! ```text
//! | receiver (8) | generation (8) | next packet number (48) |     0: nobody yet
//! ```
//!
//! The generation counts the epochs that the receivers have seen between them. A lane may move to another receiver, as after a change of the card's queues, but only forward.
//!
//! A receiver that is the only one writes the word without compare-and-swap, which would wait until everything written
//! before is in the cache. That it stays the only one meanwhile is for the compiler to see: there is one `Claim` then,
//! which cannot be copied, and another comes only out of one that nobody uses ([`Claim::another`]).

use std::sync::Arc;
use std::sync::atomic::{
    AtomicU8, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

use super::LANES_MAX;
use crate::wire::PACKET_NUMBER_MAX;

const NUMBER_BITS: u32 = 48;
const GENERATION_BITS: u32 = 8;

#[derive(Debug)]
struct Words {
    lanes: [AtomicU64; LANES_MAX as usize],
    /// The newest epoch in the low 32 bits, its generation above.
    newest: AtomicU64,
    receivers: AtomicU8,
}

impl Words {
    /// The generation of `epoch`, which becomes the newest if it is; `None` if a newer one is known.
    fn generation(&self, epoch: u32) -> Option<u8> {
        let split = |word: u64| (word as u32, (word >> 32) as u8);
        let (known, generation) = split(self.newest.load(Acquire));
        if epoch <= known {
            return (epoch == known).then_some(generation);
        }
        let newer = |word| {
            let (known, generation) = split(word);
            (epoch > known).then(|| u64::from(generation.wrapping_add(1)) << 32 | u64::from(epoch))
        };
        let (known, generation) = match self.newest.try_update(AcqRel, Acquire, newer) {
            Ok(before) => (epoch, split(before).1.wrapping_add(1)),
            Err(now) => split(now),
        };
        (epoch == known).then_some(generation)
    }
}

/// One receiver's part in what all receivers of a link share.
#[derive(Debug)]
pub struct Claim {
    words: Arc<Words>,
    /// From 1 on.
    receiver: u8,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    /// The lane is this receiver's.
    Kept,
    /// The lane has become this receiver's; others have seen everything below `floor`.
    Taken { floor: u64 },
    /// Another receiver has seen the frame, or a newer epoch of its lane.
    Refused,
}

impl Claim {
    /// For the first, or only, receiver of a link.
    pub fn first() -> Self {
        let lanes = std::array::from_fn(|_| AtomicU64::new(0));
        let words = Words { lanes, newest: AtomicU64::new(0), receivers: AtomicU8::new(1) };
        Self { words: Arc::new(words), receiver: 1 }
    }

    /// For all `count` receivers of a link; `None` beyond 255, more queues than any card has in use.
    pub fn among(count: usize) -> Option<Vec<Self>> {
        let mut first = Self::first();
        let others: Option<Vec<Self>> = (1..count).map(|_| first.another()).collect();
        Some(std::iter::once(first).chain(others?).collect())
    }

    /// For another receiver of the same link; `None` beyond 255.
    pub fn another(&mut self) -> Option<Self> {
        let receivers = &self.words.receivers;
        let before = receivers.try_update(Relaxed, Relaxed, |count| count.checked_add(1)).ok()?;
        Some(Self { words: Arc::clone(&self.words), receiver: before + 1 })
    }

    /// Takes a genuine frame that is new to this receiver. `lane` is below [`LANES_MAX`].
    pub(super) fn take(&self, epoch: u32, lane: u16, packet_number: u64) -> Claimed {
        let (Some(word), Some(generation)) = (self.words.lanes.get(usize::from(lane)), self.words.generation(epoch))
        else {
            return Claimed::Refused;
        };
        let mut claimed = Claimed::Refused;
        let mut change = |before| {
            let (is, after) = self.judge(before, generation, packet_number);
            claimed = is;
            after
        };
        if self.words.receivers.load(Relaxed) == 1 {
            if let Some(after) = change(word.load(Relaxed)) {
                word.store(after, Release);
            }
            return claimed;
        }
        let result = word.try_update(AcqRel, Acquire, change);
        if result.is_ok() { claimed } else { Claimed::Refused }
    }

    /// What becomes of a frame whose lane's word is `before`, and what the word is after.
    fn judge(&self, before: u64, generation: u8, packet_number: u64) -> (Claimed, Option<u64>) {
        let (owner, theirs, next) = unpack(before);
        let mut after = packet_number + 1;
        // No newer generation than ours is in any word, as far as this moment goes: what differs is older.
        let claimed = if owner == 0 || theirs != generation {
            Claimed::Taken { floor: 0 }
        } else if owner == self.receiver {
            after = after.max(next);
            Claimed::Kept
        } else if packet_number >= next {
            Claimed::Taken { floor: next }
        } else {
            return (Claimed::Refused, None);
        };
        (claimed, Some(pack(self.receiver, generation, after)))
    }
}

fn pack(receiver: u8, generation: u8, next: u64) -> u64 {
    u64::from(receiver) << (NUMBER_BITS + GENERATION_BITS)
        | u64::from(generation) << NUMBER_BITS
        | next.min(PACKET_NUMBER_MAX)
}

fn unpack(word: u64) -> (u8, u8, u64) {
    ((word >> (NUMBER_BITS + GENERATION_BITS)) as u8, (word >> NUMBER_BITS) as u8, word & PACKET_NUMBER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> (Claim, Claim) {
        let mut one = Claim::first();
        let other = one.another().expect("room");
        (one, other)
    }

    #[test]
    fn what_one_has_seen_no_other_takes() {
        let (one, other) = two();
        assert_eq!(one.take(7, 0, 0), Claimed::Taken { floor: 0 });
        assert_eq!(one.take(7, 0, 9), Claimed::Kept);
        assert_eq!(one.take(7, 0, 3), Claimed::Kept, "its own window tells replays");
        assert_eq!(other.take(7, 0, 9), Claimed::Refused);
        assert_eq!(other.take(7, 1, 9), Claimed::Taken { floor: 0 }, "another lane");
    }

    /// What the only receiver wrote counts when a second one comes.
    #[test]
    fn a_receiver_need_not_stay_the_only_one() {
        let mut one = Claim::first();
        assert_eq!(one.take(7, 0, 0), Claimed::Taken { floor: 0 });
        assert_eq!(one.take(7, 0, 9), Claimed::Kept);
        assert_eq!(one.take(7, 0, 3), Claimed::Kept, "its own window tells replays");
        assert_eq!(one.take(6, 0, 10), Claimed::Refused);
        let other = one.another().expect("room");
        assert_eq!(other.take(7, 0, 9), Claimed::Refused);
        assert_eq!(other.take(7, 0, 10), Claimed::Taken { floor: 10 });
        assert_eq!(one.take(7, 0, 10), Claimed::Refused);
    }

    #[test]
    fn a_lane_moves_forward_only() {
        let (one, other) = two();
        one.take(7, 0, 9);
        assert_eq!(other.take(7, 0, 10), Claimed::Taken { floor: 10 });
        assert_eq!(one.take(7, 0, 10), Claimed::Refused);
        assert_eq!(one.take(7, 0, 12), Claimed::Taken { floor: 11 });
    }

    #[test]
    fn a_new_epoch_is_free_and_an_old_one_is_not() {
        let (one, other) = two();
        one.take(255, 0, 1000);
        assert_eq!(other.take(256, 0, 0), Claimed::Taken { floor: 0 });
        assert_eq!(one.take(255, 0, 2000), Claimed::Refused);
        assert_eq!(other.take(256, 0, 1), Claimed::Kept);
    }

    #[test]
    fn there_is_a_last_receiver() {
        let mut first = Claim::first();
        assert_eq!(std::iter::from_fn(|| first.another()).count(), 254);
        assert_eq!(Claim::among(255).map(|all| all.len()), Some(255));
        assert!(Claim::among(256).is_none());
    }

    /// Epochs are seconds: a restart may be any time later, or in the next second.
    #[test]
    fn any_newer_epoch_begins_anew_and_no_older_one_comes_back() {
        let (one, other) = two();
        let mut epoch = 1_000_000;
        for step in [1, 127, 128, 200, 256, 65_536, 1 << 31] {
            assert_eq!(one.take(epoch, 0, 50), Claimed::Taken { floor: 0 }, "epoch {epoch}");
            let newer = epoch + step;
            assert_eq!(other.take(newer, 0, 3), Claimed::Taken { floor: 0 }, "{step} later");
            assert_eq!(other.take(newer, 0, 4), Claimed::Kept, "{step} later");
            assert_eq!(one.take(epoch, 0, 99), Claimed::Refused, "{step} later");
            assert_eq!(one.take(newer, 0, 2), Claimed::Refused, "{step} later");
            epoch = newer + 1;
        }
    }
}
