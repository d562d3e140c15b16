//! Memory of BLUE and RED at full rate, over minutes: how much it is at the start, and whether it grows.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::traffic::bulk::{Load, Sink, Source};
use lab::traffic::tcp::{self, Server};
use lab::{Loss, Options, Site, Stream, address, usage};

use super::Times;
use super::path::{MEBIBYTE, PORT, Path};
use crate::measured::{Bench, Measured, Plot, Step, Unit};

/// What each relay may have, MiB.
const TARGET_MIB: f64 = 300.0;
/// Looks, as shares of the time. What grows between the second, when all buffers were in use, and the last, goes on growing.
const LOOKS: [f64; 6] = [0.0, 0.1, 0.25, 0.5, 0.75, 1.0];
/// The plots.
const UDP_PLOT: &str = "memory-udp";
const TCP_PLOT: &str = "memory-tcp";
/// UDP payload, bytes.
const SIZE_BYTES: usize = 1400;
/// Datagrams a second that no sender reaches: it sends as fast as it goes, and BLUE drops what is too much.
const UNPACED: u64 = 50_000_000;
/// The path is empty when nothing has come for so long.
const QUIET: Duration = Duration::from_millis(150);
/// A stream that has not ended so long after the last was sent never will.
const SOON: Duration = Duration::from_secs(10);

/// The benchmark.
pub fn bench(_: bool, times: Times) -> Bench {
    Bench {
        name: "memory",
        about: format!(
            "resident memory of the relays at full rate for {:.1} minutes, defaults, MTU 1500",
            minutes(times.memory)
        ),
        runs: 1,
        runs_quick: 1,
        plots: [("UDP", UDP_PLOT), ("TCP", TCP_PLOT)].map(|(what, name)| plot(what, name)).into(),
        steps: vec![
            Step::new("UDP, as fast as it goes", move |_| udp(times.memory)),
            Step::new("TCP, one stream", move |_| tcp(times.memory)),
        ],
    }
}

fn plot(what: &str, name: &str) -> Plot {
    Plot {
        name: name.to_owned(),
        title: format!("Resident memory, {what} at full rate"),
        x_label: "minutes",
        y_label: "MiB",
        bars: None,
    }
}

fn minutes(time: Duration) -> f64 {
    time.as_secs_f64() / 60.0
}

fn udp(time: Duration) -> Result<Vec<Measured>> {
    let stream = Stream::udp(1, "numbers", PORT, (address::SERVER, PORT));
    let path = Path::relay(&Options::default(), &Site::new("xdp").stream(stream), false)?;
    let mut source = Source::open(&path.lab.client, path.destination(), SIZE_BYTES)?;
    let sink = Sink::start(&path.lab.server, (address::SERVER, PORT), SIZE_BYTES, 1)?;
    let (sent, memory) = watch(&path, time, || source.send(Load { rate: UNPACED, time, run: 1 }))?;
    let received = sink.finish(sent.count, QUIET)?;
    let seconds = sent.elapsed.as_secs_f64();
    path.stop()?;
    Ok(figures(UDP_PLOT, (received.count * SIZE_BYTES as u64) as f64 / seconds, time, &memory))
}

fn tcp(time: Duration) -> Result<Vec<Measured>> {
    let options = Options { return_loss: Some(Loss::None), ..Options::default() };
    let stream = Stream::new(1, "bytes", "tcp-unilateral", PORT, (address::SERVER, PORT).into());
    let path = Path::relay(&options, &Site::new("xdp").return_link("status").stream(stream), false)?;
    let server = Server::start(&path.lab.server, (address::SERVER, PORT));
    let client = tcp::connect(&path.lab.client, path.destination())?;
    let (sent, memory) = watch(&path, time, || {
        let sent = tcp::send_for(&client, 0, time)?;
        Ok(tcp::finish(&client, SOON).map(|()| sent)?)
    })?;
    let arrived = server.next_within(SOON).context("the stream did not come to an end")?;
    ensure!(!arrived.wrong && arrived.bytes == sent, "{sent} bytes were sent: {arrived:?}");
    path.stop()?;
    Ok(figures(TCP_PLOT, sent as f64 / time.as_secs_f64(), time, &memory))
}

/// Does `load`, which takes `time`, and looks at the memory of BLUE and RED meanwhile, MiB.
fn watch<T>(path: &Path, time: Duration, load: impl FnOnce() -> Result<T>) -> Result<(T, Vec<[f64; 2]>)> {
    let relays = path.relays().context("there are no relays on this path")?;
    let started = Instant::now();
    thread::scope(|scope| {
        let looking = scope.spawn(move || {
            let look = |share| {
                thread::sleep(time.mul_f64(share).saturating_sub(started.elapsed()));
                let [blue, red] = relays.map(|relay| usage::memory_bytes(relay).map(|bytes| bytes as f64 / MEBIBYTE));
                Ok([blue?, red?])
            };
            LOOKS.into_iter().map(look).collect::<Result<Vec<_>>>()
        });
        let loaded = load();
        let memory = looking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((loaded?, memory?))
    })
}

fn figures(plot: &str, bytes_per_second: f64, time: Duration, memory: &[[f64; 2]]) -> Vec<Measured> {
    let mut figures = vec![Measured::new("rate", Unit::GbitPerSecond, bytes_per_second * 8e-9)];
    for (number, relay) in ["BLUE", "RED"].into_iter().enumerate() {
        let looks: Vec<f64> = memory.iter().map(|both| both[number]).collect();
        for (share, mib) in LOOKS.iter().zip(&looks) {
            let name = format!("{relay}, after {:.0}%", share * 100.0);
            let figure = Measured::new(name, Unit::Mebibytes, *mib).of("target", TARGET_MIB);
            figures.push(figure.at(plot, relay, minutes(time) * share));
        }
        let growth = looks.last().zip(looks.get(1)).map_or(0.0, |(last, early)| last - early);
        figures.push(Measured::new(format!("{relay}, growth since 10%"), Unit::Mebibytes, growth));
    }
    figures
}
