//! The highest rate at which a path still carries everything. Pure: what a step does is the caller's.

use anyhow::Result;

/// The next rate of the climb, as a multiple of the one before.
const CLIMB: f64 = 1.3;
/// Back from a rate that failed after all.
const BACK: f64 = 0.88;
/// The search ends when the rate is known to so much of it.
const PRECISION: f64 = 0.05;
/// A sender that stays below this share of the rate it was asked for goes as fast as it can.
const REACHED: f64 = 0.95;
/// Rates to try before giving up: from 40,000/s the climb passes 10 million by then.
const TRIES_MAX: usize = 24;
/// A path that has fallen below this carries nothing.
const LEAST: f64 = 1000.0;

/// How long a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Short: only to see where it gets interesting.
    Look,
    /// Long enough to count.
    Full,
}

/// What a step came to.
pub trait Outcome {
    /// Nothing but the permitted share was lost.
    fn passed(&self) -> bool;
    /// The rate that was really sent, a second.
    fn rate(&self) -> f64;
}

/// Finds the highest rate whose full step passes, from `first` on; `None` if none does.
///
/// A step that fails is tried once more: what others do on the machine may have made it fail, and the path is as fast as
/// it was seen to be.
pub fn highest<T: Outcome>(first: f64, mut step: impl FnMut(f64, Length) -> Result<T>) -> Result<Option<T>> {
    let mut twice = |rate: f64, length: Length| {
        let once = step(rate, length)?;
        if once.passed() && once.rate() >= rate * REACHED {
            return Ok(once);
        }
        let again = step(rate, length)?;
        let better = again.passed() && (!once.passed() || again.rate() > once.rate());
        anyhow::Ok(if better { again } else { once })
    };
    let (mut rate, mut failed) = (first, None);
    for _ in 0..TRIES_MAX {
        let looked = twice(rate, Length::Look)?;
        if !looked.passed() {
            failed = Some(rate);
            rate /= CLIMB;
            break;
        }
        if looked.rate() < rate * REACHED {
            break;
        }
        rate *= CLIMB;
    }
    let mut best = None;
    for _ in 0..TRIES_MAX {
        let full = twice(rate, Length::Full)?;
        if full.passed() {
            best = Some(full);
            break;
        }
        failed = Some(rate);
        rate *= BACK;
        if rate < LEAST {
            return Ok(None);
        }
    }
    while let (Some(found), Some(limit)) = (&best, failed) {
        if limit / rate < 1.0 + PRECISION || found.rate() < rate * REACHED {
            break;
        }
        let middle = f64::midpoint(rate, limit);
        let full = twice(middle, Length::Full)?;
        if full.passed() {
            (rate, best) = (middle, Some(full));
        } else {
            failed = Some(middle);
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Model {
        sent: f64,
        carried: f64,
    }

    impl Outcome for Model {
        fn passed(&self) -> bool {
            self.carried >= self.sent
        }
        fn rate(&self) -> f64 {
            self.sent
        }
    }

    #[test]
    fn the_limit_is_found_to_its_precision() {
        for limit in [5_000.0, 39_000.0, 123_456.0, 999_000.0] {
            let path = |rate, _| Ok(Model { sent: rate, carried: limit });
            let found = highest(40_000.0, path).unwrap().expect("a rate");
            assert!(found.sent <= limit && found.sent > limit * 0.9, "{limit}: {}", found.sent);
        }
    }

    #[test]
    fn a_path_that_slows_the_sender_down_ends_the_search() {
        let path = |rate: f64, _| Ok(Model { sent: rate.min(180_000.0), carried: f64::INFINITY });
        let found = highest(40_000.0, path).unwrap().expect("a rate");
        assert!((found.sent - 180_000.0).abs() < 1.0, "{}", found.sent);
    }

    #[test]
    fn one_hiccup_is_forgiven_and_a_dead_path_has_no_rate() {
        let mut steps = 0;
        let path = |rate, _| {
            steps += 1;
            Ok(Model { sent: rate, carried: if steps % 2 == 1 { 0.0 } else { 100_000.0 } })
        };
        assert!(highest(40_000.0, path).unwrap().expect("a rate").sent > 90_000.0);
        assert!(highest(40_000.0, |rate, _| Ok(Model { sent: rate, carried: 0.0 })).unwrap().is_none());
    }
}
