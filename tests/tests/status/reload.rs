//! A new site file while sessions live.

use std::net::{Shutdown, TcpListener, TcpStream};

use lab::path::Path5;
use lab::traffic::tcp::{self, Destination, End, read_all, send, send_on};
use lab::{Role, Site, Stream, address, require_root};

use super::rig::{self, PORT};

/// The port of a stream that stays as it is.
const OTHER_PORT: u16 = 5141;
/// Another destination.
const MOVED_PORT: u16 = 5999;

fn site(first: Option<Stream>) -> Site {
    let other = rig::stream(2, OTHER_PORT);
    first.into_iter().chain([other]).fold(rig::site("xdp"), Site::stream)
}

fn start(first: Stream) -> Path5 {
    rig::ground(&site(Some(first))).start()
}

/// Both read their site file again, in this order.
fn reload(path: &Path5, site: &Site, order: [Role; 2]) {
    let folder = path.ground.folder.path();
    site.clone().key_file(&folder.join("link.key")).write(folder).unwrap();
    for role in order {
        let relay = if role == Role::Blue { &path.blue } else { &path.red };
        let from = relay.log().len();
        relay.signal(libc::SIGHUP).unwrap();
        relay.wait_for_line(from, tcp::SOON, |line| line.contains("reloaded")).unwrap();
    }
}

fn session(path: &Path5, destination: &Destination, port: u16, seed: u8) -> (TcpStream, TcpStream) {
    let mut client = rig::connect(&path.ground, port);
    send(&mut client, seed, 1000).unwrap();
    let connection = destination.accept();
    tcp::expect(&connection, seed, 0, 1000).unwrap();
    (client, connection)
}

