//! One run: hosts, relays, traffic, accounts.

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::traffic::{Load, Received, Receiver, Sender, Sent};
use lab::{Counters, Lab, Loss, Options, RelayProcess, Role, Stopped, TempDir, address};

use super::build::root;
use super::video::{Counts, Video};

/// The stream `numbers` of config/demo.toml.
const PORT: u16 = 5000;
/// Any fixed number: the same bytes in every run.
const SEED: u64 = 0xd10de;
/// What the diode loses; config/demo.toml promises to survive it.
const LOSS_PERCENT: f64 = 2.0;
/// Recovery takes a block's deadline and hold, some ten milliseconds; the rest is for a busy machine.
const QUIET: Duration = Duration::from_secs(1);

/// What to run.
pub(super) struct Plan {
    pub(super) relay: PathBuf,
    pub(super) driver: String,
    pub(super) seconds: u64,
    pub(super) rate: u64,
}

/// What came out.
pub(super) struct Outcome {
    pub(super) driver: String,
    pub(super) sent: Sent,
    pub(super) received: Received,
    pub(super) video: Option<Counts>,
    pub(super) diode: Counters,
    pub(super) blue: Stopped,
    pub(super) red: Stopped,
}

/// Runs the plan. Everything that it made is gone when it returns.
pub(super) fn run(plan: &Plan) -> Result<Outcome> {
    let folder = TempDir::new()?;
    let site = write_site(folder.path(), &plan.driver)?;
    let lab = Lab::new(&Options { loss: Loss::percent(LOSS_PERCENT), ..Options::default() })?;
    println!("hosts: client - blue - diode ({LOSS_PERCENT}% loss, one way) - red - server");
    if plan.driver == "xdp" {
        println!("       look inside RED while it runs: {}", lab.red.enter_command());
    }
    let mut keygen = Command::new(&plan.relay);
    keygen.arg("keygen").arg(folder.path().join("link.key"));
    lab.blue.output(keygen, "")?;
    let red = RelayProcess::start(&plan.relay, Role::Red, &lab.red, &site)?;
    let blue = RelayProcess::start(&plan.relay, Role::Blue, &lab.blue, &site)?;
    println!("relays: both ready, driver = \"{}\", sealed, RaptorQ", plan.driver);

    let video = Video::start(&lab, plan.seconds)?;
    println!(
        "video: {}",
        if video.is_some() { "RTP test picture from ffmpeg" } else { "none, ffmpeg is not installed" }
    );
    let receiver = Receiver::start(&lab.server, (address::SERVER, PORT), SEED)?;
    let load = Load::new((address::BLUE, PORT), plan.rate).seconds(plan.seconds).seed(SEED);
    let total = load.count;
    let sender = Sender::start(&lab.client, load)?;
    show_progress(&sender, &receiver, &lab, total)?;
    let sent = sender.join()?;
    let received = receiver.finish(&sent, QUIET)?;
    let video = video.map(Video::finish).transpose()?;
    // RED last, so that it sees all that BLUE still had.
    let blue = blue.stop()?;
    let red = red.stop()?;
    let diode = lab.diode.counters()?;
    Ok(Outcome { driver: plan.driver.clone(), sent, received, video, diode, blue, red })
}

/// Copies the site file with this driver, and with state in `folder`.
fn write_site(folder: &Path, driver: &str) -> Result<PathBuf> {
    let source = root().join("config/demo.toml");
    let text = fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
    let path = folder.join("site.toml");
    fs::write(&path, adapt(&text, folder, driver)).with_context(|| format!("cannot write {}", path.display()))?;
    for side in ["blue", "red"] {
        fs::create_dir(folder.join(side)).with_context(|| format!("no folder in {}", folder.display()))?;
    }
    Ok(path)
}

/// Replaces the lines `driver` and `state_dir`, the latter by the folder of the same last name.
fn adapt(text: &str, folder: &Path, driver: &str) -> String {
    let line = |line: &str| match line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
        Some(("driver", _)) => format!("driver = \"{driver}\"\n"),
        Some(("state_dir", value)) => {
            let side = value.trim_matches('"').rsplit('/').next().unwrap_or_default();
            format!("state_dir = \"{}/{side}\"\n", folder.display())
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// Shows how far it is until everything is sent: in place on a terminal, else a line every two seconds.
fn show_progress(sender: &Sender, receiver: &Receiver, lab: &Lab, total: u64) -> Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let period = Duration::from_millis(if terminal { 250 } else { 2000 });
    let (end, start) = if terminal { ("\x1b[K\r", Instant::now()) } else { ("\n", Instant::now()) };
    while sender.sent() < total && !sender.has_ended() {
        receiver.wait_until(period, |received| received.distinct() >= total);
        let (sent, delivered, diode) = (sender.sent(), receiver.distinct(), lab.diode.counters()?);
        let seconds = start.elapsed().as_secs_f64();
        print!(
            "{seconds:5.1} s: sent {sent} of {total}, delivered {delivered}; diode: {} frames forwarded, {} lost{end}",
            diode.forwarded, diode.dropped
        );
        std::io::stdout().flush()?;
    }
    if terminal {
        println!();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_site_file_is_adapted() {
        let text = "[link]\ndriver = \"xdp\"\n[blue]\nstate_dir = \"/var/lib/relay/blue\"\ninterface = \"blu0\"\n";
        let wanted = "[link]\ndriver = \"socket\"\n[blue]\nstate_dir = \"/tmp/x/blue\"\ninterface = \"blu0\"\n";
        assert_eq!(adapt(text, Path::new("/tmp/x"), "socket"), wanted);
    }
}
