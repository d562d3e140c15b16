//! The link alone, from BLUE's card to RED's: what `AF_XDP` carries with nothing behind it, what kernel UDP carries, and what
//! the relay carries with source and sink inside its processes.
//!
//! ```text
//!  blu1 ---> diode ---> red1        bare frames, dropped as they arrive | kernel sockets | relay bench send -> receive
//! ```

mod bare;
mod probe;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use lab::traffic::bulk::{Load, Sink, Source};
use lab::{Lab, Options, address};
use relay::config::Transmit;

use super::Times;
use crate::measured::{Bars, Bench, Measured, Plot, RUNS, Step, Unit};

/// Ethernet, IPv4 and UDP headers, bytes.
const HEADERS_BYTES: usize = 42;
/// UDP port of the link, the site file's default.
const PORT: u16 = 7400;
/// Datagrams a second that no sender reaches: it sends as fast as it goes.
const UNPACED: u64 = 50_000_000;
/// The path is empty when nothing has come for so long.
const QUIET: Duration = Duration::from_millis(100);

/// A size of frames, Ethernet header included.
#[derive(Clone, Copy)]
struct Size {
    name: &'static str,
    mtu: u32,
    bytes: usize,
    /// The codes that the relay is measured with, where it fills its frames: a ladder of rates takes ten times as long as the rest.
    codes: &'static [&'static str],
}

/// The smallest has room for the 24 bytes that every datagram of the benchmark begins with (number, clock, run).
const SIZES: [Size; 5] = [
    Size { name: "66 B", mtu: 1500, bytes: 66, codes: &[] },
    Size { name: "512 B", mtu: 1500, bytes: 512, codes: &[] },
    Size { name: "MTU 1500", mtu: 1500, bytes: 1514, codes: &["reed-solomon", "raptorq"] },
    Size { name: "MTU 3400", mtu: 3400, bytes: 3414, codes: &["reed-solomon"] },
    Size { name: "MTU 9000", mtu: 9000, bytes: 9014, codes: &["reed-solomon"] },
];

/// The benchmark.
pub fn bench(quick: bool, times: Times) -> Bench {
    let mut steps = Vec::new();
    for (place, size) in SIZES.into_iter().enumerate().filter(|(_, size)| !quick || size.codes.len() > 1) {
        for threaded in [false, true] {
            steps.push(case(place, size, threaded, times));
        }
    }
    Bench {
        name: "link",
        about: "frames from BLUE's card to RED's as fast as they go, all headers counted; the relay's highest safe rate, against bare AF_XDP"
            .to_owned(),
        runs: RUNS,
        runs_quick: super::RUNS_QUICK,
        plots: [false, true].map(plot).into(),
        steps,
    }
}

fn plot(threaded: bool) -> Plot {
    Plot {
        name: plot_name(threaded).to_owned(),
        title: format!("The link by size of frames{}", suffix(threaded)),
        x_label: "",
        y_label: "bits of the link, Gbit/s",
        bars: Some(Bars {
            names: SIZES.iter().map(|size| size.name.to_owned()).collect(),
            baseline: None,
            // Packets of 64 KiB are beside frames of 66 bytes.
            is_logarithmic: true,
        }),
    }
}

fn plot_name(threaded: bool) -> &'static str {
    if threaded { "link-threaded" } else { "link" }
}

fn suffix(threaded: bool) -> &'static str {
    if threaded { ", threaded NAPI" } else { "" }
}

fn case(place: usize, size: Size, threaded: bool, times: Times) -> Step {
    let options = Options { mtu: size.mtu, ..Options::default() };
    Step::new(format!("{}{}", size.name, suffix(threaded)), move |_| {
        let rate = |name: &str, value| {
            Measured::new(name, Unit::GbitPerSecond, value).at(plot_name(threaded), name, place as f64)
        };
        let bare = |transmit| bare::measure(&Lab::new(&options)?, transmit, size.bytes, threaded, times.look);
        let packets = bare(Transmit::Packet)?;
        let bare = bare(Transmit::AfXdp)?;
        let mut figures = vec![rate("bare AF_XDP", bare), rate("bare packet socket", packets).of("bare", bare)];
        for (name, offload) in [("kernel UDP, sendmmsg", false), ("kernel UDP, GSO and GRO", true)] {
            let kernel = kernel(&Lab::new(&options)?, size.bytes, offload, times.look)?;
            figures.push(rate(name, kernel).of("bare", bare));
        }
        for code in size.codes {
            let safe = probe::measure(&options, code, threaded, bare, times.look)?;
            figures.push(rate(&format!("relay, {code} 5%"), safe).of("bare", bare));
        }
        Ok(figures)
    })
}

/// Gbit/s of frames that arrive at a socket, sent by another as fast as it goes.
fn kernel(lab: &Lab, frame_bytes: usize, offload: bool, time: Duration) -> Result<f64> {
    let to = SocketAddr::from((address::RED_LINK, PORT));
    let size_bytes = frame_bytes - HEADERS_BYTES;
    let source = Source::open(&lab.blue, to, size_bytes)?;
    let (sink, mut source) = if offload {
        (Sink::start_with_gro(&lab.red, to, size_bytes, 1)?, source.with_gso()?)
    } else {
        (Sink::start(&lab.red, to, size_bytes, 1)?, source)
    };
    let sent = source.send(Load { rate: UNPACED, time, run: 1 })?;
    let received = sink.finish(sent.count, QUIET)?;
    Ok(received.count as f64 * frame_bytes as f64 * 8e-9 / sent.elapsed.as_secs_f64())
}
