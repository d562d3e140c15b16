//! Datagrams from client to server: the highest rate at which at most one in 100,000 is lost, how long they take, and what
//! they cost, over the relay and, in the same run, through the kernels of the same hosts.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::traffic::bulk::{Load, Received, Sent, Sink, Source};
use lab::{Options, Site, Stream, address};

use super::Times;
use super::cost::{Cost, Watched};
use super::path::{PORT, Path};
use super::search::{self, Length, Outcome};
use crate::measured::{Bars, Bench, Measured, Plot, RUNS, Step, Unit};

/// UDP payload: with all headers it fills a link with an MTU of 1,500.
const SIZE_BYTES: usize = 1400;
/// Datagrams of which one may be lost.
const LOSS_OF: u64 = 100_000;
/// The search begins here: every path that is worth a search carries so many datagrams a second.
const FIRST: f64 = 40_000.0;
/// Sparse traffic, datagrams a second.
const SPARSE: u64 = 1000;
/// The path is empty when nothing has come for so long: RED gives a block up after a tenth of it.
const QUIET: Duration = Duration::from_millis(150);

/// The plots.
const RATE: &str = "udp-rate";
const COST: &str = "udp-processor-time";
const LATENCY: &str = "udp-latency";
/// What the ways are compared with.
const KERNEL: &str = "kernel forwarding";

/// A way for the datagrams.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    driver: &'static str,
    scheme: &'static str,
    threaded: bool,
    /// Measured with `--quick` too.
    is_quick: bool,
}

const WAYS: [Way; 6] = [
    Way { name: "xdp, Reed-Solomon 5%", driver: "xdp", scheme: "reed-solomon", threaded: false, is_quick: false },
    Way {
        name: "xdp, Reed-Solomon 5%, threaded NAPI",
        driver: "xdp",
        scheme: "reed-solomon",
        threaded: true,
        is_quick: true,
    },
    Way { name: "xdp, RaptorQ 5%", driver: "xdp", scheme: "raptorq", threaded: false, is_quick: false },
    Way { name: "xdp, RaptorQ 5%, threaded NAPI", driver: "xdp", scheme: "raptorq", threaded: true, is_quick: true },
    Way { name: "socket, Reed-Solomon 5%", driver: "socket", scheme: "reed-solomon", threaded: false, is_quick: true },
    Way { name: "socket, RaptorQ 5%", driver: "socket", scheme: "raptorq", threaded: false, is_quick: false },
];

impl Way {
    fn path(self) -> Result<Path> {
        let stream = Stream::udp(1, "numbers", PORT, (address::SERVER, PORT));
        let site = Site::new(self.driver).scheme(self.scheme).repair("5%").stream(stream);
        Path::relay(&Options::default(), &site, self.threaded)
    }
}

/// The benchmark.
pub fn bench(quick: bool, times: Times) -> Bench {
    let kernel = Rc::new(RefCell::new(Baseline::default()));
    let mut steps = vec![baseline(Rc::clone(&kernel), times)];
    // In plots the kernel stands before them.
    let ways = (1..).zip(WAYS).filter(|(_, way)| !quick || way.is_quick);
    steps.extend(ways.map(|(place, way)| case(place, way, Rc::clone(&kernel), times)));
    Bench {
        name: "udp",
        about: format!(
            "datagrams of {SIZE_BYTES} bytes, MTU 1500, at the highest rate that loses at most 1 in {LOSS_OF}, against kernel forwarding on the same path"
        ),
        runs: RUNS,
        runs_quick: super::RUNS_QUICK,
        plots: plots(),
        steps,
    }
}

fn plots() -> Vec<Plot> {
    let plot = |(name, title, y_label, baseline, is_logarithmic): (&str, _, _, _, _)| Plot {
        name: name.to_owned(),
        title: format!("Datagrams of {SIZE_BYTES} bytes from client to server, MTU 1500: {title}"),
        x_label: "",
        y_label,
        bars: Some(Bars {
            names: [KERNEL].into_iter().chain(WAYS.iter().map(|way| way.name)).map(str::to_owned).collect(),
            baseline,
            is_logarithmic,
        }),
    };
    [
        (RATE, "highest rate that loses at most 1 in 100,000", "payload, Gbit/s", Some(KERNEL), false),
        (COST, "processor time of all that takes part", "CPU seconds per GB", Some(KERNEL), false),
        // From microseconds on a quiet path to milliseconds of a full one.
        (LATENCY, "latency", "us", None, true),
    ]
    .map(plot)
    .into()
}

/// What the kernel did in a run; nothing if that failed.
#[derive(Default)]
struct Baseline {
    run: u64,
    summary: Option<Summary>,
}

impl Baseline {
    /// Measures it.
    fn measure(&mut self, run: u64, times: Times) -> Result<&Summary> {
        (self.run, self.summary) = (run, None);
        let summary = measure(Path::kernel(&Options::default())?, times)?;
        Ok(self.summary.insert(summary))
    }

    /// What there is of this run. Measures it if it was not tried yet, as with `--only`.
    fn of(&mut self, run: u64, times: Times) -> Option<&Summary> {
        if self.run != run {
            // The ways stand for themselves without it.
            let _ = self.measure(run, times);
        }
        self.summary.as_ref()
    }
}

