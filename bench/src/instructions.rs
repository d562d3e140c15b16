//! `cargo xtask bench instructions`: how many instructions the pipelines take for one fixed input, against what is kept in
//! `bench/instructions.json`. Time depends on who else is at work; instructions hardly do, so a change of some percent is the code's.
//!
//! Valgrind's callgrind counts them, because performance counters are missing in many virtual machines. It runs this same program
//! as `hot-path`, and counts only within [`measured_blue`] and [`measured_red`]. Valgrind offers AVX2 and nothing newer, so these are
//! the instructions of the AVX2 code, whatever the machine has.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};
use relay::fec::{Encoder, Protection, Scheme};
use relay::link::memory::{Faults, MemoryLink};
use serde::{Deserialize, Serialize};

use crate::pipeline::{BATCH, Plan, Round};
use crate::progress::Progress;

/// Full blocks of 128, and enough of them that the first one's allocations do not count.
const BATCHES: u64 = 40;
/// Addresses, and so the hash of a table or the place of an allocation, differ from run to run by less than this.
const TOLERANCE: f64 = 0.03;
/// 2% of 65,536.
const LOSE: u16 = 1311;

/// Options of `instructions`.
#[derive(Args)]
pub struct Options {
    /// Keep what was counted as the new reference
    #[arg(long)]
    update: bool,
    /// The reference
    #[arg(long, value_name = "FILE", default_value = "bench/instructions.json")]
    reference: PathBuf,
}

/// What `hot-path` runs.
#[derive(Args)]
pub struct HotPath {
    code: Code,
    /// Lose 2% of the frames
    #[arg(long)]
    lossy: bool,
    /// Batches of 64 datagrams; with some 20,000 it is long enough for a profiler
    #[arg(long, default_value_t = BATCHES)]
    batches: u64,
}

/// The codes under their names on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Code {
    Raptorq,
    ReedSolomon,
    None,
}

/// Which of the two measured functions counts.
const BLUE: &str = "measured_blue";
const RED: &str = "measured_red";

/// What is counted: name, measured function, code, lossy.
const CASES: [(&str, &str, Code, bool); 8] = [
    ("BLUE, RaptorQ", BLUE, Code::Raptorq, false),
    ("BLUE, Reed-Solomon", BLUE, Code::ReedSolomon, false),
    ("BLUE, none", BLUE, Code::None, false),
    ("RED, RaptorQ", RED, Code::Raptorq, false),
    ("RED, Reed-Solomon", RED, Code::ReedSolomon, false),
    ("RED, none", RED, Code::None, false),
    ("RED, RaptorQ, 2% lost", RED, Code::Raptorq, true),
    ("RED, Reed-Solomon, 2% lost", RED, Code::ReedSolomon, true),
];

/// The reference's file.
#[derive(Debug, Serialize, Deserialize)]
struct Reference {
    /// What it was counted with.
    valgrind: String,
    /// What it was compiled with.
    rustc: String,
    /// Instructions for each datagram of 1,400 bytes, by case.
    instructions_per_datagram: BTreeMap<String, u64>,
}

/// Counts and compares; an error if anything differs by more than the tolerance.
pub fn run(options: &Options) -> Result<()> {
    let valgrind = text(Command::new("valgrind").arg("--version"));
    let valgrind = valgrind.context("valgrind does not run; install the package valgrind")?;
    let mut counted = BTreeMap::new();
    let mut progress = Progress::new(CASES.len());
    for (name, function, code, lossy) in CASES {
        progress.step(name);
        counted.insert(name.to_owned(), count(function, code, lossy)?);
    }
    drop(progress);
    let rustc = text(Command::new("rustc").arg("--version")).unwrap_or_default();
    let now = Reference { valgrind, rustc, instructions_per_datagram: counted };
    let differing = compare(&now, options)?;
    if options.update {
        fs::write(&options.reference, serde_json::to_string_pretty(&now)? + "\n")
            .with_context(|| format!("cannot write {}", options.reference.display()))?;
        println!("kept in {}", options.reference.display());
        return Ok(());
    }
    ensure!(
        differing == 0,
        "{differing} cases differ by more than {:.0}%: find out why; if it is meant, keep it with --update",
        TOLERANCE * 100.0
    );
    Ok(())
}

