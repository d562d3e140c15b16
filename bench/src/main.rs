//! `cargo xtask bench`: what this machine does in the relay's pipelines, codecs, on a lossy link and on whole paths of hosts, beside
//! what it could do.
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
mod network;
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
use report::{BenchResult, Failure, Machine, Report};

/// Seconds of a step in a network: loss of 1 in 100,000 is seen from 20,000 datagrams a second on.
const SECONDS: f64 = 5.0;
/// With `--quick`: sees what is lost at once.
const SECONDS_QUICK: f64 = 1.0;
/// Minutes under load in which memory must not grow.
const MINUTES: f64 = 10.0;
/// As one of many benchmarks: what grows with every packet is seen in half a minute.
const MINUTES_AMONG_OTHERS: f64 = 0.5;
/// With `--quick`: that it starts, and how much it takes then.
const MINUTES_QUICK: f64 = 0.1;
/// The benchmarks that need a network.
const NETWORK: [network::Make; 5] =
    [network::link::bench, network::udp::bench, network::tcp::bench, network::idle::bench, network::memory::bench];

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
    /// The link between BLUE and RED alone: bare `AF_XDP`, kernel UDP, and the relay with source and sink inside; needs root
    Link(Options),
    /// Datagrams from client to server over hosts in namespaces, against kernel forwarding; needs root
    Udp(Options),
    /// Streams of bytes from client to server over the same hosts, against TCP through the kernel; needs root
    Tcp(Options),
    /// What the relays take of a core while nothing happens, and with 1,000 idle TCP sessions; needs root
    Idle(Options),
    /// Memory of the relays at full rate, over minutes: UDP, then TCP; needs root
    Memory(Options),
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
    /// How often every case is measured [default: 5, with --quick 3; of link, udp, tcp and idle 1 with --quick; of memory 1]
    #[arg(long)]
    runs: Option<u32>,
    /// Length of one step of link, udp, tcp and idle [default: 5, with --quick 1]
    #[arg(long)]
    seconds: Option<f64>,
    /// How long memory is watched under each load [default: 10, with --quick 0.1; as part of all 0.5]
    #[arg(long)]
    minutes: Option<f64>,
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
        Some(What::Link(options)) => run(&options, network(&options, &[network::link::bench], MINUTES)),
        Some(What::Udp(options)) => run(&options, network(&options, &[network::udp::bench], MINUTES)),
        Some(What::Tcp(options)) => run(&options, network(&options, &[network::tcp::bench], MINUTES)),
        Some(What::Idle(options)) => run(&options, network(&options, &[network::idle::bench], MINUTES)),
        Some(What::Memory(options)) => run(&options, network(&options, &[network::memory::bench], MINUTES)),
        Some(What::All(options)) => run(&options, all(&options)),
        Some(What::Instructions(options)) => instructions::run(&options),
        Some(What::HotPath(path)) => instructions::hot_path(&path),
        None => run(&Options::default(), all(&Options::default())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn all(options: &Options) -> Vec<Bench> {
    let quick = options.quick;
    let mut benches = vec![pipeline::bench(quick), fec::bench(quick), loss::bench(quick)];
    benches.extend(network(options, &NETWORK, MINUTES_AMONG_OTHERS));
    benches
}

/// Those that need a network, if this user may make one; says so if not. `minutes`: for memory, unless somebody says otherwise.
fn network(options: &Options, benches: &[network::Make], minutes: f64) -> Vec<Bench> {
    let seconds = options.seconds.unwrap_or(if options.quick { SECONDS_QUICK } else { SECONDS });
    let minutes = options.minutes.unwrap_or(if options.quick { MINUTES_QUICK } else { minutes });
    let times = network::Times::new(seconds, minutes);
    let benches = benches.iter().map(|bench| bench(options.quick, times));
    match lab::privilege() {
        // Ctrl-C leaves nothing behind; before any thread is started.
        Ok(()) => {
            lab::clean_up_on_interrupt();
            benches.collect()
        }
        Err(reason) => {
            benches.for_each(|bench| eprintln!("SKIPPED {}: {reason}", bench.name));
            Vec::new()
        }
    }
}

/// Measures, prints, writes, compares.
fn run(options: &Options, mut benches: Vec<Bench>) -> Result<()> {
    let then = options.against.as_deref().map(report::read).transpose()?;
    ensure!(options.runs != Some(0), "--runs 0 measures nothing");
    ensure!(!benches.is_empty(), "nothing to measure");
    if let Some(wanted) = &options.only {
        for bench in &mut benches {
            bench.steps.retain(|step| step.case.contains(wanted));
        }
        ensure!(benches.iter().any(|bench| !bench.steps.is_empty()), "no case has {wanted:?} in its name");
    }
    let taken = report::timestamp();
    let machine = Machine::here();
    let benches_done = measure(&mut benches, options);
    let failed: usize = benches_done.iter().flat_map(|bench| &bench.cases).map(|case| case.failures.len()).sum();
    let runs = benches_done.iter().map(|bench| bench.runs).min().unwrap_or(0);
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
    ensure!(failed == 0, "{failed} measurements failed; the others are written");
    Ok(())
}

/// All cases, one run after another, so that what disturbs the machine for a moment disturbs one run of a case. One that
/// fails is noted, and the others go on.
fn measure(benches: &mut [Bench], options: &Options) -> Vec<BenchResult> {
    let runs_of = |bench: &Bench| options.runs.unwrap_or(if options.quick { bench.runs_quick } else { bench.runs });
    let mut progress = Progress::new(benches.iter().map(|bench| bench.steps.len() * runs_of(bench) as usize).sum());
    let mut results = Vec::new();
    for bench in benches {
        let runs = runs_of(bench);
        let mut measured = vec![(Vec::new(), Vec::new()); bench.steps.len()];
        for run in 1..=u64::from(runs) {
            for (step, (figures, failures)) in bench.steps.iter_mut().zip(&mut measured) {
                let what = format!("{}, run {run} of {runs}: {}", bench.name, step.case);
                progress.step(&what);
                match (step.measure)(run) {
                    Ok(of_run) => figures.push(of_run),
                    Err(error) => {
                        let error = format!("{error:#}");
                        progress.tell(&format!("FAILED: {what}: {error}"));
                        failures.push(Failure { run, error });
                    }
                }
            }
        }
        let cases = bench.steps.iter().zip(measured);
        let cases = cases.map(|(step, (figures, failures))| report::merge(&step.case, &figures, failures));
        results.push(BenchResult {
            name: bench.name.to_owned(),
            about: bench.about.clone(),
            runs,
            cases: cases.collect(),
        });
    }
    results
}
