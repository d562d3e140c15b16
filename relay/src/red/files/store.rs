//! Where the files of one channel go, and what became of each.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use anyhow::Context as _;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use uuid::Uuid;

use super::account::{self, Account};
use super::state::{Entry, Phase, State, Unfinished, Whole};
use crate::config::{Files, Place, PlaceKind, Site};
use crate::files::journal::Journal;
use crate::files::{Attributes, Connection, EndpointError, FileName, NameFault, Pool, Progress, Scribe};
use crate::host::make_private;
use crate::red::notice::Notice;
use crate::session::SessionId;

/// Of files in the spool: the relay's alone.
const SPOOL_MODE: u32 = 0o600;

/// What became of files since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Stored under their names.
    pub stored: AtomicU64,
    /// Not stored again, because they were before.
    pub copies: AtomicU64,
    /// Broken off, incomplete or wrong.
    pub failed: AtomicU64,
}

/// The files of one channel.
pub struct Store {
    /// The channel's name.
    pub(super) name: String,
    pub(super) channel: u16,
    /// Where files go.
    pub(super) target: Pool,
    /// Where they lie before that, if the target is a server.
    pub(super) spool: Pool,
    pub(super) scribe: Scribe<Entry>,
    /// Larger files are refused, bytes.
    max_bytes: AtomicU64,
    /// Files that go from the spool folder to a server at a time.
    uploads: Semaphore,
    pub(super) counts: Counts,
    /// What BLUE has sent and is not here.
    pub(super) account: Account,
    /// Files on their way.
    pub progress: Progress,
    phases: Mutex<HashMap<Uuid, Phase>>,
    changed: Notify,
    /// Of the last run; the start of the keepers takes them.
    unfinished: Mutex<Vec<Unfinished>>,
    notices: OnceLock<crossbeam_channel::Sender<Notice>>,
    /// The first try to clean up after the last run is over.
    ready: std::sync::atomic::AtomicBool,
    /// Set once the last run's temporaries are gone.
    cleaned: tokio::sync::OnceCell<()>,
    /// Temporaries of the last run that are whole files.
    wanted: HashSet<FileName>,
}

/// How a file stands when its session begins.
pub(super) enum Standing {
    /// It is new, and its bytes are to be taken.
    New,
    /// It is here already.
    Known,
}

impl Store {
    /// The files of `files`, with what `state_dir` remembers of them.
    ///
    /// # Errors
    /// The state cannot be read or written.
    pub fn open(site: &Site, files: &Files) -> anyhow::Result<Self> {
        let folder = folder(&site.red.state_dir, files.channel);
        let spool = folder.join("spool");
        make_private(&spool)
            .with_context(|| format!("cannot make {}; make it possible, or set [red] `state_dir`", spool.display()))?;
        let (mut journal, entries) = Journal::open(&journal_of(&folder))?;
        let state = State::of(entries, SystemTime::now());
        let wanted = state.unfinished.iter().map(|unfinished| unfinished.whole.temporary.clone()).collect();
        journal.rewrite(state.entries().into_iter())?;
        Ok(Self {
            name: files.name.clone(),
            channel: files.channel,
            target: Pool::new(files.red.place.clone()),
            spool: Pool::new(Place::folder(&spool.to_string_lossy())),
            scribe: Scribe::start(journal, |entries| State::of(entries, SystemTime::now()).entries())
                .context("cannot start the journal's thread")?,
            max_bytes: files.red.max_bytes.into(),
            uploads: Semaphore::new(files.parallel as usize),
            counts: Counts::default(),
            account: Account::new(files, state.absent),
            progress: Progress::default(),
            phases: Mutex::new(state.phases),
            changed: Notify::new(),
            unfinished: Mutex::new(state.unfinished),
            notices: OnceLock::new(),
            ready: false.into(),
            cleaned: tokio::sync::OnceCell::new(),
            wanted,
        })
    }

    /// Takes over what a reload has changed.
    pub fn set_files(&self, files: &Files) {
        self.target.set_place(files.red.place.clone());
        self.max_bytes.store(files.red.max_bytes, Relaxed);
        self.account.set_times(files);
    }

