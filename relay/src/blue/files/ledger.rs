//! What BLUE's journal of files says, and what follows from it.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::files::{Attributes, ContentHash, FileName};

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A file was stable and passed the checks; it is to be sent.
    Taken {
        /// Its UUID.
        file: Uuid,
        /// Its name.
        name: FileName,
        /// As it was then.
        attributes: Attributes,
    },
    /// It has crossed: RED has confirmed it, or nobody can.
    Sent {
        /// Which.
        file: Uuid,
        /// Its content's hash.
        hash: ContentHash,
        /// When.
        at: SystemTime,
    },
    /// What is to become of the original has become of it.
    Done {
        /// Which.
        file: Uuid,
        /// Where it is now, if it still is.
        kept: Option<FileName>,
    },
    /// RED could not store it, as often as it was asked.
    Failed {
        /// Which.
        file: Uuid,
    },
    /// It is to be sent again.
    Again {
        /// Which.
        file: Uuid,
    },
    /// Nothing is known of it any more.
    Forgotten {
        /// Which.
        file: Uuid,
    },
}

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// To be sent.
    Pending,
    /// It has crossed; the original is still to be dealt with.
    Sent,
    /// Nothing is to be done any more.
    Done,
    /// Given up.
    Failed,
}

/// A file that BLUE knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The name that it has on RED.
    pub name: FileName,
    /// Where it is now; `None` if it is gone.
    pub at: Option<FileName>,
    /// As it was when it was taken.
    pub attributes: Attributes,
    /// How far it is.
    pub stage: Stage,
    /// Once it was sent: its hash, and when.
    pub sent: Option<(ContentHash, SystemTime)>,
}

/// Every file that BLUE knows, and where they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    files: HashMap<Uuid, Known>,
    by_place: HashMap<FileName, Uuid>,
}

impl Ledger {
    /// What `entries` say.
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut ledger = Self::default();
        entries.into_iter().for_each(|entry| ledger.apply(&entry));
        ledger
    }

    /// Takes over what `entry` says.
    pub fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Taken { file, name, attributes } => {
                let at = Some(name.clone());
                let known =
                    Known { name: name.clone(), at, attributes: *attributes, stage: Stage::Pending, sent: None };
                self.forget(*file);
                self.files.insert(*file, known);
                self.place(*file, name);
            }
            Entry::Sent { file, hash, at } => self.change(*file, |known| {
                known.stage = Stage::Sent;
                known.sent = Some((*hash, *at));
            }),
            Entry::Done { file, kept } => {
                self.unplace(*file);
                self.change(*file, |known| {
                    known.stage = Stage::Done;
                    known.at.clone_from(kept);
                });
                if let Some(kept) = kept.as_ref().filter(|_| self.files.contains_key(file)) {
                    self.place(*file, kept);
                }
            }
            Entry::Failed { file } => self.change(*file, |known| known.stage = Stage::Failed),
            Entry::Again { file } => self.change(*file, |known| known.stage = Stage::Pending),
            Entry::Forgotten { file } => self.forget(*file),
        }
    }

    fn change(&mut self, file: Uuid, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.files.get_mut(&file) {
            change(known);
        }
    }

    /// A file is at this place now; what was there before is gone.
    fn place(&mut self, file: Uuid, place: &FileName) {
        if let Some(before) = self.by_place.insert(place.clone(), file).filter(|before| *before != file) {
            self.change(before, |known| known.at = None);
        }
    }

    fn unplace(&mut self, file: Uuid) {
        let at = self.files.get(&file).and_then(|known| known.at.as_ref());
        if let Some(at) = at.filter(|at| self.by_place.get(*at) == Some(&file)) {
            self.by_place.remove(at);
        }
    }

    fn forget(&mut self, file: Uuid) {
        self.unplace(file);
        self.files.remove(&file);
    }

    /// One file.
    pub fn get(&self, file: Uuid) -> Option<&Known> {
        self.files.get(&file)
    }

    /// The file that is at this place now.
    pub fn at(&self, place: &FileName) -> Option<(Uuid, &Known)> {
        let file = *self.by_place.get(place)?;
        Some((file, self.files.get(&file)?))
    }

    /// All files.
    pub fn iter(&self) -> impl Iterator<Item = (Uuid, &Known)> {
        self.files.iter().map(|(file, known)| (*file, known))
    }

    /// Files of which nothing is left to know: sent longer than `retain` ago, and done with, or given up, and gone since. Those that stay under their names
    /// are known for as long as they are there, or they would be sent again: `is_there` says so.
    pub fn expired(&self, now: SystemTime, retain: Duration, is_there: impl Fn(&FileName) -> bool) -> Vec<Uuid> {
        let old = |known: &Known| {
            let sent = known.sent.and_then(|(_, at)| now.duration_since(at).ok());
            sent.is_some_and(|age| age > retain)
        };
        let done = self.files.iter().filter(|(_, known)| known.stage == Stage::Done && old(known));
        let stays = |known: &Known| known.at.as_ref().is_some_and(|at| *at == known.name && is_there(at));
        let done = done.filter(|(_, known)| !stays(known));
        let failed = self.files.iter().filter(|(_, known)| known.stage == Stage::Failed);
        let gone = failed.filter(|(_, known)| !known.at.as_ref().is_some_and(&is_there));
        done.chain(gone).map(|(file, _)| *file).collect()
    }

    /// A short journal that says the same. Files that are elsewhere than they were taken come first, and all of these before any
    /// says where it is: no entry takes a place away from a file that has it.
    pub fn entries(&self) -> Vec<Entry> {
        let (stay, left): (Vec<_>, Vec<_>) =
            self.files.iter().partition(|(_, known)| known.at.as_ref() == Some(&known.name));
        let mut entries = Vec::new();
        for files in [left, stay] {
            entries.extend(files.iter().map(|(file, known)| Entry::Taken {
                file: **file,
                name: known.name.clone(),
                attributes: known.attributes,
            }));
            for (file, known) in files {
                known.entries(*file, &mut entries);
            }
        }
        entries
    }
}

