//! The account of files that BLUE says it has sent and RED does not have.
//!
//! ```text
//!            manifest names it, RED does not have it          patience is over
//! (unknown) -----------------------------------------> waited for -------------> missing, told once
//!                                                            |  arrived             |  arrived: told
//!                                                            +----> (forgotten) <---+
//! ```
//!
//! Owns this account only: no clock, no disk, no log. Times are RED's, in ms since 1970, unless they say otherwise. What
//! changes of an [`Absent`] file is for the caller to journal; [`Missing::restore`] takes it back.

use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};
use std::fmt::{self, Write as _};
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::frame::head_bytes;
use super::manifest::Sent;

/// Most files in the account: about 50 MB. Beyond it files are counted only.
const ABSENT_MAX: usize = 100_000;
/// Most broken sessions remembered until a manifest tells what they were.
const BROKEN_MAX: usize = 10_000;
/// Most byte ranges shown of one file; the first tell where it broke.
const RANGES_MAX: usize = 16;

/// Why RED does not have a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Nothing of it has come.
    #[default]
    NeverSeen,
    /// These bytes of its content have not, the first ranges of them.
    Incomplete(Vec<Range<u64>>),
    /// These bytes of its session have not, its beginning among them: where its content begins is known once its name is.
    Headless(Vec<Range<u64>>),
    /// All came, and they are not what BLUE read.
    WrongHash,
    /// It came, and RED could not keep it.
    NotKept(String),
}

impl Why {
    /// These ranges of the content have not come; the first [`RANGES_MAX`] are kept.
    pub fn incomplete(missing: impl IntoIterator<Item = Range<u64>>) -> Self {
        Self::Incomplete(missing.into_iter().take(RANGES_MAX).collect())
    }

    /// These ranges of the session have not come, its beginning among them.
    pub fn headless(missing: impl IntoIterator<Item = Range<u64>>) -> Self {
        Self::Headless(missing.into_iter().take(RANGES_MAX).collect())
    }

    /// The same, now that it is known which file it is.
    fn of(self, sent: &Sent) -> Self {
        match self {
            Self::Headless(missing) => {
                Self::incomplete(content_ranges(&missing, head_bytes(&sent.name), sent.size_bytes))
            }
            why => why,
        }
    }
}

/// What `session`, ranges of a session's bytes, is of the content of `size_bytes` bytes behind a head of `head_bytes`. Empty if
/// only the head or the tail is in them.
pub fn content_ranges(session: &[Range<u64>], head_bytes: u64, size_bytes: u64) -> Vec<Range<u64>> {
    let at = |offset: u64| offset.saturating_sub(head_bytes).min(size_bytes);
    session.iter().map(|range| at(range.start)..at(range.end)).filter(|range| !range.is_empty()).collect()
}

/// "never seen", "incomplete: bytes 1400-2799 missing", "hash wrong".
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverSeen => f.write_str("never seen"),
            Self::WrongHash => f.write_str("hash wrong"),
            Self::NotKept(why) => write!(f, "not kept: {}", why.escape_debug()),
            Self::Incomplete(ranges) if ranges.is_empty() => f.write_str("incomplete"),
            Self::Incomplete(ranges) => write!(f, "incomplete: bytes {} missing", shown(ranges)),
            Self::Headless(ranges) => write!(f, "incomplete: bytes {} of its session missing", shown(ranges)),
        }
    }
}

/// "0-1399, 2800-4199".
pub fn shown(ranges: &[Range<u64>]) -> String {
    let inclusive = ranges.iter().map(|range| format!("{}-{}", range.start, range.end.saturating_sub(1)));
    inclusive.collect::<Vec<_>>().join(", ")
}

/// A file that RED does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// What BLUE says of it.
    pub sent: Sent,
    /// When RED first heard of it.
    pub heard_ms: u64,
    /// Why.
    pub why: Why,
    /// It was told that it is missing.
    pub told: bool,
}

/// The files that RED waits for, and those that it has given up.
#[derive(Debug)]
pub struct Missing {
    patience_ms: u64,
    absent: BTreeMap<Uuid, Absent>,
    /// Sessions that broke off before a manifest named their file.
    broken: HashMap<Uuid, Why>,
    uncounted: u64,
}

impl Missing {
    /// An empty account: a file is missing once RED has waited for it for `patience` since it first heard of it.
    pub fn new(patience: Duration) -> Self {
        let mut missing = Self { patience_ms: 0, absent: BTreeMap::new(), broken: HashMap::new(), uncounted: 0 };
        missing.set_patience(patience);
        missing
    }

    /// Another patience from now on.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    }

