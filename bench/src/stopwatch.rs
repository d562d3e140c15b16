//! How long something takes when nothing disturbs it.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// One measurement: ten thousand times what the clock can tell apart, below a scheduler's time slice.
const MEASURED: Duration = Duration::from_micros(500);
/// Measurements, of which the shortest counts: what disturbs only ever adds.
const REPEATS: usize = 9;
/// A part that took so many times the median was interrupted: losses make parts differ by less, a time slice of somebody else's is longer.
const INTERRUPTED: u32 = 2;

/// Seconds that one call of `work` takes at best.
pub fn seconds<T>(mut work: impl FnMut() -> T) -> f64 {
    // The first call also warms up caches and branch predictors.
    let mut calls = 1_u32;
    loop {
        let started = Instant::now();
        for _ in 0..calls {
            black_box(work());
        }
        let taken = started.elapsed();
        if taken >= MEASURED || calls > u32::MAX / 4 {
            break;
        }
        calls *= if taken < MEASURED / 8 { 4 } else { 2 };
    }
    let measured = (0..REPEATS).map(|_| {
        let started = Instant::now();
        for _ in 0..calls {
            black_box(work());
        }
        started.elapsed().as_secs_f64() / f64::from(calls)
    });
    measured.fold(f64::INFINITY, f64::min)
}

/// 10^9 bits a second.
pub fn gbit_per_second(bytes: f64, seconds: f64) -> f64 {
    bytes * 8.0 / seconds / 1e9
}

/// Amount and time of the parts of something, each short enough that few are interrupted.
#[derive(Clone, Debug, Default)]
pub struct Parts(Vec<(u64, Duration)>);

impl Parts {
    /// Another part: `amount` was done in `time`.
    pub fn add(&mut self, amount: u64, time: Duration) {
        self.0.push((amount, time));
    }

    /// Amount a second, without the parts that were interrupted.
    pub fn per_second(&self) -> f64 {
        let mut times: Vec<Duration> = self.0.iter().map(|(_, time)| *time).collect();
        times.sort_unstable();
        let Some(&median) = times.get(times.len() / 2) else { return 0.0 };
        let whole = self.0.iter().filter(|(_, time)| *time <= median * INTERRUPTED);
        let (amount, time) = whole.fold((0, Duration::ZERO), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        amount as f64 / time.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_interrupted_does_not_count() {
        let mut parts = Parts::default();
        for (amount, ms) in [(10, 10), (10, 12), (20, 18), (10, 5000)] {
            parts.add(amount, Duration::from_millis(ms));
        }
        assert!((parts.per_second() - 1000.0).abs() < 1e-6, "{}", parts.per_second());
    }
}
