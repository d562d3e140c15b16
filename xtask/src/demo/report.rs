//! The final table and whether it is good.

use std::fmt::Write;

use anyhow::{Result, bail};
use lab::{Line, Stopped};

use super::run::Outcome;

/// The table, ready to print.
pub(super) fn table(outcome: &Outcome) -> String {
    let Outcome { sent, received, diode, .. } = outcome;
    let lost = sent.total() - received.distinct();
    let frames = diode.forwarded + diode.dropped;
    let mbit = received.bytes as f64 * 8.0 / 1e6 / sent.elapsed.as_secs_f64();
    let rate = received.distinct() as f64 / sent.elapsed.as_secs_f64();
    let mut rows = vec![
        ("sent", format!("{} datagrams, {} bytes", sent.total(), sent.bytes)),
        ("delivered", format!("{} datagrams, every byte checked", received.distinct())),
        ("recovered by FEC", stream_total(&outcome.red, "recovered")),
        ("lost", format!("{lost} datagrams")),
        ("rate", format!("{rate:.0} datagrams/s, {mbit:.1} Mbit/s")),
        (
            "latency",
            format!(
                "p50 {:.0} us, p99 {:.0} us, with those that waited for FEC",
                received.latency_us(50.0),
                received.latency_us(99.0)
            ),
        ),
        ("frames on the link", format!("{frames}, of which the diode lost {}", diode.dropped)),
        ("frames that came back", diode.came_back.to_string()),
        ("driver of BLUE", obtained(&outcome.blue, &outcome.driver, "zone")),
        ("driver of RED", obtained(&outcome.red, &outcome.driver, "link")),
    ];
    if let Some(video) = &outcome.video {
        let text = format!("{} RTP datagrams sent, {} delivered", video.sent, video.delivered);
        rows.insert(4, ("video", text));
    }
    lines(&rows)
}

/// A line for each row, names and values aligned.
pub(super) fn lines(rows: &[(&str, String)]) -> String {
    rows.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "  {name:<22} {value}");
        text
    })
}

/// An error unless everything arrived whole and nothing came back.
pub(super) fn verdict(outcome: &Outcome) -> Result<()> {
    let received = &outcome.received;
    let mut faults = Vec::new();
    if let Err(error) = received.check_complete(&outcome.sent) {
        faults.push(error.to_string());
    }
    if let Some(video) = outcome.video.filter(|video| video.sent != video.delivered) {
        faults.push(format!("of {} video datagrams {} arrived", video.sent, video.delivered));
    }
    if outcome.diode.came_back > 0 {
        faults.push(format!("{} frames came back through the diode", outcome.diode.came_back));
    }
    for (name, relay) in [("blue", &outcome.blue), ("red", &outcome.red)] {
        if !relay.status.success() {
            faults.push(format!("relay {name} ended with {}; it wrote:\n{}", relay.status, relay.log.text()));
        }
    }
    if !faults.is_empty() {
        faults.push("what the relays counted:".to_owned());
        let lines = [&outcome.blue, &outcome.red].map(|relay| relay.log.lines()).concat();
        faults.extend(lines.into_iter().filter(|line| line.starts_with("summary ")));
        bail!("the demo shows a fault:\n{}", faults.join("\n"));
    }
    println!("Every datagram crossed a link that lost {} frames. Nothing came back.", outcome.diode.dropped);
    Ok(())
}

/// The sum of a counter over the streams of a relay's summary, on the forward link.
fn stream_total(relay: &Stopped, key: &str) -> String {
    let forward = |line: &&Line| line.get("stream").is_some() && line.get("link").is_none();
    let streams: Vec<&Line> = relay.summary.lines.iter().filter(forward).collect();
    if streams.is_empty() {
        return "not told by RED".to_owned();
    }
    streams.iter().map(|line| line.total(key)).sum::<u64>().to_string()
}

/// Driver and modes as the relay's summary tells them, or the driver that was asked for. `mode` is that of the
/// interface where packets come in: the zone's on BLUE, the link's on RED.
fn obtained(relay: &Stopped, asked: &str, incoming: &str) -> String {
    let value = |key| relay.summary.lines.iter().find_map(|line| line.get(key));
    let driver = value("driver").unwrap_or(asked);
    if driver == "socket" {
        return "socket: plain kernel UDP".to_owned();
    }
    let modes = [("mode", incoming), ("zone_mode", "zone"), ("link_mode", "link")];
    modes.iter().filter_map(|(key, interface)| Some((interface, value(key)?))).fold(
        driver.to_owned(),
        |mut text, mode| {
            let _ = write!(text, ", {} {}", mode.0, mode.1);
            text
        },
    )
}
