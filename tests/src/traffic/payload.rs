//! What a test datagram holds, every byte of it known to the receiver. Big-endian:
//!
//! ```text
//!   0        4        8        12       16        24        32        40
//!   +--------+--------+--------+--------+---------+---------+---------+----------------------+
//!   | magic  | run    | flow   | length | number  | time_ns | check   | fill (seed, number)  |
//!   +--------+--------+--------+--------+---------+---------+---------+----------------------+
//! ```
//!
//! `run` tells this seed's datagrams from those of an earlier run; `check` covers the header, whose time cannot be
//! foretold; `fill` is a stretch of a table made from the seed, at a place that the number decides.

/// Bytes of the header: the least size of a test datagram.
pub const HEADER_LEN: usize = 40;

/// "LAB1".
const MAGIC: u32 = 0x4c41_4231;
/// Different places in the table at which a fill may start: more than any block has datagrams, so that neighbours
/// never look alike, and few enough that the table stays in the cache.
const PLACES: usize = 4096;
/// The longest fill: the longest UDP payload.
const FILL_MAX: usize = 65_507;

/// Makes and checks the datagrams of one seed.
pub(super) struct Pattern {
    seed: u64,
    table: Vec<u8>,
}

/// What a received datagram turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Every byte is right.
    Good { flow: u32, number: u64, time_ns: u64 },
    /// A sound datagram of another run.
    Foreign,
    /// Not what any sender has sent.
    Corrupt,
}

impl Pattern {
    pub(super) fn new(seed: u64) -> Self {
        let words = (PLACES + FILL_MAX).div_ceil(8) as u64;
        let table = (0..words).flat_map(|index| mix(seed ^ mix(index)).to_le_bytes()).collect();
        Self { seed, table }
    }

    /// Fills `datagram`, which has at least [`HEADER_LEN`] bytes.
    pub(super) fn write(&self, datagram: &mut [u8], flow: u32, number: u64, time_ns: u64) {
        let len = datagram.len();
        let (header, fill) = datagram.split_at_mut(HEADER_LEN);
        let run = run_of(self.seed);
        for (at, word) in [MAGIC, run, flow, len as u32].into_iter().enumerate() {
            header[at * 4..][..4].copy_from_slice(&word.to_be_bytes());
        }
        let check = check(run, flow, len as u32, number, time_ns);
        for (at, word) in [number, time_ns, check].into_iter().enumerate() {
            header[16 + at * 8..][..8].copy_from_slice(&word.to_be_bytes());
        }
        fill.copy_from_slice(self.fill(number, fill.len()));
    }

    pub(super) fn verify(&self, datagram: &[u8]) -> Verdict {
        let Some((header, fill)) = datagram.split_at_checked(HEADER_LEN) else {
            return Verdict::Corrupt;
        };
        let [magic, run, flow, len] = std::array::from_fn(|at| be32(header, at * 4));
        let [number, time_ns, sum] = std::array::from_fn(|at| be64(header, 16 + at * 8));
        if magic != MAGIC || len as usize != datagram.len() || sum != check(run, flow, len, number, time_ns) {
            return Verdict::Corrupt;
        }
        if run != run_of(self.seed) {
            return Verdict::Foreign;
        }
        if fill == self.fill(number, fill.len()) { Verdict::Good { flow, number, time_ns } } else { Verdict::Corrupt }
    }

    fn fill(&self, number: u64, len: usize) -> &[u8] {
        let place = mix(number) as usize % PLACES;
        &self.table[place..place + len]
    }
}

fn run_of(seed: u64) -> u32 {
    mix(seed) as u32
}

fn check(run: u32, flow: u32, len: u32, number: u64, time_ns: u64) -> u64 {
    let words = [u64::from(run) << 32 | u64::from(flow), u64::from(len), number, time_ns];
    words.into_iter().fold(0, |sum, word| mix(sum ^ word))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..][..4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}

/// A well mixed permutation of 64 bits: the output step of `SplitMix64` (Steele, Lea, Flood 2014).
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_byte_is_noticed() {
        let pattern = Pattern::new(7);
        let mut datagram = vec![0; 300];
        pattern.write(&mut datagram, 3, 99, 12_345);
        assert_eq!(pattern.verify(&datagram), Verdict::Good { flow: 3, number: 99, time_ns: 12_345 });
        for at in 0..datagram.len() {
            datagram[at] ^= 0x40;
            assert_eq!(pattern.verify(&datagram), Verdict::Corrupt, "byte {at}");
            datagram[at] ^= 0x40;
        }
        for len in 0..datagram.len() {
            assert_eq!(pattern.verify(&datagram[..len]), Verdict::Corrupt, "length {len}");
        }
    }

    #[test]
    fn another_seed_is_foreign() {
        let mut datagram = vec![0; HEADER_LEN];
        Pattern::new(7).write(&mut datagram, 0, 0, 0);
        assert_eq!(Pattern::new(8).verify(&datagram), Verdict::Foreign);
    }

    #[test]
    fn the_longest_datagram_has_a_fill() {
        let pattern = Pattern::new(1);
        let mut datagram = vec![0; 65_507];
        for number in 0..50 {
            pattern.write(&mut datagram, 0, number, 0);
            assert_ne!(pattern.verify(&datagram), Verdict::Corrupt);
        }
    }
}
