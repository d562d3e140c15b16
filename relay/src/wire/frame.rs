//! The frame header.

use super::bytes::{put, u16_at, u32_at, u64_at};
use super::{BLOCK_SYMBOLS_MAX, FRAME_OVERHEAD, MAGIC, PACKET_NUMBER_MAX, REPAIR_SYMBOLS_MAX, VERSION};

const SEALED: u8 = 0x80;
const KIND_SOURCE: u8 = 0;
const KIND_REPAIR: u8 = 1;
const KIND_HEARTBEAT: u8 = 2;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A source symbol: records, as they were sent.
    Source {
        /// Offset of the first record that begins in this symbol, `None` if none does.
        first_record: Option<u16>,
        /// K of the channel's previous block, `None` for its first block.
        previous_k: Option<u16>,
    },
    /// A repair symbol, with all that a decoder needs to know.
    Repair {
        /// Source symbols of the block, 1..=[`BLOCK_SYMBOLS_MAX`].
        k: u16,
        /// Symbol size in bytes, even.
        symbol_bytes: u16,
        /// Repair symbols of the block, 1..=[`REPAIR_SYMBOLS_MAX`].
        repair: u16,
        /// The code, as its wire number.
        scheme: u8,
    },
    /// Cumulative counters of the lane.
    Heartbeat,
}

/// Where a symbol belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Stream that the block belongs to.
    pub channel: u16,
    /// Number of the block within its channel and lane.
    pub block: u32,
    /// Index of the symbol among the source or the repair symbols of the block.
    pub symbol: u16,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Is the symbol encrypted under the link's key?
    pub sealed: bool,
    /// The sender's start.
    pub epoch: u32,
    /// The sending lane.
    pub lane: u16,
    /// Counts the lane's frames.
    pub packet_number: u64,
    /// Where the symbol belongs; zero in heartbeats.
    pub position: Position,
    /// What the frame carries.
    pub kind: Kind,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Too short, wrong magic, or a field outside its range.
    #[error("malformed frame")]
    Malformed,
    /// Another version of the protocol.
    #[error("frame of protocol version {0}, this relay speaks {VERSION}")]
    Version(u8),
}

impl Header {
    /// Writes the header into the first [`HEADER_LEN`] bytes of `to`.
    #[inline]
    pub fn write(&self, to: &mut [u8]) {
        let (kind, fields, scheme) = match self.kind {
            Kind::Source { first_record, previous_k } => {
                (KIND_SOURCE, [first_record.unwrap_or(u16::MAX), previous_k.unwrap_or(0), 0], 0)
            }
            Kind::Repair { k, symbol_bytes, repair, scheme } => (KIND_REPAIR, [k, symbol_bytes, repair], scheme),
            Kind::Heartbeat => (KIND_HEARTBEAT, [0; 3], 0),
        };
        put(to, 0, &MAGIC.to_be_bytes());
        to[2] = VERSION;
        to[3] = kind | if self.sealed { SEALED } else { 0 };
        put(to, 4, &self.epoch.to_be_bytes());
        put(to, 8, &self.lane.to_be_bytes());
        put(to, 10, &self.packet_number.to_be_bytes()[2..]);
        put(to, 16, &self.position.channel.to_be_bytes());
        put(to, 18, &self.position.block.to_be_bytes());
        put(to, 22, &self.position.symbol.to_be_bytes());
        for (index, field) in fields.iter().enumerate() {
            put(to, 24 + 2 * index, &field.to_be_bytes());
        }
        to[30] = scheme;
        to[31] = 0;
    }

    /// Reads the header of a whole frame and checks every field's range.
    #[expect(clippy::inline_always, reason = "a header given back in memory is read there before it is whole")]
    #[inline(always)]
    pub fn read(frame: &[u8]) -> Result<Self, FrameError> {
        if frame.len() < FRAME_OVERHEAD || u16_at(frame, 0) != MAGIC {
            return Err(FrameError::Malformed);
        }
        if frame[2] != VERSION {
            return Err(FrameError::Version(frame[2]));
        }
        let position = Position { channel: u16_at(frame, 16), block: u32_at(frame, 18), symbol: u16_at(frame, 22) };
        let kind = read_kind(frame, position.symbol).ok_or(FrameError::Malformed)?;
        Ok(Self {
            sealed: frame[3] & SEALED != 0,
            epoch: u32_at(frame, 4),
            lane: u16_at(frame, 8),
            packet_number: u64_at(frame, 8) & PACKET_NUMBER_MAX,
            position,
            kind,
        })
    }
}

