//! The command line: `relay blue | red | check | keygen | bench | missing | resend`.
//!
//! Owns arguments, help, exit codes and what is printed before and after a run. It never relays:
//! [`crate::blue::run`], [`crate::red::run`] and [`crate::probe`] do, once they have a valid site.

mod bench;
mod check;
mod files;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use bench::Bench;
use files::{MissingArguments, ResendArguments};

use crate::config::{self, Loaded, Purpose, Role, SiteErrors};
use crate::telemetry::logging;

/// Failed at run time.
const EXIT_FAILED: u8 = 1;
/// Bad usage or configuration; clap uses the same for its own errors.
const EXIT_USAGE: u8 = 2;

const AFTER_HELP: &str = "\
First steps:
  1. Copy config/minimal.toml to /etc/relay/site.toml and put in your own interfaces,
     addresses and streams. The same file goes to both hosts; config/reference.toml
     explains every key.
  2. relay keygen /etc/relay/link.key         the same key file on both hosts
  3. relay check --config /etc/relay/site.toml
  4. relay red  --config /etc/relay/site.toml on the receiving host
     relay blue --config /etc/relay/site.toml on the sending host

Exit codes: 0 success, 1 failed at run time, 2 bad usage or site file.";

const RUN_HELP: &str = "\
Runs in the foreground, prints `ready` on standard output when traffic can flow, and logs
to standard error.

Signals:
  SIGTERM, SIGINT   drain, print the final counters and stop within 2 s
  SIGHUP            read the site file again: streams and source lists change without
                    dropping traffic; a bad file changes nothing and is logged
  SIGUSR1           log the counters now

Environment:
  RELAY_LOG         what to log: error, warn, info (default), debug, trace, or by module
                    such as `info,relay::link=debug`

Privilege:
  driver = \"xdp\" needs CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON and CAP_IPC_LOCK, as
  the systemd units in config/ give them; driver = \"socket\" needs none, but for ports below
  1024 CAP_NET_BIND_SERVICE.

Exit codes: 0 stopped on request, 1 failed at run time, 2 bad usage or site file.";

const CHECK_HELP: &str = "\
Checks the whole file, BLUE's and RED's part, on any machine: interfaces need not exist here,
and a key file that is missing or unreadable is a warning only.

Every error is shown at once, with its line, cause and remedy. Warnings go to standard error
and do not change the exit code.

Exit codes: 0 usable, 2 not usable.";

const KEYGEN_HELP: &str = "\
Writes 32 random bytes as 64 hexadecimal digits, readable by the owner only (mode 0600).
An existing file is never overwritten.

Copy the file to the other host by a way that you trust, name it as `key_file` in [link], and
make it readable for the user that the relay runs as.";

/// Data diode relay: streams cross a one-way link and are recovered by forward error correction.
///
/// BLUE takes streams from its network and sends their payload over the link; RED delivers it into
/// its own network. Nothing ever comes back over that link.
#[derive(Debug, Parser)]
#[command(name = "relay", version, after_help = AFTER_HELP, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sending host (BLUE)
    #[command(after_help = RUN_HELP)]
    Blue(SiteFile),
    /// Run the receiving host (RED)
    #[command(after_help = RUN_HELP)]
    Red(SiteFile),
    /// Check a site file and show every error
    #[command(after_help = CHECK_HELP)]
    Check(SiteFile),
    /// Measure what the diode carries safely
    #[command(subcommand, after_help = bench::HELP)]
    Bench(Bench),
    /// Show which files never arrived (on RED)
    #[command(after_help = files::MISSING_HELP)]
    Missing(MissingArguments),
    /// Send files once more (on BLUE)
    #[command(after_help = files::RESEND_HELP)]
    Resend(ResendArguments),
    /// Write a new link key
    #[command(after_help = KEYGEN_HELP)]
    Keygen {
        /// The key file to write, such as /etc/relay/link.key
        path: PathBuf,
    },
}

#[derive(Debug, Args)]
struct SiteFile {
    /// The site file (TOML), the same on both hosts
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

/// Reads the command line, does what it says, and gives the exit code.
pub fn main() -> ExitCode {
    // clap prints usage errors itself and leaves with 2, help and version with 0.
    match Arguments::parse().command {
        Command::Blue(file) => run("blue", Role::Blue, &file.config, |loaded| crate::blue::run(&file.config, loaded)),
        Command::Red(file) => run("red", Role::Red, &file.config, |loaded| crate::red::run(&file.config, loaded)),
        Command::Check(file) => check::check(&file.config),
        Command::Bench(bench) => {
            let (role, path) = bench.place();
            run(bench.name(), role, path, |loaded| bench.run(&loaded.site))
        }
        Command::Missing(arguments) => files::missing(&arguments),
        Command::Resend(arguments) => files::resend(&arguments),
        Command::Keygen { path } => keygen(&path),
    }
}

/// Loads the site file for the host of `role`, does `work`, and gives the exit code. `command` is what was typed.
fn run(command: &str, role: Role, path: &Path, work: impl FnOnce(Loaded) -> anyhow::Result<()>) -> ExitCode {
    if let Err(error) = logging::start() {
        eprintln!("relay: {error}");
        return ExitCode::from(EXIT_USAGE);
    }
    let loaded = match config::load(path, Purpose::Run(role)) {
        Ok(loaded) => loaded,
        Err(errors) => return refuse(path, &errors),
    };
    warn(&loaded);
    match work(loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relay {command}: {error:#}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Logs what is questionable about the site, so that every start says it.
fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings {
        tracing::warn!("{}", warning.one_line());
    }
}

/// Shows every error of a site file.
fn refuse(path: &Path, errors: &SiteErrors) -> ExitCode {
    let count = errors.error_count();
    // A reader that has seen enough (`| head`) does not change the verdict.
    let _ = writeln!(
        std::io::stderr(),
        "{}relay: {} is not usable: {count} error{}; nothing was started",
        config::render(&errors.problems, colourful()),
        path.display(),
        if count == 1 { "" } else { "s" }
    );
    ExitCode::from(EXIT_USAGE)
}

/// Colours and boxes only for a person at a terminal who did not refuse them (no-color.org).
fn colourful() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

fn keygen(path: &Path) -> ExitCode {
    match config::key::generate(path) {
        Ok(()) => {
            println!("{}: new link key written; copy it to the other host", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("relay keygen: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}
