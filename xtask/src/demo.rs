//! `cargo xtask demo`: the relay at work on one machine, in under a minute after the build.
//!
//! Owns the run from build to final table; the hosts and the lossy diode are the laboratory's (crate `lab`, whose
//! head has the picture). It needs no argument and leaves nothing behind, also when interrupted.

mod build;
mod files;
mod report;
mod rights;
mod run;
mod video;

use std::path::PathBuf;

use anyhow::{Result, ensure};

use rights::Rights;

/// Shows the relay at work: five hosts in network namespaces, a diode that loses 2% of all frames, real traffic.
///
/// As root it uses XDP; otherwise a user namespace and the socket driver. Ends with status 0 when every datagram, or
/// with `--files` every file, arrived and nothing came back through the diode.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Use this driver, `xdp` or `socket`, instead of the best that this machine allows
    #[arg(long, value_name = "DRIVER", value_parser = ["xdp", "socket"])]
    driver: Option<String>,
    /// Use this `relay` instead of building one
    #[arg(long, value_name = "PATH")]
    relay: Option<PathBuf>,
    /// Carry files from a folder to a folder instead of datagrams
    #[arg(long, conflicts_with_all = ["seconds", "rate"])]
    files: bool,
    /// Seconds of traffic
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Datagrams of 1,400 bytes per second
    #[arg(long, value_name = "COUNT", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
}

/// Runs the demo; an error when it could not run, or when anything was lost or came back.
pub fn run(args: &DemoArgs) -> Result<()> {
    let relay = match &args.relay {
        Some(path) => std::path::absolute(path)?,
        None => build::relay()?,
    };
    ensure!(relay.is_file(), "there is no relay at {}", relay.display());
    // After the build, which Ctrl-C ends by itself, and before any thread: all must leave the signals to the one that
    // cleans up.
    lab::clean_up_on_interrupt();
    let rights = Rights::find();
    println!("{}", rights.explanation(&relay));
    let best = match rights {
        Rights::Xdp => "xdp",
        Rights::Namespaces(_) => "socket",
        Rights::None => return rights::enter_user_namespace(&relay, args),
    };
    let driver = args.driver.as_deref().unwrap_or(best);
    if args.files {
        return files::run(&relay, driver);
    }
    let outcome = run::run(&run::Plan { relay, driver: driver.to_owned(), seconds: args.seconds, rate: args.rate })?;
    println!("\n{}", report::table(&outcome));
    report::verdict(&outcome)
}
