//! A file as its session carries it: a head, the content, a tail. Owns this layout and its [`Parser`]; hashes nothing, writes
//! nothing.
//!
//! ```text
//! head, 48 bytes and the name, at most HEAD_BYTES_MAX; big-endian
//!  0            4         5      6       7      8             10      12          16
//! +------------+---------+------+-------+------+-------------+-------+-----------+----------------------+
//! | "rlyf"     | version | kind | flags | 0    | head length | mode  | nanosec.  | UUID of the file, 16 |
//! +------------+---------+------+-------+------+-------------+-------+-----------+----------------------+
//!  32                     40                                  48                  head length
//! +----------------------+-----------------------------------+-------------------+
//! | size, bytes          | modified, seconds since 1970, i64 | name              |
//! +----------------------+-----------------------------------+-------------------+
//! content: `size` bytes
//! tail, 44 bytes
//!  0            4                  12
//! +------------+------------------+-----------------------------+
//! | "rlyt"     | size, bytes      | BLAKE3 of the content, 32   |
//! +------------+------------------+-----------------------------+
//! ```
//!
//! Kind: 1 a file, 2 a manifest. Flags: 1 the time is known, 2 the mode is known; what is not known is zero. There is one way
//! to write a head: whatever else comes is refused.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf as _, Bytes};

use super::endpoint::Attributes;
use super::manifest::MANIFEST_BYTES_MAX;
use super::name::{FileName, NAME_BYTES_MAX, NameFault};

const HEAD_MAGIC: [u8; 4] = *b"rlyf";
const TAIL_MAGIC: [u8; 4] = *b"rlyt";
const VERSION: u8 = 1;
/// A head without its name.
const HEAD_LEN: usize = 48;
/// Length of a tail, bytes.
pub const TAIL_LEN: usize = 44;
/// Longest head, bytes: what RED keeps of a session before it knows what it is.
pub const HEAD_BYTES_MAX: usize = HEAD_LEN + NAME_BYTES_MAX;
const FLAG_MODIFIED: u8 = 1;
const FLAG_MODE: u8 = 2;
/// Permission bits that cross: not set-user-ID, set-group-ID and sticky, which would give a sender power on RED or its servers.
const MODE_BITS: u32 = 0o777;
const NANOS_PER_S: u32 = 1_000_000_000;

/// What a session of a files channel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A list of files that were sent.
    Manifest,
}

/// What comes before the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The file's UUID, the same in every attempt.
    pub file: [u8; 16],
    /// What it is.
    pub kind: Kind,
    /// Its name under its place. A manifest's is for logs only.
    pub name: FileName,
    /// Its size, which is the length of the content, and what else is to be preserved. Of the mode only the lowest 9 bits cross.
    pub attributes: Attributes,
}

/// What comes after the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Length of the content, bytes: the head's again.
    pub size_bytes: u64,
    /// BLAKE3 of the content.
    pub hash: [u8; 32],
}

/// Why bytes are no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// The head does not start with its magic.
    #[error("the session does not begin with a file's head")]
    NoHead,
    /// Of another version of the relay.
    #[error("the file's head is of version {0}, this relay knows {VERSION}")]
    Version(u8),
    /// A length, flag, kind, time or mode of the head cannot be, or a manifest is larger than [`MANIFEST_BYTES_MAX`].
    #[error("the file's head is malformed")]
    Malformed,
    /// The name leads out of its place, or no system could hold it.
    #[error("the file's name cannot be: {0}")]
    Name(#[from] NameFault),
    /// The content does not end with a tail.
    #[error("the content does not end where its head says")]
    NoTail,
    /// The tail contradicts the head.
    #[error("the tail speaks of {tail_bytes} bytes, the head of {head_bytes}")]
    Size {
        /// Size in the head.
        head_bytes: u64,
        /// Size in the tail.
        tail_bytes: u64,
    },
    /// Something comes after the tail.
    #[error("the session goes on after the file's tail")]
    TooMuch,
}

/// Length of the head of a file of this name: where its content begins in its session.
pub fn head_bytes(name: &FileName) -> u64 {
    (HEAD_LEN + name.as_bytes().len()) as u64
}

