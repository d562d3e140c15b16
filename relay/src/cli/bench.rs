//! `relay bench`: arguments of the measurement of a diode.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::config::{Role, Site, probability_of, rate_of};
use crate::probe;

/// `relay bench --help`, below the commands.
pub(super) const HELP: &str = "\
Finds the highest rate that crosses your diode safely, and how much protection it needs. No relay
may run on the two hosts meanwhile; the zones' cards are not touched.

  1. On RED:   relay bench receive --config /etc/relay/site.toml
  2. On BLUE:  relay bench send --config /etc/relay/site.toml
  3. RED prints the lines `rate` and `protect` for the site file of both hosts.";

const SEND_HELP: &str = "\
Sends full records of its own making over all queues of BLUE's card on the diode, with the code, the
seal and the ports of the site file: first at --from, then --factor times as much with every step
until the card takes no more, and at last unpaced. Rates count all headers, repair symbols and heartbeats,
as [link] rate does; [link] rate itself does not count here. Start RED's side first.

Privilege: as `relay blue`. SIGTERM and SIGINT end it.

Exit codes: 0 done or stopped on request, 1 failed at run time, 2 bad usage or site file.";

const RECEIVE_HELP: &str = "\
Counts what comes, prints a line for each step, and at the end the highest safe rate and lines for
the site file. It ends by itself with the sender's last step, or after --seconds of silence.

  offered       what BLUE says that it sent, in bits on the link
  frames lost   on the link, by packet numbers, and their longest run
  overflow      frames that this host had no room for
  records lost  what a destination would miss; recovered: what FEC restored
  CPU           of this process, 100% is one core; the kernel's own work for the card is not in it

Privilege: as `relay red`. SIGTERM and SIGINT end it with what there is.

Exit codes: 0 a safe rate was found, 1 none was or it failed at run time, 2 bad usage or site file.";

/// A step must be longer than the control thread's looks.
const STEP_SECONDS: (f64, f64) = (0.2, 3600.0);
/// Below, RED does not keep all steps; above, it finds nothing but orders of magnitude.
const FACTORS: (f64, f64) = (1.03, 10.0);

#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Send full records at rising rates (on BLUE)
    #[command(after_help = SEND_HELP)]
    Send(SendArguments),
    /// Count them and say which rate is safe (on RED)
    #[command(after_help = RECEIVE_HELP)]
    Receive(ReceiveArguments),
}

#[derive(Debug, Args)]
pub(super) struct SendArguments {
    #[command(flatten)]
    file: super::SiteFile,
    /// Length of a step
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    seconds: Duration,
    /// One step at this rate only, such as 2.5Gbit/s
    #[arg(long, value_name = "RATE", value_parser = rate_of, conflicts_with_all = ["from", "to", "factor", "unpaced"])]
    rate: Option<u64>,
    /// The first rate
    #[arg(long, value_name = "RATE", default_value = "100Mbit/s", value_parser = rate_of)]
    from: u64,
    /// The last rate; without it up to what the card takes, and then unpaced
    #[arg(long, value_name = "RATE", value_parser = rate_of)]
    to: Option<u64>,
    /// Each rate is so many times the one before: how finely the highest safe one is found
    #[arg(long, value_name = "NUMBER", default_value = "1.1", value_parser = factor)]
    factor: f64,
    /// End unpaced with --to as well
    #[arg(long, requires = "to")]
    unpaced: bool,
    /// Payload of a record in bytes [default: what one frame holds]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(probe::PAYLOAD_BYTES_MIN as i64..=65_000))]
    size: Option<u16>,
}

#[derive(Debug, Args)]
pub(super) struct ReceiveArguments {
    #[command(flatten)]
    file: super::SiteFile,
    /// Share of the records that a safe rate may lose
    #[arg(long, value_name = "SHARE", default_value = "1e-5", value_parser = probability_of)]
    loss: f64,
    /// Silence after which BLUE counts as gone
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    seconds: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let (least, most) = STEP_SECONDS;
    let seconds = text.parse().ok().filter(|seconds| (least..=most).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| format!("expected seconds from {least} to {most}"))
}

fn factor(text: &str) -> Result<f64, String> {
    let (least, most) = FACTORS;
    let factor = text.parse().ok().filter(|factor| (least..=most).contains(factor));
    factor.ok_or_else(|| format!("expected a number from {least} to {most}"))
}

impl Bench {
    /// Which host it is for, and its site file.
    pub(super) fn place(&self) -> (Role, &PathBuf) {
        match self {
            Self::Send(arguments) => (Role::Blue, &arguments.file.config),
            Self::Receive(arguments) => (Role::Red, &arguments.file.config),
        }
    }

    /// Measures.
    pub(super) fn run(&self, site: &Site) -> anyhow::Result<()> {
        match self {
            Self::Send(arguments) => probe::send(site, arguments.what()),
            Self::Receive(arguments) => {
                probe::receive(site, probe::Receive { loss: arguments.loss, silence: arguments.seconds })
            }
        }
    }

    /// As typed, for errors.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Send(_) => "bench send",
            Self::Receive(_) => "bench receive",
        }
    }
}

impl SendArguments {
    fn what(&self) -> probe::Send {
        probe::Send {
            step: self.seconds,
            rates: probe::Rates {
                first_bps: self.rate.unwrap_or(self.from),
                last_bps: self.rate.or(self.to),
                factor: self.factor,
                unpaced: self.unpaced || self.rate.or(self.to).is_none(),
            },
            payload_bytes: self.size,
        }
    }
}