fn completes(path: &Path5, mut client: TcpStream, connection: TcpStream, seed: u8) {
    send_on(&mut client, seed, 1000, 9000, |_| ()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let arrived = tcp::read_on(connection, seed, 1000);
    assert!(arrived.is_whole(10_000), "{arrived:?}\n{}", rig::logs(path));
    assert_eq!(rig::end_of(path, &client), End::InOrder);
}

/// Its sessions are broken off on both sides, though nobody sends anything; those of other streams go on.
fn removed(order: [Role; 2]) {
    let path = start(rig::stream(1, PORT));
    let destination = rig::destination(&path.ground);
    let other = Destination::open(&path.ground.lab.server, (address::SERVER, OTHER_PORT));
    let (client, connection) = session(&path, &destination, PORT, 1);
    let (other_client, other_connection) = session(&path, &other, OTHER_PORT, 2);
    reload(&path, &site(None), order);
    assert_eq!(rig::end_of(&path, &client), End::Reset);
    assert!(!tcp::read_on(connection, 1, 1000).whole, "{}", rig::logs(&path));
    completes(&path, other_client, other_connection, 2);
    assert!(tcp::connect(&path.ground.lab.client, (address::BLUE, PORT)).is_err(), "nobody listens there");
    // The stream may come back.
    reload(&path, &site(Some(rig::stream(1, PORT))), order);
    let (client, connection) = session(&path, &destination, PORT, 3);
    completes(&path, client, connection, 3);
    rig::stop(path);
}

#[test]
fn a_removed_stream_ends_its_sessions_blue_first() {
    require_root!();
    removed([Role::Blue, Role::Red]);
}

#[test]
fn a_removed_stream_ends_its_sessions_red_first() {
    require_root!();
    removed([Role::Red, Role::Blue]);
}

/// A lower limit ends nobody; it holds for the next client, and so does a higher one.
#[test]
fn another_limit_holds_for_the_next_client() {
    require_root!();
    let limited = |sessions: u32| rig::stream(1, PORT).line(&format!("max_sessions = {sessions}"));
    let path = start(limited(2));
    let destination = rig::destination(&path.ground);
    let (first, first_connection) = session(&path, &destination, PORT, 1);
    let (second, second_connection) = session(&path, &destination, PORT, 2);
    let order = [Role::Red, Role::Blue];
    reload(&path, &site(Some(limited(1))), order);
    tcp::turned_away(&path.ground.lab.client, (address::BLUE, PORT)).unwrap();
    rig::wait_logged(&path.blue, &["max_sessions already", "stream1"]);
    reload(&path, &site(Some(limited(3))), order);
    let (third, third_connection) = session(&path, &destination, PORT, 3);
    completes(&path, first, first_connection, 1);
    completes(&path, second, second_connection, 2);
    completes(&path, third, third_connection, 3);
    let ended = rig::stop(path);
    assert_eq!((ended.blue("refused.session_limit"), ended.blue("sessions_aborted")), (1, 0), "{}", ended.log);
}

/// Sessions stay with the destination that they have; new ones go to the new one.
#[test]
fn another_destination_is_for_new_sessions() {
    require_root!();
    let path = start(rig::stream(1, PORT).line("max_sessions = 2"));
    let before = rig::destination(&path.ground);
    let after = Destination::open(&path.ground.lab.server, (address::SERVER, MOVED_PORT));
    let (old, old_connection) = session(&path, &before, PORT, 1);
    let destination = (address::SERVER, MOVED_PORT).into();
    let moved = Stream::new(1, "stream1", "tcp-unilateral", PORT, destination).line("max_sessions = 2");
    reload(&path, &site(Some(moved)), [Role::Red, Role::Blue]);
    let (new, new_connection) = session(&path, &after, PORT, 2);
    completes(&path, old, old_connection, 1);
    completes(&path, new, new_connection, 2);
    assert!(before.is_quiet());
    rig::stop(path);
}

/// Two streams change ports: clients go where the file now says.
#[test]
fn a_port_may_go_to_another_stream() {
    require_root!();
    let path = start(rig::stream(1, PORT));
    let first = rig::destination(&path.ground);
    let other = Destination::open(&path.ground.lab.server, (address::SERVER, OTHER_PORT));
    let stream = |channel: u16, port: u16, destination: u16| {
        let destination = (address::SERVER, destination).into();
        Stream::new(channel, &format!("stream{channel}"), "tcp-unilateral", port, destination)
    };
    let swapped = rig::site("xdp").stream(stream(1, OTHER_PORT, PORT)).stream(stream(2, PORT, OTHER_PORT));
    reload(&path, &swapped, [Role::Red, Role::Blue]);
    let (client, connection) = session(&path, &other, PORT, 1);
    let (other_client, other_connection) = session(&path, &first, OTHER_PORT, 2);
    completes(&path, client, connection, 1);
    completes(&path, other_client, other_connection, 2);
    rig::stop(path);
}

/// Somebody else listens on a new stream's port: nothing changes, and the next reload finds everything as it was.
#[test]
fn a_taken_port_changes_nothing() {
    require_root!();
    let path = start(rig::stream(1, PORT));
    let destination = rig::destination(&path.ground);
    let taken = path.ground.lab.blue.run(|| TcpListener::bind(("0.0.0.0", MOVED_PORT)));
    let taken = taken.unwrap().expect("nobody has it");
    let folder = path.ground.folder.path();
    let more = site(Some(rig::stream(1, PORT))).stream(rig::stream(3, MOVED_PORT));
    more.key_file(&folder.join("link.key")).write(folder).unwrap();
    let from = path.blue.log().len();
    path.blue.signal(libc::SIGHUP).unwrap();
    path.blue.wait_for_line(from, tcp::SOON, |line| line.contains("reload refused")).unwrap();
    drop(taken);
    let (client, connection) = session(&path, &destination, PORT, 1);
    completes(&path, client, connection, 1);
    let another = site(Some(rig::stream(1, PORT))).stream(rig::stream(4, MOVED_PORT));
    reload(&path, &another, [Role::Red, Role::Blue]);
    let moved = Destination::open(&path.ground.lab.server, (address::SERVER, MOVED_PORT));
    let (client, connection) = session(&path, &moved, MOVED_PORT, 2);
    completes(&path, client, connection, 2);
    rig::stop(path);
}

/// A client that is held when its stream goes is dropped.
#[test]
fn a_removed_stream_drops_who_is_held() {
    require_root!();
    let path = start(rig::stream(1, PORT));
    let silence = rig::Silence::begin(&path.ground.lab.server, PORT);
    let client = rig::connect(&path.ground, PORT);
    silence.wait_tried();
    reload(&path, &site(None), [Role::Blue, Role::Red]);
    assert_eq!(rig::end_of(&path, &client), End::Reset);
    silence.end();
    let other = Destination::open(&path.ground.lab.server, (address::SERVER, OTHER_PORT));
    let mut client = rig::connect(&path.ground, OTHER_PORT);
    send(&mut client, 1, 1000).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(other.accept()).is_whole(1000));
    rig::stop(path);
}
