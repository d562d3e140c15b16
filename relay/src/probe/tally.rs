//! What RED heard of a measurement, step by step. Pure.

use super::message::{LaneSent, StepHead};
use crate::link::{LinkLoss, Nanos};
use crate::session::SessionId;

/// Steps that are kept: a ladder of the finest steps, 1.03, from 1 kbit/s to 1 Tbit/s has 703.
const STEPS_MAX: usize = 1024;

/// What a receiving lane heard of a step of one of the sender's lanes, in one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noted {
    /// The sender's start.
    pub(super) run: SessionId,
    /// The step.
    pub(super) head: StepHead,
    /// The sender's lane.
    pub(super) lane: u16,
    /// Load records.
    pub(super) received: u64,
    /// Those of them that FEC restored.
    pub(super) recovered: u64,
    /// One more than the highest number of a record.
    pub(super) next_record: u64,
    /// The lane was heard from the sender's start on.
    pub(super) from_start: bool,
    /// What the sender says that its lane sent.
    pub(super) sent: Option<LaneSent>,
    /// It was the last step.
    pub(super) last: bool,
}

/// What was seen between two looks, of whatever step runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Measured {
    /// Bytes of all frames, with all headers around them.
    pub(super) link_bytes: u64,
    /// What the link lost.
    pub(super) loss: LinkLoss,
    /// Frames that found no room at this host.
    pub(super) overflow: u64,
    /// Processor time of this process.
    pub(super) cpu_ns: u64,
    /// The time between the looks.
    pub(super) elapsed_ns: Nanos,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    number: u16,
    received: u64,
    recovered: u64,
    next_record: u64,
    sent: Option<LaneSent>,
}

/// One step as RED heard it.
#[derive(Clone, Debug)]
pub(super) struct StepTally {
    /// Which step, and its rate.
    pub(super) head: StepHead,
    /// It was heard from its beginning.
    pub(super) whole: bool,
    /// What the link lost.
    pub(super) loss: LinkLoss,
    /// Frames that found no room at this host.
    pub(super) overflow: u64,
    lanes: Vec<Lane>,
    link_bytes: u64,
    /// While records came.
    cpu_ns: u64,
    active_ns: Nanos,
}

impl StepTally {
    /// Load records that were sent; fewer than that if the sender's word for it is lost.
    pub(super) fn sent_records(&self) -> u64 {
        let sent = |lane: &Lane| lane.sent.map_or(0, |sent| sent.records).max(lane.next_record);
        self.lanes.iter().map(sent).fold(0, u64::saturating_add)
    }

    /// Load records of those that never came.
    pub(super) fn lost_records(&self) -> u64 {
        self.sent_records().saturating_sub(self.lanes.iter().map(|lane| lane.received).sum())
    }

    /// Load records that FEC restored.
    pub(super) fn recovered_records(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.recovered).sum()
    }

    /// What the sender says that it sent, bit/s on the link; `None` if it never said so for all of its lanes.
    pub(super) fn sent_bps(&self) -> Option<f64> {
        if self.lanes.len() < usize::from(self.head.lanes) {
            return None;
        }
        self.lanes.iter().map(|lane| lane.sent.map(|sent| sent.link_bps())).sum()
    }

    /// What came, bit/s on the link.
    pub(super) fn received_bps(&self) -> f64 {
        let lasted = self.lanes.iter().filter_map(|lane| lane.sent).map(|sent| sent.elapsed_ns).max();
        self.link_bytes as f64 * 8e9 / lasted.unwrap_or(self.active_ns).max(1) as f64
    }

    /// Processors that this process kept busy meanwhile.
    pub(super) fn cpus(&self) -> f64 {
        self.cpu_ns as f64 / self.active_ns.max(1) as f64
    }

    fn new(head: StepHead) -> Self {
        Self {
            head,
            whole: true,
            loss: LinkLoss::default(),
            overflow: 0,
            lanes: Vec::new(),
            link_bytes: 0,
            cpu_ns: 0,
            active_ns: 0,
        }
    }

    fn lane(&mut self, number: u16) -> &mut Lane {
        let index = self.lanes.iter().position(|lane| lane.number == number).unwrap_or(self.lanes.len());
        if index == self.lanes.len() {
            self.lanes.push(Lane { number, ..Lane::default() });
        }
        &mut self.lanes[index]
    }
}

/// Everything that was heard of one run.
#[derive(Debug, Default)]
pub(super) struct Tally {
    run: Option<SessionId>,
    steps: Vec<StepTally>,
    /// The sender has said that it was its last step, or that it stops.
    over: bool,
    /// Load came since the last look.
    active: bool,
    /// The sender's streams are not those of a measurement: how often it said so.
    foreign: u64,
}

impl Tally {
    /// Takes what a lane noted. A new run forgets the last one.
    pub(super) fn note(&mut self, noted: &Noted) {
        if self.run.replace(noted.run) != Some(noted.run) {
            self.steps.clear();
            self.over = false;
        }
        self.foreign = 0;
        self.over |= noted.last;
        self.active |= noted.received > 0;
        let known = self.steps.iter().position(|step| step.head.step == noted.head.step);
        let index = known.unwrap_or(self.steps.len());
        if index == STEPS_MAX {
            return;
        }
        if index == self.steps.len() {
            self.steps.push(StepTally::new(noted.head));
        }
        let step = &mut self.steps[index];
        // Only of the first step can something have been sent before this side listened.
        step.whole &= noted.from_start || index > 0;
        let lane = step.lane(noted.lane);
        lane.received += noted.received;
        lane.recovered += noted.recovered;
        lane.next_record = lane.next_record.max(noted.next_record);
        lane.sent = noted.sent.or(lane.sent);
    }

