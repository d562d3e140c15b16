//! UDP: what arrives of datagrams at a steady rate, and when, under each kind of loss.

use lab::path::{Path5, stream};
use lab::{Loss, Options, Site, require_root};

/// One line of the table.
struct Case {
    name: &'static str,
    scheme: &'static str,
    loss: Loss,
    fec: &'static [&'static str],
}

const PROMISE_NONE: &[&str] = &[];
const PROMISE_LOSS: &[&str] = &[r#"protect = { loss = "2%", residual = "1e-9", burst = 0 }"#];
const PROMISE_BURST: &[&str] = &[r#"protect = { loss = "0.01%", residual = "1e-9", burst = 15 }"#];
const SHARE: &[&str] = &[r#"repair = "10%""#, r#"deadline = "10ms""#];

fn measure(case: &Case, rate: u64, seconds: u64) {
    let mut site = Site::new("xdp").scheme(case.scheme).stream(stream());
    for line in case.fec {
        site = site.fec(line);
    }
    let path = Path5::start(&Options { loss: case.loss, ..Options::default() }, &site);
    let (sent, received) = path.send_at(rate, |load| load.count(rate * seconds).size(1400));
    let outcome = path.stop(sent, received);
    outcome.check_accounts();
    let number = |name: &str| outcome.red.summary.stream("numbers").unwrap().number(name).unwrap_or(0);
    let frames = outcome.blue.summary.link("forward").unwrap();
    println!(
        "{:<28} {:<12} {rate:>6}/s {:>7} sent {:>7} arrived {:>4} missing {:>5} recovered {:>6} source {:>6} repair frames {} back  p50 {:>5.0} us  p99 {:>6.0} us",
        case.name,
        case.scheme,
        outcome.sent.total(),
        outcome.received.distinct(),
        outcome.received.missing(&outcome.sent).len(),
        number("recovered"),
        frames.number("source_frames").unwrap(),
        frames.number("repair_frames").unwrap(),
        outcome.diode.came_back,
        outcome.received.latency_us(50.0),
        outcome.received.latency_us(99.0),
    );
}

#[test]
#[ignore = "takes minutes and measures; see the module's head"]
fn delivery() {
    require_root!();
    for scheme in ["raptorq", "reed-solomon"] {
        for (name, loss, fec) in [
            ("no loss, defaults", Loss::None, PROMISE_NONE),
            ("2% random, protect 2%", Loss::percent(2.0), PROMISE_LOSS),
            ("15 in 700, protect burst 15", Loss::Bursts { burst: 15, period: 700 }, PROMISE_BURST),
        ] {
            let case = Case { name, scheme, loss, fec };
            measure(&case, 20_000, 10);
            measure(&case, 1_000, 30);
        }
        measure(
            &Case { name: "2% random, repair 10%, 10 ms", scheme, loss: Loss::percent(2.0), fec: SHARE },
            20_000,
            10,
        );
    }
}
