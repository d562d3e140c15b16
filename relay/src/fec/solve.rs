//! A few lost source symbols of a RaptorQ block, from as many repair symbols.
//!
//! The codec solves for all intermediate symbols of a block to restore a single one. But with the coefficients of
//! [`combine`] every repair symbol that came is an equation in the lost symbols alone, once the share of those that came
//! is taken off:
//!
//! ```text
//! repair[i] - sum over j that came of  rows[i][j] * source[j]   =   sum over j that were lost of  rows[i][j] * source[j]
//! ```
//!
//! As many equations as unknowns, a matrix of at most 16 x 16 to invert, and two combinations: the sums on the left, and
//! the inverse times them.

use raptorq::SourceBlockEncodingPlan;

use super::combine::{self, REPAIR_MAX};
use super::matrix::{Element, invert};
use super::{EXACT_PLANS_MAX, Geometry, SourceBlock};

/// Restores a few symbols. One per lane.
#[derive(Default)]
pub(super) struct Solver {
    /// Rows of coefficients by K, made when a block of that K first lost something.
    rows: Vec<Option<Box<[u8]>>>,
    /// The block, with zeros for what was lost.
    packed: Vec<u8>,
    lost: Vec<u16>,
    /// The left sides.
    sums: Vec<u8>,
    restored: Vec<u8>,
}

impl Solver {
    /// As [`super::Decoder::decode`] for RaptorQ, whose checks were made. False, and nothing restored, if these symbols
    /// do not suffice, or this is not the way for them: the codec's may still be.
    pub(super) fn solve<'a>(
        &mut self,
        geometry: Geometry,
        source: impl Iterator<Item = (u16, &'a [u8])>,
        repair: impl Iterator<Item = (u16, &'a [u8])>,
        mut restored: impl FnMut(u16, &[u8]),
    ) -> bool {
        if geometry.k > EXACT_PLANS_MAX || !combine::is_usable() {
            return false;
        }
        let block = self.pack(geometry, source);
        let repair: Vec<(u16, &[u8])> = repair.filter(|(index, _)| *index < REPAIR_MAX).take(self.lost.len()).collect();
        if self.lost.is_empty() || repair.len() < self.lost.len() {
            return false;
        }
        let rows = rows_of(&mut self.rows, geometry.k);
        let row = |index: u16| &rows[usize::from(index) * usize::from(geometry.k)..][..usize::from(geometry.k)];
        let equations: Vec<u8> = repair.iter().flat_map(|(index, _)| row(*index)).copied().collect();
        let mut matrix = Vec::with_capacity(self.lost.len() * self.lost.len());
        for equation in equations.chunks_exact(usize::from(geometry.k)) {
            matrix.extend(self.lost.iter().map(|j| Gf256(equation[usize::from(*j)])));
        }
        let Some(inverse) = invert(&matrix, self.lost.len()) else { return false };
        let inverse: Vec<u8> = inverse.iter().map(|factor| factor.0).collect();
        let packed = SourceBlock { data: &self.packed, ..block };
        let stride = combine::sums(packed, &equations, &mut self.sums);
        for (sum, (_, symbol)) in self.sums.chunks_exact_mut(stride).zip(&repair) {
            sum.iter_mut().zip(*symbol).for_each(|(sum, byte)| *sum ^= byte);
        }
        let left = SourceBlock { data: &self.sums, stride, k: self.lost.len() as u16, ..block };
        let stride = combine::sums(left, &inverse, &mut self.restored);
        for (index, symbol) in self.lost.iter().zip(self.restored.chunks_exact(stride)) {
            restored(*index, &symbol[..usize::from(geometry.symbol_bytes)]);
        }
        true
    }

    /// Lays the source symbols out as a block, and notes which were lost. The block's data is [`Solver::packed`].
    fn pack<'a>(&mut self, geometry: Geometry, source: impl Iterator<Item = (u16, &'a [u8])>) -> SourceBlock<'static> {
        let stride = usize::from(geometry.symbol_bytes);
        self.packed.clear();
        self.packed.resize(usize::from(geometry.k) * stride, 0);
        self.lost.clear();
        self.lost.extend(0..geometry.k);
        for (index, symbol) in source {
            self.packed[usize::from(index) * stride..][..symbol.len()].copy_from_slice(symbol);
            self.lost.retain(|lost| *lost != index);
        }
        SourceBlock { data: &[], stride, k: geometry.k, symbol_bytes: geometry.symbol_bytes }
    }
}

