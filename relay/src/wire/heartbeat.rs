//! The heartbeat's body: what the sender has sent so far.

use super::bytes::{put, u16_at, u32_at, u64_at};

const HEAD_LEN: usize = 16;
const ENTRY_LEN: usize = 28;
const FLAG_STOPPING: u8 = 1;

/// Entries that fit the smallest symbol that a link may have (MTU 576: 500 bytes); more go in further frames.
pub const STREAM_ENTRIES_MAX: usize = (500 - HEAD_LEN) / ENTRY_LEN;

/// The longest body that is written, bytes.
pub const HEARTBEAT_LEN_MAX: usize = HEAD_LEN + STREAM_ENTRIES_MAX * ENTRY_LEN;

/// One channel's cumulative counters on the lane, as of its last closed block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeartbeatEntry {
    /// The channel.
    pub channel: u16,
    /// The stream's type, as its wire number.
    pub stream_type: u8,
    /// Blocks closed so far, which is the number of the next.
    pub next_block: u32,
    /// K of the last closed block, `None` if none was closed.
    pub last_k: Option<u16>,
    /// Payload records in the closed blocks.
    pub records: u64,
    /// Their payload bytes.
    pub bytes: u64,
}

/// Stands for a table of streams (channel and type of each): FNV-1a (64 bits) over them in order of channel. Finds
/// differences between two honest files, nothing more.
pub fn table_digest(streams: impl Iterator<Item = (u16, u8)>) -> u64 {
    let mut streams: Vec<_> = streams.collect();
    streams.sort_unstable();
    let bytes = streams.iter().flat_map(|(channel, kind)| [(channel >> 8) as u8, *channel as u8, *kind]);
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// A heartbeat's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat<'a> {
    /// Heartbeat period, ms.
    pub period_ms: u16,
    /// The sender stops after this.
    pub stopping: bool,
    /// Digest of the sender's stream table.
    pub digest: u64,
    entries: &'a [u8],
}

impl<'a> Heartbeat<'a> {
    /// Writes a body into `to` and returns its length. `to` must hold [`STREAM_ENTRIES_MAX`] entries.
    pub fn write(period_ms: u16, stopping: bool, digest: u64, entries: &[HeartbeatEntry], to: &mut [u8]) -> usize {
        let len = HEAD_LEN + entries.len() * ENTRY_LEN;
        to[..len].fill(0);
        put(to, 0, &period_ms.to_be_bytes());
        put(to, 2, &(entries.len() as u16).to_be_bytes());
        to[4] = if stopping { FLAG_STOPPING } else { 0 };
        put(to, 8, &digest.to_be_bytes());
        for (entry, to) in entries.iter().zip(to[HEAD_LEN..].chunks_exact_mut(ENTRY_LEN)) {
            put(to, 0, &entry.channel.to_be_bytes());
            to[2] = entry.stream_type;
            put(to, 4, &entry.next_block.to_be_bytes());
            put(to, 8, &entry.last_k.unwrap_or(0).to_be_bytes());
            put(to, 12, &entry.records.to_be_bytes());
            put(to, 20, &entry.bytes.to_be_bytes());
        }
        len
    }

    /// Reads a body; `None` if its length does not match its count of entries.
    pub fn read(from: &'a [u8]) -> Option<Self> {
        if from.len() < HEAD_LEN || from.len() != HEAD_LEN + usize::from(u16_at(from, 2)) * ENTRY_LEN {
            return None;
        }
        Some(Self {
            period_ms: u16_at(from, 0),
            stopping: from[4] & FLAG_STOPPING != 0,
            digest: u64_at(from, 8),
            entries: &from[HEAD_LEN..],
        })
    }

    /// The channels' counters.
    pub fn entries(&self) -> impl Iterator<Item = HeartbeatEntry> + 'a {
        self.entries.chunks_exact(ENTRY_LEN).map(|from| {
            let last_k = u16_at(from, 8);
            HeartbeatEntry {
                channel: u16_at(from, 0),
                stream_type: from[2],
                next_block: u32_at(from, 4),
                last_k: (last_k != 0).then_some(last_k),
                records: u64_at(from, 12),
                bytes: u64_at(from, 20),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table in the module's head, byte for byte.
    #[test]
    fn layout_is_the_documented_one() {
        let entry = HeartbeatEntry {
            channel: 0x0102,
            stream_type: 3,
            next_block: 0x0405_0607,
            last_k: Some(0x0809),
            records: 0x0A0B_0C0D_0E0F_1011,
            bytes: 0x1213_1415_1617_1819,
        };
        let mut bytes = [0xAA; 100];
        let len = Heartbeat::write(250, true, 0x2122_2324_2526_2728, &[entry], &mut bytes);
        assert_eq!(len, HEAD_LEN + ENTRY_LEN);
        assert_eq!(bytes[..16], [0, 250, 0, 1, 1, 0, 0, 0, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28]);
        assert_eq!(bytes[16..28], [1, 2, 3, 0, 4, 5, 6, 7, 8, 9, 0, 0]);
        assert_eq!(bytes[28..44], std::array::from_fn::<u8, 16, _>(|index| 0x0A + index as u8));
        let heartbeat = Heartbeat::read(&bytes[..len]).expect("well formed");
        assert!(heartbeat.stopping);
        assert_eq!(heartbeat.entries().collect::<Vec<_>>(), [entry]);
    }

    #[test]
    fn a_lying_count_is_refused() {
        let mut bytes = [0; 100];
        let len = Heartbeat::write(250, false, 0, &[HeartbeatEntry::default()], &mut bytes);
        assert!(Heartbeat::read(&bytes[..len - 1]).is_none());
        bytes[3] = 200;
        assert!(Heartbeat::read(&bytes[..len]).is_none());
        assert!(Heartbeat::read(&[]).is_none());
    }
}
