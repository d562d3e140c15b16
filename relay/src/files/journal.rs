//! A journal: what a host must remember of files, kept on disk entry by entry.
//!
//! ```text
//! relay-journal 1                              the first line
//! 5f2c1b0a99e1d3c4 [entry,entry]               16 digits of the BLAKE3 of what follows, and a batch of entries as JSON
//! 8d01b6e2f7a4c35e [entry]                     each batch on a line of its own, which JSON never breaks
//! ```
//!
//! A batch is written at once and is on disk when [`Journal::append`] returns: after a crash all of it is there, or nothing.
//! A last line that is not whole is what a crash leaves and is dropped; damage anywhere before is an error, since entries
//! would be missing in the middle. One process writes, which a lock (`NAME.lock`, freed by the kernel when the process ends)
//! makes sure of; others may read meanwhile. Compaction replaces the file by rename.
//!
//! Calls wait for the disk.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host::make_private;

/// Says what the file is, so that none of another kind is taken for a damaged journal and cut.
const FIRST_LINE: &[u8] = b"relay-journal 1\n";
/// Digits of a line's checksum: 64 bits, so that no damage goes unnoticed in practice.
const CHECKSUM_DIGITS: usize = 16;
/// Entries on one line of a compacted journal: long enough to cost little, short enough to be read by people.
const REWRITE_BATCH: usize = 16;

/// A journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refused.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process writes it.
    #[error("{path} is in use by another relay; each needs a `state_dir` of its own", path = path.display())]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// It is not a journal, or one of another version.
    #[error("{path} is not a journal of this relay; move it away to begin a new one", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A line is damaged that no crash has left so: it is not the last, or it is whole and of another kind.
    #[error("line {line} of {path} is damaged: {what}; restore the file, or move it away to begin a new one without what it knew", path = path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// After an earlier error it is not known what is on disk.
    #[error("{path} takes no entries after an earlier error of the disk, before it can be written anew: {why}", path = path.display())]
    Unsure {
        /// The journal.
        path: PathBuf,
        /// Why it cannot be written anew.
        why: String,
    },
    /// An entry cannot be written as JSON.
    #[error("an entry for {path} cannot be written: {source}", path = path.display())]
    Entry {
        /// The journal.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// A journal that this process writes.
#[derive(Debug)]
pub struct Journal<E> {
    path: PathBuf,
    file: File,
    /// Bytes that are on disk and whole.
    len_bytes: u64,
    torn_bytes: u64,
    /// An error has left open what is on disk; only a rewrite makes it sure again.
    unsure: bool,
    /// Held as long as the journal is open.
    _lock: File,
    entries: PhantomData<fn(E)>,
}

impl<E: Serialize + DeserializeOwned> Journal<E> {
    /// Opens the journal at `path` with all its entries; makes it, and its folder, where there is none.
    ///
    /// # Errors
    /// Another process has it open, it is damaged before its last line, or the system refuses.
    pub fn open(path: &Path) -> Result<(Self, Vec<E>), JournalError> {
        let folder = folder_of(path);
        make_private(folder).map_err(failed("make", folder))?;
        let lock = locked(path)?;
        if !path.try_exists().map_err(failed("look for", path))? {
            replace::<E>(path, std::iter::empty())?;
        }
        let file = File::options().read(true).write(true).open(path).map_err(failed("open", path))?;
        let read = read(path, &file)?;
        if read.torn_bytes > 0 {
            file.set_len(read.len_bytes).and_then(|()| file.sync_all()).map_err(failed("shorten", path))?;
        }
        let journal = Self {
            path: path.to_owned(),
            file,
            len_bytes: read.len_bytes,
            torn_bytes: read.torn_bytes,
            unsure: false,
            _lock: lock,
            entries: PhantomData,
        };
        Ok((journal, read.entries))
    }

    /// Adds entries. When this returns they are on disk, all of them.
    ///
    /// # Errors
    /// None of them is remembered. If the disk was full, the next try may succeed. If it failed to say what it holds, each
    /// further try begins with a new file of what was there before; [`JournalError::Unsure`] says that there is none yet.
    pub fn append(&mut self, entries: &[E]) -> Result<(), JournalError> {
        if self.unsure {
            self.mend().map_err(|error| JournalError::Unsure { path: self.path.clone(), why: error.to_string() })?;
        }
        if entries.is_empty() {
            return Ok(());
        }
        let line = line_of(&self.path, entries)?;
        if let Err(source) = self.file.write_all_at(&line, self.len_bytes) {
            self.unsure = self.file.set_len(self.len_bytes).is_err();
            return Err(failed("write", &self.path)(source));
        }
        if let Err(source) = self.file.sync_data() {
            // The kernel forgets what it could not write (fsync(2)): a second sync would say nothing.
            self.unsure = true;
            return Err(failed("sync", &self.path)(source));
        }
        self.len_bytes += line.len() as u64;
        Ok(())
    }

    /// Copies what was on disk before the error to a new file. What this file holds beyond that was refused to whoever gave it.
    fn mend(&mut self) -> Result<(), JournalError> {
        self.compact(|entries| entries)
    }

    /// Replaces all entries by what `shortest` makes of them, at once.
    ///
    /// # Errors
    /// They cannot be read back; else as [`Journal::rewrite`].
    pub fn compact(&mut self, shortest: impl FnOnce(Vec<E>) -> Vec<E>) -> Result<(), JournalError> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0)).map_err(failed("read", &self.path))?;
        let read = read::<E>(&self.path, file.take(self.len_bytes))?;
        if read.len_bytes != self.len_bytes {
            return Err(JournalError::Damaged { path: self.path.clone(), line: 0, what: "its end is torn".to_owned() });
        }
        self.rewrite(shortest(read.entries).into_iter())
    }

    /// Replaces all entries by `entries`, at once: after a crash the old ones are there, or the new ones.
    ///
    /// # Errors
    /// The system refuses; as a rule the old ones stay. Where it is not known which are on disk, nothing more is taken
    /// ([`JournalError::Unsure`]) until a rewrite succeeds.
    pub fn rewrite(&mut self, entries: impl Iterator<Item = E>) -> Result<(), JournalError> {
        match replace(&self.path, entries) {
            Ok((file, len_bytes)) => {
                (self.file, self.len_bytes, self.unsure) = (file, len_bytes, false);
                Ok(())
            }
            Err(Refusal { error, renamed }) => {
                // What goes to a file that has lost its name is lost.
                self.unsure |= renamed;
                Err(error)
            }
        }
    }

    /// Length of the file, bytes: grows with every entry until a rewrite.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Bytes of a line that was not whole and was dropped at the opening; 0 if there was none.
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }
}

