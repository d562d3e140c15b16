//! A few lost source symbols of a Reed-Solomon block, from as many repair symbols.
//!
//! The codec transforms the whole block, several times its size, to restore a single symbol; encoding is ten times as fast.
//! The code is linear, so encoding the block with zeros for what was lost leaves equations in the lost symbols alone:
//!
//! ```text
//! repair[i] - encoded[i]   =   sum over j that were lost of  rows[i][j] * source[j]
//! ```
//!
//! The coefficients are what the codec makes of blocks that are zero but for a one. A symbol of 64 bytes holds 32 elements of
//! GF(2^16), each a block of its own to the code: so one encoding of 64 bytes a symbol gives them for 32 lost symbols.
//! What is left is to invert a matrix of as many rows as symbols were lost.

use reed_solomon_simd::ReedSolomonEncoder;
use reed_solomon_simd::engine::{DefaultEngine, Engine as _, GF_MODULUS, tables};

use super::Geometry;
use super::matrix::{Element, invert};

/// The codec works on so many bytes of a symbol together: the low bytes of [`LANES`] elements, then the high ones. In a last chunk
/// that is not full each half is as much shorter.
const CHUNK_BYTES: usize = 64;
/// Elements of a chunk.
const LANES: usize = CHUNK_BYTES / 2;
/// Beyond so many lost symbols the codec does it: they are as many as one encoding gives coefficients for, and the work grows with
/// their square.
const LOST_MAX: usize = LANES;

type Chunk = [u8; CHUNK_BYTES];

/// An element of the codec's field, GF(2^16), in the basis that it works in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gf65536(u16);

impl Gf65536 {
    /// Of an element that is not 0.
    fn log(self) -> u16 {
        tables::get_exp_log().log[usize::from(self.0)]
    }
}

impl Element for Gf65536 {
    fn one() -> Self {
        Self(tables::get_exp_log().exp[0])
    }

    fn times(self, other: Self) -> Self {
        let tables::ExpLog { exp, log } = tables::get_exp_log();
        if other == Self::default() { other } else { Self(tables::mul(self.0, other.log(), exp, log)) }
    }

    fn minus(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }

    fn reciprocal(self) -> Self {
        Self(tables::get_exp_log().exp[usize::from(GF_MODULUS - self.log())])
    }
}

/// Restores a few symbols. One per lane.
#[derive(Default)]
pub(super) struct Erasures {
    engine: Option<DefaultEngine>,
    /// Of the coefficients.
    units: Option<ReedSolomonEncoder>,
    /// Of the block.
    block: Option<ReedSolomonEncoder>,
    lost: Vec<u16>,
    padded: Vec<u8>,
    /// The left sides, chunk after chunk.
    sums: Vec<Chunk>,
    product: Vec<Chunk>,
    restored: Vec<Chunk>,
}

