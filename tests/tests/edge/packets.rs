//! Every kind of packet that a datagram can come in, and every size.

use std::net::IpAddr;

use lab::{Options, Site, address, require_root};

use super::raw::{self, Wire};
use super::rig::{Rig, client, client_from, count, crosses, logs, next, numbers, server, socket, stop, stream};
use lab::path::{PORT, Path5};

/// From nothing, around the MTU, to nearly the largest.
const SIZES: [usize; 8] = [0, 1, 1400, 1472, 1473, 8973, 9000, 60_000];

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn ipv6(driver: &str) {
    let to_v6 = stream(1, "numbers", PORT, (address::SERVER_V6, PORT));
    let to_v4 = stream(2, "other", 5002, (address::SERVER, PORT));
    let path = Rig::new(&Options::default()).start(&Site::new(driver).stream(to_v6).stream(to_v4));
    let (v6, v4) = (socket(&path.ground.lab.server, (address::SERVER_V6, PORT)), server(&path.ground.lab));
    let client_v6: IpAddr = address::CLIENT_V6.into();
    let source = crosses(&path, &client_from(&path.ground.lab, client_v6, PORT), &v6, b"six to six");
    assert_eq!(source.ip(), IpAddr::from(address::RED_V6));
    crosses(&path, &client(&path.ground.lab, PORT), &v6, b"four to six");
    crosses(&path, &client_from(&path.ground.lab, client_v6, 5002), &v4, b"six to four");
    for size in SIZES {
        crosses(&path, &client_from(&path.ground.lab, client_v6, PORT), &v6, &bytes(size));
    }
    path.ground.lab.client.ip("addr add fd71:1::66/64 dev cli0 nodad").unwrap();
    client_from(&path.ground.lab, "fd71:1::66".parse().unwrap(), PORT).send(b"not allowed").unwrap();
    crosses(&path, &client_from(&path.ground.lab, client_v6, PORT), &v6, b"last");
    let (blue, _) = stop(path);
    assert_eq!(count(&blue, "numbers", "refused.source"), 1);
}

#[test]
fn ipv6_xdp() {
    require_root!();
    ipv6("xdp");
}

#[test]
fn ipv6_socket() {
    require_root!();
    ipv6("socket");
}

fn sizes(driver: &str, options: &Options, link_mtu: u32) {
    let site = Site::new(driver).link(&format!("mtu = {link_mtu}")).stream(numbers());
    let path = Rig::new(options).start(&site);
    let (client, server) = (client(&path.ground.lab, PORT), server(&path.ground.lab));
    for size in SIZES {
        crosses(&path, &client, &server, &bytes(size));
    }
    let (blue, red) = stop(path);
    let all = SIZES.len() as u64;
    assert_eq!((count(&blue, "numbers", "sent"), count(&red, "numbers", "delivered")), (all, all));
}

#[test]
fn sizes_xdp() {
    require_root!();
    sizes("xdp", &Options::default(), 1500);
}

#[test]
fn sizes_socket() {
    require_root!();
    sizes("socket", &Options::default(), 1500);
}

#[test]
fn jumbo_zone_xdp() {
    require_root!();
    sizes("xdp", &Options { zone_mtu: 9000, ..Options::default() }, 1500);
}

#[test]
fn jumbo_zone_socket() {
    require_root!();
    sizes("socket", &Options { zone_mtu: 9000, ..Options::default() }, 1500);
}

#[test]
fn jumbo_link_xdp() {
    require_root!();
    sizes("xdp", &Options { mtu: 9000, ..Options::default() }, 9000);
}

#[test]
fn jumbo_link_socket() {
    require_root!();
    sizes("socket", &Options { mtu: 9000, ..Options::default() }, 9000);
}

#[test]
fn jumbo_everywhere_xdp() {
    require_root!();
    sizes("xdp", &Options { mtu: 9000, zone_mtu: 9000, ..Options::default() }, 9000);
}

/// What the raw tests start from: the client's wire, and packets with a datagram of the client's to the stream's port.
struct Crafted {
    path: Path5,
    wire: Wire,
    blue_mac: [u8; 6],
    server: std::net::UdpSocket,
}

impl Crafted {
    fn new(driver: &str) -> Self {
        let path = Rig::new(&Options::default()).start(&Site::new(driver).stream(numbers()));
        let wire = Wire::open(&path.ground.lab.client, address::CLIENT_IF);
        let blue_mac = raw::mac(&path.ground.lab.blue, address::BLUE_IF);
        let server = server(&path.ground.lab);
        // RED learns where the server is before order matters.
        crosses(&path, &client(&path.ground.lab, PORT), &server, b"first");
        Self { path, wire, blue_mac, server }
    }