fn rows_of(all: &mut Vec<Option<Box<[u8]>>>, k: u16) -> &[u8] {
    let place = usize::from(k);
    if all.len() <= place {
        all.resize(place + 1, None);
    }
    all[place].get_or_insert_with(|| combine::rows(&SourceBlockEncodingPlan::generate(k), k))
}

/// An element of GF(256) as RFC 6330 has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gf256(u8);

impl Element for Gf256 {
    fn one() -> Self {
        Self(1)
    }

    fn times(self, other: Self) -> Self {
        Self(combine::multiply(self.0, other.0))
    }

    fn minus(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }

    /// Its 254th power, since the 255th is 1.
    fn reciprocal(self) -> Self {
        (1..254).fold(self, |power, _| power.times(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fec::{Code, Encoder, Scheme};

    #[test]
    fn an_inverse_is_one_and_a_singular_matrix_has_none() {
        let matrix = [0, 3, 200, 7, 0, 1, 9, 255, 0].map(Gf256);
        let inverse = invert(&matrix, 3).expect("regular");
        for row in 0..3 {
            for column in 0..3 {
                let product = |at: usize| matrix[row * 3 + at].times(inverse[at * 3 + column]);
                let sum = (0..3).fold(Gf256(0), |sum, at| sum.minus(product(at)));
                assert_eq!(sum, Gf256(u8::from(row == column)));
            }
        }
        assert_eq!(invert(&[5, 5, 5, 5].map(Gf256), 2), None);
    }

    #[test]
    fn every_number_but_zero_has_a_reciprocal() {
        assert!((1..=255).all(|value| Gf256(value).times(Gf256(value).reciprocal()) == Gf256(1)));
    }

    /// What is restored is what was lost, for few and for as many as there are repair symbols.
    #[test]
    fn lost_symbols_come_back() {
        let (k, symbol_bytes) = (100_u16, 130_u16);
        let data: Vec<u8> = (0..usize::from(k * symbol_bytes)).map(|at| (at * at + at / 251) as u8).collect();
        let symbol = |index: u16| &data[usize::from(index * symbol_bytes)..][..usize::from(symbol_bytes)];
        let block = SourceBlock { data: &data, stride: usize::from(symbol_bytes), k, symbol_bytes };
        let mut repair = Vec::new();
        let mut encoder = Encoder::new(&[(Scheme::RaptorQ, k)]);
        encoder.encode(Code::RaptorQ, block, REPAIR_MAX, |_, symbol| repair.push(symbol.to_vec()));
        let mut solver = Solver::default();
        for lost in [1, 2, 5, REPAIR_MAX] {
            let source = (0..k).filter(|index| index % 6 != 5 || index / 6 >= lost).map(|index| (index, symbol(index)));
            let came = (0..REPAIR_MAX).zip(&repair).map(|(index, symbol)| (index, &symbol[..]));
            let geometry = Geometry { code: Code::RaptorQ, k, symbol_bytes, repair: REPAIR_MAX };
            let mut restored = Vec::new();
            let solved = solver.solve(geometry, source, came, |index, bytes| {
                assert!(bytes == symbol(index), "symbol {index}");
                restored.push(index);
            });
            assert_eq!(solved, combine::is_usable());
            let expected: Vec<u16> = (0..lost).map(|at| at * 6 + 5).collect();
            assert!(!solved || restored == expected, "{restored:?}");
        }
    }
}
