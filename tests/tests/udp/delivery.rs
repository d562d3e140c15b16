//! Everything arrives, for each driver and code, as long as losses stay within the promise.

use lab::traffic::{Load, Sender};
use lab::{Loss, Options, Role, Site, Stream, address, require_root};

use lab::path::{Ground, PORT, Path5, QUIET, is_soak, stream};

const CODES: [&str; 2] = ["raptorq", "reed-solomon"];
/// The burst of the requirements: 15 in every 700 frames.
const BURSTS: Loss = Loss::Bursts { burst: 15, period: 700 };

fn site(driver: &str, scheme: &str, (share, residual, burst): (&str, &str, u32)) -> Site {
    Site::new(driver).scheme(scheme).protect(share, residual, burst).stream(stream())
}

fn lossy(loss: Loss) -> Options {
    Options { loss, ..Options::default() }
}

/// The rates and durations to send at: a second, or what the requirements ask for.
fn loads() -> &'static [(u64, u64)] {
    if is_soak() { &[(20_000, 10), (1_000, 30)] } else { &[(10_000, 1)] }
}

/// All of it arrives, whole, once and in order, and every account says so.
fn complete(name: &str, options: &Options, site: &Site) {
    for &(rate, seconds) in loads() {
        let path = Path5::start(options, site);
        let (sent, received) = path.send(|load| Load { rate, ..load }.seconds(seconds).flows(3));
        let outcome = path.stop(sent, received);
        outcome.report(&format!("{name} at {rate}/s for {seconds} s"));
        outcome.check_complete();
    }
}

fn for_each_code(driver: &str, name: &str, loss: Loss, protection: (&str, &str, u32)) {
    for scheme in CODES {
        complete(&format!("{driver} {scheme} {name}"), &lossy(loss), &site(driver, scheme, protection));
    }
}

#[test]
fn xdp_without_loss() {
    require_root!();
    for_each_code("xdp", "no loss", Loss::None, ("0.1%", "1e-9", 4));
}

#[test]
fn xdp_with_random_loss() {
    require_root!();
    for_each_code("xdp", "2% random", Loss::percent(2.0), ("2%", "1e-9", 0));
}

#[test]
fn xdp_with_bursts() {
    require_root!();
    for_each_code("xdp", "15 in every 700", BURSTS, ("0.01%", "1e-9", 15));
}

#[test]
fn xdp_with_a_share_instead_of_a_promise() {
    require_root!();
    for scheme in CODES {
        let site = Site::new("xdp").scheme(scheme).repair("10%").fec("deadline = \"10ms\"").stream(stream());
        let path = Path5::start(&lossy(Loss::percent(2.0)), &site);
        let (sent, received) = path.send(|load| load.seconds(if is_soak() { 10 } else { 1 }));
        let outcome = path.stop(sent, received);
        outcome.report(&format!("xdp {scheme} 2% random, repair 10%, deadline 10ms at 20000/s"));
        outcome.check_complete();
    }
}

#[test]
fn sockets_with_random_loss_and_with_bursts() {
    require_root!();
    for_each_code("socket", "2% random", Loss::percent(2.0), ("2%", "1e-9", 0));
    for_each_code("socket", "15 in every 700", BURSTS, ("0.01%", "1e-9", 15));
}

#[test]
fn the_drivers_understand_each_other() {
    require_root!();
    let mixed = site("xdp", "raptorq", ("2%", "1e-9", 0));
    let socket = "driver = \"socket\"";
    complete("blue xdp, red socket", &lossy(Loss::percent(2.0)), &mixed.clone().red(socket));
    complete("blue socket, red xdp", &lossy(Loss::percent(2.0)), &mixed.blue(socket));
}

#[test]
fn no_code_needs_no_repair_while_nothing_is_lost() {
    require_root!();
    for driver in ["xdp", "socket"] {
        let path = Path5::start(&Options::default(), &Site::new(driver).scheme("none").stream(stream()));
        let (sent, received) = path.send(|load| load.count(10_000).flows(3));
        let outcome = path.stop(sent, received);
        outcome.check_complete();
        assert_eq!(outcome.link(Role::Blue, "repair_frames"), 0);
    }
}

