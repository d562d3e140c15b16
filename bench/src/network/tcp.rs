//! Streams of bytes from client to server, with a status link back, against TCP through the kernels of the same hosts.
//!
//! Every byte is checked at the server, on both paths.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::traffic::tcp::{self, Arrived, Server};
use lab::{Loss, Options, Site, Stream, address, usage};

use super::Times;
use super::cost::Cost;
use super::path::{PORT, Path};
use crate::measured::{Bars, Bench, Measured, Plot, RUNS, Step, Unit};

/// MTU and number of streams.
const CASES: [(u32, u8); 4] = [(1500, 1), (1500, 16), (9000, 1), (9000, 16)];
/// What BLUE, RED and the kernel's threads may take together, CPU seconds per GB.
const TARGET_PER_GB: f64 = 4.3;
/// The relay's ways: names, drivers, and whether a kernel thread polls RED's card on the link.
const WAYS: [(&str, &str, bool); 3] =
    [("xdp", "xdp", false), ("xdp, threaded NAPI", "xdp", true), ("socket", "socket", false)];
/// The plots.
const RATE: &str = "tcp-rate";
const COST: &str = "tcp-processor-time";
/// A stream that has not ended so long after the last was sent never will.
const SOON: Duration = Duration::from_secs(10);

/// The benchmark.
pub fn bench(quick: bool, times: Times) -> Bench {
    let wanted = CASES.into_iter().enumerate().filter(|(_, (_, streams))| !quick || *streams == 1);
    let steps = wanted.map(|(place, (mtu, streams))| case(place, mtu, streams, times)).collect();
    Bench {
        name: "tcp",
        about: "bytes from client to server, RaptorQ 2%, with a status link, against TCP through the kernel over the same hosts"
            .to_owned(),
        runs: RUNS,
        runs_quick: super::RUNS_QUICK,
        plots: plots(),
        steps,
    }
}

fn plots() -> Vec<Plot> {
    let plot = |(name, title, y_label): (&str, &str, _)| Plot {
        name: name.to_owned(),
        title: title.to_owned(),
        x_label: "",
        y_label,
        bars: Some(Bars {
            names: CASES.iter().map(|(mtu, streams)| name_of(*mtu, *streams)).collect(),
            baseline: None,
            is_logarithmic: false,
        }),
    };
    [
        (RATE, "TCP from client to server", "payload, Gbit/s"),
        (COST, "TCP from client to server: processor time of all that takes part", "CPU seconds per GB"),
    ]
    .map(plot)
    .into()
}

fn name_of(mtu: u32, streams: u8) -> String {
    format!("MTU {mtu}, {streams} stream{}", if streams == 1 { "" } else { "s" })
}

fn case(place: usize, mtu: u32, streams: u8, times: Times) -> Step {
    Step::new(name_of(mtu, streams), move |_| {
        let options = Options { mtu, zone_mtu: mtu, return_loss: Some(Loss::None), ..Options::default() };
        let direct = measure(Path::kernel(&options)?, streams, times)?;
        let mut figures = direct.figures(place, "kernel", None);
        for (name, driver, threaded) in WAYS {
            let relayed = measure(Path::relay(&options, &site(driver, mtu), threaded)?, streams, times)
                .with_context(|| name.to_owned())?;
            figures.extend(relayed.figures(place, name, Some(&direct)));
        }
        Ok(figures)
    })
}

fn site(driver: &str, mtu: u32) -> Site {
    let stream = Stream::new(1, "bytes", "tcp-unilateral", PORT, (address::SERVER, PORT).into());
    let site = Site::new(driver).link(&format!("mtu = {mtu}")).return_link("status");
    site.scheme("raptorq").repair("2%").stream(stream.line("max_sessions = 64"))
}

/// What came of all streams together.
struct Summary {
    bytes: u64,
    seconds: f64,
    whole: f64,
    cost: Cost,
    memory_mib: Option<[f64; 2]>,
}