#[inline]
fn read_kind(frame: &[u8], symbol: u16) -> Option<Kind> {
    let symbol_bytes_here = frame.len() - FRAME_OVERHEAD;
    let (a, b, c) = (u16_at(frame, 24), u16_at(frame, 26), u16_at(frame, 28));
    let scheme = frame[30];
    if frame[31] != 0 {
        return None;
    }
    match frame[3] & !SEALED {
        KIND_SOURCE => {
            let first_record = (a != u16::MAX).then_some(a);
            let in_range = symbol < BLOCK_SYMBOLS_MAX
                && symbol_bytes_here > 0
                && first_record.is_none_or(|offset| usize::from(offset) < symbol_bytes_here)
                && b <= BLOCK_SYMBOLS_MAX
                && c == 0
                && scheme == 0;
            in_range.then_some(Kind::Source { first_record, previous_k: (b != 0).then_some(b) })
        }
        KIND_REPAIR => {
            let in_range = (1..=BLOCK_SYMBOLS_MAX).contains(&a)
                && b > 0
                && b.is_multiple_of(2)
                && usize::from(b) == symbol_bytes_here
                && (1..=REPAIR_SYMBOLS_MAX).contains(&c)
                && symbol < c
                && (1..=3).contains(&scheme);
            in_range.then_some(Kind::Repair { k: a, symbol_bytes: b, repair: c, scheme })
        }
        KIND_HEARTBEAT => (a == 0 && b == 0 && c == 0 && scheme == 0).then_some(Kind::Heartbeat),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{HEADER_LEN, TAG_LEN};

    fn frame(header: Header, symbol_bytes: usize) -> Vec<u8> {
        let mut frame = vec![0xAA; HEADER_LEN + symbol_bytes + TAG_LEN];
        header.write(&mut frame);
        frame
    }

    /// The table in the module's head, byte for byte.
    #[test]
    fn layout_is_the_documented_one() {
        let source = Header {
            sealed: true,
            epoch: 0x0102_0304,
            lane: 0x0506,
            packet_number: 0x0708_090A_0B0C,
            position: Position { channel: 0x0D0E, block: 0x0F10_1112, symbol: 0x0314 },
            kind: Kind::Source { first_record: Some(0x0016), previous_k: Some(0x1718) },
        };
        assert_eq!(
            frame(source, 100)[..HEADER_LEN],
            [
                0xD1, 0x0D, 1, 0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 3, 20, 0, 22, 23,
                24, 0, 0, 0, 0
            ]
        );
        let repair = Header {
            sealed: false,
            kind: Kind::Repair { k: 0x0102, symbol_bytes: 0x0304, repair: 0x0506, scheme: 2 },
            ..source
        };
        assert_eq!(frame(repair, 0x0304)[22..HEADER_LEN], [3, 20, 1, 2, 3, 4, 5, 6, 2, 0]);
        assert_eq!(frame(repair, 0x0304)[3], 1);
        let heartbeat = Header { kind: Kind::Heartbeat, ..source };
        assert_eq!(frame(heartbeat, 16)[3], 0x82);
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = frame(
            Header {
                sealed: false,
                epoch: 1,
                lane: 0,
                packet_number: 0,
                position: Position::default(),
                kind: Kind::Heartbeat,
            },
            16,
        );
        bytes[2] = 9;
        assert_eq!(Header::read(&bytes), Err(FrameError::Version(9)));
    }

    fn any_kind() -> impl Strategy<Value = (Kind, u16, usize)> {
        let source =
            (0..BLOCK_SYMBOLS_MAX, 1_usize..2000, any::<Option<u16>>(), proptest::option::of(1..=BLOCK_SYMBOLS_MAX))
                .prop_map(|(symbol, len, first, previous_k)| {
                    let first_record = first.map(|offset| offset % len as u16);
                    (Kind::Source { first_record, previous_k }, symbol, len)
                });
        let repair = (1..=BLOCK_SYMBOLS_MAX, 1_u16..1000, 1..=REPAIR_SYMBOLS_MAX, 1_u8..=3, any::<u16>()).prop_map(
            |(k, half, repair, scheme, symbol)| {
                let symbol_bytes = half * 2;
                (Kind::Repair { k, symbol_bytes, repair, scheme }, symbol % repair, usize::from(symbol_bytes))
            },
        );
        prop_oneof![source, repair, (0_usize..2000).prop_map(|len| (Kind::Heartbeat, 0, len))]
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(
            (kind, symbol, len) in any_kind(),
            sealed: bool, epoch: u32, lane: u16,
            packet_number in 0..=PACKET_NUMBER_MAX,
            channel: u16, block: u32,
        ) {
            let header = Header {
                sealed, epoch, lane, packet_number, kind,
                position: Position { channel, block, symbol },
            };
            prop_assert_eq!(Header::read(&frame(header, len)), Ok(header));
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Header::read(&bytes);
            if bytes.len() >= 3 {
                bytes[..3].copy_from_slice(&[0xD1, 0x0D, VERSION]);
                let _ = Header::read(&bytes);
            }
        }
    }
}
