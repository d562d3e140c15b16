//! `cargo xtask bench`: what this machine does in the relay's pipelines, codecs and on a lossy link, beside what it could do.
//!
//! Absolute figures move from machine to machine and from hour to hour. So every figure that has a natural limit is taken in
//! the same run as that limit and reported as a ratio to it, and every case is measured several times.
//!
//! ```text
//! Bench (steps) -> Measured, run by run -> report::Report -> table, JSON, SVG plots, comparison
//! ```

mod fec;
mod instructions;
mod loss;
mod measured;
mod pipeline;
mod progress;
mod report;
mod stopwatch;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};
use measured::Bench;
use progress::Progress;
use report::{BenchResult, Machine, Report};

/// Medians of so many runs are steady on a quiet machine.
const RUNS: u32 = 5;
/// With `--quick`: as few as still have a median.
const RUNS_QUICK: u32 = 3;

/// Benchmarks of the relay
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench")]
struct Cli {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// BLUE's and RED's whole path over a link in memory, against the limit of its passes over the bytes
    Pipeline(Options),
    /// The codecs alone: encoding and decoding by K, symbol size, repair and loss, against copying
    Fec(Options),
    /// How much comes through a lossy link, by loss and protection, against an ideal code
    Loss(Options),
    /// Everything above, one after another
    All(Options),
    /// Instructions of the pipelines for one fixed input, against those kept in bench/instructions.json
    Instructions(instructions::Options),
    /// The fixed input, for `instructions`
    #[command(hide = true)]
    HotPath(instructions::HotPath),
}

/// How to measure and what to do with the results.
#[derive(Args, Default)]
struct Options {
    /// Fewer cases and runs, under 20 s: for a look, and for CI
    #[arg(long)]
    quick: bool,
    /// How often every case is measured [default: 5, with --quick 3]
    #[arg(long)]
    runs: Option<u32>,
    /// Only cases that have this in their name, such as "1400 B" or "2 lanes"
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Compare with earlier results: a results.json or its directory
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Name of the results instead of date and time
    #[arg(long)]
    name: Option<String>,
    /// Where results go, each into a directory of its own
    #[arg(long, value_name = "DIRECTORY", default_value = "bench/results")]
    results: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().what {
        Some(What::Pipeline(options)) => run(&options, vec![pipeline::bench(options.quick)]),
        Some(What::Fec(options)) => run(&options, vec![fec::bench(options.quick)]),
        Some(What::Loss(options)) => run(&options, vec![loss::bench(options.quick)]),
        Some(What::All(options)) => run(&options, all(options.quick)),
        Some(What::Instructions(options)) => instructions::run(&options),
        Some(What::HotPath(path)) => instructions::hot_path(&path),
        None => run(&Options::default(), all(false)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn all(quick: bool) -> Vec<Bench> {
    vec![pipeline::bench(quick), fec::bench(quick), loss::bench(quick)]
}

/// Measures, prints, writes, compares.
fn run(options: &Options, mut benches: Vec<Bench>) -> Result<()> {
    let then = options.against.as_deref().map(report::read).transpose()?;
    let runs = options.runs.unwrap_or(if options.quick { RUNS_QUICK } else { RUNS });
    ensure!(runs > 0, "--runs 0 measures nothing");
    if let Some(wanted) = &options.only {
        for bench in &mut benches {
            bench.steps.retain(|step| step.case.contains(wanted));
        }
        ensure!(benches.iter().any(|bench| !bench.steps.is_empty()), "no case has {wanted:?} in its name");
    }
    let taken = report::timestamp();
    let machine = Machine::here();
    let benches_done = measure(&mut benches, runs)?;
    let now = Report { taken, machine, quick: options.quick, runs, benches: benches_done };
    report::print(&now);
    let results = options.results.clone().unwrap_or_else(|| PathBuf::from("bench/results"));
    let directory = results.join(options.name.as_ref().unwrap_or(&now.taken));
    let plots: Vec<_> = benches.into_iter().flat_map(|bench| bench.plots).collect();
    report::write(&now, &plots, &directory)?;
    if let Some(then) = then {
        report::compare::print(&then, &now);
    }
    println!("results and plots: {}", directory.display());
    Ok(())
}

/// All cases, one run after another, so that what disturbs the machine for a moment disturbs one run of a case.
fn measure(benches: &mut [Bench], runs: u32) -> Result<Vec<BenchResult>> {
    let steps: usize = benches.iter().map(|bench| bench.steps.len()).sum();
    let mut progress = Progress::new(steps * runs as usize);
    let mut results = Vec::new();
    for bench in benches {
        let mut measured = vec![Vec::new(); bench.steps.len()];
        for run in 1..=u64::from(runs) {
            for (step, measured) in bench.steps.iter_mut().zip(&mut measured) {
                progress.step(&format!("{}, run {run} of {runs}: {}", bench.name, step.case));
                measured.push((step.measure)(run)?);
            }
        }
        let cases = bench.steps.iter().zip(&measured).map(|(step, measured)| report::merge(&step.case, measured));
        results.push(BenchResult { name: bench.name.to_owned(), about: bench.about.clone(), cases: cases.collect() });
    }
    Ok(results)
}
