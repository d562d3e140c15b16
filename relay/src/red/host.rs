//! RED's control thread: reloads, counters, notices, the link's alarm, state on disk.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::neighbour::Neighbours;
use super::notice::Notice;
use super::promise;
use super::return_link::ReturnLink;
use super::table::Table;
use crate::config::{self, Purpose, Role, Site};
use crate::host::{
    Chatter, Clock, Controlled, FilesChatter, Lanes, LinkWatch, SharedSeen, TcpRuntime, print_files, print_report,
};
use crate::lane::ReceivingOrder;
use crate::steer::ReceivingLink;
use crate::tcp::Memory;
use crate::telemetry::counters::ReceiveCounters;
use crate::telemetry::reasons::ReceiveRefused;
use crate::telemetry::report::Occasion;
use crate::telemetry::syslog::{Event, Kind, Syslog, Target};
use crate::wire::BENCH_CHANNEL;

/// How BLUE's site file is known to differ from ours: each difference is told once.
#[derive(Debug, Default)]
pub struct Files {
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
    pub lanes: Lanes<ReceivingOrder<Table>, SharedSeen>,
    /// The return link, if there is one.
    pub return_link: Option<ReturnLink>,
    /// Where what waits for destinations counts.
    pub memory: Arc<Memory>,
    /// Serves TCP connections, until RED stops.
    pub runtime: Option<TcpRuntime>,
    /// The XDP program, with `driver = "xdp"`.
    pub program: Option<ReceivingLink>,
    /// What lanes tell.
    pub notices: crossbeam_channel::Receiver<Notice>,
    /// What stores of files tell.
    pub files_notices: crossbeam_channel::Sender<Notice>,
    /// The way to syslog.
    pub syslog: Syslog,
    /// Driver and modes, for the link's counter line.
    pub obtained: String,
    /// The clock of all lanes.
    pub clock: Clock,
    /// The watch over the link.
    pub watch: LinkWatch,
    /// Whether both hosts have the same site file.
    pub files: Files,
    /// Limits log lines about single sessions.
    pub chatter: Chatter,
    /// Limits log lines about single files.
    pub files_chatter: FilesChatter,
}

impl RedHost {
    /// Has the files' stores look at what is left of the last run.
    pub fn start_files(&self) {
        if let Some(runtime) = &self.runtime {
            self.table.files().for_each(|store| store.start(runtime.handle(), &self.files_notices));
        }
    }

    /// Tells syslog that we are here.
    pub fn announce_start(&self) {
        self.syslog.send(Event::new(Kind::Relay, "start", format!("RED started, {}", self.obtained)));
    }

    /// Looks at what all lanes have seen, brings them to the newest epoch, and state to disk.
    fn look(&mut self, store_now: bool) {
        self.watch.look(self.lanes.shared().map(|seen| &**seen));
        for lane in self.watch.lanes_behind() {
            // A lane without room for the order learns of the epoch from its next frame or from the next tick.
            let _ = self.lanes.order(lane, ReceivingOrder::Epoch(self.watch.epoch()));
        }
        self.watch.store(store_now);
    }

    fn notices(&mut self) {
        while let Ok(notice) = self.notices.try_recv() {
            match notice {
                Notice::File { stream, reason, text } => {
                    self.files_chatter.warn(&stream, &text);
                    self.syslog.send(Event { stream: Some(stream), ..Event::new(Kind::File, reason, text) });
                }
                Notice::FileMissing { stream, text } => {
                    self.files_chatter.warn(&stream, &text);
                    self.syslog.send(Event { stream: Some(stream), ..Event::new(Kind::FileMissing, "missing", text) });
                }
                Notice::FileArrived { stream, text } => {
                    tracing::info!(files = %stream, "{text}");
                    self.syslog.send(Event { stream: Some(stream), ..Event::new(Kind::FileArrived, "arrived", text) });
                }
                Notice::NewEpoch(epoch) => self.syslog.send(self.watch.peer_started(epoch)),
                Notice::Stopping => self.watch.peer_stops(),
                Notice::TablesDiffer(digest) => self.tables_differ(digest),
                Notice::Mismatch { channel, theirs, ours } => self.mismatch(channel, theirs, ours),
                Notice::SessionAborted { stream, session, why } => {
                    if self.chatter.admit() {
                        tracing::warn!(%stream, %session, "session broken off: {why}");
                    }
                    let text = format!("session {session} broken off: {why}");
                    let event = Event::new(Kind::SessionAborted, "aborted", text);
                    self.syslog.send(Event { stream: Some(stream), ..event });
                }
                Notice::SessionRefused { stream, session, places } => {
                    if self.chatter.admit() {
                        tracing::warn!(%stream, %session, places, "session not delivered: all places are taken");
                    }
                    let text =
                        format!("session {session} not delivered: the stream has {places} sessions here already");
                    let event = Event::new(Kind::SessionAborted, ReceiveRefused::SessionLimit.name(), text);
                    self.syslog.send(Event { stream: Some(stream), ..event });
                }
                Notice::SessionFailed { stream, session, error } => {
                    if self.chatter.admit() {
                        tracing::warn!(%stream, %session, %error, "session cannot be delivered");
                    }
                    let text = format!("session {session} cannot be delivered: {error}");
                    let event = Event::new(Kind::SessionAborted, "send_error", text);
                    self.syslog.send(Event { stream: Some(stream), ..event });
                }
            }
        }
    }

