//! Token bucket of the link.

use super::Nanos;

/// A rate and how much of it may leave at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bits per second, above 0.
    pub bits_per_second: u64,
    /// Largest burst, bytes.
    pub burst_bytes: u32,
}

/// Fractions of a nanosecond are kept to 16 bits: at 100 Gbit/s a 64-byte frame takes 5.12 ns.
const FRACTION_BITS: u32 = 16;

/// Says when the next frame may leave: the generic cell rate algorithm, which is a token bucket in one number.
#[derive(Clone, Debug)]
pub(super) struct Pacer {
    /// Nanoseconds per byte, fixed point.
    ns_per_byte: u128,
    /// Time that a full burst takes, fixed point.
    burst_length_ns: u128,
    /// When the bucket would be full again, fixed point.
    full_at: u128,
}

impl Pacer {
    pub(super) fn new(rate: Rate) -> Self {
        // Rounded up: never above the rate, however long the window.
        let ns_per_byte = (8_000_000_000_u128 << FRACTION_BITS).div_ceil(u128::from(rate.bits_per_second.max(1)));
        Self { ns_per_byte, burst_length_ns: ns_per_byte * u128::from(rate.burst_bytes), full_at: 0 }
    }

    /// When `bytes` more may leave: now or earlier means at once. A frame larger than the burst leaves from a full bucket.
    pub(super) fn ready_at(&self, bytes: usize) -> Nanos {
        let cost = (self.ns_per_byte * bytes as u128).min(self.burst_length_ns);
        ((self.full_at + cost).saturating_sub(self.burst_length_ns) >> FRACTION_BITS) as Nanos
    }

    /// Time that `bytes` take at the rate.
    pub(super) fn takes_ns(&self, bytes: usize) -> Nanos {
        ((self.ns_per_byte * bytes as u128) >> FRACTION_BITS) as Nanos
    }

    /// Notes that `bytes` leave at `now`.
    pub(super) fn spend(&mut self, now: Nanos, bytes: usize) {
        self.full_at = self.full_at.max(u128::from(now) << FRACTION_BITS) + self.ns_per_byte * bytes as u128;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// In no window does more leave than the rate allows plus one burst (and one frame's rounding).
        #[test]
        fn never_above_rate_plus_burst(
            megabits in 1_u64..100_000,
            burst_bytes in 2_000_u32..100_000,
            sizes in proptest::collection::vec((64_usize..1600, 0_u64..50_000), 1..300),
        ) {
            let rate = Rate { bits_per_second: megabits * 1_000_000, burst_bytes };
            let mut pacer = Pacer::new(rate);
            let mut now = 1_000_000_u64;
            let mut sent: Vec<(Nanos, usize)> = Vec::new();
            for (bytes, pause) in sizes {
                now = (now + pause).max(pacer.ready_at(bytes));
                pacer.spend(now, bytes);
                sent.push((now, bytes));
            }
            for from in 0..sent.len() {
                let mut bytes = 0;
                for (at, more) in &sent[from..] {
                    bytes += more;
                    let window_ns = (at - sent[from].0 + 2) as f64;
                    let allowed = window_ns * rate.bits_per_second as f64 / 8e9 + f64::from(burst_bytes);
                    prop_assert!((bytes as f64) <= allowed + 20.0, "{bytes} in {window_ns} ns, {allowed} allowed");
                }
            }
        }
    }
}
