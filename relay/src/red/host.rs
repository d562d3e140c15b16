//! RED's control thread: reloads, counters, notices, the link's alarm, state on disk.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::lane::{Order, Seen, Shared};
use super::neighbour::Neighbours;
use super::notice::Notice;
use super::promise;
use super::table::Table;
use crate::config::{self, Purpose, Role, Site};
use crate::host::{Chatter, Clock, Controlled, Lanes, RedState, TcpRuntime, UdpDrops, print_report, store_red};
use crate::link::{LinkLoss, Nanos};
use crate::steer::ReceivingLink;
use crate::telemetry::counters::ReceiveCounters;
use crate::telemetry::reasons::FrameDropped;
use crate::telemetry::report::Occasion;
use crate::telemetry::syslog::{Event, Kind, Syslog, Target};

/// Packet floors are written this often: a restart may accept again what was seen in the last second.
const STORE_EVERY: Duration = Duration::from_secs(1);
/// The link is down after so many heartbeat periods without a frame: two may be lost.
const ALARM_HEARTBEATS: u64 = 3;

/// What the control thread watches over time.
#[derive(Debug, Default)]
pub struct Watch {
    stored_at: Option<Instant>,
    /// The last attempt failed, which was told.
    store_failed: bool,
    /// The alarm was raised.
    down: bool,
    /// BLUE said that it stops, so that silence is no alarm.
    stopped: bool,
    loss_since_report: LinkLoss,
    loss: LinkLoss,
    mismatches: HashSet<(u16, u8)>,
    /// The digest of BLUE's streams that was told to differ from ours.
    differs_from: Option<u64>,
}

/// The RED host.
pub struct RedHost {
    /// The site file.
    pub path: PathBuf,
    /// The site in force.
    pub site: Site,
    /// Its streams.
    pub table: Arc<Table>,
    /// All counters.
    pub counters: Arc<ReceiveCounters>,
    /// Next hops, with `driver = "xdp"`.
    pub neighbours: Option<Neighbours>,
    /// The lanes.
    pub lanes: Lanes<Order, Shared>,
    /// Serves TCP connections, until RED stops.
    pub runtime: Option<TcpRuntime>,
    /// The XDP program, with `driver = "xdp"`.
    pub program: Option<ReceivingLink>,
    /// What lanes tell.
    pub notices: crossbeam_channel::Receiver<Notice>,
    /// The way to syslog.
    pub syslog: Syslog,
    /// Driver and modes, for the link's counter line.
    pub obtained: String,
    /// The clock of all lanes.
    pub clock: Clock,
    /// What is on disk.
    pub state: RedState,
    /// What is watched over time.
    pub watch: Watch,
    /// Limits log lines about single sessions.
    pub chatter: Chatter,
}

impl RedHost {
    /// Tells syslog that we are here.
    pub fn announce_start(&self) {
        self.syslog.send(Event::new(Kind::Relay, "start", format!("RED started, {}", self.obtained)));
    }

    /// Collects what all lanes have seen.
    fn look(&mut self) -> Vec<Seen> {
        let take = |shared: &Arc<Shared>| {
            let mut seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let copy = seen.clone();
            seen.loss = LinkLoss::default();
            copy
        };
        let seen: Vec<Seen> = self.lanes.shared().map(take).collect();
        for loss in seen.iter().map(|seen| seen.loss) {
            add(&mut self.watch.loss_since_report, loss);
            add(&mut self.watch.loss, loss);
        }
        seen
    }

