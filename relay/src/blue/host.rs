//! BLUE's control thread: reloads, counters, notices.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::files::Watchers;
use super::notice::Notice;
use super::return_link::ReturnLink;
use super::source::Shared;
use super::table::Table;
use super::tcp::Listeners;
use crate::config::{self, Purpose, Role, Site};
use crate::host::{Chatter, Controlled, FilesChatter, Lanes, UdpDrops, print_files, print_report, tx_frames};
use crate::lane::SendingOrder;
use crate::steer::{BlueIngress, DropEvent, DropReason, Events, SendingLink};
use crate::tcp::Memory;
use crate::telemetry::counters::SendCounters;
use crate::telemetry::reasons::{ReceiveRefused, SendRefused};
use crate::telemetry::report::Occasion;
use crate::telemetry::syslog::{Event, Kind, Syslog, Target};

/// The XDP programs at work.
pub struct Programs {
    /// Towards the zone.
    pub ingress: BlueIngress,
    /// On the link.
    pub link: SendingLink,
    /// Drop events of the first.
    pub events: Option<Events>,
}

/// Datagrams of a stream that found no room in front of the lanes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overflow {
    queues: u64,
    sockets: u64,
}

/// The BLUE host.
pub struct BlueHost {
    /// The site file.
    pub path: PathBuf,
    /// The site in force.
    pub site: Site,
    /// Its streams.
    pub table: Arc<Table>,
    /// All counters.
    pub counters: Arc<SendCounters>,
    /// The lanes.
    pub lanes: Lanes<SendingOrder<Table>, Shared>,
    /// The return link, if there is one.
    pub return_link: Option<ReturnLink>,
    /// Where what waits for clients counts.
    pub memory: Arc<Memory>,
    /// The TCP streams' listeners, until BLUE stops.
    pub listeners: Option<Listeners>,
    /// The watchers of places of files, until BLUE stops.
    pub watchers: Option<Watchers>,
    /// The XDP programs, with `driver = "xdp"`.
    pub programs: Option<Programs>,
    /// What lanes tell.
    pub notices: crossbeam_channel::Receiver<Notice>,
    /// The way to syslog.
    pub syslog: Syslog,
    /// Driver and modes, for the link's counter line.
    pub obtained: String,
    /// Frames that every lane's port has.
    pub tx_frames: usize,
    /// By slot: datagrams that the XDP program had given to the queues at the last tick.
    pub allowed_before: Vec<u64>,
    /// By lane: how often its queues had been found empty at the last tick.
    pub emptied_before: Vec<u64>,
    /// Datagrams that all queues together hold.
    pub queue_room: u64,
    /// By slot: what overflowed.
    pub overflow: HashMap<u16, Overflow>,
    /// The digest of RED's streams that was told to differ from ours.
    pub differs_from: Option<u64>,
    /// Limits log lines about single packets.
    pub chatter: Chatter,
    /// Limits log lines about single files.
    pub files_chatter: FilesChatter,
}

impl BlueHost {
    /// Tells syslog that we are here.
    pub fn announce_start(&self, epoch: u32) {
        self.syslog.send(Event::new(Kind::Relay, "start", format!("BLUE started, epoch {epoch}, {}", self.obtained)));
    }

    fn notices(&mut self) {
        while let Ok(notice) = self.notices.try_recv() {
            match notice {
                Notice::Refused { slot, source, reason } => self.refused(slot, source, reason),
                Notice::SessionBroken { stream, source, session, reason } => {
                    self.session_broken(stream, source, &session, &reason);
                }
                Notice::NotStatus { slot } => self.not_status(slot),
                Notice::File { stream, reason, text } => {
                    self.files_chatter.warn(&stream, &text);
                    self.syslog.send(Event { stream: Some(stream), ..Event::new(Kind::File, reason, text) });
                }
                Notice::NewEpoch(epoch) => {
                    if let Some(link) = &mut self.return_link {
                        self.syslog.send(link.peer_started(epoch));
                    }
                }
                Notice::Stopping => self.return_link.iter_mut().for_each(ReturnLink::peer_stops),
                Notice::TablesDiffer(digest) => {
                    if self.differs_from.replace(digest) != Some(digest) {
                        tracing::warn!("RED's streams differ from this host's; use the same site file on both hosts");
                    }
                }
            }
        }
    }

