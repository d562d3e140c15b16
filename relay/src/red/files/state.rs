//! What RED's journal of files says, and what follows from it at a start.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::files::missing::Absent;
use crate::files::{Attributes, ContentHash, FileName};

/// Files are remembered for so long after they were stored, so that copies of them are known.
const REMEMBERED: Duration = Duration::from_hours(30 * 24);
/// ... but no more than so many, the last ones: 40 MB of memory. A copy of an older one is a new file to RED, which finds one of
/// its name and content in the place or stores it.
const REMEMBERED_MAX: usize = 800_000;

/// A file that has come whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// Its UUID.
    pub file: Uuid,
    /// The name that it is to have.
    pub name: FileName,
    /// What is preserved with it.
    pub attributes: Attributes,
    /// Its content's hash, which was checked.
    pub hash: ContentHash,
    /// Where it lies until then, in the folder `place`.
    pub temporary: FileName,
    /// The target's folder, or the spool folder, as it was then: a reload may change the target.
    pub place: String,
    /// The folder of that, as [`Endpoint::folder_mark`](crate::files::Endpoint::folder_mark) tells it from others.
    pub folder: Option<String>,
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// The content is on disk here, under a temporary name, and is right.
    Whole(Whole),
    /// It gets its name now: whether it has it already must be looked up.
    Storing(Uuid),
    /// It has its name.
    Stored {
        /// Which.
        file: Uuid,
        /// When.
        at: SystemTime,
    },
    /// What there was of it is gone; it has to come again.
    Dropped(Uuid),
    /// BLUE has sent it and RED does not have it; the last of these of a file counts, until it is whole or given up.
    Absent(Absent),
    /// Nobody waits for it any more: BLUE cannot send it again.
    GivenUp(Uuid),
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its bytes are coming, over so many sessions.
    Receiving(u32),
    /// It is here and waits to be stored.
    Whole(Arc<Whole>),
    /// The same, but the place will not take it before somebody acts there.
    Stuck(Arc<Whole>),
    /// It has its name.
    Stored(SystemTime),
}

/// A file of the last run that is not stored yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// What is known of it.
    pub whole: Arc<Whole>,
    /// It may have its name already.
    pub storing: bool,
}

/// What a journal says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Of every file that is here or was stored.
    pub phases: HashMap<Uuid, Phase>,
    /// Files that are not stored yet.
    pub unfinished: Vec<Unfinished>,
    /// Files that BLUE has sent and that are not here, by UUID.
    pub absent: Vec<Absent>,
}

impl State {
    /// What `entries` say at the time `now`; files that were stored too long ago are forgotten.
    pub fn of(entries: Vec<Entry>, now: SystemTime) -> Self {
        let mut unfinished: HashMap<Uuid, Unfinished> = HashMap::new();
        let mut phases = HashMap::new();
        let mut absent = BTreeMap::new();
        for entry in entries {
            match entry {
                Entry::Whole(whole) => {
                    let file = whole.file;
                    absent.remove(&file);
                    unfinished.insert(file, Unfinished { whole: Arc::new(whole), storing: false });
                }
                Entry::Storing(file) => {
                    if let Some(unfinished) = unfinished.get_mut(&file) {
                        unfinished.storing = true;
                    }
                }
                Entry::Stored { file, at } => {
                    absent.remove(&file);
                    unfinished.remove(&file);
                    phases.insert(file, Phase::Stored(at));
                }
                Entry::Dropped(file) => drop(unfinished.remove(&file)),
                Entry::Absent(one) => drop(absent.insert(one.sent.file, one)),
                Entry::GivenUp(file) => drop(absent.remove(&file)),
            }
        }
        forget_old(&mut phases, now, REMEMBERED_MAX);
        for (file, unfinished) in &unfinished {
            phases.insert(*file, Phase::Whole(Arc::clone(&unfinished.whole)));
        }
        // What was heard while a file became whole may follow that in the journal.
        absent.retain(|file, _| !phases.contains_key(file));
        Self { phases, unfinished: unfinished.into_values().collect(), absent: absent.into_values().collect() }
    }

    /// Forgets in `phases` what a start at `now` would forget.
    pub fn forget_old(phases: &mut HashMap<Uuid, Phase>, now: SystemTime) {
        forget_old(phases, now, REMEMBERED_MAX);
    }

    /// The shortest journal that says the same.
    pub fn entries(&self) -> Vec<Entry> {
        let stored = self.phases.iter().filter_map(|(file, phase)| match phase {
            Phase::Stored(at) => Some(Entry::Stored { file: *file, at: *at }),
            _ => None,
        });
        let unfinished = self.unfinished.iter().flat_map(|unfinished| {
            let storing = unfinished.storing.then_some(Entry::Storing(unfinished.whole.file));
            [Some(Entry::Whole((*unfinished.whole).clone())), storing].into_iter().flatten()
        });
        let absent = self.absent.iter().cloned().map(Entry::Absent);
        stored.chain(unfinished).chain(absent).collect()
    }
}