    /// Brings all lanes to the newest epoch, and state to disk.
    fn store(&mut self, seen: &[Seen], now: bool) {
        let epoch = seen.iter().map(|seen| seen.state.epoch).max().unwrap_or(0);
        let current = || seen.iter().filter(|seen| seen.state.epoch == epoch);
        for (lane, _) in seen.iter().enumerate().filter(|(_, seen)| seen.state.epoch < epoch) {
            // A lane without room for the order learns of the epoch from its next frame or from the next tick.
            let _ = self.lanes.order(lane, Order::Epoch(epoch));
        }
        let mut floors: Vec<_> = current().flat_map(|seen| seen.state.floors.iter().copied()).collect();
        if epoch == self.state.epoch {
            // A lane of BLUE that was not heard since our start keeps what is remembered of it.
            let unheard = self.state.floors.iter().filter(|(lane, _)| !floors.iter().any(|(heard, _)| heard == lane));
            let unheard: Vec<_> = unheard.copied().collect();
            floors.extend(unheard);
        }
        let state = RedState { epoch, floors };
        let new_epoch = state.epoch != self.state.epoch;
        let due = self.watch.stored_at.is_none_or(|at| at.elapsed() >= STORE_EVERY);
        let urgent = new_epoch && !self.watch.store_failed;
        if !(urgent || due || now) || state == self.state {
            return;
        }
        self.watch.stored_at = Some(Instant::now());
        // A lane that has heard nothing yet must not wipe what is remembered of its epoch.
        if state.floors.is_empty() && !new_epoch {
            return;
        }
        match store_red(&self.site.red.state_dir, &state, new_epoch) {
            Ok(()) => {
                self.state = state;
                if std::mem::take(&mut self.watch.store_failed) {
                    tracing::info!("state is written again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.watch.store_failed, true) {
                    tracing::error!("{error}; until then a restart may accept old frames again");
                }
            }
        }
    }

    fn alarm(&mut self, seen: &[Seen]) {
        let Some(last) = seen.iter().filter_map(|seen| seen.last_frame_at).max() else { return };
        let heartbeat_ns = seen.iter().map(|seen| seen.heartbeat_ns).max().unwrap_or(0);
        let silent_ns: Nanos = self.clock.now().saturating_sub(last);
        let silent = silent_ns > heartbeat_ns * ALARM_HEARTBEATS;
        if silent && !self.watch.down && !self.watch.stopped {
            self.watch.down = true;
            let text = format!(
                "nothing from BLUE for {} ms: link down, or BLUE gone; waiting for it to come back",
                silent_ns / 1_000_000
            );
            tracing::error!("{text}");
            self.syslog.send(Event::new(Kind::LinkDown, "silent", text));
        } else if !silent && std::mem::take(&mut self.watch.down) {
            tracing::warn!("BLUE is heard again");
            self.syslog.send(Event::new(Kind::LinkUp, "heard", "BLUE is heard again"));
        }
    }

    fn notices(&mut self) {
        while let Ok(notice) = self.notices.try_recv() {
            match notice {
                Notice::NewEpoch(epoch) => {
                    self.watch.stopped = false;
                    tracing::info!(epoch, "BLUE has started: all older sessions are closed");
                    self.syslog.send(Event::new(Kind::Relay, "epoch", format!("BLUE has started, epoch {epoch}")));
                }
                Notice::Stopping => {
                    if !std::mem::replace(&mut self.watch.stopped, true) {
                        tracing::info!("BLUE says that it stops");
                    }
                }
                Notice::TablesDiffer(digest) => self.tables_differ(digest),
                Notice::Mismatch { channel, theirs, ours } => self.mismatch(channel, theirs, ours),
                Notice::SessionFailed { stream, session, error } => {
                    if self.chatter.admit() {
                        tracing::warn!(%stream, %session, %error, "session cannot be delivered: check the destination's route and the open file limit");
                    }
                    let text = format!("session {session} cannot be delivered: {error}");
                    let event = Event::new(Kind::SessionAborted, "send_error", text);
                    self.syslog.send(Event { stream: Some(stream), ..event });
                }
            }
        }
    }

    fn mismatch(&mut self, channel: u16, theirs: u8, ours: Option<u8>) {
        if !self.watch.mismatches.insert((channel, theirs)) {
            return;
        }
        let what = if ours.is_some() {
            "BLUE's stream on this channel is of another type than ours"
        } else {
            "BLUE has a stream on this channel, this host's file has none: its traffic is dropped"
        };
        tracing::warn!(channel, "{what}; use the same site file on both hosts");
    }

    fn tables_differ(&mut self, digest: u64) {
        if self.watch.differs_from.replace(digest) != Some(digest) {
            tracing::warn!(
                "BLUE's streams differ from this host's: what only one side has is not delivered; use the same site file on both hosts"
            );
        }
    }

    fn read_program(&mut self) {
        let Some(program) = &self.program else {
            let link = self.counters.link();
            let overflow = link.control().dropped.of(FrameDropped::Overflow);
            return overflow.set(overflow.get().max(UdpDrops::read().of(self.site.link.port)));
        };
        match program.counters() {
            Ok(counts) => {
                let dropped = counts.not_frame + counts.other_port + counts.bad_magic + counts.fragment;
                let to = self.counters.link();
                to.control().dropped.of(FrameDropped::NotForUs).set(dropped);
                to.control().dropped.of(FrameDropped::Malformed).set(counts.malformed);
                to.control().dropped.of(FrameDropped::NoSocket).set(counts.no_socket);
            }
            Err(error) => tracing::warn!("{error}"),
        }
    }

    fn try_reload(&mut self) -> anyhow::Result<()> {
        let loaded = config::load(&self.path, Purpose::Run(Role::Red))?;
        for warning in &loaded.warnings {
            tracing::warn!("{}", warning.one_line());
        }
        crate::host::warn_not_carried(&loaded.site);
        let change = config::diff(&self.site, &loaded.site);
        for key in change.restart_needed_by(Role::Red) {
            tracing::warn!(key, "changed in the site file, but takes effect only at the next start");
        }
        let neighbours = self.neighbours.as_ref();
        let table = Arc::new(Table::new(&loaded.site, Some(&self.table), &self.counters, neighbours));
        self.lanes.order_all(|| Order::Table(Arc::clone(&table)))?;
        if let Some(neighbours) = neighbours {
            neighbours.retain(|destination| table.iter().any(|entry| entry.destination.ip() == destination));
        }
        if loaded.site.red.syslog != self.site.red.syslog {
            self.syslog =
                Syslog::start(Target::resolve(loaded.site.red.syslog.as_ref())).context("cannot start syslog")?;
        }
        tracing::info!(
            added = change.added.len(),
            removed = change.removed.len(),
            changed = change.changed.len(),
            "reloaded: streams are in force"
        );
        self.table = table;
        self.watch.mismatches.clear();
        self.watch.differs_from = None;
        self.site.streams = loaded.site.streams;
        self.site.red.interval = loaded.site.red.interval;
        self.site.red.syslog = loaded.site.red.syslog;
        Ok(())
    }
}

impl Controlled for RedHost {
    fn reload(&mut self) {
        if let Err(error) = self.try_reload() {
            crate::host::log_refused_reload(&error);
            self.syslog.send(Event::new(Kind::Relay, "reload", "reload refused: the site file has errors"));
        }
    }

