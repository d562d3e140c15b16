//! Loss beyond the promise: what is missing is known exactly, and everything else arrives.

use std::time::Duration;

use lab::traffic::{Load, Sender};
use lab::{Loss, Options, Role, Site, Stream, address, require_root};

use lab::path::{Outcome, PORT, Path5, QUIET, stream};

/// An alarm after three heartbeats of 250 ms: several times that.
const ALARM_MAX: Duration = Duration::from_secs(10);

fn weak(driver: &str, scheme: &str) -> Site {
    Site::new(driver).scheme(scheme).protect("0.1%", "1e-3", 0)
}

fn run(options: &Options, site: &Site, load: impl FnOnce(Load) -> Load) -> Outcome {
    let path = Path5::start(options, site);
    let (sent, received) = path.send(load);
    let outcome = path.stop(sent, received);
    assert!(outcome.received.missing(&outcome.sent).len() > 10, "not beyond the promise: {}", outcome.received);
    assert_eq!(outcome.received.out_of_order(), 0, "{}", outcome.received);
    outcome.check_accounts();
    outcome
}

fn lossy(percent: f64) -> Options {
    Options { loss: Loss::percent(percent), ..Options::default() }
}

#[test]
fn the_account_is_exact_for_every_code() {
    require_root!();
    for (driver, scheme, percent) in [
        ("xdp", "raptorq", 10.0),
        ("xdp", "reed-solomon", 10.0),
        ("xdp", "raptorq", 30.0),
        ("xdp", "none", 2.0),
        ("socket", "raptorq", 30.0),
    ] {
        let site = weak(driver, scheme).stream(stream());
        let outcome = run(&lossy(percent), &site, |load| load.count(10_000).flows(5));
        outcome.report(&format!("{driver} {scheme} {percent}% lost"));
    }
}

#[test]
fn the_account_is_exact_over_several_lanes_and_symbols() {
    require_root!();
    let options = Options { queues: 2, ..lossy(10.0) };
    run(&options, &weak("xdp", "raptorq").stream(stream()), |load| load.count(10_000).flows(16).sizes(40, 1472));
    let spanning = |load| Load { rate: 2_000, ..load }.seconds(1).flows(4).sizes(1500, 9000);
    run(&lossy(10.0), &weak("xdp", "reed-solomon").stream(stream()), spanning);
}

#[test]
fn an_unordered_stream_has_an_exact_account_too() {
    require_root!();
    let path = Path5::start(&lossy(10.0), &weak("xdp", "raptorq").stream(stream().line("ordered = false")));
    let (sent, received) = path.send(|load| load.count(10_000).flows(5));
    let outcome = path.stop(sent, received);
    assert!(outcome.received.missing(&outcome.sent).len() > 10, "{}", outcome.received);
    outcome.check_accounts();
}

/// Many flows of a few datagrams each, so that tails and whole sessions are lost.
#[test]
fn lost_tails_and_lost_sessions_are_noticed() {
    require_root!();
    let stream = Stream::udp(1, "numbers", PORT, (address::SERVER, PORT)).line("max_sessions = 600");
    let site = weak("xdp", "none").stream(stream);
    let path = Path5::start(&lossy(30.0), &site);
    let (sent, received) = path.send(|load| Load { rate: 3_000, ..load }.count(1_500).flows(500));
    let outcome = path.stop(sent, received);
    let unheard = (0..500).filter(|flow| !outcome.received.flows.contains_key(flow)).count();
    assert!(unheard > 0, "no flow was lost whole: {}", outcome.received);
    let red = outcome.red.summary.stream("numbers").unwrap();
    assert!(red.number("lost.tail").unwrap() > 0, "{red:?}");
    outcome.check_accounts();
}

#[test]
fn after_a_dead_link_delivery_resumes_and_the_account_is_exact() {
    require_root!();
    for driver in ["xdp", "socket"] {
        let path = Path5::start(&Options::default(), &Site::new(driver).stream(stream()));
        let lab = &path.ground.lab;
        let receiver = path.ground.receiver(PORT, 1);
        let sender = Sender::start(&lab.client, Load::new((address::BLUE, PORT), 2_000).flows(3)).unwrap();
        assert!(receiver.wait_until(ALARM_MAX, |received| received.distinct() > 1_000));
        lab.diode.set_loss(Loss::All).unwrap();
        path.red.wait_for_line(0, ALARM_MAX, |line| line.contains("nothing from BLUE for")).unwrap();
        // The outage is longer than every clock of the relay: sessions, blocks and lanes have all been given up.
        let before = sender.sent();
        while sender.sent() < before + 5_000 {
            std::thread::sleep(Duration::from_millis(10));
        }
        let arrived_before = receiver.distinct();
        let log = path.red.log().len();
        lab.diode.set_loss(Loss::None).unwrap();
        path.red.wait_for_line(log, ALARM_MAX, |line| line.contains("BLUE is heard again")).unwrap();
        assert!(receiver.wait_until(ALARM_MAX, |received| received.distinct() > arrived_before + 2_000));
        let sent = sender.stop().unwrap();
        let received = receiver.finish(&sent, QUIET).unwrap();
        assert!(received.missing(&sent).len() > 5_000, "the outage lost too little: {received}");
        let outcome = path.stop(sent, received);
        outcome.report(&format!("{driver} link down"));
        outcome.check_accounts();
        assert!(outcome.link(Role::Red, "link_missing") > 0);
    }
}
