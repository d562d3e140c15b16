//! How sessions end: each end learns what became of the other, and nothing is taken for whole that is not.

use std::net::{Shutdown, TcpStream};

use lab::path::Path5;
use lab::traffic::tcp::{self, Destination, End, read_all, send, send_on};
use lab::{Site, Syslog, require_root};

use super::rig::{self, PORT};

/// More than every buffer between client and destination holds with [`narrow`].
const MUCH: u64 = 8 << 20;

/// A client, and its connection at the destination after its first `bytes` have come.
fn session(path: &Path5, destination: &Destination, seed: u8) -> (TcpStream, TcpStream) {
    let mut client = rig::connect(&path.ground, PORT);
    send(&mut client, seed, 1000).unwrap();
    let connection = destination.accept();
    tcp::expect(&connection, seed, 0, 1000).unwrap();
    (client, connection)
}

/// Sends the rest of `bytes` and ends; everything must come.
fn completes(path: &Path5, mut client: TcpStream, connection: TcpStream, seed: u8, bytes: u64) {
    let reads = std::thread::spawn(move || tcp::read_on(connection, seed, 1000));
    send_on(&mut client, seed, 1000, bytes - 1000, |_| ()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let arrived = reads.join().unwrap();
    assert!(arrived.is_whole(bytes), "{arrived:?}\n{}", rig::logs(path));
    assert_eq!(rig::end_of(path, &client), End::InOrder);
}

#[test]
fn a_destination_that_resets_resets_its_client_alone() {
    require_root!();
    let path = rig::start("xdp");
    let syslog = Syslog::start(&path.ground.lab.blue);
    let destination = rig::destination(&path.ground);
    let (hit, hit_connection) = session(&path, &destination, 1);
    let (other, connection) = session(&path, &destination, 2);
    let source = hit.local_addr().unwrap().to_string();
    tcp::reset(hit_connection).unwrap();
    assert_eq!(rig::end_of(&path, &hit), End::Reset);
    rig::wait_logged(&path.blue, &["session broken off", &source]);
    rig::wait_logged(&path.red, &["session", "reset"]);
    rig::wait_told(&syslog, &["broken off", "stream1"]);
    completes(&path, other, connection, 2, MUCH);
    let ended = rig::stop(path);
    assert_eq!(ended.blue("sessions_aborted"), 1, "{}", ended.log);
}

/// A destination whose program dies closes its connection; what the client sends then finds nobody.
#[test]
fn a_destination_that_is_gone_resets_its_client_alone() {
    require_root!();
    let path = rig::start("xdp");
    let destination = rig::destination(&path.ground);
    let (mut hit, hit_connection) = session(&path, &destination, 1);
    let (other, connection) = session(&path, &destination, 2);
    drop(hit_connection);
    assert_eq!(rig::end_of(&path, &hit), End::InOrder, "it sends no more");
    while send(&mut hit, 1, 1000).is_ok() {}
    completes(&path, other, connection, 2, MUCH);
    let ended = rig::stop(path);
    assert_eq!(ended.blue("sessions_aborted"), 1, "{}", ended.log);
}

#[test]
fn a_destination_that_half_closes_still_takes_everything() {
    require_root!();
    let path = rig::start("xdp");
    let destination = rig::destination(&path.ground);
    let (mut client, connection) = session(&path, &destination, 1);
    connection.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rig::end_of(&path, &client), End::InOrder);
    let reads = std::thread::spawn(move || tcp::read_on(connection, 1, 1000));
    send_on(&mut client, 1, 1000, MUCH - 1000, |_| ()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let arrived = reads.join().unwrap();
    let ended = rig::stop(path);
    assert!(arrived.is_whole(MUCH), "{arrived:?}\n{}", ended.log);
    assert_eq!((ended.blue("sessions_aborted"), ended.red("sessions_aborted")), (0, 0), "{}", ended.log);
}

/// Small buffers everywhere behind BLUE, so that [`MUCH`] does not fit into them.
fn narrow(site: Site) -> Path5 {
    let ground = rig::ground(&site);
    for host in [&ground.lab.red, &ground.lab.server] {
        for buffer in ["tcp_wmem", "tcp_rmem"] {
            host.sysctl(&format!("net/ipv4/{buffer}"), "4096 65536 65536").unwrap();
        }
    }
    ground.start()
}

/// The client reads the end only once its destination has everything: what it sees is end to end.
#[test]
fn the_end_comes_after_everything_was_delivered() {
    require_root!();
    let path = narrow(rig::site("xdp").stream(rig::stream(1, PORT).line("buffer = \"64KiB\"")));
    let destination = rig::destination(&path.ground);
    let (mut client, connection) = session(&path, &destination, 1);
    let bytes = 2 << 20;
    let sends = std::thread::spawn(move || {
        send_on(&mut client, 1, 1000, bytes - 1000, |_| ()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        client
    });
    let stalled = rig::await_stats(&path.red, |line| line.number("delivered_bytes").unwrap() > 60_000);
    assert!(stalled.number("delivered_bytes").unwrap() < bytes, "{stalled:?}");
    let reads = std::thread::spawn(move || {
        tcp::expect(&connection, 1, 1000, bytes - 1001).unwrap();
        connection
    });
    let connection = reads.join().unwrap();
    let client = sends.join().unwrap();
    // All but the last byte was read; it and the end are on their way.
    let arrived = tcp::read_on(connection, 1, bytes - 1);
    assert!(arrived.is_whole(bytes), "{arrived:?}");
    assert_eq!(rig::end_of(&path, &client), End::InOrder);
    let ended = rig::stop(path);
    assert_eq!((ended.blue("sessions_aborted"), ended.red("sessions_aborted")), (0, 0), "{}", ended.log);
}

#[test]
fn a_client_that_resets_resets_its_destination() {
    require_root!();
    let path = rig::start("xdp");
    let destination = rig::destination(&path.ground);
    let (client, connection) = session(&path, &destination, 1);
    tcp::reset(client).unwrap();
    let arrived = tcp::read_on(connection, 1, 1000);
    assert!(!arrived.whole && arrived.bytes == 1000, "{arrived:?}");
    let ended = rig::stop(path);
    assert_eq!((ended.blue("sessions_aborted"), ended.red("sessions_aborted")), (1, 1), "{}", ended.log);
}

/// A client that goes while it is held leaves nothing behind, and its place is free at once.
#[test]
fn a_client_that_resets_while_it_is_held_frees_its_place() {
    require_root!();
    let path = rig::ground(&rig::site("xdp").stream(rig::stream(1, PORT).line("connect_timeout = \"4min\""))).start();
    let destination = rig::destination(&path.ground);
    let silence = rig::Silence::begin(&path.ground.lab.server, PORT);
    let held = rig::connect(&path.ground, PORT);
    silence.wait_tried();
    tcp::reset(held).unwrap();
    rig::wait_logged(&path.blue, &["session broken off"]);
    silence.end();
    let mut client = rig::connect(&path.ground, PORT);
    send(&mut client, 1, 1000).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let arrived = read_all(destination.accept());
    assert!(arrived.is_whole(1000), "{arrived:?}\n{}", rig::logs(&path));
    rig::stop(path);
}

/// The same for one whose destination stalls: nobody may wait for bytes that nobody sends any more.
#[test]
fn a_client_that_resets_while_it_is_stalled_frees_its_place() {
    require_root!();
    let path = narrow(rig::site("xdp").stream(rig::stream(1, PORT).line("buffer = \"64KiB\"")));
    let destination = rig::destination(&path.ground);
    let (mut client, stalled) = session(&path, &destination, 1);
    client.set_nonblocking(true).unwrap();
    // As much as everything on the way holds.
    rig::await_stats(&path.red, |line| {
        while send(&mut client, 1, 1000).is_ok() {}
        line.number("delivered_bytes").unwrap() > 60_000
    });
    tcp::reset(client).unwrap();
    rig::wait_logged(&path.blue, &["session broken off"]);
    let arrived = tcp::read_on(stalled, 1, 1000);
    assert!(!arrived.whole, "{arrived:?}");
    let mut client = rig::connect(&path.ground, PORT);
    send(&mut client, 2, 1000).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(destination.accept()).is_whole(1000));
    rig::stop(path);
}
