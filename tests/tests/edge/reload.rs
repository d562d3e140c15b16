//! SIGHUP, SIGUSR1 and SIGTERM while datagrams flow.

use std::time::Duration;

use lab::traffic::{Load, Receiver, Sender};
use lab::{Options, Site, address, require_root};

use super::rig::{
    ARRIVES, Rig, await_stats, client, client_from, count, crosses, logs, numbers, socket, stop, stream, value,
};
use lab::path::{PORT, Path5, QUIET};

/// Behind the steady stream's server address, which a receiver occupies.
fn to(port: u16) -> (std::net::Ipv4Addr, u16) {
    (address::SERVER, port)
}

const STRANGER: &str = "10.71.1.66";

fn site(driver: &str) -> Site {
    Site::new(driver).stream(numbers())
}

fn before(driver: &str) -> Site {
    let listed = stream(4, "listed", 5004, to(6004)).line(&format!("source_ip = [\"{}\"]", address::CLIENT));
    site(driver).stream(stream(2, "leaving", 5002, to(6002))).stream(stream(3, "moving", 5003, to(6003))).stream(listed)
}

fn after(driver: &str) -> Site {
    let listed = stream(4, "listed", 5004, to(6004)).line(&format!("source_ip = [\"{STRANGER}\"]"));
    site(driver).stream(stream(3, "moving", 5003, to(6033))).stream(listed).stream(stream(5, "coming", 5005, to(6005)))
}

/// Writes the path's site file anew and has both read it; each must say what it made of it.
fn reload(path: &Path5, site: &Site, said: &str) {
    let site = site.clone().key_file(&path.ground.folder.path().join("link.key"));
    assert_eq!(site.write(path.ground.folder.path()).unwrap(), path.ground.site_file);
    for relay in [&path.red, &path.blue] {
        let from = relay.log().len();
        relay.signal(libc::SIGHUP).unwrap();
        relay.wait_for_line(from, ARRIVES, |line| line.contains(said)).unwrap();
    }
}

fn reloads(driver: &str) {
    let rig = Rig::new(&Options::default());
    rig.lab.client.ip(&format!("addr add {STRANGER}/24 dev cli0")).unwrap();
    let path = rig.start(&before(driver));
    let lab = &path.ground.lab;
    let at = |port| socket(&lab.server, to(port));
    let (s6002, s6003, s6033, s6004, s6005) = (at(6002), at(6003), at(6033), at(6004), at(6005));
    let stranger = client_from(lab, STRANGER.parse().unwrap(), 5004);
    let (listed, moving) = (client(lab, 5004), client(lab, 5003));
    let load = Load::new((address::BLUE, PORT), 10_000).size(500);
    let receiver = Receiver::start(&lab.server, to(PORT), load.seed).unwrap();
    let sender = Sender::start(&lab.client, load).unwrap();
    crosses(&path, &client(lab, 5002), &s6002, b"leaving");
    crosses(&path, &moving, &s6003, b"moving");
    crosses(&path, &listed, &s6004, b"listed");
    stranger.send(b"not yet").unwrap();

    reload(&path, &after(driver), "in force");
    // The sessions of before go on by the new rules.
    crosses(&path, &moving, &s6033, b"moved");
    listed.send(b"no more").unwrap();
    crosses(&path, &stranger, &s6004, b"now");
    crosses(&path, &client(lab, 5005), &s6005, b"coming");
    client(lab, 5002).send(b"too late").unwrap();

    // Two errors: a broken value and a stream without its port.
    let bad = after(driver).fec("deadline = \"never\"").stream(stream(5, "twice", 5009, to(6009)));
    reload(&path, &bad, "reload refused");
    crosses(&path, &stranger, &s6004, b"as before");
    path.blue.wait_for_line(0, ARRIVES, |line| line.contains("deadline")).unwrap();

    let other_link = after(driver).link("heartbeat = \"100ms\"").blue("unmatched = \"drop\"");
    reload(&path, &other_link, "link.heartbeat");
    path.blue.wait_for_line(0, ARRIVES, |line| line.contains("blue.unmatched")).unwrap();
    crosses(&path, &stranger, &s6004, b"and again");

    assert!(receiver.wait_until(ARRIVES, |received| received.distinct() > 1000));
    let sent = sender.stop().unwrap();
    let received = receiver.finish(&sent, QUIET).unwrap();
    received.check_complete(&sent).unwrap_or_else(|error| panic!("{error:#}\n{}", logs(&path)));
    s6002.set_nonblocking(true).unwrap();
    assert!(s6002.recv(&mut [0; 64]).is_err());
    let (blue, red) = stop(path);
    assert_eq!(count(&blue, "listed", "refused.source"), 2);
    for (stream, datagrams) in [("numbers", sent.total()), ("moving", 2), ("listed", 4), ("coming", 1)] {
        assert_eq!(
            (count(&blue, stream, "sent"), count(&red, stream, "delivered")),
            (datagrams, datagrams),
            "{stream}"
        );
    }
}

#[test]
fn reloads_xdp() {
    require_root!();
    reloads("xdp");
}

#[test]
fn reloads_socket() {
    require_root!();
    reloads("socket");
}

/// Stops both in mid-stream; the account still adds up.
fn stops_under_load(driver: &str) {
    let path = Rig::new(&Options::default()).start(&site(driver));
    let load = Load::new((address::BLUE, PORT), 60_000).size(200);
    let receiver = Receiver::start(&path.ground.lab.server, to(PORT), load.seed).unwrap();
    let sender = Sender::start(&path.ground.lab.client, load).unwrap();
    assert!(receiver.wait_until(ARRIVES, |received| received.distinct() > 20_000));
    let line = await_stats(&path.blue, |line| line.contains("stream=numbers"));
    assert!(value(&line, "sent") > 20_000, "{line}");
    await_stats(&path.red, |line| line.contains("link=forward") && value(line, "accepted") > 0);
    let Path5 { ground: _ground, blue, red } = path;
    let blue = blue.stop().unwrap();
    // BLUE's port is closed now, which the kernel tells the sender.
    let _ = sender.stop();
    let red = red.stop().unwrap();
    for stopped in [&blue, &red] {
        assert!(
            stopped.status.success() && stopped.took < Duration::from_secs(2),
            "{:?} {}",
            stopped.took,
            stopped.log.text()
        );
    }
    let received = receiver.stop().unwrap();
    let line = red.summary.stream("numbers").unwrap();
    let delivered = line.number("delivered").unwrap();
    let context = format!("{}\n{}", blue.log.text(), red.log.text());
    assert_eq!(count(&blue, "numbers", "sent"), delivered + line.total("refused") + line.total("lost"), "{context}");
    assert_eq!(received.distinct() + received.kernel_drops, delivered, "{context}");
    let line = blue.summary.stream("numbers").unwrap();
    // What comes while BLUE stops overflows the queue that nobody empties, and then finds no socket there.
    let outside =
        ["refused.overflow", "refused.no_socket"].map(|key| line.number(key).unwrap_or(0)).iter().sum::<u64>();
    assert_eq!(
        line.number("received").unwrap() + outside,
        line.number("sent").unwrap() + line.total("refused"),
        "{context}"
    );
}

#[test]
fn stops_under_load_xdp() {
    require_root!();
    stops_under_load("xdp");
}

#[test]
fn stops_under_load_socket() {
    require_root!();
    stops_under_load("socket");
}