    fn refused(&mut self, slot: u16, source: SocketAddr, reason: SendRefused) {
        let is_tcp = self.table.get(slot).is_some_and(|entry| entry.kind.is_tcp());
        let text = match reason {
            SendRefused::SessionLimit => "new session refused: the stream has max_sessions already",
            SendRefused::OpenFailed => "client dropped: RED cannot connect to the destination",
            SendRefused::OpenTimeout => "client dropped: RED did not answer in time",
            _ if is_tcp => "connection dropped: source not allowed",
            _ => "datagram dropped: source not allowed",
        };
        self.tell_refused(slot, source, reason.name(), text);
    }

    fn session_broken(&mut self, stream: String, source: SocketAddr, session: &str, reason: &str) {
        if self.chatter.admit() {
            tracing::warn!(%stream, %source, session, "session broken off: {reason}");
        }
        self.syslog.send(Event {
            stream: Some(stream),
            source: Some(source.ip()),
            ..Event::new(Kind::SessionAborted, "aborted", format!("session {session} broken off: {reason}"))
        });
    }

    fn not_status(&mut self, slot: u16) {
        let Some(entry) = self.table.get(slot) else { return };
        let text = "dropped what came over the return link: it is no status, and the link may carry nothing else";
        if self.chatter.admit() {
            tracing::error!(stream = %entry.name, "{text}");
        }
        let event = Event::new(Kind::Drop, ReceiveRefused::NotStatus.name(), text);
        self.syslog.send(Event { stream: Some(entry.name.clone()), ..event });
    }

    fn tell_refused(&mut self, slot: u16, source: SocketAddr, reason: &'static str, text: &str) {
        let Some(entry) = self.table.get(slot) else { return };
        if self.chatter.admit() {
            tracing::warn!(stream = %entry.name, %source, port = entry.port, reason, "{text}");
        }
        self.syslog.send(Event {
            stream: Some(entry.name.clone()),
            source: Some(source.ip()),
            port: Some(entry.port),
            ..Event::new(Kind::Drop, reason, format!("{text}: {source} to {}", entry.name))
        });
    }

    fn drop_events(&mut self) {
        let Some(mut events) = self.programs.as_mut().and_then(|programs| programs.events.take()) else { return };
        events.drain(|event: DropEvent| {
            let (reason, text) = match event.reason {
                DropReason::RefusedSource => (SendRefused::Source.name(), "packet dropped: source not allowed"),
                DropReason::NoSocket => (SendRefused::NoSocket.name(), "packet dropped: no lane serves its queue"),
            };
            self.tell_refused(event.slot as u16, event.source, reason, text);
        });
        if let Some(programs) = &mut self.programs {
            programs.events = Some(events);
        }
    }

    /// Takes over the kernel's counts.
    ///
    /// What the XDP program had given to the queues by the last tick and no lane has taken by now either still waits in
    /// a ring, or found no room there. It does not wait if the queues were empty meanwhile, or if no lane runs any more.
    fn read_programs(&mut self) {
        let Some(programs) = &self.programs else {
            return self.table.tcp().for_each(|(_, entry)| entry.clients.publish(entry.counters.control(), 0));
        };
        let emptied = self.were_queues_empty();
        let waiting_max = if emptied { 0 } else { self.queue_room };
        let counts = match programs.ingress.counters() {
            Ok(counts) => counts,
            Err(error) => return tracing::warn!("{error}"),
        };
        // After the program's counters: whatever they count came before the next time that a queue is empty.
        self.emptied_before = self.lanes.shared().map(|shared| shared.emptied.get()).collect();
        let link = self.counters.link();
        link.control().unmatched.set(counts.other.other + counts.other.malformed);
        link.control().headers_too_deep.set(counts.other.headers_too_deep);
        link.control().publish_program(&programs.link);
        for (slot, kernel) in counts.streams {
            let Some(entry) = self.table.get(slot as u16) else { continue };
            let to = entry.counters.control();
            entry.clients.publish(to, kernel.refused_source);
            to.refused.of(SendRefused::NoSocket).set(kernel.no_socket);
            let index = slot as usize;
            if self.allowed_before.len() <= index {
                self.allowed_before.resize(index + 1, 0);
            }
            let allowed = std::mem::replace(&mut self.allowed_before[index], kernel.allowed);
            let taken: u64 = self.lanes.shared().map(|shared| shared.from_queues[index].get()).sum();
            let overflow = &mut self.overflow.entry(slot as u16).or_default().queues;
            *overflow = (*overflow).max(allowed.saturating_sub(taken).saturating_sub(waiting_max));
        }
    }

    /// Was every queue empty at some time since the last tick, or will nobody empty it?
    fn were_queues_empty(&self) -> bool {
        self.lanes.states().enumerate().all(|(number, (shared, runs))| {
            let before = self.emptied_before.get(number).copied().unwrap_or(0);
            shared.emptied.get() != before || !runs
        })
    }

