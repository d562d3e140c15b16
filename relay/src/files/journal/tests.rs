//! Journals that grow, are compacted, cut off, and damaged.

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;

/// A folder of its own for each test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("relay-journal-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    fn journal(&self) -> PathBuf {
        self.0.join("files/sent.journal")
    }

    /// A journal of these batches; gives its bytes.
    fn holding(&self, batches: &[Vec<String>]) -> Vec<u8> {
        let (mut journal, none) = open(&self.journal());
        assert!(none.is_empty());
        for batch in batches {
            journal.append(batch).expect("writable");
        }
        fs::read(self.journal()).expect("written")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> (Journal<String>, Vec<String>) {
    Journal::open(path).unwrap_or_else(|error| panic!("{error}"))
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let folder = Folder::new();
    let batches = [texts(&["a\nb", "\"c\""]), texts(&[]), texts(&["d"])];
    let bytes = folder.holding(&batches);
    let (mut journal, entries) = open(&folder.journal());
    assert_eq!(entries, ["a\nb", "\"c\"", "d"]);
    assert_eq!((journal.torn_bytes(), journal.len_bytes()), (0, bytes.len() as u64));
    journal.append(&texts(&["e"])).expect("writable");
    assert_eq!(read_only::<String>(&folder.journal()).expect("readable").len(), 4);
}

#[test]
fn the_file_is_the_drawn_one() {
    let folder = Folder::new();
    let bytes = folder.holding(&[texts(&["a", "b"])]);
    let digits = &blake3::hash(br#"["a","b"]"#).to_hex()[..16];
    assert_eq!(String::from_utf8(bytes).expect("text"), format!("relay-journal 1\n{digits} [\"a\",\"b\"]\n"));
}

#[test]
fn a_rewrite_takes_the_place_of_everything() {
    let folder = Folder::new();
    let (mut journal, _) = open(&folder.journal());
    let many: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    journal.append(&many).expect("writable");
    journal.rewrite(many.iter().skip(50).cloned()).expect("writable");
    journal.append(&texts(&["more"])).expect("writable");
    let expected: Vec<String> = many[50..].iter().cloned().chain(texts(&["more"])).collect();
    assert_eq!(read_only::<String>(&folder.journal()).expect("readable"), expected);
    assert_eq!(journal.len_bytes(), fs::metadata(folder.journal()).expect("there").len());
    drop(journal);
    assert_eq!(open(&folder.journal()).1, expected);
    let files = fs::read_dir(folder.0.join("files")).expect("there").count();
    assert_eq!(files, 2, "the journal and its lock");
}

#[test]
fn two_cannot_write_the_same_journal() {
    let folder = Folder::new();
    let (mut journal, _) = open(&folder.journal());
    journal.append(&texts(&["a"])).expect("writable");
    let refused = Journal::<String>::open(&folder.journal()).expect_err("in use");
    assert!(matches!(refused, JournalError::InUse { .. }), "{refused}");
    journal.rewrite(texts(&["b"]).into_iter()).expect("writable");
    assert!(Journal::<String>::open(&folder.journal()).is_err(), "in use after a rewrite too");
    assert_eq!(read_only::<String>(&folder.journal()).expect("readable"), ["b"]);
    drop(journal);
    assert_eq!(open(&folder.journal()).1, ["b"]);
}

#[test]
fn a_reader_leaves_a_line_that_is_being_written_alone() {
    let folder = Folder::new();
    let bytes = folder.holding(&[texts(&["a"]), texts(&["b"])]);
    fs::write(folder.journal(), &bytes[..bytes.len() - 3]).expect("writable");
    assert_eq!(read_only::<String>(&folder.journal()).expect("readable"), ["a"]);
    assert_eq!(fs::metadata(folder.journal()).expect("there").len(), bytes.len() as u64 - 3, "not cut");
}

#[test]
fn what_is_no_journal_is_not_touched() {
    let folder = Folder::new();
    fs::create_dir_all(folder.0.join("files")).expect("writable");
    for text in ["", "relay-journal 2\n", "password", "relay-journal 1"] {
        fs::write(folder.journal(), text).expect("writable");
        let refused = Journal::<String>::open(&folder.journal()).expect_err("no journal");
        assert!(matches!(refused, JournalError::Foreign { .. }), "{refused}");
        assert_eq!(fs::read_to_string(folder.journal()).expect("there"), text);
    }
    assert!(read_only::<String>(&folder.0.join("none")).is_err());
}

/// A newer relay may write what this one does not know: nothing of it may be dropped as if torn.
#[test]
fn entries_of_another_kind_are_an_error_on_the_last_line_too() {
    let folder = Folder::new();
    let before = folder.holding(&[texts(&["1"])]);
    let refused = Journal::<u32>::open(&folder.journal()).expect_err("other entries").to_string();
    assert!(refused.contains("line 2 of") && refused.contains("another version"), "{refused}");
    assert_eq!(fs::read(folder.journal()).expect("there"), before);
}

#[test]
fn damage_in_the_middle_is_refused_with_its_line() {
    let folder = Folder::new();
    let mut bytes = folder.holding(&[texts(&["a"]), texts(&["b"]), texts(&["c"])]);
    let third = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).expect("three lines").0 + 1;
    bytes[third + 20] ^= 1;
    fs::write(folder.journal(), &bytes).expect("writable");
    let refused = Journal::<String>::open(&folder.journal()).expect_err("damaged").to_string();
    assert!(refused.contains("line 3 of") && refused.contains("checksum"), "{refused}");
    assert_eq!(fs::read(folder.journal()).expect("there"), bytes, "left for the operator");
}

/// The disk is full: /dev/full takes no byte.
#[test]
fn a_failed_append_is_not_remembered() {
    let folder = Folder::new();
    let (mut journal, _) = open(&folder.journal());
    journal.append(&texts(&["a"])).expect("writable");
    let real = std::mem::replace(&mut journal.file, File::options().write(true).open("/dev/full").expect("there"));
    let before = journal.len_bytes();
    assert!(journal.append(&texts(&["b"])).is_err());
    assert_eq!(journal.len_bytes(), before);
    // It cannot be cut either: from here on nothing is sure, and what is there cannot be read.
    let refused = journal.append(&texts(&["c"])).expect_err("unsure");
    assert!(matches!(refused, JournalError::Unsure { .. }), "{refused}");
    // Something of the refused entry may have come to disk: a new file has nothing of it.
    fs::write(folder.journal(), [&fs::read(folder.journal()).expect("there")[..], b"refus"].concat())
        .expect("writable");
    journal.file = real;
    journal.append(&texts(&["d"])).expect("sure again");
    assert_eq!(read_only::<String>(&folder.journal()).expect("readable"), ["a", "d"]);
}

/// Batches of entries, none empty.
fn batches() -> impl Strategy<Value = Vec<Vec<String>>> {
    proptest::collection::vec(proptest::collection::vec(any::<String>(), 1..4), 1..5)
}

/// Entries are whole batches from the beginning, and the journal can be used further.
fn is_a_beginning(folder: &Folder, batches: &[Vec<String>]) -> Result<usize, TestCaseError> {
    let (mut journal, entries) = open(&folder.journal());
    let kept = (0..=batches.len()).find(|kept| batches[..*kept].concat() == entries);
    let kept = kept.ok_or_else(|| TestCaseError::fail(format!("{entries:?} of {batches:?}")))?;
    journal.append(&texts(&["next"])).expect("writable");
    drop(journal);
    let again = open(&folder.journal()).1;
    prop_assert_eq!(again, [batches[..kept].concat(), texts(&["next"])].concat());
    Ok(kept)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cut_anywhere_only_the_last_batch_is_lost(batches in batches(), at in any::<prop::sample::Index>()) {
        let folder = Folder::new();
        let bytes = folder.holding(&batches);
        let cut = FIRST_LINE.len() + at.index(bytes.len() - FIRST_LINE.len() + 1);
        fs::write(folder.journal(), &bytes[..cut]).expect("writable");
        let whole = bytes[FIRST_LINE.len()..cut].split(|byte| *byte == b'\n').count() - 1;
        prop_assert_eq!(is_a_beginning(&folder, &batches)?, whole);
    }

    #[test]
    fn a_flipped_byte_never_makes_a_wrong_entry(
        batches in batches(), at in any::<prop::sample::Index>(), mask in 1..=255_u8
    ) {
        let folder = Folder::new();
        let mut bytes = folder.holding(&batches);
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        fs::write(folder.journal(), &bytes).expect("writable");
        match Journal::<String>::open(&folder.journal()) {
            Err(JournalError::Foreign { .. }) => prop_assert!(at < FIRST_LINE.len()),
            Err(JournalError::Damaged { .. }) => prop_assert!(at >= FIRST_LINE.len()),
            Err(other) => prop_assert!(false, "{}", other),
            Ok(opened) => {
                drop(opened);
                let kept = is_a_beginning(&folder, &batches)?;
                // The end of a line lost takes the next one with it.
                prop_assert!(kept + 2 >= batches.len() && kept < batches.len());
            }
        }
    }

    #[test]
    fn arbitrary_bytes_give_no_entries(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let folder = Folder::new();
        fs::create_dir_all(folder.0.join("files")).expect("writable");
        let content = [FIRST_LINE, &bytes].concat();
        fs::write(folder.journal(), content).expect("writable");
        if let Ok((_, entries)) = Journal::<String>::open(&folder.journal()) {
            prop_assert_eq!(entries, Vec::<String>::new());
        }
    }
}
