//! Who the destination takes for its client, and what of the client crosses the link.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use lab::path::{Ground, Path5, relay};
use lab::{Host, RelayProcess, Role, Tap, address, require_root};

use super::pattern::{End, Pattern};
use super::rig::{self, Door, PORT, Plan, SOON, Way};

const PROXY: &[&str] = &["impersonate = \"proxy-v2\"", "max_sessions = 64"];
const TRANSPARENT: &[&str] = &["impersonate = \"transparent\"", "max_sessions = 64"];
const OFF: &[&str] = &["max_sessions = 64"];
/// As the specification has them: signature, version and command, family, and the length of addresses and ports.
const V4_HEAD: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
const V6_HEAD: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24";

/// BLUE's address of the client's family, and the destination.
type Route = (IpAddr, IpAddr);

fn route(client_v6: bool, destination_v6: bool) -> Route {
    let blue = if client_v6 { address::BLUE_V6.into() } else { address::BLUE.into() };
    let server = if destination_v6 { address::SERVER_V6.into() } else { address::SERVER.into() };
    (blue, server)
}

/// The header that a destination expects of a client.
fn proxy_header(client: SocketAddr, destination: IpAddr) -> Vec<u8> {
    let mut header = Vec::new();
    if let (IpAddr::V4(from), IpAddr::V4(to)) = (client.ip(), destination) {
        header.extend_from_slice(V4_HEAD);
        header.extend([from.octets(), to.octets()].concat());
    } else {
        let v6 = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        header.extend_from_slice(V6_HEAD);
        header.extend([v6(client.ip()), v6(destination)].concat());
    }
    header.extend([client.port().to_be_bytes(), PORT.to_be_bytes()].concat());
    header
}

/// What the client sends arrives unchanged from here on, and what the server answers where answers come back.
fn payload_is_unchanged(way: Way, client: &TcpStream, server: &TcpStream) {
    const BYTES: u64 = 300_000;
    let (asked, answered) = (Pattern::new(1), Pattern::new(2));
    asked.send(client, 0, BYTES).unwrap();
    asked.expect(server, 0, BYTES);
    if way == Way::Both {
        answered.send(server, 0, BYTES).unwrap();
        answered.expect(client, 0, BYTES);
    }
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(asked.read_to_end(server), (0, End::Closed));
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(answered.read_to_end(client), (0, End::Closed));
}

fn none_broken(path: Path5) {
    let (_, red, log) = rig::stop(path);
    assert_eq!(red.number("sessions_aborted").unwrap(), 0, "{log}");
}

fn proxy(driver: &'static str, way: Way, (blue, destination): Route) {
    let path = Plan { driver, destination, lines: PROXY, ..Plan::new(way) }.start();
    let door = Door::open_at(&path, destination);
    let client = rig::connect_to(&path, blue);
    let mut server = door.next();
    let expected = proxy_header(client.local_addr().unwrap(), destination);
    let mut header = vec![0; expected.len()];
    server.read_exact(&mut header).unwrap();
    assert_eq!(header, expected);
    payload_is_unchanged(way, &client, &server);
    none_broken(path);
}

#[test]
fn a_proxy_header_comes_first_alone() {
    require_root!();
    proxy("xdp", Way::Alone, route(false, false));
}

#[test]
fn a_proxy_header_comes_first_with_status() {
    require_root!();
    proxy("socket", Way::Status, route(true, true));
}

#[test]
fn a_proxy_header_comes_first_both_ways() {
    require_root!();
    proxy("xdp", Way::Both, route(false, false));
}

#[test]
fn a_proxy_header_of_an_ipv4_client_for_an_ipv6_destination() {
    require_root!();
    proxy("xdp", Way::Both, route(false, true));
}

#[test]
fn a_proxy_header_of_an_ipv6_client_for_an_ipv4_destination() {
    require_root!();
    proxy("xdp", Way::Alone, route(true, false));
}

/// Has RED's kernel take what the destination answers to clients' addresses: the README's commands.
fn take_answers(red: &Host, destination: IpAddr) {
    let family = if destination.is_ipv6() { "-6" } else { "-4" };
    for arguments in [
        format!("{family} rule add iif red0 from {destination} ipproto tcp sport {PORT} lookup 100"),
        format!("{family} route add local default dev lo table 100"),
    ] {
        let mut command = Command::new("ip");
        command.args(arguments.split(' '));
        red.output(command, "").unwrap();
    }
}

fn transparent(driver: &'static str, way: Way, (blue, destination): Route) {
    let sources = if blue.is_ipv6() { address::CLIENT_V6.to_string() } else { address::CLIENT.to_string() };
    let sources = format!("source_ip = [\"{sources}\"]");
    let lines = &[TRANSPARENT, &[&sources]].concat();
    let path = Plan { driver, destination, lines, ..Plan::new(way) }.start();
    take_answers(&path.ground.lab.red, destination);
    let door = Door::open_at(&path, destination);
    let client = rig::connect_to(&path, blue);
    let server = door.next();
    assert_eq!(server.peer_addr().unwrap(), client.local_addr().unwrap());
    payload_is_unchanged(way, &client, &server);
    none_broken(path);
}

#[test]
fn the_destination_sees_the_client_alone() {
    require_root!();
    transparent("xdp", Way::Alone, route(false, false));
}

#[test]
fn the_destination_sees_the_client_with_status() {
    require_root!();
    transparent("socket", Way::Status, route(false, false));
}

#[test]
fn the_destination_sees_the_client_both_ways() {
    require_root!();
    transparent("xdp", Way::Both, route(false, false));
}

#[test]
fn the_destination_sees_an_ipv6_client() {
    require_root!();
    transparent("xdp", Way::Both, route(true, true));
}

