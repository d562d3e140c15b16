//! What a sending lane sends in a measurement: as many records as leave at the step's rate, and then what that was.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::ladder::Step;
use super::message::{LaneSent, PAYLOAD_BYTES_MIN};
use crate::config::default_burst_bytes;
use crate::host::Readiness;
use crate::lane::{BATCH, Sends};
use crate::link::{Nanos, Rate, Sender, SenderCounters, TxPort};
use crate::session::SessionId;
use crate::tcp::Feed;
use crate::telemetry::counters::SendLink;
use crate::wire::{BENCH_CHANNEL, FLAG_END, RecordHead, RecordType};

/// Frames that may wait for a paced lane's rate before no more records are made: as many as leave between two looks at
/// them at 30 Gbit/s, few enough that a step ends soon after its time.
const WAITING_MAX: usize = 256;
/// What was sent in a step is said again after this long, until the next step.
const TELL_AGAIN_NS: Nanos = 100_000_000;

/// What lanes are to do; takes the place of a table of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// End what runs, and say what was sent.
    Rest,
    /// Send at this step's rate.
    Run(Step),
}

/// What a lane sent in the last step that has ended, for the control thread.
#[derive(Debug, Default)]
pub(super) struct SharedSent(Mutex<Option<(u16, LaneSent)>>);

impl SharedSent {
    /// What the lane sent in `step`, once that is known.
    pub(super) fn of(&self, step: u16) -> Option<LaneSent> {
        let sent = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.filter(|(of, _)| *of == step).map(|(_, sent)| sent)
    }

    fn set(&self, step: u16, sent: LaneSent) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((step, sent));
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing was asked for yet.
    Idle,
    /// The order has come, the rate is not set yet.
    Starting,
    Running,
    /// Until everything has left; what was sent is known once nothing waits for the rate or the card.
    Ending(Option<LaneSent>),
    /// Said last at this time.
    Ended(LaneSent, Nanos),
}

/// One lane's records.
pub(super) struct Source {
    run: SessionId,
    lanes: u16,
    burst_bytes: u32,
    payload: Box<[u8]>,
    feed: Feed,
    shared: Arc<SharedSent>,
    slot: Option<usize>,
    step: Option<Step>,
    state: State,
    records: u64,
    began: Nanos,
    before: SenderCounters,
}

/// What all lanes' sources have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// This start of the measurement.
    pub(super) run: SessionId,
    /// The sender's lanes, at least 1, which share the rate.
    pub(super) lanes: u16,
    /// Largest burst of a paced lane, bytes.
    pub(super) burst_bytes: u32,
    /// Payload of a record, bytes, at least [`PAYLOAD_BYTES_MIN`].
    pub(super) payload_bytes: usize,
}

impl Source {
    pub(super) fn new(load: &Load, feed: Feed, shared: Arc<SharedSent>) -> Self {
        Self {
            run: load.run,
            lanes: load.lanes,
            burst_bytes: load.burst_bytes,
            payload: vec![0; load.payload_bytes.max(PAYLOAD_BYTES_MIN)].into(),
            feed,
            shared,
            slot: None,
            step: None,
            state: State::Idle,
            records: 0,
            began: 0,
            before: SenderCounters::default(),
        }
    }

    fn begin<P: TxPort>(&mut self, now: Nanos, step: Step, sender: &mut Sender<P>) {
        let share = |bits_per_second: u64| (bits_per_second / u64::from(self.lanes)).max(1);
        // As large as a site file with this rate would have it.
        let burst_bytes = self.burst_bytes.max(default_burst_bytes(step.rate_bps));
        sender.set_rate(step.rate_bps.map(|rate| Rate { bits_per_second: share(rate), burst_bytes }));
        (self.records, self.began, self.before) = (0, now, sender.counters());
        self.state = State::Running;
    }

    fn head(&self, kind: RecordType, flags: u8, records: u64) -> RecordHead {
        RecordHead { kind, flags, session: self.run, sequence: records as u32 }
    }

