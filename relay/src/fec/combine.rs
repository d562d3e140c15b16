//! RaptorQ repair symbols straight from the source symbols.
//!
//! Every repair symbol is a linear combination of its block's source symbols over GF(256) (RFC 6330, section 5.3.3). The
//! codec goes by way of all intermediate symbols, which costs the same for one repair symbol as for fifty; a combination
//! costs by the repair symbol. Where few are wanted, as usual, it takes a fraction of the time, and gives the same bytes.
//!
//! ```text
//! repair[r][column] = sum over j of  rows[r][j] * source[j][column]          64 columns and up to 4 rows at a time
//! ```

use raptorq::{ObjectTransmissionInformation, SourceBlockEncoder, SourceBlockEncodingPlan};

use super::SourceBlock;

/// Most repair symbols made this way: with so many, blocks of any K take about half as long as by the codec.
pub(super) const REPAIR_MAX: u16 = 16;

/// Rows of coefficients, by K.
pub(super) struct Combiner {
    /// For K = 1.., rows of repair symbols 0..[`REPAIR_MAX`], K coefficients each.
    rows: Box<[Box<[u8]>]>,
}

impl Combiner {
    /// For every K that has a plan here, from 1 on; `None` where the processor cannot combine fast.
    pub(super) fn new(plans: &[SourceBlockEncodingPlan]) -> Option<Self> {
        if !is_usable() {
            return None;
        }
        Some(Self { rows: plans.iter().zip(1..).map(|(plan, k)| rows(plan, k)).collect() })
    }

    /// Gives repair symbols 0..`repair` of the block to `out`, in order. False, and none, if there are no rows for it.
    pub(super) fn combine(
        &self,
        block: SourceBlock<'_>,
        repair: u16,
        scratch: &mut Vec<u8>,
        out: &mut impl FnMut(u16, &[u8]),
    ) -> bool {
        let k = usize::from(block.k);
        let Some(rows) = self.rows.get(k.wrapping_sub(1)).filter(|_| repair <= REPAIR_MAX) else { return false };
        let stride = sums(block, &rows[..k * usize::from(repair)], scratch);
        for (index, symbol) in (0..repair).zip(scratch.chunks_exact(stride)) {
            out(index, &symbol[..usize::from(block.symbol_bytes)]);
        }
        true
    }
}

/// Can this processor combine fast?
pub(super) fn is_usable() -> bool {
    kernel::is_usable()
}

/// Makes one symbol of every row of K coefficients, one after another in `to`; returns the distance from one to the next.
/// Only where [`is_usable`] says so.
pub(super) fn sums(block: SourceBlock<'_>, rows: &[u8], to: &mut Vec<u8>) -> usize {
    let k = usize::from(block.k);
    let stride = usize::from(block.symbol_bytes).next_multiple_of(kernel::TILE);
    to.resize(stride * (rows.len() / k), 0);
    for (rows, to) in rows.chunks(k * kernel::ROWS_MAX).zip(to.chunks_mut(stride * kernel::ROWS_MAX)) {
        kernel::combine(block, rows, stride, to);
    }
    stride
}

/// The product in GF(256) with the polynomial of RFC 6330, section 5.7.2.
pub(super) const fn multiply(mut a: u8, mut b: u8) -> u8 {
    /// Without its highest term.
    const POLYNOMIAL: u8 = 0x1d;
    let mut product = 0;
    while b > 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a = (a << 1) ^ if a & 0x80 == 0 { 0 } else { POLYNOMIAL };
        b >>= 1;
    }
    product
}

/// The coefficients of a K, for repair symbols 0..[`REPAIR_MAX`]: what the codec makes of a block whose symbol j is 1 at byte j and 0 elsewhere.
pub(super) fn rows(plan: &SourceBlockEncodingPlan, k: u16) -> Box<[u8]> {
    let len = usize::from(k);
    let mut identity = vec![0; len * len];
    identity.iter_mut().step_by(len + 1).for_each(|one| *one = 1);
    let config = ObjectTransmissionInformation::new(identity.len() as u64, k, 1, 1, 1);
    let encoder = SourceBlockEncoder::with_encoding_plan(0, &config, &identity, plan);
    encoder.repair_packets(0, u32::from(REPAIR_MAX)).iter().flat_map(|packet| packet.data().to_vec()).collect()
}

#[cfg(target_arch = "x86_64")]
mod kernel {
    //! Multiplication by table: a product is the sum of those of both nibbles, and a byte shuffle looks 32 of them up.

    use std::arch::x86_64::{
        __m256i, _mm_loadu_si128, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_loadu_si256, _mm256_set1_epi8,
        _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi16, _mm256_storeu_si256, _mm256_xor_si256,
    };

    use super::multiply;
    use crate::fec::SourceBlock;

    /// Columns at a time.
    pub const TILE: usize = 64;
    /// Rows at a time: as many as have room in the registers.
    pub const ROWS_MAX: usize = 4;

    /// Products of every coefficient with every low nibble, then with every high nibble.
    static PRODUCTS: [[[u8; 16]; 2]; 256] = products();