    fn mismatch(&mut self, channel: u16, theirs: u8, ours: Option<u8>) {
        if !self.files.mismatches.insert((channel, theirs)) {
            return;
        }
        let what = if channel == BENCH_CHANNEL {
            "BLUE runs `relay bench send`, which is for `relay bench receive`: nothing of it is delivered"
        } else if ours.is_some() {
            "BLUE's stream on this channel is of another type than ours"
        } else {
            "BLUE has a stream on this channel, this host's file has none: its traffic is dropped"
        };
        let remedy =
            if channel == BENCH_CHANNEL { "start `relay blue` there" } else { "use the same site file on both hosts" };
        tracing::warn!(channel, "{what}; {remedy}");
    }

    fn tables_differ(&mut self, digest: u64) {
        if self.files.differs_from.replace(digest) != Some(digest) {
            tracing::warn!(
                "BLUE's streams differ from this host's: what only one side has is not delivered; use the same site file on both hosts"
            );
        }
    }

    fn read_program(&mut self) {
        let link = self.counters.link();
        match &self.program {
            Some(program) => link.control().publish_program(program),
            None => link.control().publish_socket(self.site.link.port),
        }
    }

    fn try_reload(&mut self) -> anyhow::Result<()> {
        let loaded = config::load(&self.path, Purpose::Run(Role::Red))?;
        for warning in &loaded.warnings {
            tracing::warn!("{}", warning.one_line());
        }
        let change = config::diff(&self.site, &loaded.site);
        for key in change.restart_needed_by(Role::Red) {
            tracing::warn!(key, "changed in the site file, but takes effect only at the next start");
        }
        let neighbours = self.neighbours.as_ref();
        let returns = self.return_link.as_ref();
        let counters = returns.map(ReturnLink::counters);
        let table = Table::new(&loaded.site, Some(&self.table), &self.counters, counters, neighbours)?;
        let table = Arc::new(table);
        if let Some(link) = returns {
            link.check_table(&table)?;
            // First: a session that begins is answered.
            link.set_table(&table)?;
        }
        self.lanes.order_all(|| ReceivingOrder::Table(Arc::clone(&table), table.channels().to_vec()))?;
        self.memory.set_max(loaded.site.red.buffer_bytes);
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
        self.start_files();
        self.files.mismatches.clear();
        self.files.differs_from = None;
        self.site.streams = loaded.site.streams;
        self.site.files = loaded.site.files;
        self.site.red.buffer_bytes = loaded.site.red.buffer_bytes;
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
        let (since, all) = self.watch.take_loss();
        if let Some(advice) = promise::advice(&self.site, &since, &all) {
            tracing::warn!("{advice}");
        }
        let told = if occasion == Occasion::Summary { all } else { since };
        let link = format!("{} {told}", self.obtained);
        print_report(occasion, &self.counters.samples(), &link);
        for store in self.table.files() {
            print_files(occasion, Role::Red, store.name(), &store.counts(), &store.progress);
        }
        if let Some(link) = &self.return_link {
            link.report(occasion);
        }
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        self.look(false);
        self.notices();
        if let Some(event) = self.watch.alarm(self.clock.now()) {
            self.syslog.send(event);
        }
        if let Some(link) = &mut self.return_link {
            link.check()?;
        }
        self.lanes.check()
    }

    fn interval(&self) -> Duration {
        self.site.red.interval
    }

    fn stop(mut self) {
        self.read_program();
        // What has ended is delivered; then BLUE is told of it, and of what is broken off.
        self.lanes.stop(|| ReceivingOrder::Stop);
        if let Some(link) = &mut self.return_link {
            link.stop();
        }
        drop(self.runtime.take());
        self.notices();
        self.look(true);
        self.report(Occasion::Summary);
        self.syslog.send(Event::new(Kind::Relay, "stop", "RED stopped"));
    }
}
