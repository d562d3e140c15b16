//! What a link itself loses, whatever FEC makes of it.

/// Runs of more missing frames than this count as bursts: where one frame in a hundred is lost by itself, one run in a
/// million is longer.
pub const RANDOM_RUN_MAX: u64 = 3;

/// What the link itself loses, measured by packet numbers, since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkLoss {
    /// Frames sent to this side.
    pub expected_frames: u64,
    /// Frames of them that never came (or not yet).
    pub missing_frames: u64,
    /// Longest run of missing frames.
    pub longest_burst_frames: u64,
    /// Frames that were missing in runs of more than [`RANDOM_RUN_MAX`], those that came late included.
    pub in_bursts_frames: u64,
}

impl LinkLoss {
    /// Adds what was lost at another time or on another lane.
    pub fn add(&mut self, more: Self) {
        self.expected_frames += more.expected_frames;
        self.missing_frames += more.missing_frames;
        self.longest_burst_frames = self.longest_burst_frames.max(more.longest_burst_frames);
        self.in_bursts_frames += more.in_bursts_frames;
    }

    /// Notes a run of missing frames, whose number is counted elsewhere.
    pub(super) fn note_run(&mut self, frames: u64) {
        self.longest_burst_frames = self.longest_burst_frames.max(frames);
        if frames > RANDOM_RUN_MAX {
            self.in_bursts_frames += frames;
        }
    }
}

impl std::fmt::Display for LinkLoss {
    /// As the counter lines have it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { expected_frames, missing_frames, longest_burst_frames, .. } = self;
        write!(f, "link_expected={expected_frames} link_missing={missing_frames} longest_burst={longest_burst_frames}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_runs_are_bursts_and_lanes_add_up() {
        let mut one = LinkLoss { expected_frames: 100, missing_frames: 14, ..LinkLoss::default() };
        for run in [0, 1, RANDOM_RUN_MAX, RANDOM_RUN_MAX + 1, 6] {
            one.note_run(run);
        }
        assert_eq!((one.longest_burst_frames, one.in_bursts_frames), (6, 10));
        let mut both =
            LinkLoss { expected_frames: 50, missing_frames: 2, longest_burst_frames: 2, in_bursts_frames: 0 };
        both.add(one);
        let sums = LinkLoss { expected_frames: 150, missing_frames: 16, longest_burst_frames: 6, in_bursts_frames: 10 };
        assert_eq!(both, sums);
    }
}
