//! The control thread's watch over a link that its host receives from: is the other host there, what was lost on the way,
//! and what a restart must remember.
//!
//! ```text
//! lanes --SharedSeen, every 100 ms--> LinkWatch --> state on disk, once a second and with every new epoch
//!   ^------------- epoch ----------------'   '----> log and syslog: nothing heard, heard again
//! ```
//!
//! Never waits for a lane. Times are the caller's, except for how often it writes.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::state::{ReceiverState, StateError, load_receiver, store_receiver};
use crate::link::{LinkLoss, Nanos, Receiver};
use crate::telemetry::syslog::{Event, Kind};
use crate::wire::Direction;

/// Packet floors are written this often: a restart may accept again what was seen in the last second.
const STORE_EVERY: Duration = Duration::from_secs(1);
/// The link is down after so many heartbeat periods without a frame: two may be lost.
const ALARM_HEARTBEATS: u64 = 3;
/// ... and a little more: lanes tell every 100 ms what they have heard, and a busy one later.
const ALARM_MORE_NS: Nanos = 200_000_000;

/// What a lane has seen of the link.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// Newest epoch and its lanes.
    state: ReceiverState,
    /// When the last genuine frame came, on the process's clock.
    last_frame_at: Option<Nanos>,
    /// The sender's heartbeat period.
    heartbeat_ns: Nanos,
    /// What the link lost since the control thread last looked.
    loss: LinkLoss,
}

/// The same, where lane and control thread both reach it. Neither holds it for longer than a copy takes.
#[derive(Debug, Default)]
pub struct SharedSeen(Mutex<Seen>);

impl SharedSeen {
    /// Notes what `receiver` has seen. For the lane, every 100 ms and at its end.
    pub fn note(&self, receiver: &mut Receiver) {
        let loss = receiver.take_link_loss();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.state.epoch = receiver.epoch();
        seen.state.floors.clear();
        seen.state.floors.extend(receiver.packet_floors());
        seen.last_frame_at = receiver.last_frame_at();
        seen.heartbeat_ns = receiver.heartbeat_ns();
        seen.loss.add(loss);
    }

    fn take(&self) -> Seen {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = seen.clone();
        seen.loss = LinkLoss::default();
        copy
    }
}

/// The watch over one link.
#[derive(Debug)]
pub struct LinkWatch {
    direction: Direction,
    state_dir: PathBuf,
    /// What is on disk.
    stored: ReceiverState,
    stored_at: Option<Instant>,
    /// The last attempt failed, which was told.
    store_failed: bool,
    /// By lane, as of the last look.
    seen: Vec<Seen>,
    /// The alarm was raised.
    down: bool,
    /// The other host said that it stops, so that silence is no alarm.
    stopped: bool,
    loss_since_report: LinkLoss,
    loss: LinkLoss,
}

impl LinkWatch {
    /// Begins with what was remembered in `state_dir`. Finds out now, not at the first new epoch, that the folder cannot be
    /// written.
    pub fn start(state_dir: &Path, direction: Direction) -> Result<Self, StateError> {
        let stored = load_receiver(state_dir, direction)?;
        store_receiver(state_dir, direction, &stored, false)?;
        Ok(Self {
            direction,
            state_dir: state_dir.to_owned(),
            stored,
            stored_at: None,
            store_failed: false,
            seen: Vec::new(),
            down: false,
            stopped: false,
            loss_since_report: LinkLoss::default(),
            loss: LinkLoss::default(),
        })
    }

    /// What is remembered: where receivers begin.
    pub fn remembered(&self) -> &ReceiverState {
        &self.stored
    }

