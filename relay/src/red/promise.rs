//! Compares what the link really loses with what the site file's protection promises to survive.

use crate::config::{Protection, Site};
use crate::link::LinkLoss;

/// A promise is called wasteful only after so many frames: at a loss of one in a million some would have shown.
const ENOUGH_FRAMES: u64 = 3_000_000;
/// ... and only if it is so many times what was seen.
const WASTEFUL_FACTOR: f64 = 100.0;

/// Says in a sentence what to change, if anything should be. `seen` is the loss since the last call, `all` since RED's
/// start.
pub fn advice(site: &Site, seen: &LinkLoss, all: &LinkLoss) -> Option<String> {
    let Protection::Promise { loss, burst, .. } = site.link.fec.protection else { return None };
    let share = |loss: &LinkLoss| loss.missing_frames as f64 / loss.expected_frames.max(1) as f64;
    let too_short = seen.longest_burst_frames > u64::from(burst) + least_random_run(loss);
    // Half as much again: the share of a short interval scatters.
    if seen.expected_frames >= 1000 && share(seen) > loss * 1.5 || too_short {
        return Some(format!(
            "the link loses {:.4}% of its frames, in bursts of up to {}; [link.fec] protect promises loss = \"{}%\", burst = {burst}: raise it",
            share(seen) * 100.0,
            seen.longest_burst_frames,
            loss * 100.0,
        ));
    }
    let generous = all.expected_frames >= ENOUGH_FRAMES && share(all) * WASTEFUL_FACTOR < loss;
    generous.then(|| {
        format!(
            "the link loses {:.6}% of its frames; [link.fec] protect promises loss = \"{}%\", which costs more repair symbols than it needs",
            share(all) * 100.0,
            loss * 100.0,
        )
    })
}

/// Runs of so many losses are to be expected of independent losses among a million frames.
fn least_random_run(loss: f64) -> u64 {
    (1e-6_f64.ln() / loss.clamp(1e-9, 0.9).ln()).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(expected_frames: u64, missing_frames: u64, longest_burst_frames: u64) -> LinkLoss {
        LinkLoss { expected_frames, missing_frames, longest_burst_frames, in_bursts_frames: 0 }
    }

    fn site() -> Site {
        let text = include_str!("../../../config/minimal.toml");
        let mut site = crate::config::parse(std::path::Path::new("minimal.toml"), text).expect("valid").site;
        site.link.fec.protection = Protection::Promise { loss: 0.001, residual: 1e-9, burst: 4 };
        site
    }

    #[test]
    fn a_kept_promise_needs_no_words() {
        assert_eq!(advice(&site(), &seen(100_000, 100, 3), &seen(100_000, 100, 3)), None);
    }

    #[test]
    fn more_loss_or_longer_bursts_are_said() {
        let more = advice(&site(), &seen(100_000, 2000, 3), &seen(0, 0, 0)).expect("too much loss");
        assert!(more.contains("2.0000%") && more.contains("raise it"), "{more}");
        assert!(advice(&site(), &seen(100_000, 40, 30), &seen(0, 0, 0)).is_some());
    }

    #[test]
    fn waste_is_said_after_enough_frames() {
        assert!(
            advice(&site(), &seen(1000, 0, 0), &seen(4_000_000, 1, 1)).is_some_and(|text| text.contains("more repair"))
        );
        assert_eq!(advice(&site(), &seen(1000, 0, 0), &seen(1_000_000, 0, 0)), None);
    }
}