/// RED's log says what is missing, and the client is dropped.
fn refused(path: Path5, client: &TcpStream, why: &str) {
    path.red.wait_for_line(0, SOON, |line| line.contains(why)).unwrap();
    path.blue.wait_for_line(0, SOON, |line| line.contains("RED cannot connect")).unwrap();
    let (bytes, _) = Pattern::new(1).read_to_end(client);
    assert_eq!(bytes, 0);
    rig::stop(path);
}

/// The relay without any capability; its folder belongs to whom it runs as.
fn unprivileged(ground: &Ground) -> PathBuf {
    let folder = ground.folder.path();
    let (binary, script) = (folder.join("relay"), folder.join("as-nobody"));
    std::fs::copy(relay(), &binary).unwrap();
    let switch = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all";
    std::fs::write(&script, format!("#!/bin/sh\nexec {switch} {} \"$@\"\n", binary.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(folder).status().unwrap().success());
    script
}

#[test]
fn red_without_privilege_says_what_a_foreign_address_needs() {
    require_root!();
    let sources = format!("source_ip = [\"{}\"]", address::CLIENT);
    let lines = &[TRANSPARENT, &[&sources]].concat();
    let ground = Plan { driver: "socket", lines, ..Plan::new(Way::Both) }.ground();
    let nobody = unprivileged(&ground);
    let red = RelayProcess::start(&nobody, Role::Red, &ground.lab.red, &ground.site_file).unwrap();
    let blue = ground.relay(Role::Blue);
    let path = Path5 { ground, blue, red };
    let client = rig::connect(&path);
    refused(path, &client, "impersonate = \\\"transparent\\\" needs CAP_NET_ADMIN");
}

/// A site file cannot ask for it; two that differ can.
#[test]
fn a_client_of_another_family_cannot_be_shown() {
    require_root!();
    let sources = format!("source_ip = [\"{}\"]", address::CLIENT_V6);
    let lines = &[TRANSPARENT, &[&sources]].concat();
    let ground = Plan { destination: address::SERVER_V6.into(), lines, ..Plan::new(Way::Both) }.ground();
    let text = std::fs::read_to_string(&ground.site_file).unwrap();
    let other = ground.folder.path().join("red.toml");
    let text = text.replace(&address::SERVER_V6.to_string(), &address::SERVER.to_string());
    std::fs::write(&other, text.replace(&address::CLIENT_V6.to_string(), &address::CLIENT.to_string())).unwrap();
    let red = RelayProcess::start(relay(), Role::Red, &ground.lab.red, &other).unwrap();
    let blue = ground.relay(Role::Blue);
    let path = Path5 { ground, blue, red };
    let client = rig::connect_to(&path, address::BLUE_V6.into());
    refused(path, &client, "of another IP family");
}

/// Connections from as many ports, over an unsealed link. Tells whether their client's address is in a frame, and how
/// many of their ports are.
fn captured(lines: &[&str], (blue, destination): Route) -> (bool, usize) {
    let path = Plan { destination, lines, sealed: false, ..Plan::new(Way::Both) }.start();
    let door = Door::open_at(&path, destination);
    let lab = &path.ground.lab;
    let tap = Tap::listen(lab.diode.host(), address::DIODE_BLUE_IF).unwrap();
    let back = Tap::listen(lab.back.as_ref().unwrap().host(), address::RETURN_RED_IF).unwrap();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut client = rig::connect_to(&path, blue);
            client.write_all(MARK).unwrap();
            let mut server = door.next();
            // Behind the header, if there is one.
            let mut read = Vec::new();
            while !read.ends_with(MARK) {
                let mut byte = [0];
                server.read_exact(&mut byte).unwrap();
                read.extend(byte);
            }
            server.write_all(MARK).unwrap();
            client.read_exact(&mut [0; MARK.len()]).unwrap();
            (client, server)
        })
        .collect();
    let frames = [tap.take().unwrap(), back.take().unwrap()].concat();
    let is_there = |wanted: &[u8]| frames.iter().any(|frame| frame.windows(wanted.len()).any(|at| at == wanted));
    assert!(is_there(MARK), "the capture has what was sent");
    let addresses = clients.iter().map(|(client, _)| client.local_addr().unwrap());
    let seen = addresses.map(|address| {
        let port = address.port();
        let ip_there = match address.ip() {
            IpAddr::V4(ip) => is_there(&ip.octets()),
            IpAddr::V6(ip) => is_there(&ip.octets()),
        };
        (ip_there, is_there(&port.to_be_bytes()) || is_there(&port.to_le_bytes()))
    });
    let seen: Vec<_> = seen.collect();
    drop(clients);
    rig::stop(path);
    (seen.iter().any(|(ip, _)| *ip), seen.iter().filter(|(_, port)| *port).count())
}

/// Two bytes are found by chance in what is random: session numbers, checksums, repair symbols. In all of so many cases
/// they are not.
const CONNECTIONS: usize = 32;
const MARK: &[u8] = b"found again on the link";

#[test]
fn nothing_of_the_client_is_on_the_link_by_default() {
    require_root!();
    for client_v6 in [false, true] {
        let (address, ports) = captured(OFF, route(client_v6, false));
        assert!(!address, "the client's address is on the link");
        assert!(ports < CONNECTIONS / 2, "{ports} of {CONNECTIONS} clients' ports are on the link");
    }
}

/// The capture finds what is there.
#[test]
fn the_client_is_on_the_link_where_that_is_asked_for() {
    require_root!();
    assert_eq!(captured(PROXY, route(false, false)), (true, CONNECTIONS));
}
