//! The rates that BLUE tries, one after the other. Pure.

use super::message::StepHead;

/// Each rate is so many times the one before: fine enough that 90% of the highest safe one is above the one below it.
const FACTOR: f64 = 1.25;
/// A step that sent less than this share of its rate was not kept.
const KEPT: f64 = 0.95;
/// A step brings something if it sent so many times what any before it did.
const GAIN: f64 = 1.05;
/// The card takes no more after so many steps in a row that were not kept and brought nothing: one may be a hiccup.
const STALLED_MAX: u8 = 2;

/// One step of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// From 1 on.
    pub(super) number: u16,
    /// What all lanes together are paced at, bit/s; `None`: as fast as the card takes it.
    pub(super) rate_bps: Option<u64>,
    /// None follows.
    pub(super) last: bool,
}

impl Step {
    /// As its records say it.
    pub(super) fn head(&self, lanes: u16) -> StepHead {
        StepHead { step: self.number, lanes, rate_bps: self.rate_bps }
    }
}

/// From the first rate up, as far as the card follows and then unpaced; or up to a last rate.
#[derive(Clone, Debug)]
pub(super) struct Ladder {
    next_bps: f64,
    last_bps: Option<u64>,
    before: Option<Step>,
    best_bps: f64,
    /// Steps in a row that brought nothing.
    stalled: u8,
}

impl Ladder {
    /// From `first_bps` to `last_bps`, or without one until the card takes no more.
    pub(super) fn new(first_bps: u64, last_bps: Option<u64>) -> Self {
        Self { next_bps: first_bps as f64, last_bps, before: None, best_bps: 0.0, stalled: 0 }
    }

    /// The next step. `sent_bps`: what really left in the last one.
    pub(super) fn next(&mut self, sent_bps: f64) -> Option<Step> {
        if self.before.is_some_and(|before| before.last) {
            return None;
        }
        self.learn(sent_bps);
        let number = self.before.map_or(1, |before| before.number + 1);
        let step = if self.stalled < STALLED_MAX {
            self.climb(number)
        } else {
            // Beyond a ladder's given end nobody wants to go.
            self.last_bps.is_none().then_some(Step { number, rate_bps: None, last: true })?
        };
        self.before = Some(step);
        Some(step)
    }

    fn learn(&mut self, sent_bps: f64) {
        let Some(asked_bps) = self.before.and_then(|before| before.rate_bps) else { return };
        let stalls = sent_bps < asked_bps as f64 * KEPT && sent_bps < self.best_bps * GAIN;
        self.stalled = if stalls { self.stalled + 1 } else { 0 };
        self.best_bps = self.best_bps.max(sent_bps);
    }

    fn climb(&mut self, number: u16) -> Step {
        let rate = self.last_bps.map_or(self.next_bps, |last| self.next_bps.min(last as f64));
        self.next_bps *= FACTOR;
        let rate_bps = rate as u64;
        Step { number, rate_bps: Some(rate_bps), last: Some(rate_bps) == self.last_bps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rates of a ladder on a card that takes no more than `card_bps`.
    fn climb(mut ladder: Ladder, card_bps: f64) -> Vec<Option<u64>> {
        let mut rates = Vec::new();
        let mut sent_bps = 0.0;
        while let Some(step) = ladder.next(sent_bps) {
            assert_eq!(usize::from(step.number), rates.len() + 1);
            rates.push(step.rate_bps);
            sent_bps = step.rate_bps.map_or(card_bps, |asked| card_bps.min(asked as f64));
        }
        rates
    }

    #[test]
    fn it_ends_unpaced_once_the_card_takes_no_more() {
        let rates = climb(Ladder::new(1000, None), 1500.0);
        assert_eq!(rates, [1000, 1250, 1562, 1953, 2441, 0].map(|rate| (rate > 0).then_some(rate)));
    }

    #[test]
    fn a_hiccup_does_not_end_it() {
        let mut ladder = Ladder::new(1000, None);
        let mut rate = |sent_bps| ladder.next(sent_bps).expect("a step").rate_bps;
        assert_eq!([0.0, 1000.0, 800.0, 1560.0, 1000.0].map(&mut rate).map(|rate| rate.is_some()), [true; 5]);
        assert_eq!(rate(1200.0), None, "two in a row");
    }

    #[test]
    fn a_given_end_is_the_last_rate() {
        assert_eq!(climb(Ladder::new(1000, Some(1300)), 1e9), [Some(1000), Some(1250), Some(1300)]);
        assert_eq!(climb(Ladder::new(1000, Some(1300)), 1e2).len(), 3);
        assert_eq!(climb(Ladder::new(1000, Some(9000)), 1e2), [Some(1000), Some(1250), Some(1562)], "a slow card");
        assert_eq!(climb(Ladder::new(700, Some(700)), 1e9), [Some(700)]);
    }
}
