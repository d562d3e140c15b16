//! What the machine could do at best: the time of every pass over the bytes that the design needs, each measured by itself on
//! a block of the same shape.
//!
//! ```text
//! BLUE: copy into the block | encode | seal K + R frames
//! RED:  open the frames that came | decode what was lost | copy into the zone's frame | checksum
//!
//! limit = payload / (sum of the passes' times)
//! ```
//!
//! What the pipelines do besides (headers, tables, records, rings, further copies) is what keeps them below it.

use anyhow::{Context as _, Result};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use relay::fec::{Decoder, Encoder, Geometry, SourceBlock};
use relay::link::memory::Seeded;
use relay::packet::checksum;
use relay::wire::{HEADER_LEN, RECORD_LEN};

use super::round::Plan;
use super::zone::BATCH;
use crate::stopwatch::{gbit_per_second, seconds};

/// Loss patterns that decoding is averaged over.
const PATTERNS: usize = 24;

/// Seconds for one block of each pass.
#[derive(Clone, Copy, Debug)]
pub struct Passes {
    payload_bytes: f64,
    /// Share of the payload that comes through.
    delivered: f64,
    /// Share of the frames that arrive.
    arriving: f64,
    copy: f64,
    checksum: f64,
    seal: f64,
    encode: f64,
    decode: f64,
}

impl Passes {
    /// Measures all passes for a plan at a loss of `loss` (share of frames).
    pub fn measure(plan: &Plan, loss: f64, encoder: &mut Encoder) -> Result<Self> {
        let block = Block::new(plan, encoder)?;
        let patterns = block.patterns(loss, plan.seed);
        let (decode, restored) = block.decode(&patterns);
        Ok(Self {
            payload_bytes: (block.records() * plan.payload_bytes) as f64,
            delivered: 1.0 - loss * (1.0 - restored),
            arriving: 1.0 - loss,
            copy: block.copy(),
            checksum: block.checksum(),
            seal: block.seal()?,
            encode: block.encode(encoder),
            decode,
        })
    }

    /// BLUE at best, Gbit/s of payload.
    pub fn blue(&self) -> f64 {
        gbit_per_second(self.payload_bytes, self.copy + self.encode + self.seal)
    }

    /// RED at best, Gbit/s of payload.
    pub fn red(&self) -> f64 {
        let whole = self.copy + self.checksum;
        let time = self.seal * self.arriving + self.decode + whole * self.delivered;
        gbit_per_second(self.payload_bytes * self.delivered, time)
    }
}

/// A full block, as a plan makes it.
struct Block {
    payload_bytes: usize,
    records_per_symbol: usize,
    k: u16,
    symbol_bytes: usize,
    data: Vec<u8>,
    code: Option<relay::fec::Code>,
    repair: Vec<Vec<u8>>,
}

impl Block {
    fn new(plan: &Plan, encoder: &mut Encoder) -> Result<Self> {
        let record = RECORD_LEN + plan.payload_bytes;
        let records_per_symbol = plan.records_per_symbol();
        anyhow::ensure!(records_per_symbol > 0, "datagrams larger than a symbol have no limit here");
        let symbol_bytes = (records_per_symbol * record).next_multiple_of(2);
        let k = plan.block_symbols;
        let data = (0..usize::from(k) * symbol_bytes).map(|at| (at * at + at / 251) as u8).collect();
        let mut block = Self {
            payload_bytes: plan.payload_bytes,
            records_per_symbol,
            k,
            symbol_bytes,
            data,
            code: plan.scheme.code(k),
            repair: Vec::new(),
        };
        let repair = plan.repair()?.repair(k);
        if let Some(code) = block.code {
            let mut symbols = Vec::new();
            encoder.encode(code, block.source(), repair, |_, symbol| symbols.push(symbol.to_vec()));
            block.repair = symbols;
        }
        Ok(block)
    }

    fn records(&self) -> usize {
        usize::from(self.k) * self.records_per_symbol
    }