fn baseline(kernel: Rc<RefCell<Baseline>>, times: Times) -> Step {
    Step::new(KERNEL, move |run| Ok(kernel.borrow_mut().measure(run, times)?.figures(0, None)))
}

fn case(place: usize, way: Way, kernel: Rc<RefCell<Baseline>>, times: Times) -> Step {
    Step::new(way.name, move |run| {
        let mut kernel = kernel.borrow_mut();
        let baseline = kernel.of(run, times);
        Ok(measure(way.path()?, times)?.figures(place, baseline))
    })
}

/// One step's traffic.
struct Passed {
    sent: Sent,
    received: Received,
    cost: Cost,
}

impl Outcome for Passed {
    fn passed(&self) -> bool {
        (self.sent.count - self.received.count.min(self.sent.count)) * LOSS_OF <= self.sent.count
    }

    fn rate(&self) -> f64 {
        self.sent.count as f64 / self.sent.elapsed.as_secs_f64()
    }
}

impl Passed {
    fn gbit_per_second(&self) -> f64 {
        let rate = self.received.count as f64 / self.sent.elapsed.as_secs_f64();
        rate * SIZE_BYTES as f64 * 8.0 / 1e9
    }

    /// Seconds for each 10^9 bytes that arrived.
    fn per_gb(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e9 / (self.received.count as f64 * SIZE_BYTES as f64)
    }

    fn latency_us(&self, quantile: f64) -> f64 {
        self.received.latency_ns.value_at_quantile(quantile) as f64 / 1000.0
    }
}

/// What a path can do.
struct Summary {
    highest: Passed,
    sparse: Passed,
    half: Passed,
    memory_mib: Option<[f64; 2]>,
}

fn measure(path: Path, times: Times) -> Result<Summary> {
    let mut source = Source::open(&path.lab.client, path.destination(), SIZE_BYTES)?;
    let watched = path.watched()?;
    let mut run = 0;
    let mut pass = |rate: f64, time| {
        run += 1;
        send(&path, &mut source, &watched, Load { rate: rate as u64, time, run })
    };
    let highest = search::highest(FIRST, |rate, length| {
        pass(rate, if length == Length::Full { times.step } else { times.look })
    })?;
    let highest = highest.context("it loses at every rate")?;
    let sparse = pass(SPARSE as f64, times.step)?;
    let half = pass(highest.rate() / 2.0, times.step)?;
    let memory_mib = path.memory_mib()?;
    path.stop()?;
    Ok(Summary { highest, sparse, half, memory_mib })
}

fn send(path: &Path, source: &mut Source, watched: &Watched, load: Load) -> Result<Passed> {
    let sink = Sink::start(&path.lab.server, (address::SERVER, PORT), SIZE_BYTES, load.run)?;
    let before = watched.now()?;
    let sent = source.send(load)?;
    let received = sink.finish(sent.count, QUIET)?;
    let cost = Cost { client: sent.cpu, server: received.cpu, ..watched.now()?.since(before) };
    Ok(Passed { sent, received, cost })
}

impl Summary {
    /// `place`: of the way in the plots; the kernel's is 0.
    fn figures(&self, place: usize, kernel: Option<&Self>) -> Vec<Measured> {
        /// One of a path's steps.
        type Of = fn(&Summary) -> &Passed;
        let figure = |plot: &str, series: &str, name: &str, unit, of: &dyn Fn(&Self) -> f64| {
            let figure = Measured::new(name, unit, of(self));
            match kernel {
                Some(kernel) => figure.of("kernel", of(kernel)).at(plot, series, place as f64),
                // The kernel's own is the line that the others are compared with.
                None if place == 0 && plot != LATENCY => figure,
                None => figure.at(plot, series, place as f64),
            }
        };
        let mut figures = vec![
            figure(RATE, "relay", "highest rate", Unit::GbitPerSecond, &|summary| summary.highest.gbit_per_second()),
            figure(COST, "relay", "processor time", Unit::SecondsPerGb, &|summary| {
                summary.highest.per_gb(summary.highest.cost.total())
            }),
        ];
        if self.memory_mib.is_some() {
            let time = self.highest.per_gb(self.highest.cost.relay());
            figures.push(Measured::new("processor time, relay in all", Unit::SecondsPerGb, time));
        }
        for (name, time) in self.highest.cost.parts() {
            let name = format!("processor time, {name}");
            figures.push(Measured::new(name, Unit::SecondsPerGb, self.highest.per_gb(time)));
        }
        let loads: [(&str, Of); 2] = [("1,000/s", |summary| &summary.sparse), ("half load", |summary| &summary.half)];
        for (load, of) in loads {
            for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
                let series = format!("{load}, {name}");
                let name = format!("latency, {series}");
                figures.push(figure(LATENCY, &series, &name, Unit::Microseconds, &|summary| {
                    of(summary).latency_us(quantile)
                }));
            }
        }
        if let Some([blue, red]) = self.memory_mib {
            figures.push(Measured::new("memory, BLUE", Unit::Mebibytes, blue));
            figures.push(Measured::new("memory, RED", Unit::Mebibytes, red));
        }
        figures
    }
}
