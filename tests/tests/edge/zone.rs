//! RED's zone: neighbours that answer late, move or never answer, gateways, and what the frames look like.

use std::time::Duration;

use lab::{Options, Site, address, require_root};

use super::raw::{self, Wire};
use super::rig::{
    ARRIVES, Rig, client, client_from, count, crosses, logs, next, numbers, server, socket, stop, stream,
};
use lab::path::PORT;

#[test]
fn a_server_that_answers_late_gets_everything_in_order() {
    require_root!();
    let rig = Rig::new(&Options::default());
    rig.lab.server.ip("link set srv0 arp off").unwrap();
    let path = rig.start(&Site::new("xdp").stream(numbers()));
    let (client, server) = (client(&path.ground.lab, PORT), server(&path.ground.lab));
    for number in 0..100_u8 {
        client.send(&[number]).unwrap();
    }
    // The datagrams are on RED when its kernel asks in vain. It asks once a second, and they wait for no more than three.
    let wire = Wire::open(&path.ground.lab.red, address::RED_IF);
    let asked = wire.collect(1, ARRIVES, |frame| frame[12..14] == [0x08, 0x06]);
    assert_eq!(asked.len(), 1, "RED does not ask\n{}", logs(&path));
    path.ground.lab.server.ip("link set srv0 arp on").unwrap();
    for number in 0..100_u8 {
        assert_eq!(next(&path, &server).0, [number], "{}", logs(&path));
    }
    crosses(&path, &client, &server, b"from now on at once");
    let (_, red) = stop(path);
    assert_eq!(count(&red, "numbers", "delivered"), 101);
}

#[test]
fn a_destination_that_never_answers_harms_only_its_own_stream() {
    require_root!();
    let nobody = stream(2, "nobody", 5002, ("10.71.3.99".parse::<std::net::Ipv4Addr>().unwrap(), 9));
    let nowhere = stream(3, "nowhere", 5003, ("10.99.0.1".parse::<std::net::Ipv4Addr>().unwrap(), 9));
    let path = Rig::new(&Options::default()).start(&Site::new("xdp").stream(numbers()).stream(nobody).stream(nowhere));
    let (good, nobody, nowhere) =
        (client(&path.ground.lab, PORT), client(&path.ground.lab, 5002), client(&path.ground.lab, 5003));
    let server = server(&path.ground.lab);
    for _ in 0..400 {
        nobody.send(&[0; 1000]).unwrap();
        nowhere.send(&[0; 1000]).unwrap();
    }
    for number in 0..20_u8 {
        crosses(&path, &good, &server, &[number]);
        nobody.send(&[0; 1000]).unwrap();
    }
    path.red.wait_for_line(0, ARRIVES, |line| line.contains("10.71.3.99") && line.contains("does not answer")).unwrap();
    path.red.wait_for_line(0, ARRIVES, |line| line.contains("no route to destination 10.99.0.1")).unwrap();
    let (_, red) = stop(path);
    let stream = |name: &str| red.summary.stream(name).unwrap();
    assert_eq!(stream("numbers").number("delivered").unwrap(), 20);
    assert_eq!(
        (stream("nobody").number("delivered").unwrap(), stream("nobody").number("refused.no_neighbour").unwrap()),
        (0, 420)
    );
    assert_eq!((stream("nowhere").number("delivered").unwrap(), stream("nowhere").total("refused")), (0, 400));
}