    fn source(&self) -> SourceBlock<'_> {
        let stride = self.symbol_bytes;
        SourceBlock { data: &self.data, stride, k: self.k, symbol_bytes: stride as u16 }
    }

    fn symbol(&self, index: u16) -> &[u8] {
        &self.data[usize::from(index) * self.symbol_bytes..][..self.symbol_bytes]
    }

    /// A batch of payloads copied over and over, until they fill a block.
    fn copy(&self) -> f64 {
        let from = vec![vec![0x5A_u8; self.payload_bytes]; BATCH];
        let mut to = vec![0_u8; self.records() * self.payload_bytes];
        seconds(|| {
            for (to, from) in to.chunks_exact_mut(self.payload_bytes).zip(from.iter().cycle()) {
                to.copy_from_slice(from);
            }
            std::hint::black_box(&mut to);
        })
    }

    fn checksum(&self) -> f64 {
        let payloads = vec![vec![0x5A_u8; self.payload_bytes]; BATCH];
        seconds(|| payloads.iter().cycle().take(self.records()).fold(0, |sum, payload| sum ^ checksum(payload)))
    }

    /// All frames of the block; opening takes as long as sealing.
    fn seal(&self) -> Result<f64> {
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).ok().context("a key of 32 bytes")?;
        let key = LessSafeKey::new(key);
        let mut frames = vec![vec![0x5A_u8; self.symbol_bytes]; BATCH];
        let count = usize::from(self.k) + self.repair.len();
        let mut number = 0_u64;
        Ok(seconds(|| {
            for at in 0..count {
                let mut nonce = [0; 12];
                nonce[4..].copy_from_slice(&number.to_be_bytes());
                number += 1;
                let nonce = Nonce::assume_unique_for_key(nonce);
                let sealed = key.seal_in_place_separate_tag(nonce, Aad::from([1; HEADER_LEN]), &mut frames[at % BATCH]);
                std::hint::black_box(sealed.is_ok());
            }
        }))
    }

    fn encode(&self, encoder: &mut Encoder) -> f64 {
        let Some(code) = self.code.filter(|_| !self.repair.is_empty()) else { return 0.0 };
        seconds(|| {
            encoder.encode(code, self.source(), self.repair.len() as u16, |_, symbol| {
                std::hint::black_box(symbol);
            });
        })
    }

    /// Which frames of the block are lost, source symbols first, each by itself.
    fn patterns(&self, loss: f64, seed: u64) -> Vec<Vec<bool>> {
        let mut random = Seeded::new(seed);
        let frames = usize::from(self.k) + self.repair.len();
        let lost = |random: &mut Seeded| (random.below(1 << 32) as f64) < loss * (1_u64 << 32) as f64;
        (0..PATTERNS).map(|_| (0..frames).map(|_| lost(&mut random)).collect()).collect()
    }

    /// Seconds that the decoder takes for a block on average, and the share of lost symbols that it restores.
    fn decode(&self, patterns: &[Vec<bool>]) -> (f64, f64) {
        let (source_len, none) = (usize::from(self.k), (0.0, 0.0));
        let Some(code) = self.code else { return none };
        let hurt: Vec<&Vec<bool>> = patterns.iter().filter(|lost| lost[..source_len].contains(&true)).collect();
        if hurt.is_empty() {
            return none;
        }
        let geometry =
            Geometry { code, k: self.k, symbol_bytes: self.symbol_bytes as u16, repair: self.repair.len() as u16 };
        let mut decoder = Decoder::default();
        let (mut time, mut restored) = (0.0, 0);
        for lost in &hurt {
            let source = (0..self.k).filter(|&index| !lost[usize::from(index)]);
            // As the receiver does: once enough came, the rest is not waited for.
            let came = source.clone().count();
            let repair = (0..).zip(&self.repair).filter(|(index, _)| !lost[source_len + usize::from(*index)]);
            let repair = repair.take(source_len - came);
            let source = source.map(|index| (index, self.symbol(index)));
            let repair = repair.map(|(index, symbol)| (index, &symbol[..]));
            let mut count = 0;
            time += seconds(|| {
                count = 0;
                decoder.decode(geometry, source.clone(), repair.clone(), |_, symbol| {
                    std::hint::black_box(symbol);
                    count += 1;
                });
            });
            restored += count;
        }
        let lost: usize = hurt.iter().map(|lost| lost[..source_len].iter().filter(|&&lost| lost).count()).sum();
        (time / patterns.len() as f64, restored as f64 / lost as f64)
    }
}
