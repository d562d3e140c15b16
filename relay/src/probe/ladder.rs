//! The rates that BLUE tries, one after the other. Pure.

use super::message::StepHead;

/// A step that sent less than this share of its rate was not kept.
const KEPT: f64 = 0.95;
/// A step brings something if it sent more than any before it by at least this share of what the ladder climbs with each.
const GAIN: f64 = 0.2;
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

/// Which rates to try.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// The first, bit/s on the link.
    pub first_bps: u64,
    /// The last one; without, up to what the card takes.
    pub last_bps: Option<u64>,
    /// Each is so many times the one before, above 1.
    pub factor: f64,
    /// After them as fast as the card takes it. It lets itself be slowed down, as a paced lane does not.
    pub unpaced: bool,
}

/// From the first rate up, to the last one or as far as the card follows, and then unpaced.
#[derive(Clone, Debug)]
pub(super) struct Ladder {
    rates: Rates,
    next_bps: f64,
    before: Option<Step>,
    best_bps: f64,
    /// Steps in a row that brought nothing.
    stalled: u8,
}

impl Ladder {
    pub(super) fn new(rates: Rates) -> Self {
        Self { rates, next_bps: rates.first_bps as f64, before: None, best_bps: 0.0, stalled: 0 }
    }

    /// The next step. `sent_bps`: what really left in the last one.
    pub(super) fn next(&mut self, sent_bps: f64) -> Option<Step> {
        if self.before.is_some_and(|before| before.last) {
            return None;
        }
        self.learn(sent_bps);
        let number = self.before.map_or(1, |before| before.number + 1);
        let reached = self.rates.last_bps.is_some_and(|last| self.before.is_some_and(|it| it.rate_bps == Some(last)));
        let step = if self.stalled < STALLED_MAX && !reached {
            self.climb(number)
        } else {
            self.rates.unpaced.then_some(Step { number, rate_bps: None, last: true })?
        };
        self.before = Some(step);
        Some(step)
    }

    fn learn(&mut self, sent_bps: f64) {
        let Some(asked_bps) = self.before.and_then(|before| before.rate_bps) else { return };
        let gain = 1.0 + (self.rates.factor - 1.0) * GAIN;
        let stalls = sent_bps < asked_bps as f64 * KEPT && sent_bps < self.best_bps * gain;
        self.stalled = if stalls { self.stalled + 1 } else { 0 };
        self.best_bps = self.best_bps.max(sent_bps);
    }

    fn climb(&mut self, number: u16) -> Step {
        let Rates { last_bps, factor, unpaced, .. } = self.rates;
        let rate_bps = last_bps.map_or(self.next_bps, |last| self.next_bps.min(last as f64)) as u64;
        self.next_bps *= factor;
        Step { number, rate_bps: Some(rate_bps), last: Some(rate_bps) == last_bps && !unpaced }
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

    fn from(first_bps: u64, last_bps: Option<u64>) -> Ladder {
        Ladder::new(Rates { first_bps, last_bps, factor: 1.25, unpaced: last_bps.is_none() })
    }

    #[test]
    fn it_ends_unpaced_once_the_card_takes_no_more() {
        let rates = climb(from(1000, None), 1500.0);
        assert_eq!(rates, [1000, 1250, 1562, 1953, 2441, 0].map(|rate| (rate > 0).then_some(rate)));
    }

    #[test]
    fn fine_steps_are_told_from_none() {
        let rates = Rates { first_bps: 1000, last_bps: None, factor: 1.05, unpaced: true };
        // A card that gives the rate a twelfth less than it was asked for follows all the same.
        let mut ladder = Ladder::new(rates);
        let mut sent_bps = 0.0;
        for _ in 0..50 {
            sent_bps = ladder.next(sent_bps).and_then(|step| step.rate_bps).expect("it climbs") as f64 / 1.09;
        }
        // The first two steps that are not kept are 1,551 and 1,628: their rates are 1.05 and 1.1 times the most that it takes.
        let rates = climb(Ladder::new(rates), 1480.0);
        assert_eq!(rates[9..], [Some(1551), Some(1628), Some(1710), None]);
    }

    #[test]
    fn a_hiccup_does_not_end_it() {
        let mut ladder = from(1000, None);
        let mut rate = |sent_bps| ladder.next(sent_bps).expect("a step").rate_bps;
        assert_eq!([0.0, 1000.0, 800.0, 1560.0, 1000.0].map(&mut rate).map(|rate| rate.is_some()), [true; 5]);
        assert_eq!(rate(1200.0), None, "two in a row");
    }

    #[test]
    fn a_given_end_is_the_last_rate() {
        assert_eq!(climb(from(1000, Some(1300)), 1e9), [Some(1000), Some(1250), Some(1300)]);
        assert_eq!(climb(from(1000, Some(1300)), 1e2).len(), 3);
        assert_eq!(climb(from(1000, Some(9000)), 1e2), [Some(1000), Some(1250), Some(1562)], "a slow card");
        assert_eq!(climb(from(700, Some(700)), 1e9), [Some(700)]);
        let rates = Rates { first_bps: 1000, last_bps: Some(1300), factor: 1.25, unpaced: true };
        assert_eq!(climb(Ladder::new(rates), 1e9), [Some(1000), Some(1250), Some(1300), None]);
        assert_eq!(climb(Ladder::new(Rates { last_bps: Some(9000), ..rates }), 1e2)[2..], [Some(1562), None]);
    }
}