impl Erasures {
    /// As [`super::Decoder::decode`] for Reed-Solomon, whose checks were made. `None`, and nothing restored, if this is not the
    /// way for these symbols: the codec's is.
    pub(super) fn solve<'a>(
        &mut self,
        geometry: Geometry,
        source: impl Iterator<Item = (u16, &'a [u8])> + Clone,
        repair: impl Iterator<Item = (u16, &'a [u8])>,
        mut restored: impl FnMut(u16, &[u8]),
    ) -> Option<()> {
        let symbol_bytes = usize::from(geometry.symbol_bytes);
        self.lost.clear();
        let mut came = source.clone().map(|(index, _)| index).collect::<Vec<_>>();
        came.sort_unstable();
        self.lost.extend((0..geometry.k).filter(|index| came.binary_search(index).is_err()));
        let count = self.lost.len();
        let repair: Vec<(u16, &[u8])> = repair.take(count).collect();
        if count == 0 || count > LOST_MAX || repair.len() < count {
            return None;
        }
        let inverse = invert(&self.coefficients(geometry, &repair)?, count)?;
        self.sum_up(geometry, source, &repair)?;
        let chunks = symbol_bytes.div_ceil(CHUNK_BYTES);
        for (index, row) in self.lost.iter().zip(inverse.chunks_exact(count)) {
            let engine = self.engine.get_or_insert_with(DefaultEngine::new);
            self.restored.clear();
            self.restored.resize(chunks, [0; CHUNK_BYTES]);
            for (sum, factor) in self.sums.chunks_exact(chunks).zip(row) {
                if *factor == Gf65536::default() {
                    continue;
                }
                self.product.clear();
                self.product.extend_from_slice(sum);
                engine.mul(&mut self.product, factor.log());
                add(self.restored.as_flattened_mut(), self.product.as_flattened());
            }
            join_tail(&mut self.restored, symbol_bytes);
            restored(*index, &self.restored.as_flattened()[..symbol_bytes]);
        }
        Some(())
    }

    /// Row by row, for each of `repair` the coefficients of the lost symbols.
    fn coefficients(&mut self, geometry: Geometry, repair: &[(u16, &[u8])]) -> Option<Vec<Gf65536>> {
        let encoder = ready(&mut self.units, geometry, CHUNK_BYTES)?;
        let mut lost = self.lost.iter().zip(0..LANES).peekable();
        for index in 0..geometry.k {
            let mut unit = [0; CHUNK_BYTES];
            if let Some((_, lane)) = lost.next_if(|(lost, _)| **lost == index) {
                [unit[lane], unit[LANES + lane]] = Gf65536::one().0.to_le_bytes();
            }
            encoder.add_original_shard(unit).ok()?;
        }
        let encoded = encoder.encode().ok()?;
        let mut matrix = Vec::with_capacity(self.lost.len() * repair.len());
        for (index, _) in repair {
            let row = encoded.recovery(usize::from(*index))?;
            matrix.extend((0..self.lost.len()).map(|lane| Gf65536(u16::from_le_bytes([row[lane], row[LANES + lane]]))));
        }
        Some(matrix)
    }

    /// The equations' left sides.
    fn sum_up<'a>(
        &mut self,
        geometry: Geometry,
        source: impl Iterator<Item = (u16, &'a [u8])>,
        repair: &[(u16, &[u8])],
    ) -> Option<()> {
        let symbol_bytes = usize::from(geometry.symbol_bytes);
        let encoder = ready(&mut self.block, geometry, symbol_bytes)?;
        let mut symbols = vec![&[][..]; usize::from(geometry.k)];
        source.for_each(|(index, symbol)| symbols[usize::from(index)] = symbol);
        for symbol in symbols {
            if symbol.len() == symbol_bytes {
                encoder.add_original_shard(symbol).ok()?;
                continue;
            }
            self.padded.clear();
            self.padded.extend_from_slice(symbol);
            self.padded.resize(symbol_bytes, 0);
            encoder.add_original_shard(&self.padded).ok()?;
        }
        let encoded = encoder.encode().ok()?;
        let chunks = symbol_bytes.div_ceil(CHUNK_BYTES);
        self.sums.clear();
        self.sums.resize(repair.len() * chunks, [0; CHUNK_BYTES]);
        for (sum, (index, symbol)) in self.sums.chunks_exact_mut(chunks).zip(repair) {
            let bytes = &mut sum.as_flattened_mut()[..symbol_bytes];
            bytes.copy_from_slice(symbol);
            add(bytes, encoded.recovery(usize::from(*index))?);
            split_tail(sum, symbol_bytes);
        }
        Some(())
    }
}

/// An encoder for the block's shape, with symbols of `symbol_bytes`.
fn ready(
    encoder: &mut Option<ReedSolomonEncoder>,
    geometry: Geometry,
    symbol_bytes: usize,
) -> Option<&mut ReedSolomonEncoder> {
    let (k, repair) = (usize::from(geometry.k), usize::from(geometry.repair));
    match encoder {
        Some(encoder) => {
            encoder.reset(k, repair, symbol_bytes).ok()?;
            Some(encoder)
        }
        none => Some(none.insert(ReedSolomonEncoder::new(k, repair, symbol_bytes).ok()?)),
    }
}

fn add(to: &mut [u8], more: &[u8]) {
    to.iter_mut().zip(more).for_each(|(to, more)| *to ^= more);
}

/// Lays out a last chunk that is not full as the codec does: each half at the beginning of a half.
fn split_tail(symbol: &mut [Chunk], symbol_bytes: usize) {
    let half = symbol_bytes % CHUNK_BYTES / 2;
    if let Some(last) = symbol.last_mut().filter(|_| half > 0) {
        last.copy_within(half..2 * half, LANES);
        last[half..LANES].fill(0);
    }
}

/// The opposite of [`split_tail`].
fn join_tail(symbol: &mut [Chunk], symbol_bytes: usize) {
    let half = symbol_bytes % CHUNK_BYTES / 2;
    if let Some(last) = symbol.last_mut().filter(|_| half > 0) {
        last.copy_within(LANES..LANES + half, half);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fec::{Code, Encoder, Scheme, SourceBlock};

    #[test]
    fn every_number_but_zero_has_a_reciprocal() {
        assert!((1..=u16::MAX).all(|value| Gf65536(value).times(Gf65536(value).reciprocal()) == Gf65536::one()));
        assert!((0..=u16::MAX).all(|value| Gf65536(value).times(Gf65536::one()) == Gf65536(value)));
    }

    /// What is restored is what was lost, in blocks of every shape; too many are left to the codec.
    #[test]
    fn lost_symbols_come_back() {
        let mut erasures = Erasures::default();
        for (k, repair, symbol_bytes) in [(2, 1, 2), (3, 40, 64), (100, 40, 66), (128, 13, 1424), (40, 40, 1000)] {
            let data: Vec<u8> =
                (0..usize::from(k) * usize::from(symbol_bytes)).map(|at| (at * at + at / 251) as u8).collect();
            let symbol =
                |index: u16| &data[usize::from(index) * usize::from(symbol_bytes)..][..usize::from(symbol_bytes)];
            let block = SourceBlock { data: &data, stride: usize::from(symbol_bytes), k, symbol_bytes };
            let mut symbols = Vec::new();
            let mut encoder = Encoder::new(&[(Scheme::ReedSolomon, k)]);
            encoder.encode(Code::ReedSolomon, block, repair, |_, symbol| symbols.push(symbol.to_vec()));
            let geometry = Geometry { code: Code::ReedSolomon, k, symbol_bytes, repair };
            for lost in (1..=repair.min(k)).filter(|lost| [1, 2, 5, 13, 32, 33, 40].contains(lost)) {
                // The last ones, and those every third from the front, so that neither end is special.
                let is_lost = |index: u16| index + lost.div_ceil(2) >= k || (index % 3 == 1 && index / 3 < lost / 2);
                let gone: Vec<u16> = (0..k).filter(|index| is_lost(*index)).collect();
                let source = (0..k).filter(|index| !is_lost(*index)).map(|index| (index, symbol(index)));
                let came = (0..repair).rev().zip(symbols.iter().rev()).map(|(index, symbol)| (index, &symbol[..]));
                let mut restored = Vec::new();
                let solved = erasures.solve(geometry, source, came, |index, bytes| {
                    assert!(bytes == symbol(index), "symbol {index} of {k}, {lost} lost");
                    restored.push(index);
                });
                assert_eq!(solved.is_some(), gone.len() <= LOST_MAX, "{} of {k} lost", gone.len());
                assert!(solved.is_none() || restored == gone, "{restored:?}");
            }
        }
    }
}
