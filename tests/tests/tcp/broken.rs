//! What cannot be whole is reset, alone.

use std::io::Read as _;
use std::net::{Shutdown, TcpStream};

use lab::path::Path5;
use lab::traffic::tcp;
use lab::{Loss, Syslog, address, require_root};

use super::rig::{self, Destination, PORT, SOON};

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
    let syslog = Syslog::start(&path.ground.lab.blue);
    let server = rig::serve(&path.ground.lab.server);
    let mut first = rig::connect(&path).unwrap();
    rig::send(&mut first, 1, 100).unwrap();
    tcp::turned_away(&path.ground.lab.client, (address::BLUE, PORT)).unwrap();
    path.blue.wait_for_line(0, SOON, |line| line.contains("max_sessions already")).unwrap();
    rig::wait_told(&syslog, &["session_limit", "max_sessions already", "to bytes"]);
    drop(first);
    assert!(server.next().whole);
    let (blue, _, log) = rig::stop(path);
    assert_eq!(blue.number("refused.session_limit").unwrap(), 1, "{log}");
}

/// A destination that does not close keeps its sessions' places on RED, of which there are twice `max_sessions` and 8.
#[test]
fn a_session_without_a_place_on_red_is_told() {
    const PLACES: u64 = 12;
    require_root!();
    let path = rig::start("xdp", Loss::None, PROTECTED, &["max_sessions = 2"]);
    let syslog = Syslog::start(&path.ground.lab.red);
    let _takes_nothing = Destination::open(&path.ground.lab.server, (address::SERVER, PORT));
    (0..=PLACES).for_each(|_| rig::send_whole(&path, 1, 100));
    let told = |line: &str| line.contains("session not delivered") && line.contains("session=");
    path.red.wait_for_line(0, SOON, told).unwrap();
    rig::wait_told(&syslog, &["session_limit", "not delivered", "bytes"]);
    let (blue, red, log) = rig::stop(path);
    let counts = [(&blue, "sessions"), (&red, "sessions"), (&red, "refused.session_limit")];
    assert_eq!(counts.map(|(line, key)| line.number(key).unwrap()), [PLACES + 1, PLACES, 1], "{log}");
    assert_eq!(log.matches("session not delivered").count(), 1, "{log}");
}

/// Nobody can slow its client down: one session ends, with what had come of it.
#[test]
fn a_destination_that_does_not_read_is_reset_alone() {
    // What kernels take for it (`tcp_rmem`, `tcp_wmem`: 10 MB) and what may wait are less than this.
    const MUCH: u64 = 24 << 20;
    // No more than may wait, however slowly it is read.
    const HEALTHY: u64 = 4 << 20;
    require_root!();
    let path = rig::start("xdp", Loss::None, PROTECTED, &["max_sessions = 2", "buffer = \"4MiB\""]);
    let destination = Destination::open(&path.ground.lab.server, (address::SERVER, PORT));
    let (mut hit, stalled) = rig::session(&path, &destination, 1);
    let (other, connection) = rig::session(&path, &destination, 2);
    std::thread::scope(|scope| {
        scope.spawn(|| tcp::send_on(&mut hit, 1, rig::FIRST_BYTES, MUCH, |_| ()).expect("BLUE takes all"));
        completes(&path, other, connection, HEALTHY);
    });
    path.red.wait_for_line(0, SOON, |line| line.contains("more than `buffer` waits for it")).unwrap();
    tcp::finish(&hit, SOON).unwrap();
    let arrived = tcp::read_on(stalled, 1, rig::FIRST_BYTES);
    assert!(!arrived.whole && !arrived.wrong && arrived.bytes < MUCH, "{arrived:?}");
    hit_alone(path);
}

#[test]
fn a_destination_that_resets_costs_its_own_session_alone() {
    require_root!();
    let path = rig::start("xdp", Loss::None, PROTECTED, &["max_sessions = 2"]);
    let syslog = Syslog::start(&path.ground.lab.red);
    let destination = Destination::open(&path.ground.lab.server, (address::SERVER, PORT));
    let (mut hit, gone) = rig::session(&path, &destination, 1);
    let (other, connection) = rig::session(&path, &destination, 2);
    tcp::reset(gone).unwrap();
    path.red.wait_for_line(0, SOON, |line| line.contains("session=") && line.contains("reset by peer")).unwrap();
    rig::wait_told(&syslog, &["send_error", "reset by peer", "bytes"]);
    // Its client cannot know.
    tcp::send_on(&mut hit, 1, rig::FIRST_BYTES, 1000, |_| ()).unwrap();
    tcp::finish(&hit, SOON).unwrap();
    completes(&path, other, connection, 4 << 20);
    hit_alone(path);
}

/// Sends the rest of `bytes` of seed 2 and ends; everything must come.
fn completes(path: &Path5, mut client: TcpStream, connection: TcpStream, bytes: u64) {
    let reads = std::thread::spawn(move || tcp::read_on(connection, 2, rig::FIRST_BYTES));
    tcp::send_on(&mut client, 2, rig::FIRST_BYTES, bytes - rig::FIRST_BYTES, |_| ()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let arrived = reads.join().unwrap();
    assert!(arrived.is_whole(bytes), "{arrived:?}\n{}", path.red.log().text());
}

/// RED has broken off one of two sessions, and counts and tells that once; BLUE knows nothing of it.
fn hit_alone(path: Path5) {
    let (blue, red, log) = rig::stop(path);
    let counts = [(&blue, "sessions_aborted"), (&red, "sessions"), (&red, "sessions_aborted")];
    assert_eq!(counts.map(|(line, key)| line.number(key).unwrap()), [0, 2, 1], "{log}");
    assert_eq!(log.matches("session=").count(), 1, "{log}");
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