    /// The largest file that is taken, bytes.
    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes.load(Relaxed)
    }

    /// Looks at what is left of the last run, once; receptions wait for that. From then on what is missing is told.
    pub fn start(self: &Arc<Self>, runtime: &tokio::runtime::Handle, notices: &crossbeam_channel::Sender<Notice>) {
        if self.notices.set(notices.clone()).is_ok() {
            runtime.spawn(super::keeper::recover(Arc::clone(self)));
            runtime.spawn(account::watch(Arc::downgrade(self)));
        }
    }

    pub(super) fn take_unfinished(&self) -> Vec<Unfinished> {
        std::mem::take(&mut self.unfinished.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the last run has left is in order.
    pub(super) fn set_ready(&self) {
        self.ready.store(true, std::sync::atomic::Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(super) async fn ready(&self) {
        self.when(|_| self.ready.load(std::sync::atomic::Ordering::Acquire).then_some(())).await;
    }

    /// Deletes the temporaries of the last run that never became whole, once; nothing new is written before.
    pub(super) async fn clean(&self) -> Result<(), EndpointError> {
        let cleaned = self.cleaned.get_or_try_init(|| super::keeper::delete_strays(self, &self.wanted)).await;
        cleaned.copied()
    }

    /// Is the target a folder of this host?
    pub(super) fn is_local(&self) -> bool {
        self.target.place().kind == PlaceKind::Dir
    }

    /// Waits until one more file may go to the target. A server grants few connections to one user; a folder needs none.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if self.is_local() { None } else { self.uploads.acquire().await.ok() }
    }

    /// Forgets files that were stored too long ago.
    pub(super) fn forget_old(&self) {
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        State::forget_old(&mut phases, SystemTime::now());
    }

    /// Begins to receive a file over one more session, unless it is known.
    pub(super) fn enter(&self, file: Uuid) -> Standing {
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        match phases.entry(file).or_insert(Phase::Receiving(0)) {
            Phase::Receiving(sessions) => {
                *sessions += 1;
                Standing::New
            }
            _ => Standing::Known,
        }
    }

    /// One of a file's sessions has ended before it became whole.
    pub(super) fn leave(&self, file: Uuid) {
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        match phases.get_mut(&file) {
            Some(Phase::Receiving(sessions)) if *sessions > 1 => *sessions -= 1,
            Some(Phase::Receiving(_)) => drop(phases.remove(&file)),
            _ => {}
        }
    }

    /// A file has become whole. False: over another session before.
    pub(super) fn claim(&self, whole: &Arc<Whole>) -> bool {
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = matches!(phases.get(&whole.file), Some(Phase::Receiving(_)));
        if is_first {
            phases.insert(whole.file, Phase::Whole(Arc::clone(whole)));
            self.changed.notify_waiters();
        }
        is_first
    }

    pub(super) fn set_phase(&self, file: Uuid, phase: Phase) {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).insert(file, phase);
        self.changed.notify_waiters();
    }

    pub(super) fn forget(&self, file: Uuid) {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).remove(&file);
        self.changed.notify_waiters();
    }

    /// Are its bytes coming?
    pub(super) fn is_receiving(&self, file: Uuid) -> bool {
        let phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(phases.get(&file), Some(Phase::Receiving(_)))
    }

    /// Is it here, whole?
    pub(super) fn has(&self, file: Uuid) -> bool {
        let phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        phases.get(&file).is_some_and(|phase| !matches!(phase, Phase::Receiving(_)))
    }

    /// A file has come whole, and the journal knows that: tells it if it was missing.
    pub(super) fn arrive(&self, whole: &Whole) {
        if self.account.arrived(whole.file) {
            let text = format!("file {} was missing and has arrived: {}", whole.file, whole.name);
            self.notify(Notice::FileArrived { stream: self.name.clone(), text });
        }
    }

    /// Is the file under its name?
    pub fn has_stored(&self, file: Uuid) -> bool {
        matches!(self.phases.lock().unwrap_or_else(PoisonError::into_inner).get(&file), Some(Phase::Stored(_)))
    }

    /// Waits until a file that is here is stored. False: somebody has to act before.
    pub(super) async fn stored(&self, file: Uuid) -> bool {
        self.when(|phases| match phases.get(&file) {
            Some(Phase::Stored(_)) => Some(true),
            Some(Phase::Stuck(_)) | None => Some(false),
            Some(Phase::Receiving(_) | Phase::Whole(_)) => None,
        })
        .await
    }

    async fn when<T>(&self, look: impl Fn(&HashMap<Uuid, Phase>) -> Option<T>) -> T {
        loop {
            // Made before the look, so that no change falls between the two.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = look(&self.phases.lock().unwrap_or_else(PoisonError::into_inner)) {
                return found;
            }
            changed.await;
        }
    }

    /// Counts a file that has its name, once that is written down: BLUE must not delete its original before.
    pub(super) async fn conclude(&self, whole: &Whole) {
        let at = SystemTime::now();
        // Not on disk: the next start finds out by itself that it has its name.
        let _ = self.scribe.write(vec![Entry::Stored { file: whole.file, at }]).await;
        self.counts.stored.fetch_add(1, Relaxed);
        self.set_phase(whole.file, Phase::Stored(at));
    }

    /// Tells the control thread of trouble with a file.
    pub(super) fn tell(&self, reason: &'static str, text: String) {
        self.notify(Notice::File { stream: self.name.clone(), reason, text });
    }

    pub(super) fn notify(&self, notice: Notice) {
        if let Some(notices) = self.notices.get() {
            // A full queue means that the log is behind already; the counters have it.
            let _ = notices.try_send(notice);
        }
    }

    /// The channel's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes a list of what BLUE has sent.
    pub(super) fn manifest(&self, wire: &[u8]) -> Result<(), crate::files::manifest::ManifestFault> {
        let sent = crate::files::manifest::from_wire(wire)?;
        self.account.heard(&self.scribe, &sent, |file| self.has(file));
        Ok(())
    }

    /// What the counter line of the channel says of its files.
    pub fn counts(&self) -> [(&'static str, u64); 4] {
        let Counts { stored, copies, failed } = &self.counts;
        [
            ("stored", stored.load(Relaxed)),
            ("copies", copies.load(Relaxed)),
            ("failed", failed.load(Relaxed)),
            ("missing", self.account.missing()),
        ]
    }

    /// The name under which what a session brings lies until it has its own. Another session may bring the same file.
    pub(super) fn temporary(&self, session: SessionId, name: &FileName) -> Result<FileName, NameFault> {
        let session = Uuid::from_bytes(session);
        if self.is_local() {
            name.beside(&temporary(self.channel, session))
        } else {
            FileName::new(session.to_string())
        }
    }

    /// Is this where the shelf keeps what has no name yet?
    pub(super) fn is_temporary(&self, name: &FileName) -> bool {
        let uuid = |name: &str| -> Option<Uuid> {
            let name = if self.is_local() {
                name.strip_prefix(&format!(".relay-{}-", self.channel))?.strip_suffix(".part")?
            } else {
                name
            };
            name.parse().ok()
        };
        std::str::from_utf8(name.last()).ok().and_then(uuid).is_some()
    }

    /// Where files lie until they have their names.
    pub(super) fn shelf(&self) -> &Pool {
        if self.is_local() { &self.target } else { &self.spool }
    }

    /// What a file gets on a shelf: in the spool a mode of its own, with which the relay can read it again, whatever its sender's.
    pub(super) fn shelved(&self, shelf: &Connection, attributes: &Attributes) -> Attributes {
        let mode = if self.spool.leads_here(shelf) { Some(SPOOL_MODE) } else { attributes.mode };
        Attributes { mode, ..*attributes }
    }
}

