//! `relay bench send` and `receive`: the relay's own lanes, code and seal, with source and sink inside its processes.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{Host, Lab, Options, Site, Stream, TempDir, address};

use crate::network::path;

/// A bound for what takes as many steps as the ladder has.
const SOON: Duration = Duration::from_mins(2);
/// The ladder begins at this share of what bare `AF_XDP` reaches and ends at the other, in fine steps, since what lies between
/// two of them is not seen: twenty-one, with the last one unpaced. Packet sockets reach more than bare `AF_XDP`.
const FROM: f64 = 0.5;
const TO: f64 = 1.6;
const FACTOR: f64 = 1.06;
/// Where nothing of it was safe, the other ladder begins here.
const FROM_LOW: f64 = 0.2;
/// What is above the highest safe rate, told from what that rounds to.
const ABOVE: f64 = 1.01;

/// The highest safe rate, Gbit/s with all headers; 0 if there is none.
///
/// What failed next to it is tried once more: what others do on the machine may have made it fail.
pub(super) fn measure(options: &Options, scheme: &str, threaded: bool, bare: f64, time: Duration) -> Result<f64> {
    let probe = |from: f64, to: f64| climb(options, scheme, threaded, (from, to), time);
    let (first, last) = (bare * FROM, bare * TO);
    let Some(safe) = probe(first, last)? else {
        return Ok(probe(bare * FROM_LOW, first)?.unwrap_or(0.0));
    };
    let mut above = first;
    while above < safe * ABOVE {
        above *= FACTOR;
    }
    let again = if above < last { probe(above, last.min(above * FACTOR))? } else { None };
    Ok(again.map_or(safe, |again| again.max(safe)))
}

/// The highest safe rate of a ladder between two rates, and of an unpaced step, Gbit/s.
fn climb(
    options: &Options,
    scheme: &str,
    threaded: bool,
    (from, to): (f64, f64),
    time: Duration,
) -> Result<Option<f64>> {
    let (lab, folder) = (Lab::new(options)?, TempDir::new()?);
    let stream = Stream::udp(1, "none", path::PORT, (address::SERVER, path::PORT));
    let site = Site::new("xdp").link(&format!("mtu = {}", options.mtu)).scheme(scheme).repair("5%").stream(stream);
    let site = if threaded { site.link(path::AF_XDP) } else { site };
    let key = folder.path().join("link.key");
    path::keygen(&key)?;
    let file = site.key_file(&key).write(folder.path())?;
    let start = |host: &Host, command: &str, arguments: &[String]| {
        let mut line = Command::new(path::binary()?);
        line.args(["bench", command, "--config"]).arg(&file).args(arguments);
        host.spawn(&format!("relay bench {command}"), line)
    };
    let mut receiver = start(&lab.red, "receive", &[])?;
    receiver.wait_for_line(0, SOON, |line| line == "ready")?;
    if threaded {
        lab.red.threaded_napi(address::RED_LINK_IF)?;
    }
    let rate = |gbit_per_second: f64| format!("{}Mbit/s", (gbit_per_second * 1e3) as u64);
    let ladder = [("--from", rate(from)), ("--to", rate(to)), ("--factor", FACTOR.to_string())];
    let mut ladder: Vec<String> = ladder.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
    ladder.extend(["--unpaced".to_owned(), "--seconds".to_owned(), time.as_secs_f64().to_string()]);
    let mut sender = start(&lab.blue, "send", &ladder)?;
    let sent = sender.wait(SOON)?;
    ensure!(sent.success(), "relay bench send ended with {sent}:\n{}", sender.log().text());
    receiver.wait(SOON)?;
    let text = receiver.log().text();
    // Its exit status says the same as this line.
    let safe = text.lines().find_map(|line| line.strip_prefix("highest safe rate: "));
    safe.map(|safe| gbit_per_second(safe).with_context(|| format!("no rate in {safe:?}"))).transpose()
}

/// A rate as the site file writes it, at the beginning of a text.
fn gbit_per_second(text: &str) -> Option<f64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let unit = text[digits..].split(|letter: char| letter != '/' && !letter.is_ascii_alphabetic()).next()?;
    let scale = match unit {
        "kbit/s" => 1e-6,
        "Mbit/s" => 1e-3,
        "Gbit/s" => 1.0,
        "Tbit/s" => 1e3,
        _ => return None,
    };
    Some(text[..digits].parse::<f64>().ok()? * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_they_are_printed() {
        assert_eq!(gbit_per_second("2.5Gbit/s, step 7"), Some(2.5));
        assert_eq!(gbit_per_second("250Mbit/s"), Some(0.25));
        assert_eq!(gbit_per_second("fast"), None);
    }
}