/// The entries of a journal that another process may be writing. A line that is not whole yet is left out.
///
/// # Errors
/// There is none, it is damaged before its last line, or the system refuses.
pub fn read_only<E: DeserializeOwned>(path: &Path) -> Result<Vec<E>, JournalError> {
    let file = File::open(path).map_err(failed("read", path))?;
    Ok(read(path, &file)?.entries)
}

/// What a file holds.
struct Read<E> {
    entries: Vec<E>,
    /// Bytes up to the end of the last whole line.
    len_bytes: u64,
    /// Bytes of the line behind it.
    torn_bytes: u64,
}

fn read<E: DeserializeOwned>(path: &Path, file: impl io::Read) -> Result<Read<E>, JournalError> {
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    let mut next = |line: &mut Vec<u8>| {
        line.clear();
        lines.read_until(b'\n', line).map_err(failed("read", path))
    };
    if next(&mut line)? == 0 || line != FIRST_LINE {
        return Err(JournalError::Foreign { path: path.to_owned() });
    }
    let mut read = Read { entries: Vec::new(), len_bytes: line.len() as u64, torn_bytes: 0 };
    let damaged = |line: u64, what: String| JournalError::Damaged { path: path.to_owned(), line, what };
    let mut torn = None;
    for number in 2.. {
        if next(&mut line)? == 0 {
            break;
        }
        if let Some((number, what)) = torn {
            return Err(damaged(number, format!("{what}, and others follow")));
        }
        match text_of(&line) {
            Ok(text) => {
                read.entries.extend(entries_of(text).map_err(|what| damaged(number, what))?);
                read.len_bytes += line.len() as u64;
            }
            Err(what) => {
                read.torn_bytes = line.len() as u64;
                torn = Some((number, what));
            }
        }
    }
    Ok(read)
}