fn measure(path: Path, streams: u8, times: Times) -> Result<Summary> {
    let server = Server::start(&path.lab.server, (address::SERVER, PORT));
    let connect = |_| tcp::connect(&path.lab.client, path.destination());
    let clients: Vec<TcpStream> = (0..streams).map(connect).collect::<Result<_>>()?;
    let watched = path.watched()?;
    let (before, ends) = (watched.now()?, usage::cpu_time_exact(std::process::id())?);
    let sent = send_all(&clients, times.step);
    let arrived: Vec<Arrived> = clients.iter().map_while(|_| server.next_within(SOON)).collect();
    let ends = usage::cpu_time_exact(std::process::id())?.saturating_sub(ends);
    let cost = Cost { client: ends, ..watched.now()?.since(before) };
    let first_ns = arrived.iter().map(|stream| stream.first_ns).min().context("no stream came to an end")?;
    let last_ns = arrived.iter().map(|stream| stream.last_ns).max().unwrap_or(first_ns);
    ensure!(!arrived.iter().any(|stream| stream.wrong), "wrong bytes: {arrived:?}");
    let is_whole =
        |stream: &&Arrived| stream.seed.is_some_and(|seed| sent.get(usize::from(seed)) == Some(&Some(stream.bytes)));
    let whole = arrived.iter().filter(|stream| stream.whole).filter(is_whole).count();
    let memory_mib = path.memory_mib()?;
    drop(clients);
    path.stop()?;
    Ok(Summary {
        bytes: arrived.iter().map(|stream| stream.bytes).sum(),
        seconds: (last_ns - first_ns) as f64 / 1e9,
        whole: whole as f64 / f64::from(streams),
        cost,
        memory_mib,
    })
}

/// Sends on all connections at once; gives the bytes of each, nothing for those that were broken off.
fn send_all(clients: &[TcpStream], time: Duration) -> Vec<Option<u64>> {
    std::thread::scope(|scope| {
        let sending = (0..).zip(clients).map(|(seed, client)| {
            scope.spawn(move || {
                let sent = tcp::send_for(client, seed, time).ok()?;
                tcp::finish(client, SOON).ok().map(|()| sent)
            })
        });
        let sending: Vec<_> = sending.collect();
        let join = |sender: std::thread::ScopedJoinHandle<'_, _>| {
            sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        sending.into_iter().map(join).collect()
    })
}

impl Summary {
    fn gbit_per_second(&self) -> f64 {
        self.bytes as f64 * 8e-9 / self.seconds.max(1e-9)
    }

    fn per_gb(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e9 / self.bytes.max(1) as f64
    }

    /// `place`: of the case in the plots.
    fn figures(&self, place: usize, name: &str, kernel: Option<&Self>) -> Vec<Measured> {
        let plain = |what: &str, unit, value| Measured::new(format!("{name}: {what}"), unit, value);
        if self.whole == 0.0 {
            // How fast a stream went until it broke says nothing.
            return vec![plain("streams whole", Unit::Share, self.whole)];
        }
        let figure = |plot: &str, what: &str, unit, of: &dyn Fn(&Self) -> f64| {
            let figure = Measured::new(format!("{name}: {what}"), unit, of(self)).at(plot, name, place as f64);
            match kernel {
                Some(kernel) => figure.of("kernel", of(kernel)),
                None => figure,
            }
        };
        let mut figures = vec![
            figure(RATE, "rate", Unit::GbitPerSecond, &Self::gbit_per_second),
            figure(COST, "processor time", Unit::SecondsPerGb, &|summary| summary.per_gb(summary.cost.total())),
        ];
        if let Some([blue, red]) = self.memory_mib {
            let all = plain("processor time, relay in all", Unit::SecondsPerGb, self.per_gb(self.cost.relay()));
            figures.push(all.of("target", TARGET_PER_GB));
            let parts = [("BLUE", self.cost.blue), ("RED", self.cost.red), ("kernel threads", self.cost.kernel)];
            figures.extend(
                parts.map(|(of, time)| plain(&format!("processor time, {of}"), Unit::SecondsPerGb, self.per_gb(time))),
            );
            figures.push(plain("streams whole", Unit::Share, self.whole));
            figures.push(plain("memory, BLUE", Unit::Mebibytes, blue));
            figures.push(plain("memory, RED", Unit::Mebibytes, red));
        }
        figures
    }
}
