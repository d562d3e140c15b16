//! The key file: 32 secret bytes that both hosts share.
//!
//! ```text
//! # any number of comment lines
//! 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08    <- one line, 64 hex digits
//! ```
//!
//! Owns reading and making the file. It never shows a key: [`Key`] has no text form, errors name the
//! file and the line only, and the bytes are wiped when it is dropped.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::{Zeroize as _, Zeroizing};

/// AES-256 takes 32 bytes, and HKDF-SHA-256 wants as many of input.
pub const KEY_BYTES: usize = 32;
/// A key with a page of comments; anything larger is some other file.
const MOST_FILE_BYTES: u64 = 4096;
/// Read and write for the owner, nothing for anyone else.
const OWNER_ONLY: u32 = 0o600;

/// A pre-shared link key. Wiped on drop; its `Debug` shows nothing of it.
///
/// Boxed, so that moving it leaves no copies behind.
#[derive(Clone)]
pub struct Key(Box<Zeroizing<[u8; KEY_BYTES]>>);

impl Key {
    /// Takes over key bytes, for tests and for keys from elsewhere.
    pub fn from_bytes(mut bytes: [u8; KEY_BYTES]) -> Self {
        let key = Self(Box::new(Zeroizing::new(bytes)));
        bytes.zeroize();
        key
    }

    /// The secret itself, for key derivation only.
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(redacted)")
    }
}

/// Why a key file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no such file.
    #[error("key file {0} is missing; `relay keygen {0}` writes one, the same on both hosts")]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("cannot read key file {path}: {source}; it must be readable by the relay's user")]
    Unreadable {
        /// The key file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{path} is not a key file: {cause}; `relay keygen PATH` writes a new one")]
    Format {
        /// The key file.
        path: PathBuf,
        /// What is wrong, without the content.
        cause: String,
    },
    /// There is a file already.
    #[error("{0} exists already and is never overwritten; choose another path, or remove it first")]
    Exists(PathBuf),
    /// The file cannot be written.
    #[error("cannot write key file {path}: {source}; check that its folder exists and is writable")]
    Unwritable {
        /// The key file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system's random source failed; no key was written")]
    Random,
}

/// Reads the key of `path`.
///
/// # Errors
/// [`KeyError::Missing`], [`KeyError::Unreadable`] or [`KeyError::Format`].
pub fn load(path: &Path) -> Result<Key, KeyError> {
    let unreadable = |source: io::Error| {
        if source.kind() == io::ErrorKind::NotFound {
            KeyError::Missing(path.to_owned())
        } else {
            KeyError::Unreadable { path: path.to_owned(), source }
        }
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut content = Zeroizing::new(Vec::with_capacity(MOST_FILE_BYTES as usize + 1));
    file.take(MOST_FILE_BYTES + 1).read_to_end(&mut content).map_err(unreadable)?;
    parse(&content).map_err(|cause| KeyError::Format { path: path.to_owned(), cause })
}

/// Whether someone other than the owner may read the key of `path`, with its mode.
///
/// # Errors
/// What the system says when the file cannot be looked at.
pub fn exposed_mode(path: &Path) -> io::Result<Option<u32>> {
    let mode = std::fs::metadata(path)?.mode() & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

fn parse(content: &[u8]) -> Result<Key, String> {
    if content.len() as u64 > MOST_FILE_BYTES {
        return Err(format!("it is larger than {MOST_FILE_BYTES} bytes"));
    }
    let mut key = None;
    for (at, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        if key.is_some() {
            return Err(format!("line {} is a second key line", at + 1));
        }
        key = Some(unhex(line).ok_or_else(|| format!("line {} is not {} hexadecimal digits", at + 1, 2 * KEY_BYTES))?);
    }
    key.ok_or_else(|| "it has no key line".to_owned())
}

fn unhex(line: &[u8]) -> Option<Key> {
    if line.len() != 2 * KEY_BYTES {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut key = Box::new(Zeroizing::new([0_u8; KEY_BYTES]));
    for (byte, pair) in key.iter_mut().zip(line.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(Key(key))
}

/// Writes a new random key to `path`, readable by its owner only.
///
/// # Errors
/// [`KeyError::Exists`] rather than overwriting anything, [`KeyError::Unwritable`],
/// [`KeyError::Random`].
pub fn generate(path: &Path) -> Result<(), KeyError> {
    let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
    aws_lc_rs::rand::fill(&mut bytes[..]).map_err(|_| KeyError::Random)?;
    let opened = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path);
    let mut file = opened.map_err(|source| {
        if source.kind() == io::ErrorKind::AlreadyExists {
            KeyError::Exists(path.to_owned())
        } else {
            KeyError::Unwritable { path: path.to_owned(), source }
        }
    })?;
    let written = file.write_all(file_text(&bytes).as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|source| {
        // Half a key is worse than none; the first error is the one to report.
        let _ = std::fs::remove_file(path);
        KeyError::Unwritable { path: path.to_owned(), source }
    })
}

fn file_text(key: &[u8; KEY_BYTES]) -> Zeroizing<String> {
    const HEAD: &str = "# relay link key: the same file on both hosts, readable by the relay only\n";
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    // Room for all of it at once: a growing string would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(HEAD.len() + 2 * KEY_BYTES + 1));
    text.push_str(HEAD);
    for byte in key {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";

    #[test]
    fn comments_and_blank_lines_surround_one_key_line() {
        let key = parse(format!("# one\n\n  {HEX}\r\n# two\n").as_bytes()).unwrap();
        assert_eq!(key.bytes()[..], (0..32).collect::<Vec<u8>>()[..]);
    }

    #[test]
    fn anything_else_is_refused_without_showing_it() {
        for (text, expected) in [
            (String::new(), "no key line"),
            (HEX[1..].to_owned(), "line 1 is not 64"),
            (format!("#\n{}", HEX.replace('0', "g")), "line 2 is not 64"),
            (format!("{HEX}\n{HEX}\n"), "line 2 is a second"),
            ("#".repeat(5000), "larger than"),
        ] {
            let cause = parse(text.as_bytes()).unwrap_err();
            assert!(cause.contains(expected), "{cause}");
            assert!(!cause.contains("0001"), "{cause}");
        }
        assert!(parse(&[0xff; 64]).is_err());
    }

    #[test]
    fn debug_shows_nothing_of_the_key() {
        let key = Key::from_bytes([0x5a; KEY_BYTES]);
        assert_eq!(format!("{key:?}"), "Key(redacted)");
    }
}
