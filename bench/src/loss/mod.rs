//! How much comes through a lossy link, by loss and protection, against what an ideal code would have made of the very same losses:
//! every source symbol of a block of which any K symbols came, and of other blocks those that came.
//!
//! Each datagram fills one symbol. Symbols are small, because losses do not depend on their size and many blocks tell more.

mod observed;

use observed::Observed;
use relay::fec::{Encoder, Protection, Scheme};
use relay::link::memory::Faults;

use crate::measured::{Bench, Measured, Plot, RUNS, RUNS_QUICK, Step, Unit};
use crate::pipeline::{Plan, Round};

/// The site file's default.
const BLOCK_SYMBOLS: u16 = 128;
/// Full symbols on a link with this MTU.
const MTU: usize = 300;
/// 300 - 28 (IP, UDP) - 48 (frame) - 24 (record).
const PAYLOAD_BYTES: usize = 200;
/// Some 300 blocks a run.
const DATAGRAMS: u64 = 40_000;
/// Frames lost in a row, where losses come in bursts: as long as the repair symbols of a block with 10% of them can take.
const BURST_FRAMES: u16 = 12;
/// Percent of the frames.
const LOSSES: [f64; 11] = [0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 12.5, 15.0, 20.0];
const LOSSES_QUICK: [f64; 3] = [0.0, 2.0, 10.0];

const SCHEMES: [(Scheme, &str); 2] = [(Scheme::RaptorQ, "RaptorQ"), (Scheme::ReedSolomon, "Reed-Solomon")];

/// Protections and their names.
const PROTECTIONS: [(Protection, &str); 5] = [
    (Protection::Share { repair: 0.05, repair_min: 0 }, "5%"),
    (Protection::Share { repair: 0.1, repair_min: 0 }, "10%"),
    (Protection::Share { repair: 0.2, repair_min: 0 }, "20%"),
    (Protection::Promise { loss: 0.001, residual: 1e-9, burst: 4 }, "promise 0.1%, burst 4"),
    (Protection::Promise { loss: 0.02, residual: 1e-9, burst: 12 }, "promise 2%, burst 12"),
];

/// How frames are lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pattern {
    Random,
    Bursts,
}

impl Pattern {
    const ALL: [Self; 2] = [Self::Random, Self::Bursts];

    fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Bursts => "bursts",
        }
    }

    /// Faults that lose `share` of the frames in the long run.
    fn faults(self, share: f64) -> Faults {
        let parts = |share: f64| (share * 65_536.0).round() as u16;
        match self {
            Self::Random => Faults { lose: parts(share), ..Faults::default() },
            // Between bursts of B frames there are 1 / p on average: B / (B + 1 / p) of all are lost, but for the one
            // at which the burst begins.
            Self::Bursts => {
                let frames = f64::from(BURST_FRAMES);
                let begin = share / (frames * (1.0 - share) + share);
                Faults { burst: parts(begin), burst_frames: BURST_FRAMES, ..Faults::default() }
            }
        }
    }
}

/// The benchmark.
pub fn bench(quick: bool) -> Bench {
    let mut steps = Vec::new();
    for (scheme, name) in SCHEMES {
        for protection in PROTECTIONS {
            for pattern in Pattern::ALL {
                let losses = if quick { &LOSSES_QUICK[..] } else { &LOSSES[..] };
                steps.extend(losses.iter().map(|percent| case((scheme, name), protection, pattern, *percent)));
            }
        }
    }
    let plots = SCHEMES.iter().flat_map(|(_, name)| Pattern::ALL.map(|pattern| plot(name, pattern)));
    Bench {
        name: "loss",
        about: format!(
            "share of the datagrams that is delivered, blocks of {BLOCK_SYMBOLS}, bursts of {BURST_FRAMES}, against an ideal code over the same losses"
        ),
        runs: RUNS,
        runs_quick: RUNS_QUICK,
        plots: plots.collect(),
        steps,
    }
}

fn plot(scheme: &str, pattern: Pattern) -> Plot {
    Plot {
        name: plot_name(scheme, pattern),
        title: format!("{scheme}, {} losses", if pattern == Pattern::Random { "random" } else { "bursts of 12" }),
        x_label: "frames lost, %",
        y_label: "datagrams delivered",
        bars: None,
    }
}

fn plot_name(scheme: &str, pattern: Pattern) -> String {
    format!("loss-{}-{}", scheme.to_lowercase(), pattern.name())
}

fn case(
    (scheme, scheme_name): (Scheme, &'static str),
    (protection, name): (Protection, &'static str),
    pattern: Pattern,
    percent: f64,
) -> Step {
    let encoder = Encoder::new(&[(scheme, BLOCK_SYMBOLS)]);
    Step::new(format!("{scheme_name} {name}, {} {percent}%", pattern.name()), move |seed| {
        let plan = Plan {
            scheme,
            protection,
            block_symbols: BLOCK_SYMBOLS,
            mtu: MTU,
            payload_bytes: PAYLOAD_BYTES,
            datagrams: DATAGRAMS,
            faults: pattern.faults(percent / 100.0),
            seed,
        };
        let (outcome, sender) = Round::new(&plan, Observed::new(plan.link()), encoder.share())?.run()?;
        let delivered = Measured::new("delivered", Unit::Share, outcome.delivered as f64 / outcome.sent as f64);
        let delivered = delivered.of("ideal code", sender.port().restorable());
        Ok(vec![delivered.at(plot_name(scheme_name, pattern), name, percent)])
    })
}