    fn report(&mut self, occasion: Occasion) {
        self.read_program();
        let loss = std::mem::take(&mut self.watch.loss_since_report);
        if let Some(advice) = promise::advice(&self.site, &loss, &self.watch.loss) {
            tracing::warn!("{advice}");
        }
        let all = if occasion == Occasion::Summary { self.watch.loss } else { loss };
        let link = format!(
            "{} link_expected={} link_missing={} longest_burst={}",
            self.obtained, all.expected_frames, all.missing_frames, all.longest_burst_frames
        );
        print_report(occasion, &self.counters.samples(), &link);
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        let seen = self.look();
        self.store(&seen, false);
        self.notices();
        self.alarm(&seen);
        self.lanes.check()
    }

    fn interval(&self) -> Duration {
        self.site.red.interval
    }

    fn stop(mut self) {
        self.read_program();
        self.lanes.stop(|| Order::Stop);
        drop(self.runtime.take());
        self.notices();
        let seen = self.look();
        self.store(&seen, true);
        self.report(Occasion::Summary);
        self.syslog.send(Event::new(Kind::Relay, "stop", "RED stopped"));
    }
}

fn add(to: &mut LinkLoss, more: LinkLoss) {
    to.expected_frames += more.expected_frames;
    to.missing_frames += more.missing_frames;
    to.longest_burst_frames = to.longest_burst_frames.max(more.longest_burst_frames);
}
