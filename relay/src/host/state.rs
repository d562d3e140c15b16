//! What must survive a restart: a sender's last epoch, a receiver's newest epoch and what it saw of it.
//!
//! | link | sender's file | receiver's file |
//! | --- | --- | --- |
//! | forward | `blue.epoch` | `red.epoch` |
//! | return | `red-return.epoch` | `blue-return.epoch` |
//!
//! Files are replaced by rename, so that a crash leaves the old or the new one.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::wire::Direction;

/// State could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder or file cannot be used.
    #[error("cannot {action} {path}: {source}; make the folder writable for this user, or set `state_dir` in the site file", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is there but is not ours.
    #[error("{path} is damaged: {what}; if no other relay uses it, remove it (a receiver then accepts any epoch)", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
}

/// The epoch of a sender for this start: the wall clock in seconds, but always above the last one. It is on disk before
/// this returns, so that no epoch is ever used twice.
pub fn next_epoch(state_dir: &Path, direction: Direction) -> Result<u32, StateError> {
    let path = state_dir.join(sender_file(direction));
    let last: u32 = match read(&path)? {
        None => 0,
        Some(text) => text.trim().parse().map_err(|_| damaged(&path, "not a number"))?,
    };
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let clock = u32::try_from(clock).unwrap_or(u32::MAX);
    let epoch = clock.max(last.checked_add(1).ok_or_else(|| damaged(&path, "the last epoch there can be"))?);
    write(&path, &format!("{epoch}\n"), true)?;
    Ok(epoch)
}

/// What a receiver remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiverState {
    /// The newest epoch seen; no older one is accepted.
    pub epoch: u32,
    /// Lanes of that epoch, and the packet number below which everything was seen.
    pub floors: Vec<(u16, u64)>,
}

/// A receiver's state, empty where there is none.
pub fn load_receiver(state_dir: &Path, direction: Direction) -> Result<ReceiverState, StateError> {
    let path = state_dir.join(receiver_file(direction));
    let Some(text) = read(&path)? else { return Ok(ReceiverState::default()) };
    parse_receiver(&text).ok_or_else(|| damaged(&path, "not an epoch and its lanes"))
}

/// Replaces a receiver's state. A new epoch is worth an fsync; floors alone are not, since they only matter after a crash of
/// this process, not of the machine.
pub fn store_receiver(
    state_dir: &Path,
    direction: Direction,
    state: &ReceiverState,
    durable: bool,
) -> Result<(), StateError> {
    let mut text = format!("epoch {}\n", state.epoch);
    for (lane, floor) in &state.floors {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "lane {lane} {floor}");
    }
    write(&state_dir.join(receiver_file(direction)), &text, durable)
}

const fn sender_file(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "blue.epoch",
        Direction::Return => "red-return.epoch",
    }
}

const fn receiver_file(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "red.epoch",
        Direction::Return => "blue-return.epoch",
    }
}

fn parse_receiver(text: &str) -> Option<ReceiverState> {
    let mut lines = text.lines();
    let epoch = lines.next()?.strip_prefix("epoch ")?.parse().ok()?;
    let floors = lines
        .map(|line| {
            let (lane, floor) = line.strip_prefix("lane ")?.split_once(' ')?;
            Some((lane.parse().ok()?, floor.parse().ok()?))
        })
        .collect::<Option<_>>()?;
    Some(ReceiverState { epoch, floors })
}

fn read(path: &Path) -> Result<Option<String>, StateError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(damaged(path, "not text")),
        Err(source) => Err(StateError::Io { action: "read", path: path.to_owned(), source }),
    }
}

/// Makes a folder for state, and those above it, where there are none: the relay's alone, whatever the umask.
///
/// # Errors
/// The system refuses.
pub fn make_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn write(path: &Path, text: &str, durable: bool) -> Result<(), StateError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| StateError::Io { action, path, source }
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    make_private(folder).map_err(failed("make", folder))?;
    let new = path.with_extension("new");
    let mut file = File::create(&new).map_err(failed("write", &new))?;
    file.write_all(text.as_bytes()).map_err(failed("write", &new))?;
    if durable {
        file.sync_all().map_err(failed("sync", &new))?;
    }
    fs::rename(&new, path).map_err(failed("replace", path))?;
    if !durable {
        return Ok(());
    }
    // The rename itself is on disk only once the folder is.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

fn damaged(path: &Path, what: &'static str) -> StateError {
    StateError::Damaged { path: path.to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own for each test, gone with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("relay-state-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).expect("a temporary folder");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn epochs_always_rise() {
        let folder = Folder::new("epochs");
        let first = next_epoch(&folder.0, Direction::Forward).expect("writable");
        let second = next_epoch(&folder.0, Direction::Forward).expect("writable");
        assert!(second > first, "two starts in one second");
        let ahead = first + 1_000_000;
        fs::write(folder.0.join("blue.epoch"), ahead.to_string()).expect("writable");
        assert_eq!(
            next_epoch(&folder.0, Direction::Forward).expect("writable"),
            ahead + 1,
            "a clock that was set back"
        );
    }

    #[test]
    fn a_receiver_reads_what_it_wrote() {
        let folder = Folder::new("receiver");
        assert_eq!(load_receiver(&folder.0, Direction::Forward).expect("none yet"), ReceiverState::default());
        let state = ReceiverState { epoch: 77, floors: vec![(0, 12_345_678_901), (3, 5)] };
        store_receiver(&folder.0, Direction::Forward, &state, true).expect("writable");
        assert_eq!(load_receiver(&folder.0, Direction::Forward).expect("readable"), state);
    }

    /// Both hosts may share a folder, on a machine that plays both.
    #[test]
    fn every_end_has_a_file_of_its_own() {
        let folder = Folder::new("files");
        for (direction, epoch) in [(Direction::Forward, 7), (Direction::Return, 9)] {
            next_epoch(&folder.0, direction).expect("writable");
            let state = ReceiverState { epoch, floors: Vec::new() };
            store_receiver(&folder.0, direction, &state, false).expect("writable");
        }
        assert_eq!(load_receiver(&folder.0, Direction::Forward).expect("readable").epoch, 7);
        assert_eq!(load_receiver(&folder.0, Direction::Return).expect("readable").epoch, 9);
        let entries = fs::read_dir(&folder.0).expect("there").map(|entry| entry.expect("there").file_name());
        let mut names: Vec<_> = entries.collect();
        names.sort();
        assert_eq!(names, ["blue-return.epoch", "blue.epoch", "red-return.epoch", "red.epoch"]);
    }

    #[test]
    fn damage_is_said_with_the_path() {
        let folder = Folder::new("damage");
        fs::write(folder.0.join("blue.epoch"), "yesterday").expect("writable");
        fs::write(folder.0.join("red.epoch"), "epoch 5\nlane x").expect("writable");
        let blue = next_epoch(&folder.0, Direction::Forward).expect_err("damaged").to_string();
        assert!(blue.contains("blue.epoch is damaged"), "{blue}");
        assert!(load_receiver(&folder.0, Direction::Forward).is_err());
    }

    #[test]
    fn folders_for_state_are_the_relays_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new("private");
        let path = folder.0.join("files/9");
        for _ in 0..2 {
            make_private(&path).expect("made, or there");
        }
        for made in [&path, &folder.0.join("files")] {
            assert_eq!(fs::metadata(made).expect("there").permissions().mode() & 0o777, 0o700, "{}", made.display());
        }
    }
}