impl Known {
    /// What is to be said of a file after it was taken.
    fn entries(&self, file: Uuid, entries: &mut Vec<Entry>) {
        if let Some((hash, at)) = self.sent {
            entries.push(Entry::Sent { file, hash, at });
        }
        let was_done = self.stage == Stage::Done || self.at.as_ref() != Some(&self.name);
        if was_done {
            entries.push(Entry::Done { file, kept: self.at.clone() });
        }
        match (self.stage, self.sent) {
            (Stage::Pending, sent) if was_done || sent.is_some() => entries.push(Entry::Again { file }),
            (Stage::Sent, Some((hash, at))) if was_done => entries.push(Entry::Sent { file, hash, at }),
            (Stage::Failed, _) => entries.push(Entry::Failed { file }),
            (Stage::Pending | Stage::Sent | Stage::Done, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> FileName {
        FileName::new(text).expect("a name")
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let file = (0_u128..4).prop_map(Uuid::from_u128);
        let place = prop_oneof![Just("a"), Just("b"), Just("sent/a")].prop_map(name);
        (0..6, file, place).prop_map(|(kind, file, place)| match kind {
            0 => Entry::Taken { file, name: place, attributes: Attributes::default() },
            1 => Entry::Sent { file, hash: ContentHash([1; 32]), at: SystemTime::UNIX_EPOCH },
            2 => Entry::Done { file, kept: Some(place).filter(|place| place != &name("b")) },
            3 => Entry::Failed { file },
            4 => Entry::Again { file },
            _ => Entry::Forgotten { file },
        })
    }

    proptest! {
        /// A compacted journal says the same of every file.
        #[test]
        fn compacted_is_the_same(entries in proptest::collection::vec(entry(), 0..30)) {
            let ledger = Ledger::of(entries);
            let again = Ledger::of(ledger.entries());
            prop_assert_eq!(again, ledger);
        }
    }

    /// A file that is kept and written anew is another one, also after a restart: the first must not be taken for what is there.
    #[test]
    fn a_place_has_the_last_file_that_came_there() {
        let ids = [1, 2].map(Uuid::from_u128);
        let mut ledger = Ledger::default();
        for file in ids {
            ledger.apply(&Entry::Taken { file, name: name("a"), attributes: Attributes::default() });
            ledger.apply(&Entry::Done { file, kept: Some(name("a")) });
        }
        for ledger in [Ledger::of(ledger.entries()), ledger] {
            assert_eq!(ledger.at(&name("a")).map(|(file, _)| file), Some(ids[1]));
            assert_eq!(ledger.get(ids[0]).map(|known| &known.at), Some(&None));
        }
    }

    /// Whatever order files have in memory.
    #[test]
    fn a_new_file_of_the_name_of_one_that_was_moved_keeps_its_place() {
        for first in 0..16 {
            let (moved, new) = (Uuid::from_u128(first), Uuid::from_u128(first + 100));
            let taken = |file| Entry::Taken { file, name: name("a"), attributes: Attributes::default() };
            let sent = Entry::Sent { file: moved, hash: ContentHash([1; 32]), at: SystemTime::UNIX_EPOCH };
            let done = Entry::Done { file: moved, kept: Some(name("sent/a")) };
            let again = Ledger::of(Ledger::of([taken(moved), sent, done, taken(new)]).entries());
            assert_eq!(again.at(&name("a")).map(|(file, _)| file), Some(new));
            assert_eq!(again.at(&name("sent/a")).map(|(file, _)| file), Some(moved));
        }
    }

    #[test]
    fn a_file_that_was_moved_is_found_where_it_is() {
        let (file, taken) = (Uuid::from_u128(1), Attributes::default());
        let mut ledger = Ledger::of([Entry::Taken { file, name: name("a"), attributes: taken }]);
        assert_eq!(ledger.at(&name("a")).map(|(file, _)| file), Some(file));
        let sent_at = SystemTime::UNIX_EPOCH;
        ledger.apply(&Entry::Sent { file, hash: ContentHash([1; 32]), at: sent_at });
        ledger.apply(&Entry::Done { file, kept: Some(name("sent/a")) });
        assert_eq!(ledger.at(&name("a")), None);
        assert_eq!(ledger.at(&name("sent/a")).map(|(_, known)| known.stage), Some(Stage::Done));
        let (hour, later) = (Duration::from_hours(1), sent_at + Duration::from_hours(2));
        assert!(ledger.expired(sent_at, hour, |_| true).is_empty());
        assert_eq!(ledger.expired(later, hour, |_| true), [file], "it was kept for long enough");
        ledger.apply(&Entry::Done { file, kept: Some(name("a")) });
        assert!(ledger.expired(later, hour, |_| true).is_empty(), "it would be sent again");
        assert_eq!(ledger.expired(later, hour, |_| false), [file]);
        ledger.apply(&Entry::Failed { file });
        assert!(ledger.expired(later, hour, |_| true).is_empty(), "it can be sent again");
        assert_eq!(ledger.expired(sent_at, hour, |_| false), [file], "nobody can send it again");
    }
}