#[test]
fn an_unsealed_link_works_and_is_warned_of() {
    require_root!();
    let path = Ground::plain(&lossy(Loss::percent(2.0)), &site("xdp", "raptorq", ("2%", "1e-9", 0))).start();
    let (sent, received) = path.send(|load| load.count(10_000));
    let outcome = path.stop(sent, received);
    outcome.check_complete();
    for stopped in [&outcome.blue, &outcome.red] {
        assert!(stopped.log.text().contains("THE LINK IS NOT SEALED"), "{}", stopped.log.text());
    }
}

#[test]
fn frames_directly_in_ethernet() {
    require_root!();
    let site = site("xdp", "raptorq", ("2%", "1e-9", 0)).link("encapsulation = \"ethernet\"");
    complete("xdp raptorq ethernet", &lossy(Loss::percent(2.0)), &site);
}

/// A veth is not zero-copy: what it does by itself is to send through a packet socket.
#[test]
fn either_way_out_of_a_card_carries_everything() {
    require_root!();
    for (transmit, mtu, queues, link_mode, zone_mode) in [
        ("af_xdp", 1500, 1, "copy", "copy"),
        // The last frame takes three pieces of memory over AF_XDP.
        ("af_xdp", 9000, 1, "copy", "copy"),
        ("packet", 1500, 2, "packet", "packet"),
        ("packet", 9000, 1, "packet", "packet"),
        ("auto", 1500, 1, "packet", "packet"),
        // The zone's order would hang on the processor that a lane runs on.
        ("auto", 1500, 2, "packet", "copy"),
    ] {
        let options = Options { mtu, queues, zone_mtu: mtu, ..lossy(Loss::percent(2.0)) };
        let site = site("xdp", "raptorq", ("2%", "1e-9", 0));
        let site = site.link(&format!("mtu = {mtu}")).link(&format!("transmit = \"{transmit}\""));
        let path = Path5::start(&options, &site);
        let (sent, received) = path.send(|load| load.count(10_000).sizes(40, mtu as usize - 28).flows(16));
        let outcome = path.stop(sent, received);
        outcome.report(&format!("{transmit}, MTU {mtu}, {queues} queues"));
        outcome.check_complete();
        assert_eq!(outcome.link(Role::Red, "zone_errors"), 0);
        let modes = [(&outcome.blue, "link_mode=native/", link_mode), (&outcome.red, "zone_mode=", zone_mode)];
        for (stopped, key, mode) in modes {
            let text = stopped.log.text();
            assert!(text.contains(&format!("{key}{mode} ")), "{transmit}: {text}");
        }
    }
}

#[test]
fn datagrams_of_every_size_come_whole() {
    require_root!();
    for driver in ["xdp", "socket"] {
        let path = Path5::start(&lossy(Loss::percent(2.0)), &site(driver, "raptorq", ("2%", "1e-9", 0)));
        // Up to the MTU, then up to six fragments, which take the kernel's way on both hosts.
        for (least, most, rate) in [(40, 1472, 8_000), (1473, 9000, 2_000)] {
            let (sent, received) = path.send(|load| Load { rate, ..load }.seconds(1).sizes(least, most).flows(3));
            received.check_complete(&sent).unwrap_or_else(|error| panic!("{driver} {least}..={most}: {error:#}"));
        }
        let (blue, red, diode) = path.end();
        assert!(blue.status.success() && red.status.success() && diode.came_back == 0);
    }
}

/// Within one flow the kernel puts fragments together beside the queue, so that order is not kept between the two ways.
#[test]
fn sizes_mixed_in_one_flow_lose_nothing() {
    require_root!();
    let path = Path5::start(&lossy(Loss::percent(2.0)), &site("xdp", "raptorq", ("2%", "1e-9", 0)));
    let (sent, received) = path.send(|load| Load { rate: 3_000, ..load }.seconds(1).sizes(40, 9000).flows(3));
    let outcome = path.stop(sent, received);
    assert_eq!(outcome.received.missing(&outcome.sent), [], "{}", outcome.received);
    outcome.check_accounts();
}

