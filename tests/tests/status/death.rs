//! Hosts that die, stop and restart, and links that are cut: nobody goes on with a session whose other end is gone.

use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use lab::path::{Ground, Path5};
use lab::traffic::tcp::{self, End, Server, read_all, send};
use lab::{Diode, Loss, RelayProcess, Role, address, require_root};

use super::rig::{self, PORT};

const CLIENTS: u8 = 50;
/// The requirement; measured times are printed beside it.
const DROPPED_MAX: Duration = Duration::from_secs(1);
/// No machine is so busy that two heartbeats, half a second, become this; whoever waits for anything else takes longer.
const DROPPED_BOUND: Duration = Duration::from_secs(3);

/// An answer alone in its block, with the repair symbols of the default promise: more than any heartbeat has.
const ANSWER_FRAMES: u64 = 8;

fn server(ground: &Ground) -> Server {
    Server::start(&ground.lab.server, (address::SERVER, PORT))
}

/// So many clients whose first bytes have arrived.
fn clients(path: &Path5, server: &Server, count: u8) -> Vec<TcpStream> {
    let connect = |seed| {
        let mut client = rig::connect(&path.ground, PORT);
        send(&mut client, seed, 100).unwrap();
        client
    };
    let clients = (0..count).map(connect).collect();
    (0..count).for_each(|_| server.wait_begun());
    clients
}

/// A client comes through, from its first byte to its end.
fn serves(path: &Path5, server: &Server) {
    let mut client = rig::connect(&path.ground, PORT);
    send(&mut client, 200, 50_000).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let arrived = server.next();
    assert!(arrived.is_whole(50_000), "{arrived:?}\n{}", rig::logs(path));
    assert_eq!(rig::end_of(path, &client), End::InOrder);
}

/// Every client loses its connection, soon; prints how long after `since` the last one did.
fn all_reset(path: &Path5, clients: &[TcpStream], since: Instant, what: &str) {
    for client in clients {
        assert_eq!(rig::end_of(path, client), End::Reset, "{}", rig::logs(path));
    }
    let took = since.elapsed();
    println!("{what}: {} clients dropped after {took:?}; at most {DROPPED_MAX:?} wanted", clients.len());
    assert!(took < DROPPED_BOUND, "{what}: dropped after {took:?}\n{}", rig::logs(path));
}

/// So many destinations see a reset, and none an end in order.
fn all_broken_off(server: &Server, count: u8) {
    for _ in 0..count {
        let arrived = server.next();
        assert!(!arrived.whole && arrived.bytes == 100, "{arrived:?}");
    }
}

fn kill_red(driver: &str) {
    let mut path = rig::start(driver);
    let server = server(&path.ground);
    let clients = clients(&path, &server, CLIENTS);
    let killed_at = Instant::now();
    kill(&path.red);
    all_reset(&path, &clients, killed_at, &format!("{driver}: RED killed"));
    all_broken_off(&server, CLIENTS);
    path.red = path.ground.relay(Role::Red);
    serves(&path, &server);
    let ended = rig::stop(path);
    assert_eq!(ended.blue("sessions_aborted"), u64::from(CLIENTS), "{}", ended.log);
}

fn kill(relay: &RelayProcess) {
    relay.signal(libc::SIGKILL).unwrap();
    rig::wait_until("its end", || !relay.is_running());
}

#[test]
fn a_killed_red_costs_every_client_its_connection_xdp() {
    require_root!();
    kill_red("xdp");
}

#[test]
fn a_killed_red_costs_every_client_its_connection_socket() {
    require_root!();
    kill_red("socket");
}

fn kill_blue(driver: &str) {
    let mut path = rig::start(driver);
    let server = server(&path.ground);
    let clients = clients(&path, &server, CLIENTS);
    let killed_at = Instant::now();
    kill(&path.blue);
    all_reset(&path, &clients, killed_at, &format!("{driver}: BLUE killed"));
    all_broken_off(&server, CLIENTS);
    let took = killed_at.elapsed();
    println!("{driver}: BLUE killed: {CLIENTS} destinations were reset after {took:?}");
    assert!(took < DROPPED_BOUND, "destinations were reset after {took:?}\n{}", rig::logs(&path));
    path.blue = path.ground.relay(Role::Blue);
    serves(&path, &server);
    let ended = rig::stop(path);
    assert_eq!(ended.red("sessions_aborted"), u64::from(CLIENTS), "{}", ended.log);
}

#[test]
fn a_killed_blue_resets_every_destination_xdp() {
    require_root!();
    kill_blue("xdp");
}

