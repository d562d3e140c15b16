//! A stream's rate, shared by all lanes without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::link::Nanos;

/// What may pass at once: twice the largest datagram, so that none is refused by its size alone, or 10 ms of the rate
/// if that is more, so that a sender that runs at the rate on average is not cut by its timer's jitter.
const BURST_BYTES_MIN: u64 = 128 * 1024;
const BURST_NS: u64 = 10_000_000;

/// Polices a stream: the generic cell rate algorithm in one atomic word.
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

    /// May `bytes` pass at `now`? If so, they count. More than a burst passes alone, after everything before it: reads of
    /// a connection may be that long, and would wait for ever.
    pub fn admit(&self, now: Nanos, bytes: usize) -> bool {
        let cost = time_ns(bytes as u64, self.bits_per_second);
        self.passed_at
            .try_update(Relaxed, Relaxed, |passed_at| {
                let after = passed_at.max(now).saturating_add(cost);
                (after <= now.saturating_add(self.burst_ns.max(cost))).then_some(after)
            })
            .is_ok()
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
    fn more_than_a_burst_passes_alone_and_counts() {
        let rate = SharedRate::new(8_000_000);
        assert!(rate.admit(0, 1));
        assert!(!rate.admit(0, 1_000_000), "a byte is before it");
        assert!(rate.admit(1_000, 1_000_000));
        assert!(!rate.admit(800_000_000, 1_000_000), "it takes a second");
        assert!(rate.admit(1_000_001_000, 1_000_000));
    }

    #[test]
    fn what_was_refused_does_not_count() {
        let rate = SharedRate::new(1_000_000);
        while rate.admit(0, 60_000) {}
        assert!(!rate.admit(0, 60_000));
        assert!(rate.admit(2_000_000_000, 60_000));
    }
}
