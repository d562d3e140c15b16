//! Other kinds of link: Ethernet frames, no MAC address, several queues, a pace.

use lab::{Options, RelayProcess, Role, Site, address, require_root};

use super::raw::{self, Wire};
use super::rig::{ARRIVES, Rig, client, crosses, numbers, server, stop};
use lab::path::{Ground, PORT, Path5, relay};

#[test]
fn frames_directly_in_ethernet() {
    require_root!();
    let site = Site::new("xdp").link("encapsulation = \"ethernet\"").stream(numbers());
    let path = Path5::start(&Options::default(), &site);
    let wire = Wire::open(path.ground.lab.diode.host(), address::DIODE_BLUE_IF);
    let (sent, received) = path.send(|load| load.count(2000).flows(3));
    let ip = |frame: &[u8]| [[0x08, 0x00], [0x86, 0xdd]].contains(&[frame[12], frame[13]]);
    assert_eq!(wire.collect(1, std::time::Duration::ZERO, ip).len(), 0, "IP on the link");
    path.stop(sent, received).check_complete();
}

#[test]
fn frames_to_everyone_without_a_mac_address() {
    require_root!();
    let rig = Rig::new(&Options::default());
    let text = Site::new("xdp").stream(numbers()).text(rig.folder.path());
    let mac = format!("mac = \"{}\"\n", address::RED_LINK_MAC);
    assert!(text.contains(&mac));
    let site_file = rig.folder.path().join("site.toml");
    std::fs::write(&site_file, text.replace(&mac, "")).unwrap();
    let red = RelayProcess::start(relay(), Role::Red, &rig.lab.red, &site_file).unwrap();
    let blue = RelayProcess::start(relay(), Role::Blue, &rig.lab.blue, &site_file).unwrap();
    let path = Path5 { ground: Ground::of(rig.lab, rig.folder, site_file), blue, red };
    let wire = Wire::open(path.ground.lab.diode.host(), address::DIODE_BLUE_IF);
    crosses(&path, &client(&path.ground.lab, PORT), &server(&path.ground.lab), b"to everyone");
    let frames = wire.collect(1, ARRIVES, |_| true);
    assert_eq!(frames[0][..6], [0xff; 6]);
    assert!(raw::datagram(&frames[0]).is_some_and(|frame| frame.checksums || frame.ports.1 == 7400));
    stop(path);
}

fn queues(driver: &str) {
    let path = Path5::start(&Options { queues: 2, ..Options::default() }, &Site::new(driver).stream(numbers()));
    let (sent, received) = path.send(|load| load.count(10_000).flows(16));
    assert_eq!(received.out_of_order(), 0);
    path.stop(sent, received).check_complete();
}

#[test]
fn two_queues_xdp() {
    require_root!();
    queues("xdp");
}

#[test]
fn two_queues_socket() {
    require_root!();
    queues("socket");
}

/// More comes in than the link may carry: what does not fit is refused and counted, and what was taken arrives.
#[test]
fn a_pace() {
    require_root!();
    let site = Site::new("xdp").link("rate = \"20Mbit/s\"").stream(numbers());
    let path = Path5::start(&Options::default(), &site);
    let (sent, received) = path.send(|load| lab::traffic::Load { rate: 4000, ..load }.size(1400).seconds(2));
    let (bytes, elapsed_s) = (received.bytes as f64, received.elapsed.as_secs_f64());
    let outcome = path.stop(sent, received);
    let (blue, red) = (outcome.blue.summary.stream("numbers").unwrap(), outcome.red.summary.stream("numbers").unwrap());
    let (taken, refused) = (blue.number("sent").unwrap(), blue.total("refused"));
    assert_eq!((taken + refused, red.number("delivered").unwrap()), (outcome.sent.total(), taken), "{blue:?} {red:?}");
    assert!(refused > 0 && bytes * 8.0 < 20e6 * 1.1 * (elapsed_s + 0.2), "{bytes} bytes in {elapsed_s} s, {blue:?}");
}