#[test]
fn a_killed_blue_resets_every_destination_socket() {
    require_root!();
    kill_blue("socket");
}

/// RED says so when it stops: nobody waits for heartbeats that do not come.
#[test]
fn a_red_that_stops_drops_its_clients() {
    require_root!();
    let path = rig::ground(&patient_site()).start();
    let server = server(&path.ground);
    let clients = clients(&path, &server, 5);
    let Path5 { ground, blue, red } = path;
    let stopped = red.stop().unwrap();
    assert!(stopped.status.success(), "{}", stopped.log.text());
    for client in &clients {
        assert_eq!(tcp::end_of(client).unwrap(), End::Reset, "{}", blue.log().text());
    }
    all_broken_off(&server, 5);
    let red = ground.relay(Role::Red);
    let path = Path5 { ground, blue, red };
    serves(&path, &server);
    rig::stop(path);
}

/// Two heartbeats take longer than anything here waits.
fn patient_site() -> lab::Site {
    rig::site("xdp").link("heartbeat = \"1min\"").stream(rig::stream(1, PORT).line("max_sessions = 64"))
}

/// A RED that is back before anybody could have missed it knows nothing of the sessions of before, and says so.
#[test]
fn a_new_start_of_red_ends_the_sessions_of_before() {
    require_root!();
    let mut path = rig::ground(&patient_site()).start();
    let server = server(&path.ground);
    let clients = clients(&path, &server, 5);
    kill(&path.red);
    path.red = path.ground.relay(Role::Red);
    all_reset(&path, &clients, Instant::now(), "RED restarted at once");
    all_broken_off(&server, 5);
    serves(&path, &server);
    let ended = rig::stop(path);
    assert_eq!(ended.blue("sessions_aborted"), 5, "{}", ended.log);
}

/// Sessions of before end on both hosts, a new client is refused in time, and later ones come through.
fn outage(cut: fn(&lab::Lab) -> &Diode, refused_on_red: bool) {
    let stream = rig::stream(1, PORT).line("max_sessions = 64").line("connect_timeout = \"500ms\"");
    let path = rig::ground(&rig::site("xdp").stream(stream)).start();
    let server = server(&path.ground);
    let clients = clients(&path, &server, 3);
    let (cut_at, link) = (Instant::now(), cut(&path.ground.lab));
    link.set_loss(Loss::All).unwrap();
    all_reset(&path, &clients, cut_at, "link cut");
    all_broken_off(&server, 3);
    let refused = rig::connect(&path.ground, PORT);
    assert_eq!(rig::end_of(&path, &refused), End::Reset);
    if refused_on_red {
        // RED had connected it, and hears that BLUE gave it up.
        let arrived = server.next();
        assert!(!arrived.whole && arrived.bytes == 0, "{arrived:?}");
    }
    link.set_loss(Loss::None).unwrap();
    rig::wait_logged(if refused_on_red { &path.blue } else { &path.red }, &["is heard again"]);
    serves(&path, &server);
    let ended = rig::stop(path);
    assert_eq!((ended.blue("sessions_aborted"), ended.blue("refused.open_timeout")), (3, 1), "{}", ended.log);
}

#[test]
fn without_the_return_link_nobody_goes_on() {
    require_root!();
    outage(|lab| lab.back.as_ref().unwrap(), true);
}

#[test]
fn without_the_forward_link_nobody_goes_on() {
    require_root!();
    outage(|lab| &lab.diode, false);
}

/// A client that was held while the return link was down is connected once, when the answer comes.
#[test]
fn an_answer_that_was_lost_comes_again() {
    require_root!();
    let path = rig::start("xdp");
    let destination = rig::destination(&path.ground);
    let back = path.ground.lab.back.as_ref().unwrap();
    back.set_loss(Loss::All).unwrap();
    let lost = || back.counters().unwrap().dropped;
    let before = lost();
    let mut client = rig::connect(&path.ground, PORT);
    send(&mut client, 1, 1000).unwrap();
    let connection = destination.accept();
    rig::wait_until("the answer with its repair symbols", || lost() >= before + ANSWER_FRAMES);
    back.set_loss(Loss::None).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(connection).is_whole(1000));
    assert_eq!(rig::end_of(&path, &client), End::InOrder);
    assert!(destination.is_quiet(), "connected twice");
    let ended = rig::stop(path);
    assert_eq!((ended.blue("sessions_aborted"), ended.red("sessions")), (0, 1), "{}", ended.log);
}
