//! Lost symbols from those that came.

use raptorq::{EncodingPacket, ObjectTransmissionInformation, PayloadId, SourceBlockDecoder};
use reed_solomon_simd::ReedSolomonDecoder;

use super::erasures::Erasures;
use super::solve::Solver;
use super::{Code, raptorq_k};

/// What repair frames say of their block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The code.
    pub code: Code,
    /// Source symbols.
    pub k: u16,
    /// Symbol size T, bytes, even.
    pub symbol_bytes: u16,
    /// Repair symbols.
    pub repair: u16,
}

/// Restores lost source symbols. One per lane.
#[derive(Default)]
pub struct Decoder {
    solver: Solver,
    erasures: Erasures,
    reed_solomon: Option<ReedSolomonDecoder>,
    padded: Vec<u8>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}

impl Decoder {
    /// Tries to restore the block. `source` and `repair` give the symbols that came, each index once; source symbols
    /// may be shorter than T. Calls `restored` for every missing source symbol, T bytes each, and returns true; or
    /// returns false and calls nothing, if these symbols do not suffice or contradict the geometry.
    pub fn decode<'a>(
        &mut self,
        geometry: Geometry,
        source: impl Iterator<Item = (u16, &'a [u8])> + Clone,
        repair: impl Iterator<Item = (u16, &'a [u8])> + Clone,
        mut restored: impl FnMut(u16, &[u8]),
    ) -> bool {
        let symbol_bytes = usize::from(geometry.symbol_bytes);
        let fits = source.clone().all(|(index, symbol)| index < geometry.k && symbol.len() <= symbol_bytes)
            && repair.clone().all(|(index, symbol)| index < geometry.repair && symbol.len() == symbol_bytes);
        let count = source.clone().count() + repair.clone().count();
        if !fits || symbol_bytes == 0 || count < usize::from(geometry.k) {
            return false;
        }
        match geometry.code {
            Code::Repetition if geometry.k != 1 => false,
            Code::Repetition => {
                // One came: the source symbol, or what repeats it.
                if let (None, Some((_, symbol))) = (source.clone().next(), repair.clone().next()) {
                    restored(0, symbol);
                }
                true
            }
            Code::RaptorQ => {
                self.solver.solve(geometry, source.clone(), repair.clone(), &mut restored)
                    || raptorq(geometry, source, repair, restored)
            }
            Code::ReedSolomon => {
                let solved = self.erasures.solve(geometry, source.clone(), repair.clone(), &mut restored);
                solved.or_else(|| self.reed_solomon(geometry, source, repair, restored)).is_some()
            }
        }
    }

    fn reed_solomon<'a>(
        &mut self,
        geometry: Geometry,
        source: impl Iterator<Item = (u16, &'a [u8])>,
        repair: impl Iterator<Item = (u16, &'a [u8])>,
        mut restored: impl FnMut(u16, &[u8]),
    ) -> Option<()> {
        let (k, r, symbol_bytes) =
            (usize::from(geometry.k), usize::from(geometry.repair), usize::from(geometry.symbol_bytes));
        let decoder = match &mut self.reed_solomon {
            Some(decoder) => {
                decoder.reset(k, r, symbol_bytes).ok()?;
                decoder
            }
            none => none.insert(ReedSolomonDecoder::new(k, r, symbol_bytes).ok()?),
        };
        for (index, symbol) in source {
            self.padded.clear();
            self.padded.extend_from_slice(symbol);
            self.padded.resize(symbol_bytes, 0);
            decoder.add_original_shard(usize::from(index), &self.padded).ok()?;
        }
        for (index, symbol) in repair {
            decoder.add_recovery_shard(usize::from(index), symbol).ok()?;
        }
        let decoded = decoder.decode().ok()?;
        for (index, symbol) in decoded.restored_original_iter() {
            restored(index as u16, symbol);
        }
        Some(())
    }
}

fn raptorq<'a>(
    geometry: Geometry,
    source: impl Iterator<Item = (u16, &'a [u8])> + Clone,
    repair: impl Iterator<Item = (u16, &'a [u8])>,
    mut restored: impl FnMut(u16, &[u8]),
) -> bool {
    let symbol_bytes = usize::from(geometry.symbol_bytes);
    let coded_k = raptorq_k(geometry.k);
    let block_bytes = u64::from(coded_k) * u64::from(geometry.symbol_bytes);
    let config = ObjectTransmissionInformation::new(block_bytes, geometry.symbol_bytes, 1, 1, 1);
    let mut decoder = SourceBlockDecoder::new(0, &config, block_bytes);
    let packet = |symbol_id: u32, symbol: &[u8]| {
        let mut data = Vec::with_capacity(symbol_bytes);
        data.extend_from_slice(symbol);
        data.resize(symbol_bytes, 0);
        EncodingPacket::new(PayloadId::new(0, symbol_id), data)
    };
    let mut missing = vec![true; usize::from(geometry.k)];
    source.clone().for_each(|(index, _)| missing[usize::from(index)] = false);
    let packets = source
        .map(|(index, symbol)| packet(u32::from(index), symbol))
        .chain((geometry.k..coded_k).map(|index| packet(u32::from(index), &[])))
        .chain(repair.map(|(index, symbol)| packet(u32::from(coded_k) + u32::from(index), symbol)));
    let Some(block) = decoder.decode(packets) else { return false };
    for (index, symbol) in block.chunks_exact(symbol_bytes).enumerate().take(usize::from(geometry.k)) {
        if missing[index] {
            restored(index as u16, symbol);
        }
    }
    true
}