    fn datagram(source: IpAddr, payload: &[u8]) -> Vec<u8> {
        let blue: IpAddr = if source.is_ipv4() { address::BLUE.into() } else { address::BLUE_V6.into() };
        raw::udp(source, blue, (40_000, PORT), payload)
    }

    fn send(&self, tags: &[u16], packet: &[u8]) {
        self.wire.send(&raw::ethernet(self.blue_mac, self.wire.mac(), tags, packet));
    }

    fn expect(&self, payload: &[u8]) {
        assert_eq!(next(&self.path, &self.server).0, payload, "{}", logs(&self.path));
    }

    fn v4(&self, tags: &[u16], options: &[u8], payload: &[u8]) {
        let udp = Self::datagram(address::CLIENT.into(), payload);
        self.send(tags, &raw::ipv4(address::CLIENT, address::BLUE, options, 0, &udp));
    }

    fn v6(&self, extensions: &[u8], next: u8, payload: &[u8]) {
        let udp = Self::datagram(address::CLIENT_V6.into(), payload);
        let packet = raw::ipv6(address::CLIENT_V6, address::BLUE_V6, next, &[extensions, &udp].concat());
        self.send(&[], &packet);
    }

    /// Both fragments of a datagram of 1,000 bytes.
    fn fragments(&self, source: std::net::Ipv4Addr, payload: &[u8]) {
        let udp = Self::datagram(source.into(), payload);
        // More fragments (RFC 791, 3.1); then an offset in units of eight bytes.
        self.send(&[], &raw::ipv4(source, address::BLUE, &[], 0x2000, &udp[..512]));
        self.send(&[], &raw::ipv4(source, address::BLUE, &[], 512 / 8, &udp[512..]));
    }
}

#[test]
fn tags_options_and_extension_headers() {
    require_root!();
    let crafted = Crafted::new("xdp");
    crafted.v4(&[], &[], b"plain");
    crafted.expect(b"plain");
    crafted.v4(&[5], &[], b"in a VLAN");
    crafted.expect(b"in a VLAN");
    crafted.v4(&[7, 5], &[], b"in two VLANs");
    crafted.expect(b"in two VLANs");
    // Four no-operations; then a router alert (RFC 2113).
    crafted.v4(&[], &[1; 4], b"with options");
    crafted.expect(b"with options");
    crafted.v4(&[5], &[148, 4, 0, 0], b"with a router alert, in a VLAN");
    crafted.expect(b"with a router alert, in a VLAN");
    // Short frames come padded (IEEE 802.3, 3.2.8).
    let udp = Crafted::datagram(address::CLIENT.into(), b"padded");
    let packet = raw::ipv4(address::CLIENT, address::BLUE, &[], 0, &udp);
    crafted.send(&[], &[&packet[..], &[0xee; 12]].concat());
    crafted.expect(b"padded");
    crafted.v6(&[], 17, b"plain six");
    crafted.expect(b"plain six");
    // Padding of four bytes (PadN, RFC 8200, 4.2) in destination options, and in both kinds of options.
    crafted.v6(&[17, 0, 1, 4, 0, 0, 0, 0], 60, b"destination options");
    crafted.expect(b"destination options");
    crafted.v6(&[60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0], 0, b"two extension headers");
    crafted.expect(b"two extension headers");
    let (blue, red) = stop(crafted.path);
    assert_eq!((count(&blue, "numbers", "sent"), count(&red, "numbers", "delivered")), (10, 10));
}

fn fragments(driver: &str) {
    let crafted = Crafted::new(driver);
    let payload = bytes(1000);
    crafted.fragments(address::CLIENT, &payload);
    crafted.expect(&payload);
    // Out of one source that the list does not have, whole and in pieces.
    let stranger = std::net::Ipv4Addr::new(10, 71, 1, 77);
    crafted.fragments(stranger, &payload);
    let whole = Crafted::datagram(stranger.into(), b"whole");
    crafted.send(&[], &raw::ipv4(stranger, address::BLUE, &[], 0, &whole));
    crafted.v4(&[], &[], b"last");
    crafted.expect(b"last");
    let Crafted { path, server, .. } = crafted;
    server.set_read_timeout(Some(std::time::Duration::from_millis(1))).unwrap();
    assert!(server.recv(&mut [0; 64]).is_err());
    super::rig::await_stats(&path.blue, |line| super::rig::value(line, "refused.source") == 2);
    stop(path);
}

#[test]
fn fragments_xdp() {
    require_root!();
    fragments("xdp");
}

#[test]
fn fragments_socket() {
    require_root!();
    fragments("socket");
}
