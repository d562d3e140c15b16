//! The codecs alone: encoding and decoding one block over and over, by K, symbol size, repair and loss, against copying the block.

use anyhow::{Result, ensure};
use relay::fec::{Code, Decoder, Encoder, Geometry, Scheme, SourceBlock};

use crate::measured::{Bench, Measured, Plot, RUNS, RUNS_QUICK, Step, Unit};
use crate::stopwatch::{gbit_per_second, seconds};

const SCHEMES: [(Scheme, &str); 2] = [(Scheme::RaptorQ, "RaptorQ"), (Scheme::ReedSolomon, "Reed-Solomon")];
/// Source symbols: sparse traffic, the default, and what a site with much memory may choose.
const SIZES: [u16; 5] = [8, 32, 128, 256, 512];
/// Bytes: a full frame on links with an MTU of 1,500, about 4,096 (the largest `AF_XDP` frame) and 9,000.
const SYMBOLS: [u16; 3] = [1424, 3900, 8924];
/// Percent of K: the default promise at K = 128 is 8%, and 10% is what the figures elsewhere are taken with.
const REPAIRS: [u16; 3] = [5, 10, 20];
/// The symbol size that everything but `SYMBOLS` is measured at.
const SYMBOL_BYTES: u16 = SYMBOLS[0];

/// A block's shape.
#[derive(Clone, Copy)]
struct Shape {
    scheme: Scheme,
    name: &'static str,
    k: u16,
    symbol_bytes: u16,
    repair_percent: u16,
}

impl Shape {
    fn repair(&self) -> u16 {
        (self.k * self.repair_percent).div_ceil(100)
    }
}

/// The benchmark.
pub fn bench(quick: bool) -> Bench {
    let mut shapes = Vec::new();
    for (scheme, name) in SCHEMES {
        let of = |k, symbol_bytes, repair_percent| Shape { scheme, name, k, symbol_bytes, repair_percent };
        shapes.extend(SIZES.iter().filter(|&&k| !quick || k == 128).map(|&k| of(k, SYMBOL_BYTES, 10)));
        if !quick {
            shapes.extend(SYMBOLS[1..].iter().map(|&symbol_bytes| of(128, symbol_bytes, 10)));
            shapes.extend(
                REPAIRS.iter().filter(|&&percent| percent != 10).map(|&percent| of(128, SYMBOL_BYTES, percent)),
            );
        }
    }
    Bench {
        name: "fec",
        about: "source bytes through the codecs on one core, against copying the same block".to_owned(),
        runs: RUNS,
        runs_quick: RUNS_QUICK,
        plots: plots(),
        steps: shapes.into_iter().map(case).collect(),
    }
}

fn plots() -> Vec<Plot> {
    let plot = |name: &str, title: &str, x_label| Plot {
        name: name.to_owned(),
        title: title.to_owned(),
        x_label,
        y_label: "source bytes, Gbit/s per core",
        bars: None,
    };
    vec![
        plot("fec-encode-k", "Encoding by K, symbols of 1424 bytes, 10% repair", "K, source symbols"),
        plot("fec-encode-repair", "Encoding by repair, K = 128, symbols of 1424 bytes", "repair symbols, % of K"),
        plot("fec-decode-lost", "Decoding by loss, K = 128, symbols of 1424 bytes, 10% repair", "source symbols lost"),
        plot("fec-decode-k", "Decoding one lost symbol by K, symbols of 1424 bytes, 10% repair", "K, source symbols"),
    ]
}

fn case(shape: Shape) -> Step {
    let Shape { scheme, name, k, symbol_bytes, repair_percent } = shape;
    let mut encoder = Encoder::new(&[(scheme, k)]);
    Step::new(format!("{name}, K {k}, {symbol_bytes} B, {repair_percent}% repair"), move |_| {
        let block = Block::new(shape, &mut encoder)?;
        let copy = block.rate(block.copy());
        let encode = Measured::new("encode", Unit::GbitPerSecond, block.rate(block.encode(&mut encoder)));
        let mut figures = vec![points(encode.of("memcpy", copy), shape, None)];
        for lost in losses(shape.repair()) {
            let rate = block.rate(block.decode(lost)?);
            let decode = Measured::new(format!("decode, {lost} lost"), Unit::GbitPerSecond, rate);
            figures.push(points(decode.of("memcpy", copy), shape, Some(lost)));
        }
        Ok(figures)
    })
}