fn stored_at(phase: &Phase) -> Option<SystemTime> {
    if let Phase::Stored(at) = phase { Some(*at) } else { None }
}

/// Forgets files that were stored too long ago, and the oldest of more than `count_max`.
fn forget_old(phases: &mut HashMap<Uuid, Phase>, now: SystemTime, count_max: usize) {
    let is_old = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age > REMEMBERED);
    phases.retain(|_, phase| !stored_at(phase).is_some_and(is_old));
    let mut times: Vec<SystemTime> = phases.values().filter_map(stored_at).collect();
    let excess = times.len().saturating_sub(count_max);
    if excess > 0 {
        let (_, first, _) = times.select_nth_unstable(excess);
        phases.retain(|_, phase| stored_at(phase).is_none_or(|at| at >= *first));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::manifest::Sent;
    use crate::files::missing::Why;

    fn whole(number: u128) -> Whole {
        Whole {
            file: Uuid::from_u128(number),
            name: FileName::new("a\nb").expect("a name"),
            attributes: Attributes::default(),
            hash: ContentHash([7; 32]),
            temporary: FileName::new(".relay-9-7.part").expect("a name"),
            place: "/srv/incoming".to_owned(),
            folder: Some("1:2".to_owned()),
        }
    }

    fn absent(number: u128, told: bool) -> Absent {
        let name = FileName::new("a").expect("a name");
        let sent = Sent { file: Uuid::from_u128(number), name, size_bytes: 1, hash: [7; 32], sent_ms: 2 };
        Absent { sent, heard_ms: 3, why: Why::NeverSeen, told }
    }

    #[test]
    fn a_file_is_absent_until_it_is_whole_or_given_up() {
        let id = Uuid::from_u128;
        let mut entries: Vec<Entry> = (1..=5).map(|number| Entry::Absent(absent(number, false))).collect();
        entries.extend([
            Entry::Absent(absent(1, true)),
            Entry::Whole(whole(2)),
            Entry::Stored { file: id(3), at: SystemTime::now() },
            Entry::Absent(absent(3, false)),
            Entry::GivenUp(id(4)),
        ]);
        let state = State::of(entries, SystemTime::now());
        assert_eq!(state.absent, [absent(1, true), absent(5, false)]);
        assert_eq!(State::of(state.entries(), SystemTime::now()).absent, state.absent, "compacted");
    }

    #[test]
    fn of_too_many_the_last_are_remembered() {
        let now = SystemTime::now();
        let stored = (0..10).map(|age| (Uuid::from_u128(age), Phase::Stored(now - Duration::from_secs(age as u64))));
        let mut phases: HashMap<_, _> = stored.collect();
        phases.insert(Uuid::from_u128(99), Phase::Receiving(1));
        forget_old(&mut phases, now, 4);
        let mut left: Vec<_> = phases.keys().map(Uuid::as_u128).collect();
        left.sort_unstable();
        assert_eq!(left, [0, 1, 2, 3, 99]);
    }

    #[test]
    fn a_journal_says_what_is_stored_and_what_is_not() {
        let now = SystemTime::now();
        let id = Uuid::from_u128;
        let entries = vec![
            Entry::Whole(whole(1)),
            Entry::Storing(id(1)),
            Entry::Stored { file: id(1), at: now },
            Entry::Whole(whole(2)),
            Entry::Whole(whole(3)),
            Entry::Storing(id(3)),
            Entry::Whole(whole(4)),
            Entry::Dropped(id(4)),
            Entry::Stored { file: id(5), at: now - REMEMBERED - Duration::from_secs(1) },
        ];
        let mut state = State::of(entries, now);
        state.unfinished.sort_by_key(|unfinished| unfinished.whole.file);
        let unfinished: Vec<_> = state.unfinished.iter().map(|one| (one.whole.file, one.storing)).collect();
        assert_eq!(unfinished, [(id(2), false), (id(3), true)]);
        assert_eq!(state.phases.get(&id(1)), Some(&Phase::Stored(now)));
        assert_eq!((state.phases.get(&id(4)), state.phases.get(&id(5))), (None, None));
        let text = serde_json::to_string(&state.entries()).expect("text");
        let mut again = State::of(serde_json::from_str(&text).expect("the same"), now);
        again.unfinished.sort_by_key(|unfinished| unfinished.whole.file);
        assert_eq!(again, state, "compacted");
    }
}
