//! An RTP test picture, if ffmpeg is there to make one.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use lab::traffic::Receiver;
use lab::{Child, Host, Lab, address};

/// The stream `video` of config/demo.toml.
const PORT: u16 = 5004;
/// ffmpeg writes its last packets within a frame's time; the rest is for a busy machine.
const END_MAX: Duration = Duration::from_secs(10);
/// Nothing more arrives after so long.
const QUIET: Duration = Duration::from_millis(500);

/// A running test picture.
pub(super) struct Video {
    ffmpeg: Child,
    counter: Host,
    receiver: Receiver,
}

/// Datagrams of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) delivered: u64,
}

impl Video {
    /// Starts a picture of so many seconds from the client to BLUE; `None` without ffmpeg.
    pub(super) fn start(lab: &Lab, seconds: u64) -> Result<Option<Self>> {
        if !has_ffmpeg() {
            return Ok(None);
        }
        // What the client's kernel sends is the truth about what was sent.
        lab.client.nft(&format!(
            "table inet demo {{\nchain sent {{\ntype filter hook output priority 0;\nudp dport {PORT} counter\n}}\n}}\n"
        ))?;
        // Its payloads are not the laboratory's: each counts as corrupt, which is all that is asked of it.
        let receiver = Receiver::start(&lab.server, (address::SERVER, PORT), 0)?;
        let mut command = Command::new("ffmpeg");
        command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-re", "-f", "lavfi"]);
        command.args(["-i", "testsrc=size=640x360:rate=25", "-t", &seconds.to_string()]);
        command.args(["-c:v", "mpeg4", "-b:v", "4M", "-f", "rtp"]);
        command.arg(format!("rtp://{}:{PORT}?pkt_size=1316", address::BLUE));
        let ffmpeg = lab.client.spawn("ffmpeg", command)?;
        Ok(Some(Self { ffmpeg, counter: lab.client.clone(), receiver }))
    }

    /// Waits for the picture's end and counts.
    pub(super) fn finish(mut self) -> Result<Counts> {
        let status = self.ffmpeg.wait(END_MAX)?;
        anyhow::ensure!(status.success(), "ffmpeg ended with {status}:\n{}", self.ffmpeg.log().text());
        let listing = self.counter.nft("list chain inet demo sent\n")?;
        let sent = packets(&listing).with_context(|| format!("no counter in: {listing}"))?;
        self.receiver.wait_until(QUIET, |received| received.corrupt >= sent);
        Ok(Counts { sent, delivered: self.receiver.stop()?.corrupt })
    }
}

fn has_ffmpeg() -> bool {
    let mut command = Command::new("ffmpeg");
    command.arg("-version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The number after `packets` in nft's listing.
fn packets(listing: &str) -> Option<u64> {
    listing.split_whitespace().skip_while(|word| *word != "packets").nth(1)?.parse().ok()
}
