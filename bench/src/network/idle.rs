//! What BLUE and RED take of a core while nothing happens: streams configured, links up, heartbeats both ways, no traffic; and the same
//! with many TCP sessions that say nothing.

use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lab::traffic::tcp;
use lab::{Loss, Options, Site, Stream, address};

use super::Times;
use super::path::{PORT, Path};
use crate::measured::{Bars, Bench, Measured, Plot, RUNS, Step, Unit};

/// What an idle relay may take.
const TARGET_PERCENT: f64 = 2.0;
/// The plot.
const PLOT: &str = "idle";
/// After the start, and after the last session was opened, before it counts.
const SETTLE: Duration = Duration::from_secs(1);
/// The shortest measurement: twelve heartbeats.
const LEAST: Duration = Duration::from_secs(3);
/// A session that has not reached the server after so long never will.
const SOON: Duration = Duration::from_secs(20);

/// Driver and number of sessions.
const CASES: [(&str, u16); 4] = [("xdp", 0), ("xdp", 1000), ("socket", 0), ("socket", 1000)];

/// The benchmark.
pub fn bench(_: bool, times: Times) -> Bench {
    Bench {
        name: "idle",
        about: "share of a core that the relays take with a UDP and a TCP stream, a status link and no traffic"
            .to_owned(),
        runs: RUNS,
        runs_quick: super::RUNS_QUICK,
        plots: vec![plot()],
        steps: (0..).zip(CASES).map(|(place, (driver, sessions))| case(place, driver, sessions, times)).collect(),
    }
}

fn plot() -> Plot {
    Plot {
        name: PLOT.to_owned(),
        title: "What relays take while nothing happens".to_owned(),
        x_label: "",
        y_label: "% of a core",
        bars: Some(Bars {
            names: CASES.iter().map(|(driver, sessions)| name_of(driver, *sessions)).collect(),
            baseline: Some("target"),
            is_logarithmic: false,
        }),
    }
}

fn name_of(driver: &str, sessions: u16) -> String {
    if sessions == 0 { format!("{driver}, no session") } else { format!("{driver}, {sessions} TCP sessions") }
}

fn case(place: usize, driver: &'static str, sessions: u16, times: Times) -> Step {
    Step::new(name_of(driver, sessions), move |_| {
        let options = Options { return_loss: Some(Loss::None), ..Options::default() };
        let path = Path::relay(&options, &site(driver, sessions), false)?;
        let held = Held::open(&path, sessions)?;
        thread::sleep(SETTLE);
        let watched = path.watched()?;
        let (before, since) = (watched.now()?, Instant::now());
        thread::sleep(times.step.max(LEAST));
        let (cost, seconds) = (watched.now()?.since(before), since.elapsed().as_secs_f64());
        held.close()?;
        path.stop()?;
        let figure = |name: &str, time: Duration| {
            let percent = time.as_secs_f64() / seconds * 100.0;
            let figure = Measured::new(name, Unit::PercentOfCore, percent);
            figure.of("target", TARGET_PERCENT).at(PLOT, name, place as f64)
        };
        Ok(vec![figure("BLUE", cost.blue), figure("RED", cost.red)])
    })
}

fn site(driver: &str, sessions: u16) -> Site {
    let to = (address::SERVER, PORT).into();
    let bytes =
        Stream::new(1, "bytes", "tcp-unilateral", PORT, to).line(&format!("max_sessions = {}", sessions.max(1)));
    Site::new(driver).return_link("status").stream(bytes).stream(Stream::udp(2, "numbers", PORT, to))
}

/// Sessions that are open from end to end and say nothing.
struct Held {
    clients: Vec<TcpStream>,
    server: thread::JoinHandle<Vec<TcpStream>>,
}

impl Held {
    fn open(path: &Path, sessions: u16) -> Result<Self> {
        let at = (address::SERVER, PORT);
        let listener = path.lab.server.run(|| TcpListener::bind(at))?.context("the server cannot listen")?;
        let (arrived, arrivals) = mpsc::channel();
        let server = thread::Builder::new().name("server".to_owned()).spawn(move || {
            let mut held = Vec::new();
            for client in listener.incoming().take(sessions.into()).map_while(Result::ok) {
                held.push(client);
                // Nobody listens any more once the bench has failed.
                if arrived.send(()).is_err() {
                    break;
                }
            }
            held
        })?;
        let connect = |_| tcp::connect(&path.lab.client, path.destination());
        let clients = (0..sessions).map(connect).collect::<Result<Vec<_>>>()?;
        for number in 0..sessions {
            arrivals.recv_timeout(SOON).with_context(|| format!("only {number} sessions reached the server"))?;
        }
        Ok(Self { clients, server })
    }

    /// Closes them all.
    fn close(self) -> Result<()> {
        drop(self.clients);
        self.server.join().map(drop).map_err(|_| anyhow::anyhow!("the server's thread died"))
    }
}