#[test]
fn a_server_that_gets_another_mac_address() {
    require_root!();
    let path = Rig::new(&Options::default()).start(&Site::new("xdp").stream(numbers()));
    let (client, server) = (client(&path.ground.lab, PORT), server(&path.ground.lab));
    crosses(&path, &client, &server, b"to the old address");
    // The server announces its new address, as hosts do (RFC 5227, 3).
    path.ground.lab.server.sysctl("net/ipv4/conf/srv0/arp_notify", "1").unwrap();
    path.ground.lab.server.ip("link set srv0 address 02:00:00:00:77:77").unwrap();
    server.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let deadline = std::time::Instant::now() + ARRIVES;
    let mut buffer = [0; 64];
    loop {
        client.send(b"to the new address").unwrap();
        if server.recv(&mut buffer).is_ok() {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{}", logs(&path));
    }
    stop(path);
}

#[test]
fn a_destination_on_red_itself_goes_through_its_kernel() {
    require_root!();
    let path =
        Rig::new(&Options::default()).start(&Site::new("xdp").stream(stream(1, "numbers", PORT, (address::RED, PORT))));
    let here = socket(&path.ground.lab.red, (address::RED, PORT));
    crosses(&path, &client(&path.ground.lab, PORT), &here, b"to RED itself");
    path.red.wait_for_line(0, ARRIVES, |line| line.contains("leaves by lo and not by red0")).unwrap();
    let (_, red) = stop(path);
    assert_eq!(count(&red, "numbers", "delivered"), 1);
}

/// A router behind the server has a smaller MTU: it says so, and later datagrams arrive, in fragments.
fn narrow_path(driver: &str) {
    let rig = Rig::new(&Options::default());
    let far: std::net::Ipv4Addr = "10.98.0.2".parse().unwrap();
    let beyond = lab::Host::new("beyond").unwrap();
    let nic = |host, name| lab::Nic { host, name, mac: None };
    lab::connect(nic(&rig.lab.server, "out0"), nic(&beyond, "far0"), 1200, 1).unwrap();
    rig.lab.server.ip_batch("addr add 10.98.0.1/24 dev out0\nlink set out0 up").unwrap();
    rig.lab.server.sysctl("net/ipv4/ip_forward", "1").unwrap();
    beyond.ip_batch(&format!("addr add {far}/24 dev far0\nlink set far0 up\nroute add default via 10.98.0.1")).unwrap();
    rig.lab.red.ip(&format!("route add 10.98.0.0/24 via {}", address::SERVER)).unwrap();
    let path = rig.start(&Site::new(driver).stream(stream(1, "numbers", PORT, (far, PORT))));
    let server = socket(&beyond, (far, PORT));
    let client = client(&path.ground.lab, PORT);
    crosses(&path, &client, &server, b"small");
    server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let deadline = std::time::Instant::now() + ARRIVES;
    let mut buffer = [0; 2000];
    loop {
        client.send(&[7; 1400]).unwrap();
        if server.recv(&mut buffer).is_ok_and(|len| len == 1400) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{}", logs(&path));
    }
    stop(path);
}

#[test]
fn a_narrow_path_xdp() {
    require_root!();
    narrow_path("xdp");
}

#[test]
fn a_narrow_path_socket() {
    require_root!();
    narrow_path("socket");
}

fn gateway(driver: &str) {
    let rig = Rig::new(&Options::default());
    let far: std::net::Ipv4Addr = "10.99.0.1".parse().unwrap();
    rig.lab.server.ip(&format!("addr add {far}/32 dev lo")).unwrap();
    rig.lab.red.ip(&format!("route add 10.99.0.0/24 via {}", address::SERVER)).unwrap();
    let path = rig.start(&Site::new(driver).stream(stream(1, "numbers", PORT, (far, PORT))));
    let server = socket(&path.ground.lab.server, (far, PORT));
    let source = crosses(&path, &client(&path.ground.lab, PORT), &server, b"through a gateway");
    assert_eq!(source.ip(), std::net::IpAddr::from(address::RED));
    stop(path);
}

#[test]
fn a_gateway_xdp() {
    require_root!();
    gateway("xdp");
}

#[test]
fn a_gateway_socket() {
    require_root!();
    gateway("socket");
}

fn flows(driver: &str) {
    let path = Rig::new(&Options::default()).start(&Site::new(driver).stream(numbers()));
    let (one, two) = (client(&path.ground.lab, PORT), client(&path.ground.lab, PORT));
    let server = server(&path.ground.lab);
    let from = |socket, payload: &[u8]| crosses(&path, socket, &server, payload);
    let (first, second) = (from(&one, b"one"), from(&two, b"two"));
    assert_ne!(first.port(), second.port());
    assert_eq!((from(&one, b"one again"), from(&two, b"two again")), (first, second), "a flow keeps its port");
    assert_eq!(first.ip(), std::net::IpAddr::from(address::RED));
    stop(path);
}

#[test]
fn flows_have_ports_of_their_own_xdp() {
    require_root!();
    flows("xdp");
}

#[test]
fn flows_have_ports_of_their_own_socket() {
    require_root!();
    flows("socket");
}

#[test]
fn delivered_frames_are_red_s_own_and_sound() {
    require_root!();
    let to_v6 = stream(2, "six", 5002, (address::SERVER_V6, 5002));
    let path = Rig::new(&Options::default()).start(&Site::new("xdp").stream(numbers()).stream(to_v6));
    let lab = &path.ground.lab;
    let wire = Wire::open(&lab.server, address::SERVER_IF);
    let (v4, v6) = (server(lab), socket(&lab.server, (address::SERVER_V6, 5002)));
    let (to_v4, to_v6) = (client(lab, PORT), client_from(lab, address::CLIENT_V6.into(), 5002));
    // Odd and even lengths, nothing at all, all ones, and more than one carry.
    let payloads: [&[u8]; 6] = [b"", b"a", b"ab", &[0xff; 1001], &[0xff; 1400], &[0; 1472]];
    for payload in payloads {
        crosses(&path, &to_v4, &v4, payload);
        crosses(&path, &to_v6, &v6, &payload[..payload.len().min(1452)]);
    }
    let mine = |frame: &[u8]| raw::datagram(frame).is_some_and(|datagram| [PORT, 5002].contains(&datagram.ports.1));
    let frames = wire.collect(12, ARRIVES, mine);
    let (red_mac, server_mac) = (raw::mac(&lab.red, address::RED_IF), wire.mac());
    let (source_v4, source_v6): (std::net::IpAddr, std::net::IpAddr) = (address::RED.into(), address::RED_V6.into());
    for (frame, number) in frames.iter().zip(0..) {
        let datagram = raw::datagram(frame).unwrap();
        assert!(datagram.checksums, "{datagram:?}");
        assert_eq!((datagram.to_mac, datagram.from_mac), (server_mac, red_mac), "{datagram:?}");
        assert_eq!(datagram.source, if number % 2 == 0 { source_v4 } else { source_v6 }, "{datagram:?}");
    }
    assert_eq!(frames.len(), 12);
    stop(path);
}

/// Whether the bytes occur anywhere in the frames.
fn occurs(frames: &[Vec<u8>], bytes: &[u8]) -> bool {
    frames.iter().any(|frame| frame.windows(bytes.len()).any(|window| window == bytes))
}

/// Looks at every frame on the link while a client sends; gives whether the payload could be read.
fn link_frames(driver: &str, sealed: bool) -> bool {
    let rig = Rig::new(&Options::default());
    let site = Site::new(driver).stream(numbers());
    let path = if sealed { rig.start(&site) } else { rig.start_unsealed(&site) };
    let lab = &path.ground.lab;
    let wire = Wire::open(lab.diode.host(), address::DIODE_BLUE_IF);
    let payload = b"the secret that the client has to tell the server";
    let v6 = client_from(lab, address::CLIENT_V6.into(), PORT);
    let v4 = client(lab, PORT);
    let server = server(lab);
    crosses(&path, &v4, &server, payload);
    crosses(&path, &v6, &server, payload);
    let frames = wire.collect(6, ARRIVES, |_| true);
    assert!(frames.len() >= 6, "{}", logs(&path));
    let mac = raw::mac(&lab.client, address::CLIENT_IF);
    let addresses: [&[u8]; 5] = [
        &address::CLIENT.octets(),
        &address::CLIENT_V6.octets(),
        &mac,
        &address::BLUE.octets(),
        &address::SERVER.octets(),
    ];
    for address in addresses {
        assert!(!occurs(&frames, address), "{address:?} crosses the link");
    }
    stop(path);
    occurs(&frames, payload)
}

#[test]
fn nothing_of_the_client_but_its_payload_crosses() {
    require_root!();
    for driver in ["xdp", "socket"] {
        assert!(!link_frames(driver, true), "{driver}: a sealed payload can be read");
        assert!(link_frames(driver, false), "{driver}: the search finds nothing");
    }
}