/// Prints what was counted beside the reference, and returns how many cases differ from it by more than the tolerance.
fn compare(now: &Reference, options: &Options) -> Result<usize> {
    let reference: Option<Reference> = if options.reference.exists() {
        let text = fs::read_to_string(&options.reference).context("cannot read the reference")?;
        Some(serde_json::from_str(&text).with_context(|| format!("{} is no reference", options.reference.display()))?)
    } else {
        None
    };
    let mut differing = 0;
    println!("instructions for each datagram of 1400 bytes, sealed, blocks of 128, 10% repair ({})\n", now.valgrind);
    println!("  {:<28} {:>10} {:>10} {:>8}", "case", "reference", "now", "now/ref");
    for (name, _, _, _) in CASES {
        let now = now.instructions_per_datagram.get(name).copied().unwrap_or(0);
        let before = reference.as_ref().and_then(|kept| kept.instructions_per_datagram.get(name)).copied();
        let Some(before) = before else {
            println!("  {name:<28} {:>10} {now:>10}", "-");
            continue;
        };
        let quotient = now as f64 / before as f64;
        let differs = (quotient - 1.0).abs() > TOLERANCE;
        differing += usize::from(differs);
        println!("  {name:<28} {before:>10} {now:>10} {quotient:>8.3}{}", if differs { "  differs" } else { "" });
    }
    println!();
    Ok(differing)
}

/// Runs `hot-path` under callgrind and reads what it collected.
fn count(function: &str, code: Code, lossy: bool) -> Result<u64> {
    let this = std::env::current_exe().context("cannot find this program")?;
    let code = code.to_possible_value().context("every code has a name")?;
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(this)
        .args(["hot-path", code.get_name()]);
    if lossy {
        valgrind.arg("--lossy");
    }
    let output = valgrind.output().context("cannot start valgrind")?;
    let report = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("valgrind ended with {}:\n{report}", output.status);
    }
    let collected = report.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse::<u64>().ok());
    let collected = collected.filter(|&count| count > 0);
    let collected = collected.with_context(|| format!("callgrind says nothing of {function}:\n{report}"))?;
    Ok(collected / (BATCHES * BATCH as u64))
}

/// What is counted: a fixed number of batches through both pipelines.
pub fn hot_path(path: &HotPath) -> Result<()> {
    let scheme = match path.code {
        Code::Raptorq => Scheme::RaptorQ,
        Code::ReedSolomon => Scheme::ReedSolomon,
        Code::None => Scheme::None,
    };
    let plan = Plan {
        scheme,
        protection: Protection::Share { repair: 0.1, repair_min: 0 },
        block_symbols: 128,
        mtu: 1500,
        payload_bytes: 1400,
        datagrams: path.batches * BATCH as u64,
        faults: Faults { lose: if path.lossy { LOSE } else { 0 }, ..Faults::default() },
        seed: 1,
    };
    let encoder = Encoder::new(&[(scheme, plan.block_symbols)]);
    let mut round = Round::new(&plan, plan.link(), encoder)?;
    for batch in 0..path.batches {
        round.number((batch * BATCH as u64) as u32);
        measured_blue(&mut round)?;
        measured_red(&mut round)?;
        round.pass_time(BATCH);
    }
    Ok(())
}

/// Kept as a function of its own, so that callgrind finds it.
#[inline(never)]
fn measured_blue(round: &mut Round<MemoryLink>) -> Result<()> {
    round.send(BATCH)
}

/// As [`measured_blue`].
#[inline(never)]
fn measured_red(round: &mut Round<MemoryLink>) -> Result<()> {
    round.receive()
}

fn text(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
