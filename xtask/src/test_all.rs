//! `cargo xtask test`: everything that has to hold, from set-up to namespace tests.

use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;

use crate::{bench, build_ebpf, run, setup, toolchain::Choice};

/// Options of `test`.
#[derive(Args)]
pub struct Options {
    /// Run the long tests too (sets `RELAY_SOAK=1`)
    #[arg(long)]
    pub soak: bool,
    /// Leave out the tests that need root
    #[arg(long)]
    pub unprivileged: bool,
    /// Toolchain for the XDP programs
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    pub toolchain: Choice,
}

/// Runs every section. Without set-up and the XDP programs nothing else can run; after them, each section
/// runs whatever became of the others.
pub fn run(options: &Options) -> Result<()> {
    heading("Set-up");
    setup::run(&setup::Options { check: false, build_only: options.unprivileged, toolchain: options.toolchain })?;
    heading("XDP programs");
    build_ebpf::run(&build_ebpf::Options { toolchain: options.toolchain })?;

    let mut summary = Summary::default();
    summary.section("Layout", cargo(&["fmt", "--all", "--check"], options));
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    summary.section("Lints", cargo(&clippy, options));
    licences(&mut summary, options);
    let unit = ["test", "--workspace", "--lib", "--bins", "--no-fail-fast"];
    summary.section("Unit and property tests", cargo(&unit, options));
    if options.unprivileged {
        summary.skip("Namespace tests", "--unprivileged");
    } else {
        // One at a time: they send real traffic, and two cores carry one network at full rate, not five.
        let namespace = ["test", "--package", "lab", "--tests", "--no-fail-fast", "--", "--test-threads=1"];
        summary.section("Namespace tests", cargo(&namespace, options));
        if !run::is_root() {
            summary.skip("The namespace tests that need root", "not root");
        }
    }
    // Informative: how fast a machine is fails no test, nor how many instructions a newer compiler makes of the code.
    summary.section("Pipeline benchmark", bench::command(&["pipeline", "--quick", "--name", "test"])?);
    instructions(&mut summary)?;
    summary.finish()
}

/// Half a minute of callgrind.
fn instructions(summary: &mut Summary) -> Result<()> {
    const TITLE: &str = "Instruction counts";
    if run::succeeds(Command::new("valgrind").arg("--version")) {
        heading(TITLE);
        if let Err(error) = run::show(&mut bench::command(&["instructions"])?) {
            println!("no failure of the tests: {error:#}");
        }
    } else {
        summary.skip(TITLE, "valgrind is not installed");
    }
    Ok(())
}

fn licences(summary: &mut Summary, options: &Options) {
    if run::succeeds(Command::new("cargo-deny").arg("--version")) {
        let deny = ["deny", "check", "licenses", "bans", "sources"];
        summary.section("Licences", cargo(&deny, options));
    } else {
        summary.skip("Licences", "cargo-deny is not installed");
    }
}

fn cargo(arguments: &[&str], options: &Options) -> Command {
    let mut cargo = run::cargo();
    cargo.args(arguments);
    if options.soak {
        cargo.env("RELAY_SOAK", "1");
    }
    cargo
}

fn heading(title: &str) {
    println!("\n=== {title} ===");
}

/// What became of the sections.
#[derive(Default)]
struct Summary {
    passed: u32,
    failed: Vec<&'static str>,
    skipped: Vec<String>,
}

impl Summary {
    fn section(&mut self, title: &'static str, mut command: Command) {
        heading(title);
        match run::show(&mut command) {
            Ok(()) => self.passed += 1,
            Err(error) => {
                eprintln!("error: {error:#}");
                self.failed.push(title);
            }
        }
    }

    fn skip(&mut self, title: &str, reason: &str) {
        heading(title);
        println!("skipped: {reason}");
        self.skipped.push(format!("{title} ({reason})"));
    }

    fn finish(self) -> Result<()> {
        heading("Summary");
        if !self.skipped.is_empty() {
            println!("skipped: {}", self.skipped.join(", "));
        }
        if !self.failed.is_empty() {
            bail!("{} sections passed; failed: {}", self.passed, self.failed.join(", "));
        }
        println!("passed: all {} sections", self.passed);
        Ok(())
    }
}
