//! A stream's rate, shared by all lanes without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::link::Nanos;

/// What may pass at once: twice the largest datagram, so that none is refused by its size alone, or 10 ms of the rate
/// if that is more, so that a sender that runs at the rate on average is not cut by its timer's jitter.
const BURST_BYTES_MIN: u64 = 128 * 1024;
const BURST_NS: u64 = 10_000_000;
/// Smaller pieces of a connection cost more than they spare others' time.
const PIECE_BYTES_MIN: usize = 8 << 10;

/// Polices a stream, or makes its sessions take turns: the generic cell rate algorithm in one atomic word.
#[derive(Debug)]
pub struct SharedRate {
    bits_per_second: u64,
    burst_ns: Nanos,
    /// When everything admitted so far would have passed at the rate.
    passed_at: AtomicU64,
}

impl SharedRate {
    /// Admits `bits_per_second` on average.
    pub fn new(bits_per_second: u64) -> Self {
        let bits_per_second = bits_per_second.max(1);
        let burst_ns = time_ns(BURST_BYTES_MIN, bits_per_second).max(BURST_NS);
        Self { bits_per_second, burst_ns, passed_at: AtomicU64::new(0) }
    }

    /// The rate, bits per second.
    pub fn bits_per_second(&self) -> u64 {
        self.bits_per_second
    }

    /// May `bytes`, no more than the largest datagram, pass at `now`? If so, they count.
    pub fn admit(&self, now: Nanos, bytes: usize) -> bool {
        let cost = time_ns(bytes as u64, self.bits_per_second);
        self.passed_at
            .try_update(Relaxed, Relaxed, |passed_at| {
                let after = passed_at.max(now).saturating_add(cost);
                (after <= now.saturating_add(self.burst_ns)).then_some(after)
            })
            .is_ok()
    }

    /// Counts `bytes`, and says from when on they may pass: at once within a burst, else after all that came before. For who
    /// can wait: everybody's turn comes, however small the others' pieces are.
    pub fn reserve(&self, now: Nanos, bytes: usize) -> Nanos {
        let cost = time_ns(bytes as u64, self.bits_per_second);
        let after = |passed_at: Nanos| passed_at.max(now).saturating_add(cost);
        let before = self.passed_at.update(Relaxed, Relaxed, after);
        before.max(now).saturating_sub(self.burst_ns).max(now)
    }

    /// Who can wait should ask for no more bytes at once: what passes in the time of a burst, so that it is soon others' turn.
    pub fn piece_bytes(&self) -> usize {
        let bytes = u128::from(self.bits_per_second) * u128::from(BURST_NS) / 8_000_000_000;
        usize::try_from(bytes).unwrap_or(usize::MAX).max(PIECE_BYTES_MIN)
    }
}

fn time_ns(bytes: u64, bits_per_second: u64) -> Nanos {
    (u128::from(bytes) * 8_000_000_000 / u128::from(bits_per_second)) as Nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_a_second_the_rate_and_one_burst_pass() {
        let rate = SharedRate::new(8_000_000);
        let passed: usize = (0..10_000_u64).map(|step| if rate.admit(step * 100_000, 1000) { 1000 } else { 0 }).sum();
        // 1 MB in the second, 128 KiB of burst.
        assert!((1_000_000..=1_132_000).contains(&passed), "{passed}");
    }

    #[test]
    fn whoever_waits_has_its_turn_after_those_before_it_whatever_their_size() {
        const MS: Nanos = 1_000_000;
        let rate = SharedRate::new(8_000_000);
        let burst_ms = 131;
        let turns = [100_000, 1_000_000, 1000, 1000].map(|bytes| rate.reserve(0, bytes) / MS);
        assert_eq!(turns, [0, 0, 1100 - burst_ms - 1, 1101 - burst_ms - 1]);
        // At the rate from then on; a later time finds some of it passed.
        assert_eq!(rate.reserve(1000 * MS, 1000) / MS, 1000);
        assert_eq!(rate.reserve(5000 * MS, 1000), 5000 * MS);
    }

    #[test]
    fn pieces_are_small_beside_the_rate_and_never_tiny() {
        let pieces = [1, 80_000_000, u64::MAX].map(|rate| SharedRate::new(rate).piece_bytes());
        assert_eq!(pieces[..2], [PIECE_BYTES_MIN, 100_000]);
        assert!(pieces[2] > 1 << 40);
    }

    #[test]
    fn what_was_refused_does_not_count() {
        let rate = SharedRate::new(1_000_000);
        while rate.admit(0, 60_000) {}
        assert!(!rate.admit(0, 60_000));
        assert!(rate.admit(2_000_000_000, 60_000));
    }
}
