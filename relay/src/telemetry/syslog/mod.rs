//! Security and session events to syslog (RFC 5424).
//!
//! ```text
//! control thread --Syslog::send, never waits--> queue --> thread: limiter --> transport --> server
//! <28>1 TIME HOST relay PID DROP [relay@32473 stream="s" source="192.0.2.7" port="514" reason="source"] text
//! ```
//!
//! Owns a thread, a bounded queue and the connection. A server that is down costs messages, which are
//! counted, and nothing else: no caller ever waits for it. Lanes never come here; what they refuse
//! they count, and the control thread tells.

mod limit;
mod message;
mod transport;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::config;
use limit::{Key, Limiter};
use transport::Transport;

/// Events that may wait for the thread: a burst of drop events from the kernel's ring, and small.
const QUEUE_EVENTS: usize = 1024;
/// How often suppressed counts and a lost connection are looked after.
const TICK: Duration = Duration::from_millis(500);
/// How long stopping may take; the relay as a whole has 2 s.
const STOP_PATIENCE: Duration = Duration::from_secs(1);
/// Where local syslog daemons listen.
const LOCAL_SOCKET: &str = "/dev/log";

/// What an event is about; decides its MSGID and severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Traffic was refused: `DROP`, warning.
    Drop,
    /// A session began: `SESSION`, informational.
    SessionOpened,
    /// A session ended as it should: `SESSION`, informational.
    SessionClosed,
    /// A session was aborted: `SESSION`, warning.
    SessionAborted,
    /// Trouble with a file: `FILE`, warning.
    File,
    /// A file that BLUE has sent never arrived: `FILE`, error.
    FileMissing,
    /// A file that was missing has arrived: `FILE`, notice.
    FileArrived,
    /// Heartbeats stopped, or the link's interface went down: `LINK`, error.
    LinkDown,
    /// The link is back: `LINK`, notice.
    LinkUp,
    /// The relay started, stopped or was reconfigured: `RELAY`, notice.
    Relay,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it is about.
    pub kind: Kind,
    /// The stream's name, where there is one.
    pub stream: Option<String>,
    /// The sender's address, where there is one.
    pub source: Option<IpAddr>,
    /// The port that was asked for, where there is one.
    pub port: Option<u16>,
    /// Stable reason such as `session_limit`; the name of a
    /// [`Reason`](crate::telemetry::reasons::Reason) where it counts as one.
    pub reason: &'static str,
    /// For people, one short line.
    pub text: String,
}

impl Event {
    /// An event with nothing but a reason and a text; set the other fields where they are known.
    pub fn new(kind: Kind, reason: &'static str, text: impl Into<String>) -> Self {
        Self { kind, stream: None, source: None, port: None, reason, text: text.into() }
    }

    fn key(&self) -> Key {
        Key { kind: self.kind, reason: self.reason, stream: self.stream.clone(), source: self.source }
    }
}

/// Where messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nowhere: the file names nothing and this host has no syslog.
    None,
    /// A server or socket.
    Some(config::Syslog),
}

impl Target {
    /// What the site file says; without a word, the local syslog if this host has one.
    pub fn resolve(configured: Option<&config::Syslog>) -> Self {
        match configured {
            Some(syslog) => Self::Some(syslog.clone()),
            None if Path::new(LOCAL_SOCKET).exists() => Self::Some(config::Syslog::Local(PathBuf::from(LOCAL_SOCKET))),
            None => Self::None,
        }
    }
}

/// What became of the events so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Messages handed to the system.
    pub sent: u64,
    /// Events held back by the limiter; follow-up messages tell of them.
    pub suppressed: u64,
    /// Messages lost because the target was down for too long or the queue was full.
    pub lost: u64,
    /// Failed attempts to connect or send.
    pub failures: u64,
}

/// The counts behind [`Account`].
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    suppressed: AtomicU64,
    lost: AtomicU64,
    failures: AtomicU64,
}

/// The way to syslog. Dropping it sends what is queued, for at most a second.
#[derive(Debug)]
pub struct Syslog {
    queue: Option<Sender<Event>>,
    counts: Arc<Counts>,
    done: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Syslog {
    /// Starts the thread that sends to `target`. Nothing is contacted before the first event, and a
    /// target that is down is no error.
    ///
    /// # Errors
    /// What the system says when no thread can be made.
    pub fn start(target: Target) -> std::io::Result<Self> {
        let counts = Arc::new(Counts::default());
        let (tell_done, done) = bounded(1);
        let Target::Some(target) = target else {
            return Ok(Self { queue: None, counts, done, thread: None });
        };
        let (queue, events) = bounded(QUEUE_EVENTS);
        let worker =
            Worker { limiter: Limiter::default(), transport: Transport::new(target), counts: Arc::clone(&counts) };
        let thread = std::thread::Builder::new().name("syslog".to_owned()).spawn(move || {
            worker.run(&events);
            // The receiver is gone only when nobody waits for it.
            let _ = tell_done.send(());
        })?;
        Ok(Self { queue: Some(queue), counts, done, thread: Some(thread) })
    }

    /// Hands over an event. Never waits: when the queue is full the event is lost and counted.
    pub fn send(&self, event: Event) {
        if let Some(queue) = &self.queue
            && queue.try_send(event).is_err()
        {
            self.counts.lost.fetch_add(1, Relaxed);
        }
    }

    /// What became of the events so far.
    pub fn account(&self) -> Account {
        Account {
            sent: self.counts.sent.load(Relaxed),
            suppressed: self.counts.suppressed.load(Relaxed),
            lost: self.counts.lost.load(Relaxed),
            failures: self.counts.failures.load(Relaxed),
        }
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        // Without a sender the thread sees the end of the queue once it is empty.
        self.queue = None;
        let Some(thread) = self.thread.take() else { return };
        // A thread that hangs in a connection attempt is left behind: it holds nothing of ours.
        if self.done.recv_timeout(STOP_PATIENCE) != Err(RecvTimeoutError::Timeout) {
            let _ = thread.join();
        }
    }
}

/// The thread's state.
struct Worker {
    limiter: Limiter,
    transport: Transport,
    counts: Arc<Counts>,
}

impl Worker {
    fn run(mut self, events: &Receiver<Event>) {
        loop {
            match events.recv_timeout(TICK) {
                Ok(event) => {
                    self.take(&event, Instant::now());
                    for event in events.try_iter().take(QUEUE_EVENTS) {
                        self.take(&event, Instant::now());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.follow_up(Some(Instant::now()));
            self.flush();
        }
        self.follow_up(None);
        self.flush();
        self.counts.lost.fetch_add(self.transport.abandon(), Relaxed);
    }

    fn take(&mut self, event: &Event, now: Instant) {
        if self.limiter.admit(event.key(), now) {
            self.transport.queue(message::of(event));
        } else {
            self.counts.suppressed.fetch_add(1, Relaxed);
        }
    }

    /// Tells how many events were held back in windows that are over; in all of them at the end.
    fn follow_up(&mut self, now: Option<Instant>) {
        for (key, count) in self.limiter.close(now) {
            self.transport.queue(message::follow_up(&key, count));
        }
    }

    fn flush(&mut self) {
        let outcome = self.transport.flush(Instant::now());
        self.counts.sent.fetch_add(outcome.sent, Relaxed);
        self.counts.lost.fetch_add(outcome.lost, Relaxed);
        self.counts.failures.fetch_add(outcome.failures, Relaxed);
    }
}

#[cfg(test)]
mod tests;
