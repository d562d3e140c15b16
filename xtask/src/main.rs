//! Development tasks, one file per subcommand.
//!
//! Never depends on `relay`: the tasks exist before `relay` can be built.

mod bench;
mod build_ebpf;
mod demo;
mod paths;
mod run;
mod setup;
mod test_all;
mod toolchain;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up, eBPF build and checks of the relay.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building and testing needs, and say why
    Setup(setup::Options),
    /// Build the XDP programs into target/bpf/relay.o, which `relay` embeds
    BuildEbpf(build_ebpf::Options),
    /// Show the relay at work on this machine: five hosts in namespaces, a lossy diode between them
    Demo(demo::DemoArgs),
    /// Set up, build, lint and test everything
    Test(test_all::Options),
    /// Measure what this machine does: pipelines, codecs, a lossy link; `--help` has the rest
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Setup(options) => setup::run(&options),
        Task::BuildEbpf(options) => build_ebpf::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => test_all::run(&options),
        Task::Bench(options) => bench::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