    /// Takes back what the journal has.
    pub fn restore(&mut self, absent: Absent) {
        self.absent.insert(absent.sent.file, absent);
    }

    /// BLUE says that it has sent these. Those that RED has (by `has`) are of no further interest. Gives those that are new in
    /// the account.
    pub fn heard(&mut self, sent: &[Sent], has: impl Fn(Uuid) -> bool, now_ms: u64) -> Vec<Absent> {
        let mut new = Vec::new();
        for sent in sent {
            if has(sent.file) {
                self.broken.remove(&sent.file);
                continue;
            }
            let full = self.absent.len() >= ABSENT_MAX;
            match self.absent.entry(sent.file) {
                Entry::Occupied(_) => {}
                Entry::Vacant(_) if full => self.uncounted += 1,
                Entry::Vacant(place) => {
                    let why = self.broken.remove(&sent.file).unwrap_or_default().of(sent);
                    let absent = Absent { sent: sent.clone(), heard_ms: now_ms, why, told: false };
                    new.push(place.insert(absent).clone());
                }
            }
        }
        new
    }

    /// A session of this file has ended without the whole file. Gives it if that changes what the account says of it.
    pub fn broke(&mut self, file: Uuid, why: Why) -> Option<Absent> {
        match self.absent.get_mut(&file) {
            Some(absent) => {
                absent.why = why.of(&absent.sent);
                return Some(absent.clone());
            }
            None if self.broken.len() < BROKEN_MAX || self.broken.contains_key(&file) => {
                self.broken.insert(file, why);
            }
            None => {}
        }
        None
    }

    /// RED has the file now, whole. Gives it back if it had been told missing: that is to be told too.
    pub fn arrived(&mut self, file: Uuid) -> Option<Absent> {
        self.broken.remove(&file);
        self.absent.remove(&file).filter(|absent| absent.told)
    }

    /// The files that have been waited for long enough by `now_ms`, and of which nothing `is_coming` just now: to be told
    /// missing. Each comes once.
    pub fn due(&mut self, now_ms: u64, is_coming: impl Fn(Uuid) -> bool) -> Vec<Absent> {
        let patience_ms = self.patience_ms;
        let is_due = |absent: &&mut Absent| {
            !absent.told && now_ms.saturating_sub(absent.heard_ms) >= patience_ms && !is_coming(absent.sent.file)
        };
        let due = self.absent.values_mut().filter(is_due);
        due.map(|absent| {
            absent.told = true;
            absent.clone()
        })
        .collect()
    }

    /// Forgets what RED heard of before `before_ms`: BLUE keeps nothing for so long, it cannot be sent again. Gives the UUIDs.
    pub fn forget(&mut self, before_ms: u64) -> Vec<Uuid> {
        let gone: Vec<Uuid> =
            self.absent.values().filter(|absent| absent.heard_ms < before_ms).map(|absent| absent.sent.file).collect();
        for file in &gone {
            self.absent.remove(file);
        }
        gone
    }

    /// The missing files that were told, in the order in which BLUE began with them.
    pub fn told(&self) -> impl Iterator<Item = &Absent> {
        self.absent.values().filter(|absent| absent.told)
    }

    /// All files in the account, those that are still waited for as well: for the journal's compaction.
    pub fn all(&self) -> impl Iterator<Item = &Absent> {
        self.absent.values()
    }

    /// Times that a manifest named a file for which the account had no room.
    pub fn uncounted(&self) -> u64 {
        self.uncounted
    }
}