/// The last part of a temporary's name in the target, for a session's UUID or a file's. Channels may share a folder.
pub(super) fn temporary(channel: u16, uuid: Uuid) -> String {
    format!(".relay-{channel}-{uuid}.part")
}

/// Could this be a temporary's name in the target, of whatever channel? No file gets it: it would be deleted as one.
pub(super) fn is_reserved(name: &FileName) -> bool {
    let last = std::str::from_utf8(name.last()).unwrap_or_default();
    let inner = last.strip_prefix(".relay-").and_then(|rest| rest.strip_suffix(".part"));
    let parts = inner.and_then(|inner| inner.split_once('-'));
    parts.is_some_and(|(channel, uuid)| channel.parse::<u16>().is_ok() && uuid.parse::<Uuid>().is_ok())
}

/// RED's folder for the files of one channel.
pub fn folder(state_dir: &Path, channel: u16) -> PathBuf {
    state_dir.join("files").join(channel.to_string())
}

/// The journal in that folder.
pub fn journal_of(folder: &Path) -> PathBuf {
    folder.join("red.journal")
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("name", &self.name).field("target", &self.target).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_temporaries_are_reserved() {
        let is = |name: &str| is_reserved(&FileName::new(name).expect("a name"));
        assert!(is(&temporary(9, Uuid::from_u128(7))) && is(&format!("a/{}", temporary(65535, Uuid::nil()))));
        for name in ["a", ".relay-9-7.part", ".relay-x-00000000-0000-0000-0000-000000000007.part"] {
            assert!(!is(name), "{name}");
        }
    }
}