    const fn products() -> [[[u8; 16]; 2]; 256] {
        let mut products = [[[0; 16]; 2]; 256];
        let mut coefficient = 0;
        while coefficient < 256 {
            let mut nibble = 0;
            while nibble < 16 {
                products[coefficient][0][nibble] = multiply(coefficient as u8, nibble as u8);
                products[coefficient][1][nibble] = multiply(coefficient as u8, (nibble << 4) as u8);
                nibble += 1;
            }
            coefficient += 1;
        }
        products
    }

    pub fn is_usable() -> bool {
        is_x86_feature_detected!("avx2")
    }

    /// Up to [`ROWS_MAX`] rows of K coefficients make as many symbols of `padded` bytes, a multiple of [`TILE`]. Only
    /// where [`is_usable`] says so.
    pub fn combine(block: SourceBlock<'_>, rows: &[u8], padded: usize, out: &mut [u8]) {
        assert!(is_usable(), "asked before");
        // SAFETY: the processor has AVX2, as just checked.
        unsafe {
            match rows.len() / usize::from(block.k) {
                1 => combine_rows::<1>(block, rows, padded, out),
                2 => combine_rows::<2>(block, rows, padded, out),
                3 => combine_rows::<3>(block, rows, padded, out),
                _ => combine_rows::<4>(block, rows, padded, out),
            }
        }
    }

    #[target_feature(enable = "avx2")]
    fn combine_rows<const N: usize>(block: SourceBlock<'_>, rows: &[u8], padded: usize, out: &mut [u8]) {
        let k = usize::from(block.k);
        let rows: [&[u8]; N] = std::array::from_fn(|row| &rows[row * k..(row + 1) * k]);
        for column in (0..padded).step_by(TILE) {
            let mut sums = [[_mm256_setzero_si256(); 2]; N];
            for (j, at) in (0..k).zip((column..).step_by(block.stride)) {
                // Behind a symbol's end are other symbols, whose columns nobody looks at; behind the last one's, nothing.
                let behind = &block.data[at..];
                let mut last = [0; TILE];
                let tile = behind.first_chunk().unwrap_or_else(|| {
                    last[..behind.len()].copy_from_slice(behind);
                    &last
                });
                let factors = std::array::from_fn(|row| rows[row][j]);
                add_products(&mut sums, tile, factors);
            }
            for (row, sums) in sums.into_iter().enumerate() {
                let at = row * padded + column;
                if let Some(to) = out[at..].first_chunk_mut() {
                    store(sums, to);
                }
            }
        }
    }

    /// Adds the products of a tile with each row's factor to the row's sums.
    #[target_feature(enable = "avx2")]
    fn add_products<const N: usize>(sums: &mut [[__m256i; 2]; N], tile: &[u8; TILE], factors: [u8; N]) {
        let nibble = _mm256_set1_epi8(0x0f);
        let bytes = load(tile);
        let low = bytes.map(|bytes| _mm256_and_si256(bytes, nibble));
        let high = bytes.map(|bytes| _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), nibble));
        for (sums, factor) in sums.iter_mut().zip(factors) {
            let [of_low, of_high] = table(factor);
            for half in 0..2 {
                let product =
                    _mm256_xor_si256(_mm256_shuffle_epi8(of_low, low[half]), _mm256_shuffle_epi8(of_high, high[half]));
                sums[half] = _mm256_xor_si256(sums[half], product);
            }
        }
    }

    #[target_feature(enable = "avx2")]
    fn table(factor: u8) -> [__m256i; 2] {
        // SAFETY: each half of a table is 16 bytes; the load needs no alignment.
        PRODUCTS[usize::from(factor)]
            .each_ref()
            .map(|half| _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(half.as_ptr().cast()) }))
    }

    #[target_feature(enable = "avx2")]
    fn load(tile: &[u8; TILE]) -> [__m256i; 2] {
        let [first, second] = [tile.as_ptr().cast(), tile[TILE / 2..].as_ptr().cast()];
        // SAFETY: a tile is 64 bytes, of which each load reads one half; neither needs alignment.
        unsafe { [_mm256_loadu_si256(first), _mm256_loadu_si256(second)] }
    }

    #[target_feature(enable = "avx2")]
    fn store(sums: [__m256i; 2], to: &mut [u8; TILE]) {
        let (first, second) = to.split_at_mut(TILE / 2);
        // SAFETY: a tile is 64 bytes, of which each store writes one half; neither needs alignment.
        unsafe {
            _mm256_storeu_si256(first.as_mut_ptr().cast(), sums[0]);
            _mm256_storeu_si256(second.as_mut_ptr().cast(), sums[1]);
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod kernel {
    //! Other processors go by the codec.

    use crate::fec::SourceBlock;

    pub const TILE: usize = 64;
    pub const ROWS_MAX: usize = 4;

    pub fn is_usable() -> bool {
        false
    }

    pub fn combine(_block: SourceBlock<'_>, _rows: &[u8], _padded: usize, _out: &mut [u8]) {}
}
