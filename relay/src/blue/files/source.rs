//! The files of one channel, as all of its tasks share them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

use super::ledger::{Entry, Ledger};
use super::orders::ORDERS;
use crate::blue::notice::Notice;
use crate::blue::tcp::AnswersSender;
use crate::config::{Files, Site};
use crate::files::journal::Journal;
use crate::files::{Chain, Pool, Progress, Scribe, Unwritten};
use crate::host::{Clock, make_private};
use crate::session::{SessionId, SharedRate};
use crate::tcp::{FeedSender, Pace};

/// The way over the link.
#[derive(Clone)]
pub struct LinkSide {
    /// The channel's slot.
    pub slot: u16,
    /// To the lanes, over which files are spread.
    pub lanes: Vec<FeedSender>,
    /// To the return lane, if there is a return link.
    pub answers: Option<AnswersSender>,
    /// With a return link: RED answers within this time.
    pub open_timeout: Duration,
    /// The channel's rate.
    pub rate: Option<Arc<SharedRate>>,
    /// The process's clock.
    pub clock: Clock,
    /// Cleared while the channel is not in the site file.
    pub in_force: Arc<AtomicBool>,
}

impl LinkSide {
    /// To the lane of a session.
    pub fn feed(&self, session: SessionId) -> FeedSender {
        self.lanes[usize::from(session[15]) % self.lanes.len()].clone()
    }

    /// What the channel's rate makes of each of its files.
    pub fn pace(&self) -> Pace<impl Fn() -> bool + '_> {
        Pace { rate: self.rate.clone(), clock: self.clock, in_force: || self.in_force.load(Acquire) }
    }
}

/// What became of files since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Stable, passed, and written down.
    pub taken: AtomicU64,
    /// Confirmed by RED; without a return link: sent.
    pub sent: AtomicU64,
    /// Given up after `attempts`.
    pub failed: AtomicU64,
    /// Blocked by a check.
    pub blocked: AtomicU64,
}

/// What the site file and its streams say, as of the last reload.
pub struct Rules {
    /// The table.
    pub files: Files,
    /// The checks before a file is sent.
    pub chain: Chain,
    /// The way over the link.
    pub link: LinkSide,
}

/// The files of one channel.
pub struct Source {
    /// Its rules.
    rules: RwLock<Arc<Rules>>,
    /// Connections to the place.
    pub pool: Pool,
    /// Files on their way.
    pub progress: Progress,
    /// What became of files.
    pub counts: Counts,
    /// Attempts since the start: each gets another session.
    attempts: AtomicU32,
    /// Where orders of the operator lie.
    pub orders: PathBuf,
    /// Rung when there is something to do before the next look.
    pub bell: Notify,
    /// Places on the link.
    pub places: Arc<Semaphore>,
    /// Originals that are put away at a time.
    pub hands: Semaphore,
    /// Files that a sender is at work for.
    senders: Mutex<HashSet<Uuid>>,
    ledger: Mutex<Ledger>,
    scribe: Scribe<Entry>,
    notices: crossbeam_channel::Sender<Notice>,
}

impl Source {
    /// The files of `rules`, with what BLUE's state folder remembers of them.
    ///
    /// # Errors
    /// The state cannot be read or written.
    pub fn open(site: &Site, rules: Rules, notices: crossbeam_channel::Sender<Notice>) -> anyhow::Result<Self> {
        let folder = folder(&site.blue.state_dir, rules.files.channel);
        let orders = folder.join(ORDERS);
        make_private(&orders).with_context(|| {
            format!("cannot make {}; make it possible, or set [blue] `state_dir`", orders.display())
        })?;
        let (mut journal, entries) = Journal::open(&journal_of(&folder))?;
        let ledger = Ledger::of(entries);
        journal.rewrite(ledger.entries().into_iter())?;
        Ok(Self {
            pool: Pool::new(rules.files.blue.place.clone()),
            places: Arc::new(Semaphore::new(rules.files.parallel as usize)),
            hands: Semaphore::new(rules.files.parallel as usize),
            rules: RwLock::new(Arc::new(rules)),
            progress: Progress::default(),
            counts: Counts::default(),
            attempts: AtomicU32::new(0),
            orders,
            bell: Notify::new(),
            senders: Mutex::default(),
            ledger: Mutex::new(ledger),
            scribe: Scribe::start(journal, |entries| Ledger::of(entries).entries())
                .context("cannot start the journal's thread")?,
            notices,
        })
    }

    /// Its rules now.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what a reload has changed; how many files cross at a time changes with the next start.
    pub fn set_rules(&self, rules: Rules) {
        self.pool.set_place(rules.files.blue.place.clone());
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        self.bell.notify_one();
    }

    /// A sender begins with a file. False: another is at work for it.
    pub fn enter(&self, file: Uuid) -> bool {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).insert(file)
    }

    /// A sender is done with a file.
    pub fn leave(&self, file: Uuid) {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).remove(&file);
    }

    /// Is a sender at work for a file?
    pub fn is_at_work(&self, file: Uuid) -> bool {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).contains(&file)
    }

    /// Is the channel in the site file?
    pub fn is_in_force(&self) -> bool {
        self.rules().link.in_force.load(Acquire)
    }

    /// A number for the next attempt.
    pub fn next_attempt(&self) -> u32 {
        self.attempts.fetch_add(1, AcqRel)
    }

    /// What is known of files.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes entries down, then takes them over.
    ///
    /// # Errors
    /// They are not on disk; nothing has changed.
    pub async fn write(&self, entries: Vec<Entry>) -> Result<(), Unwritten> {
        self.scribe.write(entries.clone()).await?;
        let mut ledger = self.ledger();
        for entry in &entries {
            ledger.apply(entry);
        }
        Ok(())
    }

    /// Takes an entry over that may be lost: it would follow again from what is found.
    pub fn note(&self, entry: Entry) {
        self.ledger().apply(&entry);
        self.scribe.note(entry);
    }

    /// Forgets files of which nothing is left to know.
    pub fn forget(&self, files: &[Uuid]) {
        for file in files {
            self.note(Entry::Forgotten { file: *file });
        }
    }

    /// Files sent since `since`, for the manifest.
    pub fn sent_since(&self, since: SystemTime) -> Vec<(Uuid, super::ledger::Known)> {
        let ledger = self.ledger();
        let recent = ledger.iter().filter(|(_, known)| known.sent.is_some_and(|(_, at)| at >= since));
        recent.map(|(file, known)| (file, known.clone())).collect()
    }

    /// Tells the control thread of trouble with a file.
    pub fn tell(&self, reason: &'static str, text: String) {
        let stream = self.rules().files.name.clone();
        // A full queue means that the log is behind already; the counters have it.
        let _ = self.notices.try_send(Notice::File { stream, reason, text });
    }

    /// What the counter line of the channel says of its files.
    pub fn counted(&self) -> [(&'static str, u64); 4] {
        let Counts { taken, sent, failed, blocked } = &self.counts;
        [
            ("taken", taken.load(Relaxed)),
            ("sent", sent.load(Relaxed)),
            ("failed", failed.load(Relaxed)),
            ("blocked", blocked.load(Relaxed)),
        ]
    }
}

/// BLUE's folder for the files of one channel.
pub fn folder(state_dir: &Path, channel: u16) -> PathBuf {
    state_dir.join("files").join(channel.to_string())
}

/// The journal in that folder.
pub fn journal_of(folder: &Path) -> PathBuf {
    folder.join("blue.journal")
}