impl Head {
    /// As it is sent.
    pub fn to_wire(&self) -> Vec<u8> {
        let name = self.name.as_bytes();
        let (seconds, nanos) = self.attributes.modified.map_or((0, 0), since_epoch);
        let mut flags = 0;
        if self.attributes.modified.is_some() {
            flags |= FLAG_MODIFIED;
        }
        if self.attributes.mode.is_some() {
            flags |= FLAG_MODE;
        }
        let kind = match self.kind {
            Kind::File => 1,
            Kind::Manifest => 2,
        };
        let mut wire = Vec::with_capacity(HEAD_LEN + name.len());
        wire.extend_from_slice(&HEAD_MAGIC);
        wire.extend_from_slice(&[VERSION, kind, flags, 0]);
        wire.extend_from_slice(&((HEAD_LEN + name.len()) as u16).to_be_bytes());
        wire.extend_from_slice(&((self.attributes.mode.unwrap_or(0) & MODE_BITS) as u16).to_be_bytes());
        wire.extend_from_slice(&nanos.to_be_bytes());
        wire.extend_from_slice(&self.file);
        wire.extend_from_slice(&self.attributes.size_bytes.to_be_bytes());
        wire.extend_from_slice(&seconds.to_be_bytes());
        wire.extend_from_slice(name);
        wire
    }

    /// Reads a whole head.
    fn from_wire(wire: &[u8]) -> Result<Self, FrameFault> {
        let (fixed, name) = wire.split_first_chunk::<HEAD_LEN>().ok_or(FrameFault::Malformed)?;
        let kind = match fixed[5] {
            1 => Kind::File,
            2 => Kind::Manifest,
            _ => return Err(FrameFault::Malformed),
        };
        let mut rest = &fixed[10..];
        let (mode, nanos) = (rest.get_u16(), rest.get_u32());
        let mut file = [0; 16];
        rest.copy_to_slice(&mut file);
        let (size_bytes, seconds) = (rest.get_u64(), rest.get_i64());
        let attributes = Attributes {
            size_bytes,
            modified: modified(fixed[6] & FLAG_MODIFIED != 0, seconds, nanos)?,
            mode: mode_of(fixed[6] & FLAG_MODE != 0, mode)?,
        };
        let unknown = fixed[6] & !(FLAG_MODIFIED | FLAG_MODE) != 0 || fixed[7] != 0;
        // A manifest is held in memory, a file is not.
        let endless = kind == Kind::Manifest && size_bytes > MANIFEST_BYTES_MAX as u64;
        if unknown || endless {
            return Err(FrameFault::Malformed);
        }
        Ok(Self { file, kind, name: FileName::new(name)?, attributes })
    }
}

impl Tail {
    /// As it is sent.
    pub fn to_wire(&self) -> [u8; TAIL_LEN] {
        let mut wire = [0; TAIL_LEN];
        wire[..4].copy_from_slice(&TAIL_MAGIC);
        wire[4..12].copy_from_slice(&self.size_bytes.to_be_bytes());
        wire[12..].copy_from_slice(&self.hash);
        wire
    }

    fn from_wire(mut wire: &[u8]) -> Result<Self, FrameFault> {
        if wire.len() != TAIL_LEN || !wire.starts_with(&TAIL_MAGIC) {
            return Err(FrameFault::NoTail);
        }
        wire.advance(TAIL_MAGIC.len());
        let size_bytes = wire.get_u64();
        let mut hash = [0; 32];
        wire.copy_to_slice(&mut hash);
        Ok(Self { size_bytes, hash })
    }
}

/// Seconds and nanoseconds since 1970; before it the seconds are negative and the nanoseconds still count upwards.
fn since_epoch(time: SystemTime) -> (i64, u32) {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (after.as_secs() as i64, after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let seconds = 0_i64.wrapping_sub_unsigned(before.as_secs());
            match before.subsec_nanos() {
                0 => (seconds, 0),
                nanos => (seconds.wrapping_sub(1), NANOS_PER_S - nanos),
            }
        }
    }
}

fn modified(known: bool, seconds: i64, nanos: u32) -> Result<Option<SystemTime>, FrameFault> {
    if !known {
        return if (seconds, nanos) == (0, 0) { Ok(None) } else { Err(FrameFault::Malformed) };
    }
    if nanos >= NANOS_PER_S {
        return Err(FrameFault::Malformed);
    }
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    let time = second.and_then(|second| second.checked_add(Duration::from_nanos(u64::from(nanos))));
    time.map(Some).ok_or(FrameFault::Malformed)
}

fn mode_of(known: bool, mode: u16) -> Result<Option<u32>, FrameFault> {
    let mode = u32::from(mode);
    match known {
        true if mode <= MODE_BITS => Ok(Some(mode)),
        false if mode == 0 => Ok(None),
        _ => Err(FrameFault::Malformed),
    }
}

/// A piece of a file, in the order of its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// First, once.
    Head(Head),
    /// Content that follows what came before; never empty. A slice of what was pushed.
    Content(Bytes),
    /// Last, once.
    Tail(Tail),
}

