//! Both ways at once, every byte arrives as long as losses stay within the promise.

use std::net::{IpAddr, Shutdown};

use lab::{address, require_root};

use super::pattern::{End, Pattern};
use super::rig::{self, BURSTS, CLEAR, Door, Plan, RANDOM, Way, Weather};

/// Each way: long enough to fill every queue and to take hundreds of blocks.
const BYTES: u64 = 20 << 20;

/// Sends and reads [`BYTES`] both ways at once over one connection from `blue`'s port to `destination`.
fn whole(driver: &'static str, weather: Weather, (blue, destination): (IpAddr, IpAddr)) {
    let path = Plan { driver, weather, destination, ..Plan::new(Way::Both) }.start();
    let door = Door::open_at(&path, destination);
    let client = rig::connect_to(&path, blue);
    let server = door.next();
    let (asked, answered) = (Pattern::new(1), Pattern::new(2));
    std::thread::scope(|scope| {
        for (pattern, from, to) in [(&asked, &client, &server), (&answered, &server, &client)] {
            scope.spawn(move || {
                pattern.send(from, 0, BYTES).unwrap();
                from.shutdown(Shutdown::Write).unwrap();
            });
            scope.spawn(move || assert_eq!(pattern.read_to_end(to), (BYTES, End::Closed)));
        }
    });
    for link in [Some(&path.ground.lab.diode), path.ground.lab.back.as_ref()] {
        let lost = link.unwrap().counters().unwrap().dropped;
        assert!(lost >= weather.0.frames_min(), "only {lost} frames were lost");
    }
    let (blue, red, log) = rig::stop(path);
    assert_eq!(blue.number("received_bytes").unwrap(), BYTES, "{log}");
    assert_eq!(red.number("delivered_bytes").unwrap(), BYTES, "{log}");
    let aborted = blue.number("sessions_aborted").unwrap() + red.number("sessions_aborted").unwrap();
    assert_eq!((aborted, red.total("lost") + red.total("refused")), (0, 0), "{log}");
}

fn v4() -> (IpAddr, IpAddr) {
    (address::BLUE.into(), address::SERVER.into())
}

fn v6() -> (IpAddr, IpAddr) {
    (address::BLUE_V6.into(), address::SERVER_V6.into())
}

#[test]
fn xdp_without_loss() {
    require_root!();
    whole("xdp", CLEAR, v4());
}

#[test]
fn socket_without_loss() {
    require_root!();
    whole("socket", CLEAR, v4());
}

#[test]
fn xdp_with_one_percent_lost() {
    require_root!();
    whole("xdp", RANDOM, v4());
}

#[test]
fn socket_with_one_percent_lost() {
    require_root!();
    whole("socket", RANDOM, v6());
}

#[test]
fn xdp_with_bursts() {
    require_root!();
    whole("xdp", BURSTS, v4());
}

#[test]
fn ipv6_throughout() {
    require_root!();
    whole("xdp", CLEAR, v6());
}

/// Families of the zones have nothing to do with each other.
#[test]
fn ipv6_clients_reach_an_ipv4_destination() {
    require_root!();
    whole("xdp", CLEAR, (address::BLUE_V6.into(), address::SERVER.into()));
}
