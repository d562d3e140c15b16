//! What cannot be whole is reset, alone.

use std::io::Read as _;
use std::net::TcpStream;

use lab::traffic::tcp;
use lab::{Loss, address, require_root};

use super::rig::{self, PORT, SOON};

const PROTECTED: (&str, &str, u32) = ("0.1%", "1e-9", 4);

/// A client that is gone without an end: its destination must not take what came for the whole.
#[test]
fn a_reset_client_resets_its_destination() {
    require_root!();
    let path = rig::start("xdp", Loss::None, PROTECTED, &[]);
    let server = rig::serve(&path.ground.lab.server);
    let mut client = rig::connect(&path).unwrap();
    rig::send(&mut client, 1, 1000).unwrap();
    server.wait_begun();
    tcp::reset(client).unwrap();
    let arrived = server.next();
    assert!(!arrived.whole, "{arrived:?}");
    let (_, red, log) = rig::stop(path);
    assert_eq!(red.number("sessions_aborted").unwrap(), 1, "{log}");
}

/// Beyond the promise a session ends, and the next one works.
#[test]
fn a_lost_block_resets_its_session_alone() {
    require_root!();
    let path = rig::start("xdp", Loss::None, PROTECTED, &["max_sessions = 4"]);
    let server = rig::serve(&path.ground.lab.server);
    let mut hit = rig::connect(&path).unwrap();
    rig::send(&mut hit, 1, 10_000).unwrap();
    // A session whose beginning is lost is never begun.
    server.wait_begun();
    path.ground.lab.diode.set_loss(Loss::All).unwrap();
    rig::send(&mut hit, 1, 5_000_000).unwrap();
    // More than a block and all its repair symbols.
    while path.ground.lab.diode.counters().unwrap().dropped < 1000 {
        std::thread::yield_now();
    }
    path.ground.lab.diode.set_loss(Loss::None).unwrap();
    drop(hit);
    let arrived = server.next();
    assert!(!arrived.whole, "{arrived:?}");
    rig::send_whole(&path, 9, 100_000);
    let arrived = server.next();
    assert!(arrived.whole && !arrived.wrong && arrived.bytes == 100_000, "{arrived:?}");
    let (blue, red, log) = rig::stop(path);
    let counted = red.number("delivered").unwrap() + red.total("lost") + red.total("refused");
    assert_eq!(counted, blue.number("sent").unwrap(), "{log}");
}

#[test]
fn one_session_more_than_allowed_is_refused() {
    require_root!();
    let path = rig::start("xdp", Loss::None, PROTECTED, &["max_sessions = 1"]);
    let server = rig::serve(&path.ground.lab.server);
    let mut first = rig::connect(&path).unwrap();
    rig::send(&mut first, 1, 100).unwrap();
    tcp::turned_away(&path.ground.lab.client, (address::BLUE, PORT)).unwrap();
    path.blue.wait_for_line(0, SOON, |line| line.contains("max_sessions already")).unwrap();
    drop(first);
    assert!(server.next().whole);
    let (blue, _, log) = rig::stop(path);
    assert_eq!(blue.number("refused.session_limit").unwrap(), 1, "{log}");
}

fn refused(driver: &str) {
    let path = rig::start(driver, Loss::None, PROTECTED, &["source_ip = [\"10.71.1.99\"]"]);
    let lab = &path.ground.lab;
    let connected = lab.client.run(|| {
        let answer = std::time::Duration::from_secs(1);
        TcpStream::connect_timeout(&(address::BLUE, PORT).into(), answer).and_then(|mut client| {
            client.set_read_timeout(Some(SOON))?;
            client.read(&mut [0])
        })
    });
    assert!(!connected.unwrap().is_ok_and(|bytes| bytes > 0));
    path.blue.wait_for_line(0, SOON, |line| line.contains("source not allowed")).unwrap();
    let (blue, red, log) = rig::stop(path);
    assert!(blue.number("refused.source").unwrap() >= 1, "{log}");
    assert_eq!(red.number("sessions").unwrap(), 0, "{log}");
}

#[test]
fn a_source_that_is_not_listed_gets_nowhere_xdp() {
    require_root!();
    refused("xdp");
}

#[test]
fn a_source_that_is_not_listed_gets_nowhere_socket() {
    require_root!();
    refused("socket");
}

/// A stream that a reload takes away takes its sessions with it, on both hosts.
#[test]
fn a_removed_stream_ends_its_sessions() {
    require_root!();
    let path = rig::start("xdp", Loss::None, PROTECTED, &[]);
    let server = rig::serve(&path.ground.lab.server);
    let mut client = rig::connect(&path).unwrap();
    rig::send(&mut client, 1, 1000).unwrap();
    server.wait_begun();
    let text = std::fs::read_to_string(&path.ground.site_file).unwrap();
    let other =
        text.replace("channel = 1", "channel = 2").replace(&format!("source_port = {PORT}"), "source_port = 5141");
    std::fs::write(&path.ground.site_file, other).unwrap();
    for relay in [&path.blue, &path.red] {
        relay.signal(libc::SIGHUP).unwrap();
        relay.wait_for_line(0, SOON, |line| line.contains("reloaded")).unwrap();
    }
    assert!(!server.next().whole);
    // The next bytes find that the stream is gone.
    while rig::send(&mut client, 1, 1000).is_ok() {}
    let (_, red, log) = rig::stop(path);
    assert_eq!(red.number("sessions_aborted").unwrap(), 1, "{log}");
}
