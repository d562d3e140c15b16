//! The protocol of the one-way link, byte by byte. Pure: bytes in, bytes out, no I/O and no clock.
//!
//! Owns the frame header, the seal, the replay window, the records inside a block and the heartbeat's body.
//! It never allocates from a length that it read, and never looks at a symbol before its tag was checked.
//!
//! # Frame: header (32) | symbol or heartbeat body | tag (16), all numbers big-endian
//!
//! | offset | bytes | field | meaning |
//! | --- | --- | --- | --- |
//! | 0 | 2 | magic | 0xD10D |
//! | 2 | 1 | version | 1 |
//! | 3 | 1 | kind | bits 0-3: 0 source symbol, 1 repair symbol, 2 heartbeat; bit 7: sealed; others 0 |
//! | 4 | 4 | epoch | the sender's start, strictly increasing |
//! | 8 | 2 | lane | |
//! | 10 | 6 | packet number | counts every frame of the lane from 0 |
//! | 16 | 2 | channel | 0 in heartbeats, and in what `relay bench send` makes up |
//! | 18 | 4 | block | counts the channel's blocks on this lane from 0; 0 in heartbeats |
//! | 22 | 2 | symbol | source: 0..K, repair: 0..R |
//! | 24 | 2 | first record / K | source: offset of the first record that begins here, 0xFFFF: none. Repair: K |
//! | 26 | 2 | previous K / T | source: K of the channel's previous block, 0: there was none. Repair: symbol size T |
//! | 28 | 2 | R | repair: repair symbols of this block |
//! | 30 | 1 | scheme | repair: 1 RaptorQ, 2 Reed-Solomon, 3 repetition |
//! | 31 | 1 | reserved | 0 |
//!
//! K and T are not known while a block is filling, so source symbols do not carry them: repair symbols, the next
//! block's source symbols and heartbeats do. A source symbol shorter than T counts as padded with zeros for coding.
//!
//! # Record: header (24) | payload
//!
//! | offset | bytes | field | meaning |
//! | --- | --- | --- | --- |
//! | 0 | 1 | type | 0 is padding up to the end of the symbol |
//! | 1 | 1 | flags | bit 0: end of the session; bit 1: it was broken off; bit 2: bytes beyond the first 4 GiB |
//! | 2 | 2 | length | payload bytes |
//! | 4 | 16 | UUID | the session |
//! | 20 | 4 | sequence | datagram number or byte offset within the session |
//!
//! A record header lies whole in one symbol; a payload may continue in the next symbols of the block.
//!
//! Payload of a status record, always 16 bytes; its flags and sequence are 0:
//!
//! | offset | bytes | field | meaning |
//! | --- | --- | --- | --- |
//! | 0 | 1 | standing | 1 good, 2 half closed, 3 closed, 4 failed |
//! | 1 | 3 | reserved | 0 |
//! | 4 | 4 | window | bytes that may be on their way beyond those consumed |
//! | 8 | 8 | consumed | bytes that the session's peer has taken |
//!
//! Payload of an open record: nothing, or the client's address (16, IPv4 mapped into IPv6) and port (2).
//!
//! # Heartbeat body: head (16) | entries (28 each)
//!
//! | offset | bytes | field | meaning |
//! | --- | --- | --- | --- |
//! | 0 | 2 | period | heartbeat period in ms |
//! | 2 | 2 | entries | how many follow in this frame |
//! | 4 | 1 | flags | bit 0: the sender is stopping |
//! | 5 | 3 | reserved | 0 |
//! | 8 | 8 | digest | of the sender's stream table |
//! | +0 | 2 | channel | |
//! | +2 | 1 | stream type | |
//! | +3 | 1 | reserved | 0 |
//! | +4 | 4 | next block | blocks closed so far on this lane |
//! | +8 | 2 | last K | K of the last closed block, 0: none |
//! | +10 | 2 | reserved | 0 |
//! | +12 | 8 | records | payload records in the closed blocks |
//! | +20 | 8 | bytes | their payload bytes |

mod bytes;
mod frame;
mod heartbeat;
mod origin;
mod record;
mod replay;
mod seal;
mod status;

pub use frame::{FrameError, Header, Kind, Position};
pub use heartbeat::{HEARTBEAT_LEN_MAX, Heartbeat, HeartbeatEntry, STREAM_ENTRIES_MAX, table_digest};
pub use origin::{ORIGIN_LEN, origin_from_wire, origin_to_wire};
pub use record::{FLAG_ABORT, FLAG_END, FLAG_WRAPPED, RecordHead, RecordType};
pub use replay::{ReplayWindow, Verdict};
pub use seal::{Direction, LinkKey, OpenError, Opener, Sealer};
pub use status::{STATUS_LEN, Standing, Status};

/// First two bytes of every frame; the XDP program of RED's link looks for them.
pub const MAGIC: u16 = 0xD10D;
/// The only version there is.
pub const VERSION: u8 = 1;
/// Frame header, bytes.
pub const HEADER_LEN: usize = 32;
/// AES-256-GCM tag, bytes (NIST SP 800-38D).
pub const TAG_LEN: usize = 16;
/// The channel of measurements: no stream can have it, so that a relay refuses what comes on it.
pub const BENCH_CHANNEL: u16 = 0;
/// The type of that channel in heartbeats: none of a stream's.
pub const BENCH_STREAM_TYPE: u8 = 0xB0;
/// Record header, bytes.
pub const RECORD_LEN: usize = 24;
/// What a frame costs besides its symbol, bytes.
pub const FRAME_OVERHEAD: usize = HEADER_LEN + TAG_LEN;
/// IPv4 and UDP headers around a frame, bytes (RFC 791, RFC 768).
pub const IP_UDP_LEN: usize = 28;
/// Packet numbers have 48 bits: at 10 million frames a second they last 325 days.
pub const PACKET_NUMBER_MAX: u64 = (1 << 48) - 1;
/// Most source symbols that a block may have: bounds what a receiver keeps for one block (2 bytes of index each).
pub const BLOCK_SYMBOLS_MAX: u16 = 8192;
/// Most repair symbols that a block may have, for the same reason.
pub const REPAIR_SYMBOLS_MAX: u16 = 8192;

/// The largest symbol that fits a link whose IP packets hold `mtu` bytes; even, because Reed-Solomon works on 16-bit words.
///
/// `ip_overhead` is [`IP_UDP_LEN`], or 0 where frames go directly in Ethernet.
pub fn symbol_size(mtu: usize, ip_overhead: usize) -> usize {
    (mtu.saturating_sub(ip_overhead + FRAME_OVERHEAD)).min(usize::from(u16::MAX)) & !1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_1400_byte_datagram_costs_one_frame_on_a_1500_byte_link() {
        assert_eq!(symbol_size(1500, IP_UDP_LEN), 1400 + RECORD_LEN);
        assert_eq!(IP_UDP_LEN + FRAME_OVERHEAD + RECORD_LEN, 100);
    }

    #[test]
    fn symbols_are_even_and_never_underflow() {
        assert_eq!(symbol_size(1501, IP_UDP_LEN) % 2, 0);
        assert_eq!(symbol_size(10, IP_UDP_LEN), 0);
    }
}