/// A table of missing files for people, a line each; the name comes last, since it may be long.
pub fn table<'a>(absent: impl IntoIterator<Item = &'a Absent>) -> String {
    let rows: Vec<[String; 5]> = absent.into_iter().map(row).collect();
    let titles = ["UUID", "SIZE", "SENT AT", "WHY", "NAME"].map(str::to_owned);
    let mut widths = [0; 4];
    for row in std::iter::once(&titles).chain(&rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let mut text = String::new();
    for [uuid, size, sent, why, name] in std::iter::once(&titles).chain(&rows) {
        let [uuid_width, size_width, sent_width, why_width] = widths;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{uuid:uuid_width$}  {size:>size_width$}  {sent:sent_width$}  {why:why_width$}  {name}");
    }
    text
}

fn row(absent: &Absent) -> [String; 5] {
    let sent = &absent.sent;
    [
        sent.file.to_string(),
        sent.size_bytes.to_string(),
        utc(sent.sent_ms),
        absent.why.to_string(),
        sent.name.to_string(),
    ]
}

/// "2026-11-20 18:53:09Z" of ms since 1970, by the calendar of ISO 8601.
fn utc(ms: u64) -> String {
    const DAY_S: u64 = 86_400;
    /// Days of 400 years, after which the calendar repeats.
    const ERA_DAYS: u64 = 146_097;
    /// Days from 1 March of year 0 to 1970: years that begin in March have their leap day at the end.
    const MARCH_0_TO_1970_DAYS: u64 = 719_468;
    let (days, second) = (ms / 1000 / DAY_S + MARCH_0_TO_1970_DAYS, ms / 1000 % DAY_S);
    let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on take 30.6 days, rounded.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::files::FileName;

    const PATIENCE_MS: u64 = 60_000;

    fn account() -> Missing {
        Missing::new(Duration::from_millis(PATIENCE_MS))
    }

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn sent(number: u128) -> Sent {
        Sent {
            file: id(number),
            name: FileName::new(format!("f{number}\n")).expect("a name"),
            size_bytes: 5000,
            hash: [0; 32],
            sent_ms: 1_795_200_789_123,
        }
    }

    fn numbers(absent: &[Absent]) -> Vec<u128> {
        absent.iter().map(|absent| absent.sent.file.as_u128()).collect()
    }

    #[test]
    fn a_file_is_told_missing_once_and_only_after_the_patience() {
        let mut missing = account();
        missing.heard(&[sent(1), sent(2)], |file| file == id(2), 1000);
        missing.heard(&[sent(1)], |_| false, 50_000);
        assert_eq!(numbers(&missing.due(60_999, |_| false)), []);
        assert_eq!(numbers(&missing.due(61_000, |_| false)), [1], "since it was first heard of");
        assert_eq!(numbers(&missing.due(99_000, |_| false)), []);
        missing.heard(&[sent(1)], |_| false, 99_000);
        assert_eq!(numbers(&missing.due(999_000, |_| false)), []);
    }

    #[test]
    fn what_arrives_late_is_told_only_if_it_was_missing() {
        let mut missing = account();
        missing.heard(&[sent(1), sent(2)], |_| false, 0);
        assert_eq!(missing.arrived(id(1)), None, "nobody missed it");
        missing.due(PATIENCE_MS, |_| false);
        let found = missing.arrived(id(2)).expect("it was told missing");
        assert_eq!(found.sent, sent(2));
        assert_eq!((missing.arrived(id(2)), missing.told().count()), (None, 0));
    }

    #[test]
    fn the_reason_is_known_whichever_comes_first() {
        let mut missing = account();
        missing.broke(id(1), Why::WrongHash);
        missing.heard(&[sent(1), sent(2), sent(3)], |_| false, 0);
        missing.broke(id(2), Why::incomplete([0..1400, 2800..5000]));
        let reasons: Vec<String> =
            missing.due(PATIENCE_MS, |_| false).iter().map(|absent| absent.why.to_string()).collect();
        assert_eq!(reasons, ["hash wrong", "incomplete: bytes 0-1399, 2800-4999 missing", "never seen"]);
        assert_eq!(Why::incomplete([]).to_string(), "incomplete");
        assert_eq!(Why::NotKept("no\nroom".to_owned()).to_string(), "not kept: no\\nroom");
        let Why::Incomplete(kept) = Why::incomplete((0..1000).map(|at| at..at + 1)) else { panic!("incomplete") };
        assert_eq!(kept.len(), RANGES_MAX);
    }

    #[test]
    fn a_file_that_is_coming_is_not_missing_yet() {
        let mut missing = account();
        missing.heard(&[sent(1), sent(2)], |_| false, 0);
        assert_eq!(numbers(&missing.due(PATIENCE_MS, |file| file == id(1))), [2]);
        assert_eq!(numbers(&missing.due(PATIENCE_MS, |_| false)), [1]);
    }

    /// The head of a file named "f1\n" has 51 bytes.
    #[test]
    fn what_is_missing_of_a_session_is_told_of_the_content_once_the_name_is_known() {
        let lost = || Why::headless([0..1000, 2000..9000]);
        assert_eq!(lost().to_string(), "incomplete: bytes 0-999, 2000-8999 of its session missing");
        let told = "incomplete: bytes 0-948, 1949-4999 missing";
        let mut missing = account();
        assert_eq!(missing.broke(id(1), lost()), None);
        let new = missing.heard(&[sent(1), sent(2)], |_| false, 0);
        assert_eq!((new[0].why.to_string().as_str(), &new[1].why), (told, &Why::NeverSeen));
        let changed = missing.broke(id(2), lost()).expect("it is in the account");
        assert_eq!(changed.why.to_string(), told);
        assert_eq!(content_ranges(&[0..51, 5051..5095], 51, 5000), [], "the head and the tail are no content");
    }

    #[test]
    fn the_account_survives_a_restart() {
        let mut before = account();
        before.heard(&[sent(1)], |_| false, 0);
        before.due(PATIENCE_MS, |_| false);
        before.heard(&[sent(2)], |_| false, PATIENCE_MS);
        before.broke(id(2), Why::incomplete(Some(7..9)));
        let mut after = account();
        for absent in before.all() {
            let json = serde_json::to_string(absent).expect("JSON");
            after.restore(serde_json::from_str(&json).expect("what was written"));
        }
        assert_eq!(after.all().collect::<Vec<_>>(), before.all().collect::<Vec<_>>());
        assert_eq!(numbers(&after.due(2 * PATIENCE_MS, |_| false)), [2], "1 was told before");
    }

    #[test]
    fn what_blue_keeps_no_longer_is_forgotten() {
        let mut missing = account();
        missing.heard(&[sent(1)], |_| false, 1000);
        missing.heard(&[sent(2)], |_| false, 2000);
        assert_eq!(missing.forget(2000), [id(1)]);
        assert_eq!(missing.all().count(), 1);
    }

    #[test]
    fn the_account_is_bounded() {
        let mut missing = account();
        let many: Vec<Sent> = (0..ABSENT_MAX as u128 + 3).map(sent).collect();
        missing.heard(&many, |_| false, 0);
        assert_eq!((missing.all().count(), missing.uncounted()), (ABSENT_MAX, 3));
        missing.heard(&many[..10], |_| false, 1);
        assert_eq!(missing.uncounted(), 3, "known ones need no room");
        for number in 0..BROKEN_MAX as u128 + 3 {
            missing.broke(id(number + 1_000_000), Why::WrongHash);
        }
        assert_eq!(missing.broken.len(), BROKEN_MAX);
    }

    #[test]
    fn the_table_lines_up() {
        let mut missing = account();
        missing.heard(&[sent(1), sent(2)], |_| false, 0);
        missing.broke(id(2), Why::incomplete(Some(0..1400)));
        missing.due(PATIENCE_MS, |_| false);
        let expected = "\
UUID                                  SIZE  SENT AT               WHY                               NAME
00000000-0000-0000-0000-000000000001  5000  2026-11-20 18:53:09Z  never seen                        f1\\n
00000000-0000-0000-0000-000000000002  5000  2026-11-20 18:53:09Z  incomplete: bytes 0-1399 missing  f2\\n
";
        assert_eq!(table(missing.told()), expected);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399, "2000-02-28 23:59:59Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (1_709_251_199, "2024-02-29 23:59:59Z"),
            (1_735_689_599, "2024-12-31 23:59:59Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(utc(seconds * 1000 + 999), text);
        }
        assert!(utc(u64::MAX).ends_with('Z'), "no time is too late");
    }

    /// What may happen to one of a few files.
    #[derive(Clone, Copy, Debug)]
    enum Happens {
        Heard(u128),
        Broke(u128),
        Arrives(u128),
        Passes(u64),
    }

    fn happens() -> impl Strategy<Value = Happens> {
        prop_oneof![
            (0..4_u128).prop_map(Happens::Heard),
            (0..4_u128).prop_map(Happens::Broke),
            (0..4_u128).prop_map(Happens::Arrives),
            (0..PATIENCE_MS).prop_map(Happens::Passes),
        ]
    }

    proptest! {
        /// A file is told missing at most once, never after it arrived, and told found exactly if it had been told missing.
        #[test]
        fn told_missing_once_and_found_once(story in proptest::collection::vec(happens(), 0..60)) {
            let mut missing = account();
            let (mut now_ms, mut has, mut told) = (0, HashSet::new(), HashSet::new());
            for event in story {
                match event {
                    Happens::Heard(file) => drop(missing.heard(&[sent(file)], |file| has.contains(&file), now_ms)),
                    Happens::Broke(file) => drop(missing.broke(id(file), Why::WrongHash)),
                    Happens::Arrives(file) => {
                        has.insert(id(file));
                        prop_assert_eq!(missing.arrived(id(file)).is_some(), told.remove(&id(file)));
                    }
                    Happens::Passes(ms) => now_ms += ms,
                }
                for absent in missing.due(now_ms, |_| false) {
                    prop_assert!(told.insert(absent.sent.file) && !has.contains(&absent.sent.file));
                }
                let shown: HashSet<Uuid> = missing.told().map(|absent| absent.sent.file).collect();
                prop_assert_eq!(&shown, &told);
            }
        }
    }
}