    /// Takes over what overflowed in front of the lanes. A socket's drops are known only while it is open.
    fn read_overflow(&mut self) {
        let drops = UdpDrops::read();
        for (slot, entry) in self.table.udp() {
            let overflow = self.overflow.entry(slot).or_default();
            overflow.sockets = overflow.sockets.max(drops.of(entry.port));
            let to = entry.counters.control();
            to.refused.of(SendRefused::Overflow).set(overflow.queues + overflow.sockets);
        }
    }

    fn try_reload(&mut self) -> anyhow::Result<()> {
        let loaded = config::load(&self.path, Purpose::Run(Role::Blue))?;
        for warning in &loaded.warnings {
            tracing::warn!("{}", warning.one_line());
        }
        let change = config::diff(&self.site, &loaded.site);
        for key in change.restart_needed_by(Role::Blue) {
            tracing::warn!(key, "changed in the site file, but takes effect only at the next start");
        }
        let return_counters = self.return_link.as_ref().map(ReturnLink::counters);
        let table = Arc::new(Table::new(&loaded.site, Some(&self.table), &self.counters, return_counters)?);
        anyhow::ensure!(
            tx_frames(&table.sender_channels()) <= self.tx_frames,
            "the new `protect` needs more transmit frames than there are; restart to use it"
        );
        // While nothing has changed yet: a port may be taken.
        let opened = self.listeners.as_ref().map(|listeners| listeners.open(&table)).transpose()?;
        // Lanes first: a stream that they do not know yet must not get datagrams.
        if let Some(link) = &self.return_link {
            link.set_table(&table)?;
        }
        let encoder = table.encoder();
        self.lanes.order_all(|| SendingOrder::Table(Arc::clone(&table), table.sender_channels(), encoder.share()))?;
        self.memory.set_max(loaded.site.blue.buffer_bytes);
        if let Some(programs) = &mut self.programs {
            programs.ingress.update(&table.rules())?;
        }
        if let (Some(listeners), Some(opened)) = (&mut self.listeners, opened) {
            listeners.set_table(&table, opened);
        }
        if loaded.site.blue.syslog != self.site.blue.syslog {
            self.syslog =
                Syslog::start(Target::resolve(loaded.site.blue.syslog.as_ref())).context("cannot start syslog")?;
        }
        if let (Some(watchers), Some(listeners)) = (&mut self.watchers, &self.listeners) {
            watchers.set_site(&loaded.site, &table, listeners.runtime())?;
        }
        tracing::info!(
            added = change.added.len(),
            removed = change.removed.len(),
            changed = change.changed.len(),
            "reloaded: streams and source lists are in force"
        );
        self.table = table;
        self.differs_from = None;
        self.site.streams = loaded.site.streams;
        self.site.files = loaded.site.files;
        self.site.blue.buffer_bytes = loaded.site.blue.buffer_bytes;
        self.site.blue.interval = loaded.site.blue.interval;
        self.site.blue.syslog = loaded.site.blue.syslog;
        Ok(())
    }
}

impl Controlled for BlueHost {
    fn reload(&mut self) {
        if let Err(error) = self.try_reload() {
            crate::host::log_refused_reload(&error);
            self.syslog.send(Event::new(Kind::Relay, "reload", "reload refused: the site file has errors"));
        }
    }

    fn report(&mut self, occasion: Occasion) {
        self.read_overflow();
        print_report(occasion, &self.counters.samples(), &self.obtained);
        for source in self.watchers.iter().flat_map(Watchers::sources) {
            print_files(occasion, Role::Blue, &source.rules().files.name, &source.counted(), &source.progress);
        }
        if let Some(link) = &mut self.return_link {
            link.report(occasion);
        }
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        self.drop_events();
        self.read_programs();
        self.notices();
        if let Some(link) = &mut self.return_link
            && let Some(event) = link.tick()?
        {
            self.syslog.send(event);
        }
        self.lanes.check()
    }

    fn interval(&self) -> Duration {
        self.site.blue.interval
    }

    fn stop(mut self) {
        self.read_overflow();
        // No connection hands over anything more.
        drop(self.listeners.take());
        self.lanes.stop(|| SendingOrder::Stop);
        if let Some(link) = &mut self.return_link {
            link.stop();
        }
        self.notices();
        // Twice: what was not taken since the first look will not be taken any more.
        self.read_programs();
        self.read_programs();
        self.report(Occasion::Summary);
        self.syslog.send(Event::new(Kind::Relay, "stop", "BLUE stopped"));
    }
}
