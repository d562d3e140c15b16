//! `cargo xtask bench`: builds and runs the crate `bench`, released.

use std::ffi::OsStr;
use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::toolchain::Choice;
use crate::{build_ebpf, paths, run};

/// Options of `bench`: all of them are the benchmark's own.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct Options {
    /// What to measure and how, see `cargo xtask bench --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

/// Runs the benchmarks. The XDP programs come first, since `relay` does not build without them.
pub fn run(options: &Options) -> Result<()> {
    build_ebpf::run(&build_ebpf::Options { toolchain: Choice::Auto })?;
    // The benchmarks that need a network run it as a program.
    run::show(run::cargo().args(["build", "--quiet", "--release", "--package", "relay"]).current_dir(paths::root()?))?;
    run::show(&mut command(&options.arguments)?)
}

/// The benchmark with these arguments, from the workspace's directory, where its results and references are.
pub fn command(arguments: &[impl AsRef<OsStr>]) -> Result<Command> {
    let mut bench = run::cargo();
    bench.args(["run", "--quiet", "--release", "--package", "bench", "--"]).args(arguments);
    bench.current_dir(paths::root()?);
    Ok(bench)
}
