//! Repair symbols from a full block.

use std::sync::Arc;

use raptorq::{ObjectTransmissionInformation, SourceBlockEncoder, SourceBlockEncodingPlan};
use reed_solomon_simd::ReedSolomonEncoder;

use super::combine::Combiner;
use super::{Code, EXACT_PLANS_MAX, PLAN_STEP, Scheme, raptorq_k};

/// The source symbols of a block, one every `stride` bytes; each is zero from its own end up to `symbol_bytes`.
#[derive(Clone, Copy, Debug)]
pub struct SourceBlock<'a> {
    /// Holds at least `k` strides.
    pub data: &'a [u8],
    /// Distance from one symbol to the next, bytes.
    pub stride: usize,
    /// Source symbols.
    pub k: u16,
    /// Symbol size T: even, at least the longest symbol, at most `stride`.
    pub symbol_bytes: u16,
}

impl<'a> SourceBlock<'a> {
    fn symbols(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let symbol_bytes = usize::from(self.symbol_bytes);
        self.data.chunks_exact(self.stride).take(usize::from(self.k)).map(move |symbol| &symbol[..symbol_bytes])
    }
}

/// Makes repair symbols. One per lane; its plans may be shared.
pub struct Encoder {
    plans: Arc<[SourceBlockEncodingPlan]>,
    /// For blocks of an exact K and few repair symbols.
    combiner: Option<Arc<Combiner>>,
    reed_solomon: Option<ReedSolomonEncoder>,
    packed: Vec<u8>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Encoder({} plans)", self.plans.len())
    }
}

impl Encoder {
    /// An encoder for blocks of up to `block_symbols` symbols of each of `schemes`.
    pub fn new(schemes: &[(Scheme, u16)]) -> Self {
        let most = |wanted| schemes.iter().filter(|(scheme, _)| *scheme == wanted).map(|(_, k)| *k).max();
        let plans = most(Scheme::RaptorQ).map_or_else(Vec::new, |block_symbols| {
            (0..=plan_index(block_symbols)).map(|index| SourceBlockEncodingPlan::generate(plan_k(index))).collect()
        });
        let reed_solomon =
            most(Scheme::ReedSolomon).and_then(|k| ReedSolomonEncoder::new(usize::from(k.max(2)), 1, 64).ok());
        let exact = &plans[..plans.len().min(usize::from(EXACT_PLANS_MAX))];
        let combiner = Combiner::new(exact).map(Arc::new);
        Self { plans: plans.into(), combiner, reed_solomon, packed: Vec::new() }
    }

    #[must_use]
    /// Another encoder with the same plans, for another lane.
    pub fn share(&self) -> Self {
        let reed_solomon = self.reed_solomon.as_ref().and_then(|_| ReedSolomonEncoder::new(2, 1, 64).ok());
        Self { plans: Arc::clone(&self.plans), combiner: self.combiner.clone(), reed_solomon, packed: Vec::new() }
    }

    /// Gives repair symbols 0..`repair` of the block to `out`, in order, each `symbol_bytes` long.
    ///
    /// # Panics
    /// If the block is outside of what `new` was told: a bug of the caller, not of its input.
    pub fn encode(&mut self, code: Code, block: SourceBlock<'_>, repair: u16, mut out: impl FnMut(u16, &[u8])) {
        match code {
            Code::Repetition => {
                for (index, symbol) in (0..repair).zip(block.symbols().cycle()) {
                    out(index, symbol);
                }
            }
            Code::RaptorQ => {
                let combiner = self.combiner.as_ref();
                let combined = combiner.is_some_and(|all| all.combine(block, repair, &mut self.packed, &mut out));
                if !combined {
                    self.raptorq(block, repair, &mut out);
                }
            }
            Code::ReedSolomon => self.reed_solomon(block, repair, &mut out),
        }
    }

    fn raptorq(&mut self, block: SourceBlock<'_>, repair: u16, out: &mut impl FnMut(u16, &[u8])) {
        let symbol_bytes = usize::from(block.symbol_bytes);
        let coded_k = raptorq_k(block.k);
        let wanted = usize::from(coded_k) * symbol_bytes;
        let data = if symbol_bytes == block.stride && coded_k == block.k {
            &block.data[..wanted]
        } else {
            self.packed.clear();
            block.symbols().for_each(|symbol| self.packed.extend_from_slice(symbol));
            self.packed.resize(wanted, 0);
            &self.packed
        };
        let config = ObjectTransmissionInformation::new(wanted as u64, block.symbol_bytes, 1, 1, 1);
        let plan = &self.plans[plan_index(block.k)];
        let encoder = SourceBlockEncoder::with_encoding_plan(0, &config, data, plan);
        for (index, packet) in (0..repair).zip(encoder.repair_packets(0, u32::from(repair))) {
            out(index, packet.data());
        }
    }

    fn reed_solomon(&mut self, block: SourceBlock<'_>, repair: u16, out: &mut impl FnMut(u16, &[u8])) {
        let encoder = self.reed_solomon.as_mut().expect("made for Reed-Solomon");
        encoder
            .reset(usize::from(block.k), usize::from(repair), usize::from(block.symbol_bytes))
            .expect("K and R are within 2^15, T is even");
        for symbol in block.symbols() {
            encoder.add_original_shard(symbol).expect("K symbols of T bytes");
        }
        let encoded = encoder.encode().expect("all K symbols were added");
        for (index, symbol) in (0..repair).zip(encoded.recovery_iter()) {
            out(index, symbol);
        }
    }
}

/// Plans 0.. are for K = 1.., then one for every step of the ladder.
fn plan_index(k: u16) -> usize {
    let k = raptorq_k(k);
    if k <= EXACT_PLANS_MAX {
        usize::from(k) - 1
    } else {
        usize::from(EXACT_PLANS_MAX - 1 + (k - EXACT_PLANS_MAX) / PLAN_STEP)
    }
}

fn plan_k(index: usize) -> u16 {
    let exact = usize::from(EXACT_PLANS_MAX);
    if index < exact { index as u16 + 1 } else { ((index + 1 - exact) * usize::from(PLAN_STEP) + exact) as u16 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fec::combine;

    /// Combined or by the codec, repair symbols are the same.
    #[test]
    fn combinations_are_what_the_codec_makes() {
        let mut encoder = Encoder::new(&[(Scheme::RaptorQ, EXACT_PLANS_MAX)]);
        let combiner = encoder.combiner.take();
        for (k, symbol_bytes, stride) in [(2, 2, 2), (3, 64, 64), (7, 66, 70), (40, 1000, 1424), (127, 1424, 1424)] {
            let data: Vec<u8> = (0..k * stride).map(|at: usize| (at * at + at / 251) as u8).collect();
            let block = SourceBlock { data: &data, stride, k: k as u16, symbol_bytes: symbol_bytes as u16 };
            for repair in 1..=combine::REPAIR_MAX {
                let mut by_codec = Vec::new();
                encoder.encode(Code::RaptorQ, block, repair, |index, symbol| by_codec.push((index, symbol.to_vec())));
                let mut combined = Vec::new();
                if let Some(combiner) = &combiner {
                    let out = &mut |index, symbol: &[u8]| combined.push((index, symbol.to_vec()));
                    assert!(combiner.combine(block, repair, &mut Vec::new(), out));
                    assert!(combined == by_codec, "k={k} T={symbol_bytes} repair={repair}");
                }
            }
        }
    }

    #[test]
    fn every_k_has_its_plan() {
        for k in 1..=2000 {
            assert_eq!(plan_k(plan_index(k)), raptorq_k(k), "k={k}");
        }
    }
}