/// The pieces that one push has completed, in order.
pub type Pieces = std::iter::Flatten<std::array::IntoIter<Option<Piece>, 3>>;

/// Takes a session's bytes as they come, in pieces of any length, and tells what they are.
#[derive(Debug, Default)]
pub struct Parser {
    stage: Stage,
    /// The part of a head or tail that has come.
    part: Vec<u8>,
    /// Size by the head.
    size_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Head,
    /// So many bytes of content are to come; at 0 the tail.
    Content(u64),
    Done,
    Broken(FrameFault),
}

impl Parser {
    /// A parser at the beginning of a session.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the session's next bytes.
    ///
    /// # Errors
    /// They are no file. Pieces of the same push are withheld, and every further push gives the same error.
    pub fn push(&mut self, mut bytes: Bytes) -> Result<Pieces, FrameFault> {
        let pieces = self.pieces(&mut bytes);
        if let Err(fault) = pieces {
            self.stage = Stage::Broken(fault);
        }
        pieces.map(|pieces| pieces.into_iter().flatten())
    }

    /// Has the tail come? Else a session that ends has lost the rest.
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Bytes of content that have come.
    pub fn content_bytes(&self) -> u64 {
        match self.stage {
            Stage::Content(left_bytes) => self.size_bytes - left_bytes,
            Stage::Done => self.size_bytes,
            Stage::Head | Stage::Broken(_) => 0,
        }
    }

    fn pieces(&mut self, bytes: &mut Bytes) -> Result<[Option<Piece>; 3], FrameFault> {
        let head = self.head(bytes)?.map(Piece::Head);
        let content = self.content(bytes).map(Piece::Content);
        let tail = self.tail(bytes)?.map(Piece::Tail);
        match self.stage {
            Stage::Broken(fault) => Err(fault),
            Stage::Done if !bytes.is_empty() => Err(FrameFault::TooMuch),
            _ => Ok([head, content, tail]),
        }
    }

    fn head(&mut self, bytes: &mut Bytes) -> Result<Option<Head>, FrameFault> {
        if self.stage != Stage::Head || !self.gather(bytes, HEAD_LEN, FrameFault::NoHead, HEAD_MAGIC)? {
            return Ok(None);
        }
        if self.part[4] != VERSION {
            return Err(FrameFault::Version(self.part[4]));
        }
        let len = usize::from(u16::from_be_bytes([self.part[8], self.part[9]]));
        if !(HEAD_LEN..=HEAD_BYTES_MAX).contains(&len) {
            return Err(FrameFault::Malformed);
        }
        if !self.gather(bytes, len, FrameFault::NoHead, HEAD_MAGIC)? {
            return Ok(None);
        }
        let head = Head::from_wire(&self.part)?;
        self.part.clear();
        self.size_bytes = head.attributes.size_bytes;
        self.stage = Stage::Content(self.size_bytes);
        Ok(Some(head))
    }

    fn content(&mut self, bytes: &mut Bytes) -> Option<Bytes> {
        let Stage::Content(left_bytes) = &mut self.stage else { return None };
        let taken = usize::try_from(*left_bytes).unwrap_or(usize::MAX).min(bytes.len());
        *left_bytes -= taken as u64;
        (taken > 0).then(|| bytes.split_to(taken))
    }

    fn tail(&mut self, bytes: &mut Bytes) -> Result<Option<Tail>, FrameFault> {
        if self.stage != Stage::Content(0) || !self.gather(bytes, TAIL_LEN, FrameFault::NoTail, TAIL_MAGIC)? {
            return Ok(None);
        }
        let tail = Tail::from_wire(&self.part)?;
        if tail.size_bytes != self.size_bytes {
            return Err(FrameFault::Size { head_bytes: self.size_bytes, tail_bytes: tail.size_bytes });
        }
        self.stage = Stage::Done;
        Ok(Some(tail))
    }

    /// Takes bytes until the part has `len` of them; false: more are needed. What does not begin with `magic` is a fault at
    /// its first wrong byte.
    fn gather(
        &mut self,
        bytes: &mut Bytes,
        len: usize,
        without_magic: FrameFault,
        magic: [u8; 4],
    ) -> Result<bool, FrameFault> {
        let taken = len.saturating_sub(self.part.len()).min(bytes.len());
        self.part.extend_from_slice(&bytes.split_to(taken));
        let seen = self.part.len().min(magic.len());
        if self.part[..seen] != magic[..seen] {
            return Err(without_magic);
        }
        Ok(self.part.len() >= len)
    }
}

#[cfg(test)]
mod tests;