/// What a whole line says, or what is wrong with it.
fn text_of(line: &[u8]) -> Result<&[u8], &'static str> {
    let line = line.strip_suffix(b"\n").ok_or("it has no end")?;
    let (checksum, text) = line.split_at_checked(CHECKSUM_DIGITS).ok_or("it is too short")?;
    let text = text.strip_prefix(b" ").ok_or("it has no checksum")?;
    if checksum == checksum_of(text).as_bytes() { Ok(text) } else { Err("its checksum is wrong") }
}

fn entries_of<E: DeserializeOwned>(text: &[u8]) -> Result<Vec<E>, String> {
    serde_json::from_slice(text).map_err(|error| format!("it was written by another version: {error}"))
}

fn line_of<E: Serialize>(path: &Path, entries: &[E]) -> Result<Vec<u8>, JournalError> {
    let text =
        serde_json::to_string(entries).map_err(|source| JournalError::Entry { path: path.to_owned(), source })?;
    let mut line = checksum_of(text.as_bytes());
    // Writing to a String cannot fail.
    let _ = writeln!(line, " {text}");
    Ok(line.into_bytes())
}

fn checksum_of(text: &[u8]) -> String {
    let mut digits = blake3::hash(text).to_hex().to_string();
    digits.truncate(CHECKSUM_DIGITS);
    digits
}

/// The new file could not be put in the old one's place.
struct Refusal {
    error: JournalError,
    /// The new one has the name already, if perhaps not on disk.
    renamed: bool,
}

impl From<Refusal> for JournalError {
    fn from(refusal: Refusal) -> Self {
        refusal.error
    }
}

/// Writes a journal of `entries` and puts it in the place of `path`; gives the open file and its length.
fn replace<E: Serialize>(path: &Path, entries: impl Iterator<Item = E>) -> Result<(File, u64), Refusal> {
    let new = beside(path, ".new");
    let written = write(&new, entries).and_then(|written| {
        fs::rename(&new, path).map_err(failed("replace", path))?;
        Ok(written)
    });
    let written = written.map_err(|error| {
        // It may not even have been made: what is left of it is overwritten by the next.
        let _ = fs::remove_file(&new);
        Refusal { error, renamed: false }
    })?;
    // The rename is on disk only once the folder is.
    let folder = folder_of(path);
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| Refusal { error: failed("sync", folder)(source), renamed: true })?;
    Ok(written)
}

fn write<E: Serialize>(path: &Path, mut entries: impl Iterator<Item = E>) -> Result<(File, u64), JournalError> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
    let mut writer = BufWriter::new(file.map_err(failed("make", path))?);
    let mut len_bytes = FIRST_LINE.len() as u64;
    writer.write_all(FIRST_LINE).map_err(failed("write", path))?;
    loop {
        let batch: Vec<E> = entries.by_ref().take(REWRITE_BATCH).collect();
        if batch.is_empty() {
            break;
        }
        let line = line_of(path, &batch)?;
        writer.write_all(&line).map_err(failed("write", path))?;
        len_bytes += line.len() as u64;
    }
    let file = writer.into_inner().map_err(|error| failed("write", path)(error.into_error()))?;
    file.sync_all().map_err(failed("sync", path))?;
    Ok((file, len_bytes))
}

/// The lock of the journal at `path`. A file of its own, since a rewrite gives the journal another inode.
fn locked(path: &Path) -> Result<File, JournalError> {
    let name = beside(path, ".lock");
    let lock = File::options().write(true).create(true).truncate(false).open(&name).map_err(failed("open", &name))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed("lock", &name)(source)),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { action, path: path.clone(), source }
}

#[cfg(test)]
mod tests;