    /// Collects what all lanes have seen.
    pub fn look<'a>(&mut self, lanes: impl Iterator<Item = &'a SharedSeen>) {
        self.seen.clear();
        self.seen.extend(lanes.map(SharedSeen::take));
        for loss in self.seen.iter().map(|seen| seen.loss) {
            self.loss_since_report.add(loss);
            self.loss.add(loss);
        }
    }

    /// The newest epoch of all: never below what is remembered, whatever lanes have seen yet.
    pub fn epoch(&self) -> u32 {
        self.seen.iter().map(|seen| seen.state.epoch).fold(self.stored.epoch, u32::max)
    }

    /// The lanes that do not know of that epoch yet.
    pub fn lanes_behind(&self) -> impl Iterator<Item = usize> {
        let epoch = self.epoch();
        self.seen.iter().enumerate().filter(move |(_, seen)| seen.state.epoch < epoch).map(|(lane, _)| lane)
    }

    /// Brings state to disk, if it is time to or `at_once`.
    pub fn store(&mut self, at_once: bool) {
        let state = self.state();
        let new_epoch = state.epoch != self.stored.epoch;
        let due = self.stored_at.is_none_or(|at| at.elapsed() >= STORE_EVERY);
        let urgent = new_epoch && !self.store_failed;
        if !(urgent || due || at_once) || state == self.stored {
            return;
        }
        self.stored_at = Some(Instant::now());
        match store_receiver(&self.state_dir, self.direction, &state, new_epoch) {
            Ok(()) => {
                self.stored = state;
                if std::mem::take(&mut self.store_failed) {
                    tracing::info!("state is written again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.store_failed, true) {
                    tracing::error!("{error}; until then a restart may accept old frames again");
                }
            }
        }
    }

    /// The newest epoch, and what all lanes together have seen of it.
    fn state(&self) -> ReceiverState {
        let epoch = self.epoch();
        let current = self.seen.iter().filter(|seen| seen.state.epoch == epoch);
        let mut floors: Vec<_> = current.flat_map(|seen| seen.state.floors.iter().copied()).collect();
        if epoch == self.stored.epoch {
            // A lane of the sender that was not heard since our start keeps what is remembered of it.
            let heard = |lane: u16| floors.iter().any(|(heard, _)| *heard == lane);
            let unheard: Vec<_> = self.stored.floors.iter().filter(|(lane, _)| !heard(*lane)).copied().collect();
            floors.extend(unheard);
        }
        ReceiverState { epoch, floors }
    }

    /// Raises the alarm when the link falls silent, and ends it when it is heard again. Logs, and gives what syslog should
    /// be told.
    pub fn alarm(&mut self, now: Nanos) -> Option<Event> {
        let last = self.seen.iter().filter_map(|seen| seen.last_frame_at).max()?;
        let heartbeat_ns = self.seen.iter().map(|seen| seen.heartbeat_ns).max().unwrap_or(0);
        let silent_ns = now.saturating_sub(last);
        let silent = silent_ns > heartbeat_ns * ALARM_HEARTBEATS + ALARM_MORE_NS;
        let peer = self.peer();
        if silent && !self.down && !self.stopped {
            self.down = true;
            let text = format!(
                "nothing from {peer} for {} ms: link down, or {peer} gone; waiting for it to come back",
                silent_ns / 1_000_000
            );
            tracing::error!("{text}");
            return Some(Event::new(Kind::LinkDown, "silent", text));
        }
        if !silent && std::mem::take(&mut self.down) {
            let text = format!("{peer} is heard again");
            tracing::warn!("{text}");
            return Some(Event::new(Kind::LinkUp, "heard", text));
        }
        None
    }

    /// The sender has started anew, with `epoch`. Logs, and gives what syslog should be told.
    pub fn peer_started(&mut self, epoch: u32) -> Event {
        self.stopped = false;
        let peer = self.peer();
        tracing::info!(epoch, "{peer} has started: all older sessions are closed");
        Event::new(Kind::Relay, "epoch", format!("{peer} has started, epoch {epoch}"))
    }

    /// The sender says that it stops.
    pub fn peer_stops(&mut self) {
        if !std::mem::replace(&mut self.stopped, true) {
            tracing::info!("{} says that it stops", self.peer());
        }
    }

    /// What the link lost since the last call, and since the start.
    pub fn take_loss(&mut self) -> (LinkLoss, LinkLoss) {
        (std::mem::take(&mut self.loss_since_report), self.loss)
    }

    /// The host at the other end.
    const fn peer(&self) -> &'static str {
        match self.direction {
            Direction::Forward => "BLUE",
            Direction::Return => "RED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;
    const HEARTBEAT_NS: Nanos = 250 * MS;

    /// A folder of its own for each test, gone with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("relay-watch-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a temporary folder");
            Self(path)
        }

        fn watch(&self, direction: Direction) -> LinkWatch {
            LinkWatch::start(&self.0, direction).expect("writable")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn seen(epoch: u32, floors: &[(u16, u64)], last_frame_at: Option<Nanos>) -> SharedSeen {
        let state = ReceiverState { epoch, floors: floors.to_vec() };
        let loss = LinkLoss { expected_frames: 100, missing_frames: 2, longest_burst_frames: 1, in_bursts_frames: 0 };
        SharedSeen(Mutex::new(Seen { state, last_frame_at, heartbeat_ns: HEARTBEAT_NS, loss }))
    }

    #[test]
    fn a_new_epoch_is_stored_at_once_and_reaches_every_lane() {
        let folder = Folder::new("epoch");
        let mut watch = folder.watch(Direction::Forward);
        let lanes = [seen(5, &[(0, 900)], None), seen(6, &[(1, 40)], None)];
        watch.look(lanes.iter());
        assert_eq!((watch.epoch(), watch.lanes_behind().collect::<Vec<_>>()), (6, vec![0]));
        watch.store(false);
        assert_eq!(folder.watch(Direction::Forward).remembered(), &ReceiverState { epoch: 6, floors: vec![(1, 40)] });
    }

    #[test]
    fn floors_of_lanes_that_are_not_heard_again_stay() {
        let folder = Folder::new("floors");
        let before = ReceiverState { epoch: 6, floors: vec![(0, 10), (1, 20)] };
        store_receiver(&folder.0, Direction::Return, &before, false).expect("writable");
        let mut watch = folder.watch(Direction::Return);
        watch.look([seen(6, &[(1, 25)], None)].iter());
        watch.store(true);
        assert_eq!(folder.watch(Direction::Return).remembered().floors, [(1, 25), (0, 10)]);
    }

    /// As right after the start, or when a lane has died.
    #[test]
    fn lanes_that_tell_nothing_wipe_nothing() {
        let folder = Folder::new("nothing");
        let before = ReceiverState { epoch: 6, floors: vec![(0, 10)] };
        store_receiver(&folder.0, Direction::Forward, &before, false).expect("writable");
        let mut watch = folder.watch(Direction::Forward);
        for lanes in [vec![], vec![SharedSeen::default()]] {
            watch.look(lanes.iter());
            watch.store(true);
            assert_eq!(folder.watch(Direction::Forward).remembered(), &before);
        }
    }

    #[test]
    fn the_alarm_names_the_host_that_is_silent_once() {
        let folder = Folder::new("alarm");
        for (direction, peer) in [(Direction::Forward, "BLUE"), (Direction::Return, "RED")] {
            let mut watch = folder.watch(direction);
            assert!(watch.alarm(60_000 * MS).is_none(), "never heard: it may not have started yet");
            watch.look([seen(6, &[], Some(1000 * MS))].iter());
            assert!(watch.alarm(1950 * MS).is_none(), "three heartbeats, and told late");
            let down = watch.alarm(2000 * MS).expect("more than that");
            assert!(down.text.starts_with(&format!("nothing from {peer} for 1000 ms")), "{}", down.text);
            assert!(watch.alarm(2100 * MS).is_none(), "told already");
            watch.look([seen(6, &[], Some(2200 * MS))].iter());
            let up = watch.alarm(2300 * MS).expect("a frame came");
            assert_eq!((up.kind, up.text), (Kind::LinkUp, format!("{peer} is heard again")));
        }
    }

    #[test]
    fn silence_after_a_farewell_is_no_alarm_until_the_next_start() {
        let folder = Folder::new("farewell");
        let mut watch = folder.watch(Direction::Forward);
        watch.look([seen(6, &[], Some(1000 * MS))].iter());
        watch.peer_stops();
        assert!(watch.alarm(9000 * MS).is_none());
        assert_eq!(watch.peer_started(7).text, "BLUE has started, epoch 7");
        assert!(watch.alarm(9000 * MS).is_some());
    }

    #[test]
    fn losses_are_given_once_and_in_all() {
        let folder = Folder::new("losses");
        let mut watch = folder.watch(Direction::Forward);
        let lane = seen(6, &[], None);
        watch.look([&lane].into_iter());
        watch.look([&lane].into_iter());
        let (since, all) = watch.take_loss();
        assert_eq!((since, all.missing_frames), (all, 2), "a lane's loss is taken from it");
        assert_eq!((watch.take_loss().0, watch.take_loss().1), (LinkLoss::default(), all));
    }
}