/// One, some, and all that the code can restore for sure: four fewer than there are repair symbols (RaptorQ then fails once in 2^40).
fn losses(repair: u16) -> Vec<u16> {
    let most = repair.saturating_sub(4).max(1);
    let mut losses = vec![1, 2, 4, most / 2, most];
    losses.retain(|&lost| (1..=most).contains(&lost));
    losses.sort_unstable();
    losses.dedup();
    losses
}

/// Puts a figure into the plots whose other parameters it has.
fn points(figure: Measured, shape: Shape, lost: Option<u16>) -> Measured {
    let (name, k) = (shape.name, f64::from(shape.k));
    let default_symbols = shape.symbol_bytes == SYMBOL_BYTES;
    let default_repair = shape.repair_percent == 10;
    match lost {
        None if default_symbols => {
            let figure = if default_repair { figure.at("fec-encode-k", name, k) } else { figure };
            let percent = f64::from(shape.repair_percent);
            if shape.k == 128 { figure.at("fec-encode-repair", name, percent) } else { figure }
        }
        Some(lost) if default_symbols && default_repair => {
            let figure = if lost == 1 { figure.at("fec-decode-k", name, k) } else { figure };
            if shape.k == 128 { figure.at("fec-decode-lost", name, f64::from(lost)) } else { figure }
        }
        _ => figure,
    }
}

/// A full block with its repair symbols.
struct Block {
    shape: Shape,
    code: Code,
    data: Vec<u8>,
    repair: Vec<Vec<u8>>,
}

impl Block {
    fn new(shape: Shape, encoder: &mut Encoder) -> Result<Self> {
        let code = shape.scheme.code(shape.k);
        let Some(code) = code else { anyhow::bail!("{} has no code", shape.name) };
        let len = usize::from(shape.k) * usize::from(shape.symbol_bytes);
        let data = (0..len).map(|at| (at * at + at / 251) as u8).collect();
        let mut block = Self { shape, code, data, repair: Vec::new() };
        let mut repair = Vec::new();
        encoder.encode(code, block.source(), shape.repair(), |_, symbol| repair.push(symbol.to_vec()));
        block.repair = repair;
        Ok(block)
    }

    fn source(&self) -> SourceBlock<'_> {
        let Shape { k, symbol_bytes, .. } = self.shape;
        SourceBlock { data: &self.data, stride: usize::from(symbol_bytes), k, symbol_bytes }
    }

    fn rate(&self, seconds: f64) -> f64 {
        gbit_per_second(self.data.len() as f64, seconds)
    }

    fn copy(&self) -> f64 {
        let mut to = vec![0; self.data.len()];
        seconds(|| {
            to.copy_from_slice(&self.data);
            std::hint::black_box(&mut to);
        })
    }

    fn encode(&self, encoder: &mut Encoder) -> f64 {
        seconds(|| {
            encoder.encode(self.code, self.source(), self.shape.repair(), |_, symbol| {
                std::hint::black_box(symbol);
            });
        })
    }

    /// The lost symbols are spread over the block. The decoder gets as many repair symbols as it needs, as it does in the receiver, and
    /// more only if those did not do.
    fn decode(&self, lost: u16) -> Result<f64> {
        let Shape { k, symbol_bytes, .. } = self.shape;
        let geometry = Geometry { code: self.code, k, symbol_bytes, repair: self.shape.repair() };
        let is_lost =
            |index: u16| (0..lost).any(|at| u32::from(index) == u32::from(at) * u32::from(k) / u32::from(lost));
        let symbols = self.data.chunks_exact(usize::from(symbol_bytes));
        let source: Vec<(u16, &[u8])> = (0..).zip(symbols).filter(|(index, _)| !is_lost(*index)).collect();
        let repair: Vec<(u16, &[u8])> = (0..).zip(&self.repair).map(|(index, symbol)| (index, &symbol[..])).collect();
        let mut decoder = Decoder::default();
        let mut restored = 0;
        let time = seconds(|| {
            for count in usize::from(lost)..=repair.len() {
                restored = 0;
                let came = repair[..count].iter().copied();
                let done = decoder.decode(geometry, source.iter().copied(), came, |_, symbol| {
                    std::hint::black_box(symbol);
                    restored += 1;
                });
                if done {
                    break;
                }
            }
        });
        ensure!(restored == lost, "{restored} of {lost} lost symbols came back");
        Ok(time)
    }
}
