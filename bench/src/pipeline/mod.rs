//! What one core does in BLUE's and in RED's pipeline, without any network.
//!
//! ```text
//!  BLUE: zone frames -> strip, tag -> Sender (symbols, FEC, seal) -> MemoryLink         timed by itself
//!  RED:  MemoryLink -> Receiver (open, FEC, order) -> account, rebuild -> zone frames   timed by itself
//! ```
//!
//! Time on the link is simulated: it passes as at 10 Gbit/s, whatever the pipelines really take.

mod limit;
mod round;
mod zone;

use std::sync::Barrier;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use limit::Passes;
use relay::fec::{Encoder, Protection, Scheme};
use relay::link::memory::Faults;
use round::Outcome;
pub use round::{Lossy, Plan, Round};
pub use zone::BATCH;

use crate::measured::{Bench, Measured, Plot, RUNS, RUNS_QUICK, Step, Unit};

/// The site file's default.
const BLOCK_SYMBOLS: u16 = 128;
/// Repair symbols per source symbol.
const REPAIR: f64 = 0.1;
/// Rounds of a run, of which the best counts, each side by itself: what disturbs only ever slows down.
const ROUNDS: usize = 3;
/// Payload of a round: some hundredths of a second.
const ROUND_BYTES: u64 = 32 << 20;
/// Small datagrams are so many at most, for the same reason.
const DATAGRAMS_MAX: u64 = 200_000;

const SCHEMES: [(Scheme, &str); 3] =
    [(Scheme::RaptorQ, "RaptorQ"), (Scheme::ReedSolomon, "Reed-Solomon"), (Scheme::None, "none")];
/// Payload of a datagram and the link's MTU, bytes: 1,400 is the largest that costs one frame at 1,500.
const PAYLOADS: [(usize, usize); 4] = [(64, 1500), (512, 1500), (1400, 1500), (8800, 9000)];
/// Percent of the frames.
const LOSSES: [u16; 4] = [0, 1, 2, 5];

