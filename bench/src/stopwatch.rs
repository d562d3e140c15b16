//! How long something takes when nothing disturbs it.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// One measurement: a thousand times what the clock can tell apart, far below a scheduler's time slice.
const MEASURED: Duration = Duration::from_millis(3);
/// Measurements, of which the shortest counts: what disturbs only ever adds.
pub const REPEATS: usize = 3;

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
