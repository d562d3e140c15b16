//! SFTP version 3, byte by byte (draft-ietf-secsh-filexfer-02): requests to bytes, bytes to replies. No I/O.
//!
//! ```text
//! length: u32 | type: u8 | id: u32 | fields; strings are u32 length + bytes, and need not be text
//! ```
//!
//! Nothing is believed: a length that runs over its packet is a [`Malformed`], and nothing is allocated from one.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// The version that every server speaks; OpenSSH has none later.
const VERSION: u32 = 3;
/// A longer reply is none: OpenSSH's server bounds its own at 256 KiB, and we never ask for more in one read.
const PACKET_BYTES_MAX: usize = 1 << 20;

/// `pflags` of OPEN (section 6.3).
pub mod open_flags {
    /// The file is read.
    pub const READ: u32 = 0x01;
    /// The file is written.
    pub const WRITE: u32 = 0x02;
    /// It is made if it is not there.
    pub const CREATE: u32 = 0x08;
    /// It is emptied if it is.
    pub const TRUNCATE: u32 = 0x10;
}

/// Status codes (section 7).
pub mod status {
    /// It is done.
    pub const OK: u32 = 0;
    /// There are no more bytes, or names.
    pub const EOF: u32 = 1;
    /// No such file.
    pub const NO_SUCH_FILE: u32 = 2;
    /// Not allowed.
    pub const PERMISSION_DENIED: u32 = 3;
    /// Anything else; OpenSSH says this of a full disk, a read-only one, and a file that is there already.
    pub const FAILURE: u32 = 4;
    /// A malformed request; OpenSSH says this of a name that its file system cannot hold.
    pub const BAD_MESSAGE: u32 = 5;
}

/// Flags of ATTRS (section 5).
const HAS_SIZE: u32 = 0x01;
const HAS_OWNER: u32 = 0x02;
const HAS_MODE: u32 = 0x04;
const HAS_TIMES: u32 = 0x08;
const HAS_EXTENDED: u32 = 0x8000_0000;

/// What a server knows of a file, or what it is to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Its size, bytes.
    pub size_bytes: Option<u64>,
    /// `st_mode` of stat(2).
    pub mode: Option<u32>,
    /// When it was last written, seconds since 1970.
    pub modified_s: Option<u32>,
}

