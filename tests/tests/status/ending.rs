//! How sessions end: each end learns what became of the other, and nothing is taken for whole that is not.

use std::net::{Shutdown, TcpStream};

use lab::path::Path5;
use lab::traffic::tcp::{self, Destination, End, read_all, send, send_on};
use lab::{Site, Syslog, require_root};

use super::rig::{self, About, PORT};

/// Enough for hundreds of blocks.
const MUCH: u64 = 8 << 20;
/// What BLUE's kernel takes with [`narrow`] while the relay reads nothing.
const FITS_INTO_BLUE: u64 = 1 << 20;

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

/// Small buffers everywhere behind BLUE, so that [`FITS_INTO_BLUE`] does not fit into them, and a large one in front of it.
fn narrow(site: &Site) -> Path5 {
    let ground = rig::ground(site);
    ground.lab.blue.sysctl("net/ipv4/tcp_rmem", "4096 4194304 6291456").unwrap();
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
    let path = narrow(&rig::site("xdp").stream(rig::stream(1, PORT).line("buffer = \"64KiB\"")));
    let destination = rig::destination(&path.ground);
    let (mut client, connection) = session(&path, &destination, 1);
    // All of it is in BLUE's kernel or beyond when this returns.
    send_on(&mut client, 1, 1000, FITS_INTO_BLUE - 1000, |_| ()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut delivered = 0;
    let stalled = rig::await_stats(&path.red, About::Stream, |line| {
        let before = std::mem::replace(&mut delivered, line.number("delivered_bytes").unwrap());
        delivered > 60_000 && delivered == before
    });
    assert!(delivered < FITS_INTO_BLUE, "{stalled:?}");
    assert!(tcp::is_open(&client), "{}", rig::logs(&path));
    let arrived = tcp::read_on(connection, 1, 1000);
    assert!(arrived.is_whole(FITS_INTO_BLUE), "{arrived:?}");
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
    let path = narrow(&rig::site("xdp").stream(rig::stream(1, PORT).line("buffer = \"64KiB\"")));
    let destination = rig::destination(&path.ground);
    let (mut client, stalled) = session(&path, &destination, 1);
    fill(&path, &mut client);
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

/// Sends until nothing on the way takes any more.
fn fill(path: &Path5, client: &mut TcpStream) {
    client.set_nonblocking(true).unwrap();
    // As much as everything on the way holds.
    let mut taken = 0;
    rig::await_stats(&path.blue, About::Stream, |line| {
        while send(client, 1, 1000).is_ok() {}
        let before = std::mem::replace(&mut taken, line.number("received_bytes").unwrap());
        taken > 60_000 && taken == before
    });
    client.set_nonblocking(false).unwrap();
}

/// Who is held back is not idle: its session is broken off in the end, never closed as if it were whole.
#[test]
fn a_stalled_session_does_not_end_as_if_it_were_idle() {
    require_root!();
    let stream = rig::stream(1, PORT).line("buffer = \"64KiB\"").line("idle = \"1s\"");
    let path = narrow(&rig::site("xdp").stream(stream));
    let destination = rig::destination(&path.ground);
    let (mut client, stalled) = session(&path, &destination, 1);
    fill(&path, &mut client);
    assert_eq!(rig::end_of(&path, &client), End::Reset);
    rig::wait_logged(&path.blue, &["session broken off: idle for too long"]);
    let arrived = tcp::read_on(stalled, 1, 1000);
    assert!(!arrived.whole, "{arrived:?}\n{}", rig::logs(&path));
    rig::stop(path);
}

/// One that has nothing to send ends in order, with everything that it sent.
#[test]
fn an_idle_session_ends_in_order() {
    require_root!();
    let path = rig::ground(&rig::site("xdp").stream(rig::stream(1, PORT).line("idle = \"500ms\""))).start();
    let destination = rig::destination(&path.ground);
    let (client, connection) = session(&path, &destination, 1);
    assert_eq!(rig::end_of(&path, &client), End::InOrder);
    assert!(tcp::read_on(connection, 1, 1000).is_whole(1000));
    let ended = rig::stop(path);
    assert_eq!((ended.blue("sessions_aborted"), ended.red("sessions_aborted")), (0, 0), "{}", ended.log);
}