/// The benchmark.
pub fn bench(quick: bool) -> Bench {
    let mut steps = Vec::new();
    let payloads = PAYLOADS.iter().filter(|(payload, _)| !quick || *payload == 1400);
    for &(payload_bytes, mtu) in payloads {
        for scheme in SCHEMES {
            for &percent in LOSSES.iter().filter(|&&percent| !quick || percent.is_multiple_of(2)) {
                steps.push(case(plan(scheme.0, payload_bytes, mtu, percent), scheme.1, percent));
            }
        }
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    for scheme in SCHEMES.iter().filter(|(scheme, _)| !quick || *scheme == Scheme::ReedSolomon) {
        for lanes in (2..=cores).filter(|lanes| lanes.is_power_of_two() || *lanes == cores) {
            steps.push(lanes_case(plan(scheme.0, 1400, 1500, 0), scheme.1, lanes));
        }
    }
    Bench {
        name: "pipeline",
        about: format!(
            "payload through BLUE's and RED's path on one core, blocks of {BLOCK_SYMBOLS}, 10% repair, sealed, \
             against the limit of the passes over the bytes"
        ),
        runs: RUNS,
        runs_quick: RUNS_QUICK,
        plots: plots(),
        steps,
    }
}

fn plots() -> Vec<Plot> {
    let by_payload = PAYLOADS.iter().flat_map(|(payload, _)| {
        ["BLUE", "RED"].map(|side| Plot {
            name: plot_name(side, *payload),
            title: format!("{side}, datagrams of {payload} bytes"),
            x_label: "frames lost, %",
            y_label: "payload, Gbit/s per core",
            bars: None,
        })
    });
    let lanes = ["BLUE", "RED"].map(|side| Plot {
        name: lanes_plot(side),
        title: format!("{side} by lanes, datagrams of 1400 bytes, no loss"),
        x_label: "lanes",
        y_label: "payload, Gbit/s",
        bars: None,
    });
    by_payload.chain(lanes).collect()
}

fn plot_name(side: &str, payload_bytes: usize) -> String {
    format!("pipeline-{}-{payload_bytes}", side.to_lowercase())
}

fn lanes_plot(side: &str) -> String {
    format!("pipeline-{}-lanes", side.to_lowercase())
}

fn plan(scheme: Scheme, payload_bytes: usize, mtu: usize, loss_percent: u16) -> Plan {
    // Shares of a link in memory are of 65,536.
    let lose = (u32::from(loss_percent) * 65_536 / 100) as u16;
    Plan {
        scheme,
        protection: Protection::Share { repair: REPAIR, repair_min: 0 },
        block_symbols: BLOCK_SYMBOLS,
        mtu,
        payload_bytes,
        datagrams: (ROUND_BYTES / payload_bytes as u64).min(DATAGRAMS_MAX),
        faults: Faults { lose, ..Faults::default() },
        seed: 0,
    }
}

fn case(plan: Plan, scheme: &'static str, percent: u16) -> Step {
    let mut encoder = Encoder::new(&[(plan.scheme, plan.block_symbols)]);
    Step::new(format!("{scheme}, {} B, {percent}% lost", plan.payload_bytes), move |seed| {
        let plan = Plan { seed, ..plan };
        let limit = Passes::measure(&plan, f64::from(percent) / 100.0, &mut encoder)?;
        let best = best(&plan, 1, &encoder)?;
        ensure!(percent > 0 || best.delivered == best.sent, "a link without loss lost datagrams");
        let figure = |side: &str, value: f64, limit: f64| {
            let point = plot_name(side, plan.payload_bytes);
            Measured::new(side, Unit::GbitPerSecond, value).of("limit", limit).at(point, scheme, f64::from(percent))
        };
        Ok(vec![figure("BLUE", best.blue_gbit_s, limit.blue()), figure("RED", best.red_gbit_s, limit.red())])
    })
}

fn lanes_case(plan: Plan, scheme: &'static str, lanes: usize) -> Step {
    let encoder = Encoder::new(&[(plan.scheme, plan.block_symbols)]);
    Step::new(format!("{scheme}, {} B, {lanes} lanes", plan.payload_bytes), move |seed| {
        let plan = Plan { seed, ..plan };
        let one = best(&plan, 1, &encoder)?;
        let all = best(&plan, lanes, &encoder)?;
        let figure = |side: &str, all: f64, one: f64| {
            Measured::new(side, Unit::GbitPerSecond, all).of("one lane", one).at(lanes_plot(side), scheme, lanes as f64)
        };
        Ok(vec![figure("BLUE", all.blue_gbit_s, one.blue_gbit_s), figure("RED", all.red_gbit_s, one.red_gbit_s)])
    })
}

/// The best of [`ROUNDS`].
fn best(plan: &Plan, lanes: usize, encoder: &Encoder) -> Result<Outcome> {
    let rounds = (0..ROUNDS).map(|_| if lanes == 1 { one(plan, encoder) } else { together(plan, lanes, encoder) });
    let rounds = rounds.collect::<Result<Vec<Outcome>>>()?;
    let best = rounds.into_iter().reduce(|a, b| Outcome {
        blue_gbit_s: a.blue_gbit_s.max(b.blue_gbit_s),
        red_gbit_s: a.red_gbit_s.max(b.red_gbit_s),
        ..b
    });
    best.context("no rounds")
}

fn one(plan: &Plan, encoder: &Encoder) -> Result<Outcome> {
    let (outcome, _) = Round::new(plan, plan.link(), encoder.share())?.run()?;
    Ok(outcome)
}

/// Every lane on a thread of its own, all at once; their sum.
fn together(plan: &Plan, lanes: usize, encoder: &Encoder) -> Result<Outcome> {
    let barrier = Barrier::new(lanes);
    let outcomes: Vec<Result<Outcome>> = thread::scope(|scope| {
        let lane = |lane: u64| {
            let (barrier, encoder) = (&barrier, encoder.share());
            let plan = Plan { seed: plan.seed * 1000 + lane, ..*plan };
            scope.spawn(move || {
                let round = Round::new(&plan, plan.link(), encoder);
                barrier.wait();
                Ok(round?.run()?.0)
            })
        };
        let threads: Vec<_> = (0..lanes as u64).map(lane).collect();
        let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
        joined.map(|joined| joined.unwrap_or_else(|_| Err(anyhow::anyhow!("a lane panicked")))).collect()
    });
    let mut sum = Outcome { blue_gbit_s: 0.0, red_gbit_s: 0.0, sent: 0, delivered: 0 };
    for outcome in outcomes {
        let outcome = outcome?;
        sum.blue_gbit_s += outcome.blue_gbit_s;
        sum.red_gbit_s += outcome.red_gbit_s;
        sum.sent += outcome.sent;
        sum.delivered += outcome.delivered;
    }
    Ok(sum)
}
