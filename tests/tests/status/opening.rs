//! A client is held until its destination has accepted, and dropped when it does not.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use lab::traffic::tcp::{self, End, read_all, send};
use lab::{Role, Syslog, require_root};

use super::rig::{self, About, PORT, Silence};

const BYTES: u64 = 1_000_000;
/// Well above `connect_timeout` where these tests set it, and half its default.
const DROPPED_BOUND: Duration = Duration::from_secs(5);

/// What is sent before RED has connected waits on BLUE, and then arrives.
fn held(driver: &str) {
    let path = rig::start(driver);
    let lab = &path.ground.lab;
    let destination = rig::destination(&path.ground);
    let silence = Silence::begin(&lab.server, PORT);
    let mut client = rig::connect(&path.ground, PORT);
    send(&mut client, 1, 1000).unwrap();
    silence.wait_tried();
    assert!(tcp::is_open(&client), "{}", rig::logs(&path));
    let held = rig::await_stats(&path.blue, About::Stream, |line| line.number("sessions").unwrap() == 1);
    assert_eq!(held.number("received").unwrap(), 0, "{held:?}");
    silence.end();
    let connection = destination.accept();
    tcp::send_on(&mut client, 1, 1000, BYTES - 1000, |_| ()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let arrived = read_all(connection);
    assert!(arrived.is_whole(BYTES), "{arrived:?}\n{}", rig::logs(&path));
    assert_eq!(rig::end_of(&path, &client), End::InOrder);
    let ended = rig::stop(path);
    assert_eq!((ended.blue("sessions_aborted"), ended.red("sessions_aborted")), (0, 0), "{}", ended.log);
    assert_eq!((ended.blue("received_bytes"), ended.red("delivered_bytes")), (BYTES, BYTES), "{}", ended.log);
}

#[test]
fn held_until_the_destination_accepts_xdp() {
    require_root!();
    held("xdp");
}

#[test]
fn held_until_the_destination_accepts_socket() {
    require_root!();
    held("socket");
}

fn refused(driver: &str) {
    let path = rig::start(driver);
    let syslog = Syslog::start(&path.ground.lab.blue);
    let syslog_red = Syslog::start(&path.ground.lab.red);
    // Nobody answers before the client is there.
    let silence = Silence::begin(&path.ground.lab.server, PORT);
    let client = rig::connect(&path.ground, PORT);
    let source = client.local_addr().unwrap().to_string();
    silence.wait_tried();
    silence.end();
    assert_eq!(rig::end_of(&path, &client), End::Reset);
    rig::wait_logged(&path.blue, &["RED cannot connect", &source, "stream1"]);
    rig::wait_logged(&path.red, &["cannot be delivered", "refused", "stream1"]);
    rig::wait_told(&syslog, &["open_failed", &source, "stream1"]);
    rig::wait_told(&syslog_red, &["cannot be delivered", "stream1"]);
    // The next one may come: the refused one's place is free, and the destination is there by now.
    let destination = rig::destination(&path.ground);
    let mut client = rig::connect(&path.ground, PORT);
    send(&mut client, 2, 100).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(destination.accept()).is_whole(100));
    let ended = rig::stop(path);
    assert_eq!(ended.blue("refused.open_failed"), 1, "{}", ended.log);
    assert_eq!(ended.blue("sessions_aborted"), 0, "{}", ended.log);
}

#[test]
fn a_refused_connection_resets_the_client_xdp() {
    require_root!();
    refused("xdp");
}

#[test]
fn a_refused_connection_resets_the_client_socket() {
    require_root!();
    refused("socket");
}

/// RED waits no longer than it may for a destination that says nothing.
#[test]
fn a_destination_that_does_not_answer_costs_the_client_its_connection() {
    require_root!();
    let stream = rig::stream(1, PORT).line("connect_timeout = \"1s\"");
    let path = rig::ground(&rig::site("xdp").stream(stream)).start();
    let _silence = Silence::begin(&path.ground.lab.server, PORT);
    let begun = Instant::now();
    let client = rig::connect(&path.ground, PORT);
    assert_eq!(rig::end_of(&path, &client), End::Reset);
    assert!(begun.elapsed() < DROPPED_BOUND, "after {:?}\n{}", begun.elapsed(), rig::logs(&path));
    rig::wait_logged(&path.red, &["cannot be delivered", "timed out"]);
    let ended = rig::stop(path);
    assert_eq!(ended.blue("refused.open_failed") + ended.blue("refused.open_timeout"), 1, "{}", ended.log);
}

#[test]
fn without_red_a_client_is_dropped_after_its_time() {
    require_root!();
    let stream = rig::stream(1, PORT).line("connect_timeout = \"1s\"");
    let ground = rig::ground(&rig::site("xdp").stream(stream));
    let syslog = Syslog::start(&ground.lab.blue);
    let blue = ground.relay(Role::Blue);
    let begun = Instant::now();
    let client = rig::connect(&ground, PORT);
    let source = client.local_addr().unwrap().to_string();
    assert_eq!(tcp::end_of(&client).unwrap(), End::Reset, "{}", blue.log().text());
    assert!(begun.elapsed() < DROPPED_BOUND, "after {:?}\n{}", begun.elapsed(), blue.log().text());
    rig::wait_logged(&blue, &["RED did not answer in time", &source]);
    rig::wait_told(&syslog, &["open_timeout", &source, "stream1"]);
    let stopped = blue.stop().unwrap();
    let line = stopped.summary.channel(1).unwrap();
    assert_eq!(line.number("refused.open_timeout").unwrap(), 1, "{}", stopped.log.text());
}

/// The open is repeated until somebody answers it.
#[test]
fn a_red_that_starts_while_a_client_is_held_connects_it() {
    require_root!();
    let ground = rig::ground(&rig::site("xdp").stream(rig::stream(1, PORT)));
    let destination = rig::destination(&ground);
    let blue = ground.relay(Role::Blue);
    let mut client = rig::connect(&ground, PORT);
    send(&mut client, 1, 1000).unwrap();
    // The first open is on its way before RED is there to hear it.
    rig::wait_until("the open leaves", || ground.lab.diode.counters().unwrap().forwarded > 3);
    assert!(tcp::is_open(&client));
    let red = ground.relay(Role::Red);
    let connection = destination.accept();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(connection).is_whole(1000));
    assert_eq!(tcp::end_of(&client).unwrap(), End::InOrder);
    let ended = rig::stop(lab::path::Path5 { ground, blue, red });
    assert_eq!((ended.blue("refused.open_timeout"), ended.blue("sessions_aborted")), (0, 0), "{}", ended.log);
}