#[test]
fn a_zone_with_a_smaller_mtu_than_the_datagrams_gets_fragments() {
    require_root!();
    let options = Options { zone_mtu: 1500, mtu: 9000, loss: Loss::percent(2.0), ..Options::default() };
    let site = site("xdp", "reed-solomon", ("2%", "1e-9", 0)).link("mtu = 9000");
    let path = Path5::start(&options, &site);
    let (sent, received) = path.send(|load| Load { rate: 2_000, ..load }.seconds(1).sizes(4000, 9000));
    path.stop(sent, received).check_complete();
}

#[test]
fn unordered_streams_lose_nothing_either() {
    require_root!();
    for driver in ["xdp", "socket"] {
        let stream = stream().line("ordered = false");
        let site = Site::new(driver).protect("2%", "1e-9", 0).stream(stream);
        let path = Path5::start(&lossy(Loss::percent(2.0)), &site);
        let (sent, received) = path.send(|load| load.count(10_000).flows(3));
        let outcome = path.stop(sent, received);
        assert_eq!(outcome.received.missing(&outcome.sent), [], "{}", outcome.received);
        assert!(outcome.received.out_of_order() > 0, "what was recovered overtook nothing: {}", outcome.received);
        outcome.check_accounts();
    }
}

#[test]
fn several_queues_are_several_lanes() {
    require_root!();
    let options = Options { queues: 2, ..lossy(Loss::percent(2.0)) };
    for scheme in CODES {
        let path = Path5::start(&options, &site("xdp", scheme, ("2%", "1e-9", 0)));
        let (sent, received) = path.send(|load| load.count(10_000).flows(16));
        let outcome = path.stop(sent, received);
        outcome.report(&format!("xdp {scheme} two queues"));
        outcome.check_complete();
    }
}

#[test]
fn streams_with_codes_of_their_own_share_the_link() {
    require_root!();
    let protect = r#"protect = { loss = "2%", residual = "1e-9", burst = 0 }"#;
    let codes = [
        format!(r#"fec = {{ scheme = "raptorq", {protect} }}"#),
        format!(r#"fec = {{ scheme = "reed-solomon", {protect}, deadline = "2ms" }}"#),
        format!(r#"fec = {{ block_symbols = 16, {protect}, flush = "0us" }}"#),
    ];
    let mut site = Site::new("xdp");
    for (index, code) in (0_u16..).zip(&codes) {
        let port = PORT + index;
        let stream = Stream::udp(index + 1, &format!("s{index}"), port, (address::SERVER, port)).line(code);
        site = site.stream(stream.line("max_sessions = 8"));
    }
    let path = Path5::start(&lossy(Loss::percent(2.0)), &site);
    let lab = &path.ground.lab;
    let running: Vec<_> = (0_u16..3)
        .map(|index| {
            let (port, seed) = (PORT + index, u64::from(index) + 1);
            let receiver = path.ground.receiver(port, seed);
            let load = Load::new((address::BLUE, port), 3_000).seconds(1).seed(seed).flows(2).sizes(40, 1400);
            (Sender::start(&lab.client, load).unwrap(), receiver)
        })
        .collect();
    let results: Vec<_> = running
        .into_iter()
        .map(|(sender, receiver)| {
            let sent = sender.join().unwrap();
            let received = receiver.finish(&sent, QUIET).unwrap();
            (sent, received)
        })
        .collect();
    let (blue, red, _) = path.end();
    let logs = format!("{}\n{}", blue.log.text(), red.log.text());
    for (index, (sent, received)) in results.iter().enumerate() {
        received.check_complete(sent).unwrap_or_else(|error| panic!("stream {index}: {error:#}\n{logs}"));
        let line = red.summary.stream(&format!("s{index}")).unwrap();
        assert_eq!((line.number("delivered").unwrap(), line.total("lost")), (sent.total(), 0), "{logs}");
    }
}
