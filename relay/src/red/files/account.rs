//! RED's account of files that BLUE says it has sent: what of it goes into the journal, and to people.
//!
//! Owns the [`Missing`] account of one channel and the times that it goes by. A file is missing after [`PATIENCE_PERIODS`] of
//! BLUE's manifests; it stays in the account until it comes, or for BLUE's `retain`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;

use super::state::{Entry, Whole};
use super::store::Store;
use crate::config::Files;
use crate::files::Scribe;
use crate::files::manifest::Sent;
use crate::files::missing::{Absent, Missing, Why};
use crate::red::notice::Notice;

/// A manifest names a file once its last attempt is over, so that only what is still in RED's memory is waited for: one period
/// would do on an idle host, two are for a busy one.
const PATIENCE_PERIODS: u32 = 2;
/// Between two looks at the account; no `manifest` is shorter.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Files that were stored long ago are forgotten this often.
const FORGET_PERIOD: Duration = Duration::from_mins(1);

/// The account of one channel.
pub struct Account {
    inside: Mutex<Inside>,
}

struct Inside {
    missing: Missing,
    /// BLUE can send a file again for so long.
    retain: Duration,
    /// It was told that there is no room for more.
    overflow_told: bool,
}

impl Account {
    /// What the journal says, by the times of `files`.
    pub fn new(files: &Files, absent: Vec<Absent>) -> Self {
        let mut missing = Missing::new(patience(files));
        for absent in absent {
            missing.restore(absent);
        }
        Self { inside: Mutex::new(Inside { missing, retain: files.retain, overflow_told: false }) }
    }

    /// Other times from now on.
    pub fn set_times(&self, files: &Files) {
        let mut inside = self.lock();
        inside.missing.set_patience(patience(files));
        inside.retain = files.retain;
    }

    /// BLUE says that it has sent these.
    pub fn heard(&self, scribe: &Scribe<Entry>, sent: &[Sent], has: impl Fn(Uuid) -> bool) {
        let new = self.lock().missing.heard(sent, has, now_ms());
        note(scribe, new);
    }

    /// A session of this file has ended without the whole file.
    pub fn broke(&self, scribe: &Scribe<Entry>, file: Uuid, why: Why) {
        let changed = self.lock().missing.broke(file, why);
        note(scribe, changed);
    }

    /// A file that was whole is gone before it had its name.
    pub fn dropped(&self, scribe: &Scribe<Entry>, whole: &Whole, why: &str) {
        let sent = Sent {
            file: whole.file,
            name: whole.name.clone(),
            size_bytes: whole.attributes.size_bytes,
            hash: whole.hash.0,
            sent_ms: now_ms(),
        };
        self.heard(scribe, &[sent], |_| false);
        self.broke(scribe, whole.file, Why::NotKept(why.to_owned()));
    }

    /// A file is here, whole, which the journal knows. True: it was told missing.
    pub fn arrived(&self, file: Uuid) -> bool {
        self.lock().missing.arrived(file).is_some()
    }

    /// Files that were told missing and have not come since.
    pub fn missing(&self) -> u64 {
        self.lock().missing.told().count() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has become due: files to be told missing, and what is to be told of the account itself.
    fn look(&self, scribe: &Scribe<Entry>, is_coming: impl Fn(Uuid) -> bool) -> (Vec<Absent>, Option<String>) {
        let now_ms = now_ms();
        let mut inside = self.lock();
        let retain_ms = u64::try_from(inside.retain.as_millis()).unwrap_or(u64::MAX);
        for file in inside.missing.forget(now_ms.saturating_sub(retain_ms)) {
            scribe.note(Entry::GivenUp(file));
        }
        let due = inside.missing.due(now_ms, is_coming);
        note(scribe, due.iter().cloned());
        let overflows = inside.missing.uncounted() > 0 && !std::mem::replace(&mut inside.overflow_told, true);
        let text = overflows.then(|| {
            "more files are missing than RED keeps an account of: the list of `relay missing` is not complete"
                .to_owned()
        });
        (due, text)
    }
}

/// Writes down what the account says of these; after a crash BLUE's next manifest says it again.
fn note(scribe: &Scribe<Entry>, absent: impl IntoIterator<Item = Absent>) {
    for absent in absent {
        scribe.note(Entry::Absent(absent));
    }
}

fn patience(files: &Files) -> Duration {
    files.manifest * PATIENCE_PERIODS
}

/// Looks at the account of a store, for as long as there is the store.
pub(super) async fn watch(store: Weak<Store>) {
    let mut forgot_at = Instant::now();
    while let Some(store) = store.upgrade() {
        look(&store);
        if forgot_at.elapsed() > FORGET_PERIOD {
            forgot_at = Instant::now();
            store.forget_old();
        }
        drop(store);
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

fn look(store: &Arc<Store>) {
    let (due, overflow) = store.account.look(&store.scribe, |file| store.is_receiving(file));
    for Absent { sent, why, .. } in due {
        let file = sent.file;
        let remedy = format!("`relay resend {file}` on BLUE sends it again");
        let text = format!("file {file} is missing, {why}; {remedy}: {} of {} bytes", sent.name, sent.size_bytes);
        store.notify(Notice::FileMissing { stream: store.name.clone(), text });
    }
    if let Some(text) = overflow {
        store.tell("missing_overflow", text);
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::files::journal::{Journal, read_only};
    use crate::files::{Attributes, ContentHash, FileName};
    use crate::red::files::State;

    /// The times of a ready site file.
    fn files() -> Files {
        let path = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../config/files-ftp.toml"));
        let text = std::fs::read_to_string(path).expect("a ready site file");
        config::parse(path, &text).expect("it is right").site.files.remove(0)
    }

    fn whole(number: u128) -> Whole {
        let attributes = Attributes { size_bytes: 5, ..Attributes::default() };
        let (name, temporary) = (FileName::new("a").expect("a name"), FileName::new("b").expect("a name"));
        Whole {
            file: Uuid::from_u128(number),
            name,
            attributes,
            hash: ContentHash([7; 32]),
            temporary,
            place: String::new(),
            folder: None,
        }
    }

    /// What is told is what a restart and `relay missing` find in the journal.
    #[test]
    fn what_is_told_missing_is_in_the_journal_until_it_arrives() {
        let folder = std::env::temp_dir().join(format!("relay-account-{}", std::process::id()));
        let path = folder.join("red.journal");
        let (journal, _) = Journal::open(&path).expect("a journal");
        let scribe = Scribe::start(journal, |all| all).expect("a thread");
        let mut files = files();
        let account = Account::new(&files, Vec::new());
        for number in [1, 2] {
            account.dropped(&scribe, &whole(number), "somebody removed it");
        }
        assert_eq!(account.look(&scribe, |_| false).0, [], "nobody is impatient yet");
        files.manifest = Duration::ZERO;
        account.set_times(&files);
        let (due, overflow) = account.look(&scribe, |file| file == Uuid::from_u128(2));
        assert_eq!((due.len(), overflow, account.missing()), (1, None, 1), "the other one is coming");
        assert_eq!(due[0].why.to_string(), "not kept: somebody removed it");
        assert!(account.arrived(Uuid::from_u128(1)) && !account.arrived(Uuid::from_u128(2)));
        drop(scribe);
        let state = State::of(read_only(&path).expect("readable"), SystemTime::now());
        std::fs::remove_dir_all(&folder).expect("it was there");
        let told: Vec<_> = state.absent.iter().map(|absent| (absent.sent.file.as_u128(), absent.told)).collect();
        // That they came is in the entry of the whole file, which a reception writes.
        assert_eq!(told, [(1, true), (2, false)]);
    }
}