/// What is asked of the server.
#[derive(Debug)]
pub enum Request<'a> {
    /// Which version it speaks; the first of all.
    Init,
    /// To open a file.
    Open { path: &'a [u8], flags: u32 },
    /// To close a file or folder.
    Close { handle: &'a [u8] },
    /// To read bytes.
    Read { handle: &'a [u8], offset_bytes: u64, bytes_max: u32 },
    /// To write bytes.
    Write { handle: &'a [u8], offset_bytes: u64, content: &'a [u8] },
    /// What it knows of a path, without following a link.
    Lstat { path: &'a [u8] },
    /// What it knows of an open file.
    Fstat { handle: &'a [u8] },
    /// To set what an open file has.
    Fsetstat { handle: &'a [u8], stat: Stat },
    /// To open a folder.
    OpenDir { path: &'a [u8] },
    /// Some names of an open folder.
    ReadDir { handle: &'a [u8] },
    /// To delete a file.
    Remove { path: &'a [u8] },
    /// To make a folder.
    MakeDir { path: &'a [u8] },
    /// What it knows of a path, behind all links.
    Stat { path: &'a [u8] },
    /// To give a file another name.
    Rename { from: &'a [u8], to: &'a [u8] },
    /// What version 3 does not have; `argument` is the only one.
    Extended { name: &'a str, argument: Option<&'a [u8]> },
}

impl Request<'_> {
    /// The packet.
    pub fn packet(&self, id: u32) -> Bytes {
        let mut to = Writer::new(self.kind(), (!matches!(self, Self::Init)).then_some(id), self.bytes_about());
        match self {
            Self::Init => to.0.put_u32(VERSION),
            Self::Open { path, flags } => {
                to.string(path);
                to.0.put_u32(*flags);
                to.stat(Stat::default());
            }
            Self::Close { handle: text }
            | Self::Fstat { handle: text }
            | Self::ReadDir { handle: text }
            | Self::Lstat { path: text }
            | Self::Stat { path: text }
            | Self::OpenDir { path: text }
            | Self::Remove { path: text } => to.string(text),
            Self::Read { handle, offset_bytes, bytes_max } => {
                to.string(handle);
                to.0.put_u64(*offset_bytes);
                to.0.put_u32(*bytes_max);
            }
            Self::Write { handle, offset_bytes, content } => {
                to.string(handle);
                to.0.put_u64(*offset_bytes);
                to.string(content);
            }
            Self::Fsetstat { handle, stat } => {
                to.string(handle);
                to.stat(*stat);
            }
            Self::MakeDir { path } => {
                to.string(path);
                to.stat(Stat::default());
            }
            Self::Rename { from, to: name } => {
                to.string(from);
                to.string(name);
            }
            Self::Extended { name, argument } => {
                to.string(name.as_bytes());
                if let Some(argument) = argument {
                    to.string(argument);
                }
            }
        }
        to.finish()
    }

    /// The type of packet (section 3).
    const fn kind(&self) -> u8 {
        match self {
            Self::Init => 1,
            Self::Open { .. } => 3,
            Self::Close { .. } => 4,
            Self::Read { .. } => 5,
            Self::Write { .. } => 6,
            Self::Lstat { .. } => 7,
            Self::Fstat { .. } => 8,
            Self::Fsetstat { .. } => 10,
            Self::OpenDir { .. } => 11,
            Self::ReadDir { .. } => 12,
            Self::Remove { .. } => 13,
            Self::MakeDir { .. } => 14,
            Self::Stat { .. } => 17,
            Self::Rename { .. } => 18,
            Self::Extended { .. } => 200,
        }
    }

    /// Room to start with, so that content is copied once.
    const fn bytes_about(&self) -> usize {
        match self {
            Self::Write { content, .. } => content.len() + 128,
            _ => 128,
        }
    }
}

/// A packet in the making.
struct Writer(BytesMut);

impl Writer {
    fn new(kind: u8, id: Option<u32>, bytes_about: usize) -> Self {
        let mut packet = BytesMut::with_capacity(bytes_about);
        packet.put_u32(0);
        packet.put_u8(kind);
        if let Some(id) = id {
            packet.put_u32(id);
        }
        Self(packet)
    }

    fn string(&mut self, text: &[u8]) {
        self.0.put_u32(text.len() as u32);
        self.0.put_slice(text);
    }

    fn stat(&mut self, stat: Stat) {
        let flag = |given: bool, flag: u32| if given { flag } else { 0 };
        self.0.put_u32(
            flag(stat.size_bytes.is_some(), HAS_SIZE)
                | flag(stat.mode.is_some(), HAS_MODE)
                | flag(stat.modified_s.is_some(), HAS_TIMES),
        );
        if let Some(size_bytes) = stat.size_bytes {
            self.0.put_u64(size_bytes);
        }
        if let Some(mode) = stat.mode {
            self.0.put_u32(mode);
        }
        if let Some(modified_s) = stat.modified_s {
            // Version 3 sets the time of the last access with it.
            self.0.put_u32(modified_s);
            self.0.put_u32(modified_s);
        }
    }

    fn finish(mut self) -> Bytes {
        let length = (self.0.len() - 4) as u32;
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0.freeze()
    }
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without its folder's.
    pub name: Bytes,
    /// What the server says of it, links not followed.
    pub stat: Stat,
}

/// What the server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The names of its extensions.
    Version { extensions: Vec<Bytes> },
    /// How it went, and the server's words.
    Status { code: u32, words: Bytes },
    /// The name of what was opened.
    Handle(Bytes),
    /// Content.
    Data(Bytes),
    /// Entries of a folder.
    Names(Vec<Entry>),
    /// What it knows of a file.
    Attributes(Stat),
    /// The answer to an extended request.
    Extended(Bytes),
}

/// The server sent what is no SFTP reply; nothing after it can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's answer is no SFTP")]
pub struct Malformed;

/// Bytes of the server's, cut into replies.
#[derive(Default)]
pub struct Inbox(BytesMut);

impl Inbox {
    /// More bytes have come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole reply and its request's id (`None` for the version).
    pub fn pop(&mut self) -> Result<Option<(Option<u32>, Reply)>, Malformed> {
        let Some(length) = self.0.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) else {
            return Ok(None);
        };
        if length > PACKET_BYTES_MAX {
            return Err(Malformed);
        }
        if self.0.len() < 4 + length {
            self.0.reserve(4 + length - self.0.len());
            return Ok(None);
        }
        self.0.advance(4);
        Reader(self.0.split_to(length).freeze()).reply().map(Some)
    }
}

/// Fields of a packet.
struct Reader(Bytes);

impl Reader {
    fn reply(&mut self) -> Result<(Option<u32>, Reply), Malformed> {
        let kind = self.0.try_get_u8().map_err(|_| Malformed)?;
        if kind == 2 {
            return Ok((None, self.version()?));
        }
        let id = self.u32()?;
        let reply = match kind {
            101 => Reply::Status {
                code: self.u32()?,
                // Some servers leave the text out, as versions before 3 did.
                words: self.string().unwrap_or_default(),
            },
            102 => Reply::Handle(self.string()?),
            103 => Reply::Data(self.string()?),
            104 => self.names()?,
            105 => Reply::Attributes(self.stat()?),
            201 => Reply::Extended(self.0.split_to(self.0.len())),
            _ => return Err(Malformed),
        };
        Ok((Some(id), reply))
    }

    fn version(&mut self) -> Result<Reply, Malformed> {
        if self.u32()? < VERSION {
            return Err(Malformed);
        }
        let mut extensions = Vec::new();
        while !self.0.is_empty() {
            extensions.push(self.string()?);
            self.string()?;
        }
        Ok(Reply::Version { extensions })
    }

    fn names(&mut self) -> Result<Reply, Malformed> {
        let count = self.u32()?;
        let mut entries = Vec::new();
        for _ in 0..count {
            let name = self.string()?;
            // The line that `ls -l` would show: for people.
            self.string()?;
            entries.push(Entry { name, stat: self.stat()? });
        }
        Ok(Reply::Names(entries))
    }

    fn stat(&mut self) -> Result<Stat, Malformed> {
        let flags = self.u32()?;
        let mut stat = Stat::default();
        if flags & HAS_SIZE != 0 {
            stat.size_bytes = Some(self.u64()?);
        }
        if flags & HAS_OWNER != 0 {
            self.u64()?;
        }
        if flags & HAS_MODE != 0 {
            stat.mode = Some(self.u32()?);
        }
        if flags & HAS_TIMES != 0 {
            self.u32()?;
            stat.modified_s = Some(self.u32()?);
        }
        if flags & HAS_EXTENDED != 0 {
            for _ in 0..self.u32()? {
                self.string()?;
                self.string()?;
            }
        }
        Ok(stat)
    }

    fn string(&mut self) -> Result<Bytes, Malformed> {
        let length = self.u32()? as usize;
        if length > self.0.len() {
            return Err(Malformed);
        }
        Ok(self.0.split_to(length))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.0.try_get_u32().map_err(|_| Malformed)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.0.try_get_u64().map_err(|_| Malformed)
    }
}

/// `limits@openssh.com`: the most bytes of one read and of one write; 0 where the server does not say.
pub fn limits(answer: &Bytes) -> Option<(u64, u64)> {
    let mut fields = answer.clone();
    fields.try_get_u64().ok()?;
    Some((fields.try_get_u64().ok()?, fields.try_get_u64().ok()?))
}

/// What `statvfs@openssh.com` says of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// It has no room for us.
    pub full: bool,
    /// It can only be read.
    pub read_only: bool,
}

impl FileSystem {
    /// The answer, read. Eleven numbers (OpenSSH's PROTOCOL, section 4.4): block size, fragment size, blocks, free, free
    /// for us, inodes, free, free for us, id, flags, longest name.
    pub fn parse(answer: &Bytes) -> Option<Self> {
        let mut fields = answer.clone();
        let mut numbers = [0; 11];
        for number in &mut numbers {
            *number = fields.try_get_u64().ok()?;
        }
        let [_, _, _, _, blocks, inodes, _, inodes_free, _, flags, _] = numbers;
        // A file system without a fixed number of inodes says 0 of 0.
        Some(Self { full: blocks == 0 || (inodes > 0 && inodes_free == 0), read_only: flags & 1 != 0 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(kind: u8, fields: &[u8]) -> Vec<u8> {
        let length = (fields.len() as u32 + 1).to_be_bytes();
        [&length[..], &[kind], fields].concat()
    }

    fn popped(bytes: &[u8]) -> Result<Option<(Option<u32>, Reply)>, Malformed> {
        let mut inbox = Inbox::default();
        inbox.push(bytes);
        inbox.pop()
    }

    #[test]
    fn requests_are_what_the_draft_says() {
        let read = Request::Read { handle: b"\xFF\0", offset_bytes: 5, bytes_max: 7 }.packet(9);
        assert_eq!(read, &b"\0\0\0\x17\x05\0\0\0\x09\0\0\0\x02\xFF\0\0\0\0\0\0\0\0\x05\0\0\0\x07"[..]);
        assert_eq!(Request::Init.packet(0), &b"\0\0\0\x05\x01\0\0\0\x03"[..]);
        let stat = Stat { size_bytes: None, mode: Some(0o640), modified_s: Some(1) };
        let set = Request::Fsetstat { handle: b"h", stat }.packet(1);
        assert_eq!(&set[14..], b"\0\0\0\x0C\0\0\x01\xA0\0\0\0\x01\0\0\0\x01");
    }

    #[test]
    fn a_reply_in_pieces_is_one_reply() {
        let bytes = packet(101, b"\0\0\0\x07\0\0\0\x02\0\0\0\x04gone\0\0\0\0");
        let mut inbox = Inbox::default();
        for byte in &bytes[..bytes.len() - 1] {
            inbox.push(&[*byte]);
            assert_eq!(inbox.pop(), Ok(None));
        }
        inbox.push(&bytes[bytes.len() - 1..]);
        let status = Reply::Status { code: status::NO_SUCH_FILE, words: Bytes::from_static(b"gone") };
        assert_eq!(inbox.pop(), Ok(Some((Some(7), status))));
    }

    #[test]
    fn names_are_bytes_and_attributes_what_their_flags_say() {
        let one = b"\0\0\0\x03\0\0\0\x01\0\0\0\x02a\xFF\0\0\0\x01-\0\0\0\x0F\0\0\0\0\0\0\0\x09\0\0\0\x01\0\0\0\x02\0\0\x81\xA4\0\0\0\x05\0\0\0\x06";
        let stat = Stat { size_bytes: Some(9), mode: Some(0o100_644), modified_s: Some(6) };
        let names = Reply::Names(vec![Entry { name: Bytes::from_static(b"a\xFF"), stat }]);
        assert_eq!(popped(&packet(104, one)), Ok(Some((Some(3), names))));
    }

    #[test]
    fn lengths_that_run_over_are_refused() {
        assert_eq!(popped(&packet(103, b"\0\0\0\x01\0\0\0\x05four")), Err(Malformed));
        assert_eq!(popped(&packet(104, b"\0\0\0\x01\xFF\xFF\xFF\xFF")), Err(Malformed));
        assert_eq!(popped(&u32::MAX.to_be_bytes()), Err(Malformed));
        assert_eq!(popped(&packet(2, b"\0\0\0\x02")), Err(Malformed), "a server of version 2");
    }

    #[test]
    fn a_full_and_a_read_only_file_system_are_told() {
        let answer = |numbers: [u64; 11]| Bytes::from(numbers.map(u64::to_be_bytes).concat());
        let with = |blocks, inodes, inodes_free, flags| {
            FileSystem::parse(&answer([4096, 4096, 9, 9, blocks, inodes, 9, inodes_free, 1, flags, 255]))
        };
        assert_eq!(with(1, 9, 1, 0), Some(FileSystem { full: false, read_only: false }));
        assert_eq!(with(0, 9, 1, 0), Some(FileSystem { full: true, read_only: false }));
        assert_eq!(with(1, 9, 0, 1), Some(FileSystem { full: true, read_only: true }));
        assert_eq!(with(1, 0, 0, 0), Some(FileSystem { full: false, read_only: false }));
        assert_eq!(FileSystem::parse(&Bytes::from_static(b"short")), None);
    }

    proptest! {
        /// Whatever comes, there is an answer or a refusal, and never a panic.
        #[test]
        fn nothing_that_comes_breaks_the_reader(kind in any::<u8>(), fields in proptest::collection::vec(any::<u8>(), 0..80)) {
            let reply = popped(&packet(kind, &fields));
            prop_assert!(reply.is_err() || reply.is_ok_and(|reply| reply.is_some()));
        }
    }
}
