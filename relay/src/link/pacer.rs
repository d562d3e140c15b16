//! Token bucket of the link, shared by all its lanes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Nanos;

/// Frames that wait for the rate leave together for so long at most: a dozen full frames' time at 2 Gbit/s, so that neither this
/// host nor the other is woken for one or two of them, and little beside what they have waited already.
const BATCH_NS: Nanos = 75_000;
/// And for no longer than this part of the burst takes, so that being late on top of it costs nothing of the rate.
const BATCH_BURST_SHARE: u64 = 4;

/// A rate and how much of it may leave at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bits per second, above 0.
    pub bits_per_second: u64,
    /// Largest burst, bytes.
    pub burst_bytes: u32,
}

/// Fractions of a nanosecond for one byte are kept to 16 bits: at 100 Gbit/s it takes 0.08 ns.
const BYTE_FRACTION_BITS: u32 = 16;
/// Fractions of a nanosecond in the bucket: a frame's cost is rounded up to a 64th, and 64 bits last for nine years.
const FRACTION_BITS: u32 = 6;

/// Says when each frame may leave: the generic cell rate algorithm, which is a token bucket in one number.
///
/// Lanes that share a pacer draw turns: whoever has a frame reserves its time once and keeps it, so that a lane that sleeps
/// until then is not overtaken again and again by one that does not. A lane has one turn at most, so what leaves late, because
/// its lane was not run in time, is one frame for each: the bucket is smaller by the other lanes' frames.
#[derive(Clone, Debug)]
pub struct Pacer {
    /// Nanoseconds per byte, fixed point.
    ns_per_byte: u128,
    /// Time that a full burst takes, fixed point.
    burst_length_ns: u64,
    lanes: u64,
    /// When the bucket would be full again, fixed point.
    full_at: Arc<AtomicU64>,
}

impl Pacer {
    /// A full bucket for one lane.
    pub fn new(rate: Rate) -> Self {
        Self::shared(rate, 1, 0)
    }

    /// A full bucket for `lanes` lanes, of which each takes a clone of this pacer. Frames have up to `frame_bytes`. A burst
    /// smaller than one frame for each lane is taken as so much.
    pub fn shared(rate: Rate, lanes: usize, frame_bytes: u32) -> Self {
        let lanes = lanes.max(1) as u64;
        let others = (lanes - 1) * u64::from(frame_bytes);
        let burst_bytes = u64::from(rate.burst_bytes).saturating_sub(others).max(u64::from(frame_bytes));
        // Rounded up: never above the rate, however long the window.
        let per_byte = (8_000_000_000_u128 << BYTE_FRACTION_BITS).div_ceil(u128::from(rate.bits_per_second.max(1)));
        let mut pacer = Self { ns_per_byte: per_byte, burst_length_ns: 0, lanes, full_at: Arc::default() };
        pacer.burst_length_ns = pacer.cost(burst_bytes as usize);
        pacer
    }

    /// Reserves the next turn for a frame of `bytes`, and says when it may leave: now or earlier means at once. A frame larger
    /// than the burst leaves from a full bucket.
    pub(super) fn reserve(&self, now: Nanos, bytes: usize) -> Nanos {
        let cost = self.cost(bytes);
        let after = |full_at: u64| full_at.max(now << FRACTION_BITS).saturating_add(cost);
        let full_at = self.full_at.update(Relaxed, Relaxed, after);
        let ready_at = full_at.saturating_add(cost.min(self.burst_length_ns)).saturating_sub(self.burst_length_ns);
        ready_at.div_ceil(1 << FRACTION_BITS)
    }

    /// A frame of `bytes` leaves at `now`, later than its turn was: the bucket has not filled up meanwhile beyond what it is
    /// without the frame.
    pub(super) fn leaves_late(&self, now: Nanos, bytes: usize) {
        self.full_at.fetch_max((now << FRACTION_BITS).saturating_add(self.cost(bytes)), Relaxed);
    }

    /// How long after its turn a frame of `bytes` should wait for those behind it, `behind_bytes` in all, so that a small batch
    /// leaves at once. The bucket keeps what they did not use until then.
    pub(super) fn batch_ns(&self, bytes: usize, behind_bytes: usize) -> Nanos {
        let spare_ns = self.burst_length_ns.saturating_sub(self.cost(bytes)) >> FRACTION_BITS;
        let most_ns = BATCH_NS.min(spare_ns / BATCH_BURST_SHARE);
        let each_ns = self.takes_ns(bytes).max(1);
        // Where not even one more frame has its turn by then, waiting brings nothing.
        self.takes_ns(behind_bytes).min(most_ns / each_ns * each_ns)
    }

