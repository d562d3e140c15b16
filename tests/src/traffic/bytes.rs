//! Streams of bytes, every one of them known from the stream's seed, checked at the speed of a memory comparison.
//!
//! All streams are one table, read round and round from a place that the seed decides. The table's length is prime, so
//! that nothing that is cut into pieces, whatever their size, looks right at another place; the byte at each seed's place
//! is the seed itself, so that the first byte of a stream names it.

use std::io::{Read, Write};
use std::sync::LazyLock;

use super::payload::mix;
use crate::sys;

/// Bytes before the table repeats: the largest prime below 2^20, which still fits a processor's cache.
const PERIOD: usize = 1_048_573;
/// Bytes written or read at once: as many as a socket usually has at full speed.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// One period, and then a chunk of the next, so that every chunk is one slice.
static TABLE: LazyLock<Box<[u8]>> = LazyLock::new(|| {
    let mut table: Vec<u8> = (0..PERIOD.div_ceil(8) as u64).flat_map(|word| mix(word).to_le_bytes()).collect();
    table.truncate(PERIOD);
    for seed in 0..=u8::MAX {
        table[place_of(seed)] = seed;
    }
    table.extend_from_within(..CHUNK_BYTES);
    table.into()
});

/// Where a seed's stream begins.
fn place_of(seed: u8) -> usize {
    usize::from(seed) * (PERIOD / 256)
}

/// A stream of known bytes, and how far it has come.
#[derive(Clone, Copy, Debug)]
pub struct ByteStream {
    place: usize,
}

impl ByteStream {
    /// The stream of this seed, at its beginning; its first byte is `seed`.
    pub fn new(seed: u8) -> Self {
        Self::at(seed, 0)
    }

    /// The same from byte number `from` on.
    pub fn at(seed: u8, from: u64) -> Self {
        Self { place: (place_of(seed) + (from % PERIOD as u64) as usize) % PERIOD }
    }

    /// The next bytes: as many as a chunk has, or `max` if that is less.
    pub fn next_chunk(&mut self, max: u64) -> &'static [u8] {
        let len = max.min(CHUNK_BYTES as u64) as usize;
        let chunk = &TABLE[self.place..self.place + len];
        self.place = (self.place + len) % PERIOD;
        chunk
    }

    /// Are these the next bytes?
    pub fn continues_with(&mut self, bytes: &[u8]) -> bool {
        bytes.chunks(CHUNK_BYTES).all(|chunk| self.next_chunk(chunk.len() as u64) == chunk)
    }
}

/// Writes the first `bytes` bytes of a seed's stream.
pub fn send_bytes(to: &mut impl Write, seed: u8, bytes: u64) -> std::io::Result<()> {
    let mut stream = ByteStream::new(seed);
    let mut left = bytes;
    while left > 0 {
        let chunk = stream.next_chunk(left);
        to.write_all(chunk)?;
        left -= chunk.len() as u64;
    }
    Ok(())
}

/// How a connection ended, and what came over it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrived {
    /// Bytes that came.
    pub bytes: u64,
    /// The first byte, which names the stream.
    pub seed: Option<u8>,
    /// An end in order, and not a reset.
    pub whole: bool,
    /// A byte was not what it should be.
    pub wrong: bool,
    /// When the first bytes came, `CLOCK_MONOTONIC` nanoseconds.
    pub first_ns: u64,
    /// When the last bytes came.
    pub last_ns: u64,
}

impl Arrived {
    /// Exactly the first `bytes` of a stream came, and their end.
    pub fn is_whole(&self, bytes: u64) -> bool {
        self.whole && !self.wrong && self.bytes == bytes
    }

    /// Bits per second from the first byte to the last.
    pub fn bits_per_second(&self) -> f64 {
        self.bytes as f64 * 8e9 / self.last_ns.saturating_sub(self.first_ns).max(1) as f64
    }
}

/// Reads and checks a stream to its end, whatever that is; calls `begun` when its first bytes are here.
pub fn receive_bytes(from: &mut impl Read, begun: impl FnOnce()) -> Arrived {
    receive_on(from, Arrived::default(), begun)
}

/// The same where some of the stream came `before`.
pub fn receive_on(from: &mut impl Read, before: Arrived, begun: impl FnOnce()) -> Arrived {
    let mut arrived = before;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut begun = Some(begun);
    let mut stream = ByteStream::at(before.seed.unwrap_or(0), before.bytes);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Arrived { whole: true, ..arrived },
            Err(_) => return arrived,
            Ok(len) => {
                arrived.last_ns = sys::monotonic_ns();
                if let Some(begun) = begun.take() {
                    arrived.first_ns = arrived.last_ns;
                    if arrived.seed.is_none() {
                        arrived.seed = Some(buffer[0]);
                        stream = ByteStream::new(buffer[0]);
                    }
                    begun();
                }
                arrived.wrong |= !stream.continues_with(&buffer[..len]);
                arrived.bytes += len as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long enough to come round.
    const BYTES: usize = PERIOD * 2 + 12_345;

    fn sent(seed: u8) -> Vec<u8> {
        let mut sent = Vec::new();
        send_bytes(&mut sent, seed, BYTES as u64).expect("memory takes everything");
        sent
    }

    #[test]
    fn what_was_sent_is_right_and_names_its_seed() {
        for seed in [0, 1, 200, 255] {
            let arrived = receive_bytes(&mut &sent(seed)[..], || ());
            assert!(arrived.whole && !arrived.wrong, "{arrived:?}");
            assert_eq!((arrived.bytes, arrived.seed), (BYTES as u64, Some(seed)));
        }
    }

    #[test]
    fn a_byte_changed_lost_doubled_or_moved_is_wrong() {
        let right = sent(7);
        for at in [1, 1399, CHUNK_BYTES, PERIOD, BYTES - 2] {
            let mut changed = right.clone();
            changed[at] ^= 1;
            let mut lost = right.clone();
            lost.drain(at..(at + 1400).min(BYTES - 1));
            let mut doubled = right.clone();
            doubled.splice(at..at, right[at - 1..at].to_vec());
            for wrong in [changed, lost, doubled] {
                assert!(receive_bytes(&mut &wrong[..], || ()).wrong, "at {at}");
            }
        }
    }
}