    /// Takes what was seen since the last look.
    pub(super) fn measured(&mut self, measured: &Measured) {
        let active = std::mem::take(&mut self.active);
        let Some(step) = self.steps.last_mut() else { return };
        step.loss.add(measured.loss);
        step.overflow += measured.overflow;
        step.link_bytes += measured.link_bytes;
        if active {
            step.cpu_ns += measured.cpu_ns;
            step.active_ns += measured.elapsed_ns;
        }
    }

    /// The sender stops.
    pub(super) fn stopping(&mut self) {
        self.over |= self.run.is_some();
    }

    /// The sender speaks of other streams than a measurement's.
    pub(super) fn foreign(&mut self) {
        self.foreign += 1;
    }

    /// How often it did so since the last record of a measurement.
    pub(super) fn foreign_heard(&self) -> u64 {
        self.foreign
    }

    /// Has the sender said that nothing more comes?
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// The run.
    pub(super) fn run(&self) -> Option<SessionId> {
        self.run
    }

    /// What was heard, in the order in which it began.
    pub(super) fn steps(&self) -> &[StepTally] {
        &self.steps
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn noted(step: u16, lane: u16, received: u64) -> Noted {
        Noted {
            run: [7; 16],
            head: StepHead { step, lanes: 2, rate_bps: Some(1000) },
            lane,
            received,
            recovered: 1,
            next_record: received,
            from_start: true,
            sent: None,
            last: false,
        }
    }

    fn mark(step: u16, lane: u16, records: u64) -> Noted {
        let sent = LaneSent { records, link_bytes: 1_000_000, elapsed_ns: 1_000_000_000 };
        Noted { received: 0, recovered: 0, next_record: 0, sent: Some(sent), ..noted(step, lane, 0) }
    }

    /// A step on one lane, for other modules' tests.
    pub(in crate::probe) fn step(number: u16, sent_bps: u64, records: (u64, u64), loss: LinkLoss) -> StepTally {
        let (sent, lost) = records;
        let mut tally = Tally::default();
        let head = StepHead { step: number, lanes: 1, rate_bps: Some(sent_bps) };
        let lane_sent = LaneSent { records: sent, link_bytes: sent_bps / 8, elapsed_ns: 1_000_000_000 };
        let received = sent - lost;
        tally.note(&Noted { head, received, sent: Some(lane_sent), ..noted(number, 0, received) });
        tally.measured(&Measured { loss, ..Measured::default() });
        tally.steps.remove(0)
    }

    #[test]
    fn lanes_and_batches_add_up() {
        let mut tally = Tally::default();
        for (lane, received) in [(0, 10), (1, 20), (0, 15)] {
            tally.note(&noted(1, lane, received));
        }
        let step = &tally.steps()[0];
        assert_eq!((step.sent_records(), step.recovered_records()), (35, 3), "the highest numbers: 15 and 20");
        assert_eq!(step.sent_bps(), None, "the sender has not said it yet");
        tally.note(&mark(1, 0, 30));
        tally.note(&mark(1, 1, 20));
        let step = &tally.steps()[0];
        assert_eq!((step.sent_records(), step.lost_records()), (50, 5));
        assert_eq!(step.sent_bps(), Some(16e6));
        assert!(step.whole && !tally.is_over());
    }

    #[test]
    fn what_is_measured_belongs_to_the_step_that_runs() {
        let mut tally = Tally::default();
        let loss = LinkLoss { expected_frames: 100, missing_frames: 2, longest_burst_frames: 2, in_bursts_frames: 0 };
        let measured = Measured { loss, overflow: 3, cpu_ns: 50, elapsed_ns: 100, link_bytes: 9 };
        tally.measured(&measured);
        tally.note(&noted(1, 0, 10));
        tally.measured(&measured);
        tally.measured(&measured);
        tally.note(&noted(2, 0, 10));
        tally.measured(&measured);
        let [one, two] = tally.steps() else { panic!("two steps") };
        assert_eq!((one.loss.missing_frames, one.overflow, two.loss.missing_frames, two.overflow), (4, 6, 2, 3));
        assert!((one.cpus() - 0.5).abs() < 1e-9, "the second look was in the pause");
    }

    #[test]
    fn the_first_step_of_a_lane_that_was_joined_late_is_not_whole() {
        let mut tally = Tally::default();
        let late = Noted { from_start: false, ..noted(4, 0, 10) };
        tally.note(&late);
        tally.note(&late);
        tally.note(&Noted { from_start: false, ..noted(5, 0, 10) });
        assert_eq!(tally.steps().iter().map(|step| step.whole).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn a_new_run_forgets_the_last_one() {
        let mut tally = Tally::default();
        tally.stopping();
        assert!(!tally.is_over(), "of nothing that was heard");
        tally.note(&noted(1, 0, 10));
        tally.stopping();
        assert!(tally.is_over());
        tally.note(&Noted { run: [8; 16], ..noted(3, 0, 10) });
        assert_eq!((tally.is_over(), tally.steps().len(), tally.steps()[0].head.step), (false, 1, 3));
    }
}