    /// Makes records, as many as the rate lets leave soon.
    fn load<P: TxPort>(&mut self, now: Nanos, slot: usize, step: Step, sender: &mut Sender<P>) -> usize {
        let mut pushed = 0;
        let waiting_max = if step.rate_bps.is_some() { WAITING_MAX } else { usize::MAX };
        while pushed < BATCH && sender.waiting_frames() < waiting_max {
            step.head(self.lanes).write(self.records, &mut self.payload);
            let head = self.head(RecordType::Datagram, 0, self.records);
            if sender.push(now, slot, &head, &self.payload).is_err() {
                break;
            }
            self.records += 1;
            pushed += 1;
        }
        pushed
    }

    /// Once the load has left, what that was: the last block closes after that, with nothing to do until its time.
    fn settle<P: TxPort>(&mut self, now: Nanos, step: Step, sent: Option<LaneSent>, sender: &Sender<P>) {
        let sent = sent.or_else(|| sender.is_empty().then(|| self.sent(now, sender)));
        self.state = State::Ending(sent);
        if let Some(sent) = sent
            && sender.is_drained()
        {
            self.shared.set(step.number, sent);
            self.state = State::Ended(sent, 0);
        }
    }

    fn sent<P: TxPort>(&self, now: Nanos, sender: &Sender<P>) -> LaneSent {
        let after = sender.counters();
        let frames = |counters: &SenderCounters| counters.source_frames + counters.repair_frames + counters.heartbeats;
        let headers = (frames(&after) - frames(&self.before)) * sender.port().overhead_bytes() as u64;
        let link_bytes = after.frame_bytes - self.before.frame_bytes + headers;
        LaneSent { records: self.records, link_bytes, elapsed_ns: now - self.began }
    }

    fn tell<P: TxPort>(&mut self, now: Nanos, slot: usize, step: Step, sender: &mut Sender<P>) {
        if let State::Ending(sent) = self.state {
            self.settle(now, step, sent, sender);
        }
        let State::Ended(sent, _) = self.state else { return };
        let flags = if step.last { FLAG_END } else { 0 };
        let head = self.head(RecordType::Mark, flags, sent.records);
        if sender.push(now, slot, &head, &step.head(self.lanes).mark(&sent)).is_ok() {
            self.state = State::Ended(sent, now);
        }
    }
}

impl Sends for Source {
    type Table = Stage;

    fn register(&self, _: &Readiness) -> io::Result<()> {
        Ok(())
    }

    fn set_table<P: TxPort>(&mut self, _: Nanos, stage: &Arc<Stage>, sender: &Sender<P>) -> io::Result<()> {
        self.slot = sender.slot(BENCH_CHANNEL);
        match **stage {
            Stage::Run(step) => (self.step, self.state) = (Some(step), State::Starting),
            Stage::Rest if matches!(self.state, State::Running) => self.state = State::Ending(None),
            Stage::Rest => {}
        }
        Ok(())
    }

    fn receive<P: TxPort>(&mut self, now: Nanos, sender: &mut Sender<P>) -> usize {
        let (Some(slot), Some(step)) = (self.slot, self.step) else { return 0 };
        match self.state {
            State::Starting => self.begin(now, step, sender),
            State::Ended(_, told_at) if now < told_at + TELL_AGAIN_NS => {}
            State::Ending(_) | State::Ended(..) => self.tell(now, slot, step, sender),
            State::Idle | State::Running => {}
        }
        if matches!(self.state, State::Running) { self.load(now, slot, step, sender) } else { 0 }
    }

    fn feed(&mut self) -> &mut Feed {
        &mut self.feed
    }

    fn pump<P: TxPort>(&mut self, _: Nanos, _: &mut Sender<P>) -> bool {
        false
    }

    fn mark<P: TxPort>(&mut self, now: Nanos, sender: &mut Sender<P>) {
        if let (Some(slot), Some(step)) = (self.slot, self.step) {
            self.tell(now, slot, step, sender);
        }
    }

    fn end_all(&mut self) {}

    fn publish(&self, _: &SendLink) {}
}
