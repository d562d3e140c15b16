//! Records: what a block holds, back to back.

use super::RECORD_LEN;
use super::bytes::{array, put, u16_at, u32_at};

/// Flag of the record that ends its session.
pub const FLAG_END: u8 = 1;
/// With [`FLAG_END`]: the session was broken off, so that its destination must not take it for complete.
pub const FLAG_ABORT: u8 = 2;
/// Flag of bytes whose offset has wrapped: a session's first 4 GiB are before them, and they are not its beginning even where
/// their sequence is 0.
pub const FLAG_WRAPPED: u8 = 4;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordType {
    /// A session begins.
    Open = 1,
    /// Bytes of a TCP session or of a file; the sequence is their offset.
    Data = 2,
    /// One whole datagram; the sequence is its number.
    Datagram = 3,
    /// A session ended in order; the sequence is its end.
    Close = 4,
    /// A session was broken off.
    Abort = 5,
    /// Where a live session stands: its next sequence, and with [`FLAG_END`] its end.
    Mark = 9,
    /// How a session stands at its receiving end.
    Status = 10,
}

impl RecordType {
    /// The type with wire number `number`, `None` if there is none.
    pub fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Open,
            2 => Self::Data,
            3 => Self::Datagram,
            4 => Self::Close,
            5 => Self::Abort,
            9 => Self::Mark,
            10 => Self::Status,
            _ => return None,
        })
    }

    /// Does it carry what a client sent? Only these count in a heartbeat's records and bytes.
    pub fn is_payload(self) -> bool {
        matches!(self, Self::Data | Self::Datagram)
    }
}

/// A record's header, less its length, which is its payload's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// What the record says.
    pub kind: RecordType,
    /// [`FLAG_END`], [`FLAG_ABORT`] and [`FLAG_WRAPPED`], or 0.
    pub flags: u8,
    /// The session.
    pub session: [u8; 16],
    /// Datagram number or byte offset within the session, wrapping.
    pub sequence: u32,
}

impl RecordHead {
    /// Writes the header of a record with `payload_bytes` bytes into the first [`RECORD_LEN`] bytes of `to`.
    pub fn write(&self, payload_bytes: u16, to: &mut [u8]) {
        to[0] = self.kind as u8;
        to[1] = self.flags;
        put(to, 2, &payload_bytes.to_be_bytes());
        put(to, 4, &self.session);
        put(to, 20, &self.sequence.to_be_bytes());
    }

    /// Reads a header; the second value is the payload's length. `None`: too short, padding, or an unknown type.
    pub fn read(from: &[u8]) -> Option<(Self, usize)> {
        if from.len() < RECORD_LEN {
            return None;
        }
        let kind = RecordType::from_wire(from[0])?;
        let head = Self { kind, flags: from[1], session: array(from, 4), sequence: u32_at(from, 20) };
        Some((head, usize::from(u16_at(from, 2))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The table in the module's head, byte for byte.
    #[test]
    fn layout_is_the_documented_one() {
        let head = RecordHead {
            kind: RecordType::Datagram,
            flags: FLAG_END,
            session: std::array::from_fn(|index| 0x40 + index as u8),
            sequence: 0x0102_0304,
        };
        let mut bytes = [0; RECORD_LEN];
        head.write(0x0506, &mut bytes);
        assert_eq!(bytes[..4], [3, 1, 5, 6]);
        assert_eq!(bytes[4..20], head.session);
        assert_eq!(bytes[20..], [1, 2, 3, 4]);
        assert_eq!(RecordHead::read(&bytes), Some((head, 0x0506)));
    }

    #[test]
    fn wire_numbers_are_the_types() {
        for number in 0..=u8::MAX {
            if let Some(kind) = RecordType::from_wire(number) {
                assert_eq!(kind as u8, number);
            } else {
                // 6 to 8 were records of files, which are sessions of bytes now.
                assert!(matches!(number, 0 | 6..=8 | 11..));
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some((head, len)) = RecordHead::read(&bytes) {
                let mut again = [0; RECORD_LEN];
                head.write(len as u16, &mut again);
                prop_assert_eq!(&again[..], &bytes[..RECORD_LEN]);
            }
        }
    }
}
