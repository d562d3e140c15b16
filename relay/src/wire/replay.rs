//! Which packet numbers of a lane were seen.

/// How far behind the newest a frame may come and still be told from a replay: at 1 million frames a second this
/// is 16 ms of reordering, far more than any path between two ports of one diode makes. Costs 2 KiB a lane.
const WINDOW: u64 = 16_384;
const WORDS: usize = (WINDOW / 64) as usize;

/// What the window says of a packet number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Never seen.
    New,
    /// Seen before, or too old to tell.
    Replayed,
}

/// Sliding window over the packet numbers of one lane and epoch.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    /// One more than the highest number seen; 0: none yet.
    next: u64,
    /// Below this nothing is accepted (restored after a restart).
    floor: u64,
    seen: Box<[u64; WORDS]>,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::starting_at(0)
    }
}

impl ReplayWindow {
    /// A window that refuses everything below `floor`.
    pub fn starting_at(floor: u64) -> Self {
        Self { next: 0, floor, seen: Box::new([0; WORDS]) }
    }

    /// One more than the highest packet number accepted, 0 if none was.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Refuses everything below `floor` from now on.
    pub fn raise_floor(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
    }

    /// Would `number` be accepted? Changes nothing: for use before the tag was checked.
    pub fn check(&self, number: u64) -> Verdict {
        let too_old = number < self.floor || number + WINDOW < self.next;
        if too_old || (number < self.next && self.bit(number)) { Verdict::Replayed } else { Verdict::New }
    }

    /// Notes `number`, whose frame proved genuine. Returns how many numbers were skipped in front of it.
    pub fn accept(&mut self, number: u64) -> u64 {
        let mut skipped = 0;
        if number >= self.next {
            skipped = number - self.next;
            if skipped >= WINDOW {
                self.seen.fill(0);
            } else {
                for passed in self.next..=number {
                    self.seen[Self::word(passed)] &= !(1 << (passed % 64));
                }
            }
            self.next = number + 1;
        }
        self.seen[Self::word(number)] |= 1 << (number % 64);
        skipped
    }

    fn word(number: u64) -> usize {
        ((number / 64) % WORDS as u64) as usize
    }

    fn bit(&self, number: u64) -> bool {
        self.seen[Self::word(number)] & (1 << (number % 64)) != 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_accepted_once() {
        let mut window = ReplayWindow::default();
        assert_eq!(window.check(0), Verdict::New);
        window.accept(0);
        assert_eq!(window.check(0), Verdict::Replayed);
        assert_eq!(window.check(1), Verdict::New);
    }

    #[test]
    fn a_restored_floor_refuses_what_was_before() {
        let window = ReplayWindow::starting_at(100);
        assert_eq!(window.check(99), Verdict::Replayed);
        assert_eq!(window.check(100), Verdict::New);
    }

    proptest! {
        /// Against a set of everything ever accepted.
        #[test]
        fn never_accepts_twice_and_never_refuses_the_recent(
            start in 0_u64..1 << 40,
            steps in proptest::collection::vec((0_u64..40_000, 0_u64..20_000), 1..300),
        ) {
            let mut window = ReplayWindow::default();
            let mut seen = HashSet::new();
            let mut newest = start;
            for (ahead, behind) in steps {
                newest += ahead % 3 * (ahead / 7);
                let number = newest.saturating_sub(behind);
                let recent = number + WINDOW >= window.next();
                let verdict = window.check(number);
                if seen.contains(&number) {
                    prop_assert_eq!(verdict, Verdict::Replayed);
                } else if recent {
                    prop_assert_eq!(verdict, Verdict::New);
                }
                if verdict == Verdict::New {
                    window.accept(number);
                    seen.insert(number);
                }
            }
        }
    }
}