    /// Time that `bytes` of one lane take when all lanes are busy.
    pub(super) fn takes_ns(&self, bytes: usize) -> Nanos {
        (self.cost(bytes) >> FRACTION_BITS).saturating_mul(self.lanes)
    }

    /// Time that `bytes` take, fixed point, rounded up.
    fn cost(&self, bytes: usize) -> u64 {
        let cost = (self.ns_per_byte * bytes as u128).div_ceil(1 << (BYTE_FRACTION_BITS - FRACTION_BITS));
        u64::try_from(cost).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// In no window does more leave than the rate allows plus one burst (and one frame's rounding).
    fn check(rate: Rate, sent: &[(Nanos, usize)]) -> Result<(), TestCaseError> {
        for from in 0..sent.len() {
            let mut bytes = 0;
            for (at, more) in &sent[from..] {
                bytes += more;
                let window_ns = (at - sent[from].0 + 2) as f64;
                let allowed = window_ns * rate.bits_per_second as f64 / 8e9 + f64::from(rate.burst_bytes);
                prop_assert!((bytes as f64) <= allowed + 20.0, "{bytes} in {window_ns} ns, {allowed} allowed");
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn never_above_rate_plus_burst(
            megabits in 1_u64..100_000,
            burst_bytes in 2_000_u32..100_000,
            sizes in proptest::collection::vec((64_usize..1600, 0_u64..50_000, 0_u64..1_000_000), 1..300),
        ) {
            let rate = Rate { bits_per_second: megabits * 1_000_000, burst_bytes };
            let pacer = Pacer::new(rate);
            let mut now = 1_000_000_u64;
            let mut sent: Vec<(Nanos, usize)> = Vec::new();
            for (bytes, pause, late) in sizes {
                now += pause;
                let ready_at = pacer.reserve(now, bytes);
                if ready_at > now {
                    now = ready_at + late;
                    pacer.leaves_late(now, bytes);
                }
                sent.push((now, bytes));
            }
            check(rate, &sent)?;
        }

        /// Lanes that are run at any times, and are each as late as they may be.
        #[test]
        fn lanes_together_are_not_above_it_either(
            megabits in 1_u64..10_000,
            burst_bytes in 8_000_u32..100_000,
            runs in proptest::collection::vec((0_usize..4, 1_usize..80, 0_u64..300_000), 1..200),
        ) {
            let rate = Rate { bits_per_second: megabits * 1_000_000, burst_bytes };
            let pacer = Pacer::shared(rate, 4, 1_600);
            let mut now = 1_000_000_u64;
            let mut sent: Vec<(Nanos, usize)> = Vec::new();
            let mut turns = [None; 4];
            for (lane, frames, pause) in runs {
                now += pause;
                for _ in 0..frames {
                    let bytes = 1_600;
                    let ready_at = if let Some(ready_at) = turns[lane].take() {
                        if ready_at <= now {
                            pacer.leaves_late(now, bytes);
                        }
                        ready_at
                    } else {
                        pacer.reserve(now, bytes)
                    };
                    if ready_at > now {
                        turns[lane] = Some(ready_at);
                        break;
                    }
                    sent.push((now, bytes));
                }
            }
            check(rate, &sent)?;
        }
    }

    #[test]
    fn a_lane_alone_has_the_whole_rate() {
        let rate = Rate { bits_per_second: 1_000_000_000, burst_bytes: 15_000 };
        let pacer = Pacer::shared(rate, 8, 1_500);
        let one = pacer.clone();
        let mut now = 1;
        for _ in 0..10_000 {
            now = now.max(one.reserve(now, 1_500));
        }
        // 12 us each, but for the burst.
        assert!((119_900_000..=120_100_000).contains(&now), "{now}");
    }

    /// A lane that wants little gets its turn at once, however much another wants.
    #[test]
    fn no_lane_waits_for_more_than_one_frame_of_each_other() {
        let rate = Rate { bits_per_second: 1_000_000_000, burst_bytes: 15_000 };
        let greedy = Pacer::shared(rate, 2, 1_500);
        let modest = greedy.clone();
        let mut now = 1_000;
        for _ in 0..1_000 {
            now = now.max(greedy.reserve(now, 1_500));
        }
        let greedy_next = greedy.reserve(now, 1_500);
        let turn = modest.reserve(now, 100);
        assert!(turn <= greedy_next + 12_000, "{turn} after {greedy_next}");
    }
}
