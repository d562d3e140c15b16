//! What a stream may use: sessions, rate, block size.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use lab::{Options, RelayProcess, Role, Site, Syslog, address, require_root};

use super::raw::{self, Wire};
use super::rig::{ARRIVES, Rig, await_stats, client, count, crosses, numbers, server, stop, value};
use lab::path::{Ground, PORT, Path5, relay};

/// Two may, the third may not, until one of them has been silent for long enough.
fn sessions(driver: &str) {
    let rig = Rig::new(&Options::default());
    let syslog = Syslog::start(&rig.lab.blue);
    let stream = lab::Stream::udp(1, "numbers", PORT, (lab::address::SERVER, PORT));
    let stream = stream.line("max_sessions = 2").line("idle = \"1s\"");
    let path = rig.start(&Site::new(driver).blue(&format!("syslog = \"{}\"", Syslog::TARGET)).stream(stream));
    let server = server(&path.ground.lab);
    let flows = [client(&path.ground.lab, PORT), client(&path.ground.lab, PORT), client(&path.ground.lab, PORT)];
    crosses(&path, &flows[0], &server, b"first of two");
    crosses(&path, &flows[1], &server, b"second of two");
    flows[2].send(b"one too many").unwrap();
    crosses(&path, &flows[1], &server, b"the second again");
    let third = flows[2].local_addr().unwrap();
    let told =
        syslog.until(ARRIVES, |message| message.contains("session_limit")).unwrap_or_else(|all| panic!("{all:#?}"));
    assert!(told.last().unwrap().contains(&third.to_string()), "{told:#?}");
    path.blue
        .wait_for_line(0, ARRIVES, |line| line.contains("max_sessions") && line.contains(&third.to_string()))
        .unwrap();
    await_stats(&path.blue, |line| value(line, "refused.session_limit") == 1);
    let mut refused = 1;
    let deadline = Instant::now() + ARRIVES;
    server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut buffer = [0; 64];
    loop {
        flows[2].send(b"now").unwrap();
        if server.recv(&mut buffer).is_ok() {
            break;
        }
        refused += 1;
        assert!(Instant::now() < deadline, "the place of a silent session is never free\n{}", super::rig::logs(&path));
    }
    server.set_read_timeout(Some(ARRIVES)).unwrap();
    crosses(&path, &flows[2], &server, b"the third stays");
    let (blue, red) = stop(path);
    assert_eq!(count(&blue, "numbers", "refused.session_limit"), refused);
    assert_eq!((count(&blue, "numbers", "sent"), count(&red, "numbers", "delivered")), (5, 5));
}

#[test]
fn sessions_xdp() {
    require_root!();
    sessions("xdp");
}

#[test]
fn sessions_socket() {
    require_root!();
    sessions("socket");
}

/// More sessions than a process may usually have files open: a system's default limit is 1,024.
fn many_sessions(driver: &str) {
    const FLOWS: u16 = 2000;
    let rig = Rig::new(&Options::default());
    // A script of its own, because limits are inherited.
    let script = rig.folder.path().join("limited");
    let line = format!("#!/bin/sh\nulimit -Sn 1024\nexec {} \"$@\"\n", relay().display());
    std::fs::write(&script, line).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let stream = lab::Stream::udp(1, "numbers", PORT, (address::SERVER, PORT)).line("max_sessions = 4096");
    let site_file = Site::new(driver).stream(stream).write(rig.folder.path()).unwrap();
    let red = RelayProcess::start(&script, Role::Red, &rig.lab.red, &site_file).unwrap();
    let blue = RelayProcess::start(&script, Role::Blue, &rig.lab.blue, &site_file).unwrap();
    let path = Path5 { ground: Ground::of(rig.lab, rig.folder, site_file), blue, red };
    let wire = Wire::open(&path.ground.lab.client, address::CLIENT_IF);
    let blue_mac = raw::mac(&path.ground.lab.blue, address::BLUE_IF);
    let server = server(&path.ground.lab);
    for flow in 0..FLOWS {
        let ends = (address::CLIENT.into(), address::BLUE.into());
        let udp = raw::udp(ends.0, ends.1, (20_000 + flow, PORT), &flow.to_be_bytes());
        let packet = raw::ipv4(address::CLIENT, address::BLUE, &[], 0, &udp);
        wire.send(&raw::ethernet(blue_mac, wire.mac(), &[], &packet));
        if flow % 50 == 49 {
            // In step, so that no buffer decides.
            for _ in 0..50 {
                super::rig::next(&path, &server);
            }
        }
    }
    let (blue, red) = stop(path);
    assert_eq!((count(&blue, "numbers", "sent"), count(&red, "numbers", "delivered")), (2000, 2000));
}

#[test]
fn many_sessions_xdp() {
    require_root!();
    many_sessions("xdp");
}

#[test]
fn many_sessions_socket() {
    require_root!();
    many_sessions("socket");
}

#[test]
fn rate_of_a_stream() {
    require_root!();
    let site = Site::new("xdp").stream(numbers().line("rate = \"8Mbit/s\""));
    let path = Path5::start(&Options::default(), &site);
    // Twice the rate for three seconds.
    let (sent, received) = path.send(|load| lab::traffic::Load { rate: 2000, ..load }.size(1000).seconds(3));
    let elapsed_s = received.elapsed.as_secs_f64();
    let bytes = received.bytes as f64;
    let outcome = path.stop(sent, received);
    outcome.check_accounts();
    // 1 MB/s and the burst of 128 KiB; the arrivals' clock is not BLUE's, hence a tenth.
    assert!(bytes <= 1.1 * (1e6 * elapsed_s + 131_072.0) && bytes >= 0.9 * 1e6 * elapsed_s, "{bytes} in {elapsed_s} s");
    let blue = outcome.blue.summary.stream("numbers").unwrap();
    assert_eq!(blue.number("refused.rate").unwrap() + blue.number("sent").unwrap(), 6000);
}

#[test]
fn larger_than_a_block() {
    require_root!();
    let site = Site::new("xdp").fec("block_symbols = 4").stream(numbers());
    let path = Rig::new(&Options::default()).start(&site);
    let (client, server) = (client(&path.ground.lab, PORT), server(&path.ground.lab));
    crosses(&path, &client, &server, &[1; 5000]);
    client.send(&vec![2; 60_000]).unwrap();
    crosses(&path, &client, &server, &[3; 5000]);
    let (blue, red) = stop(path);
    assert_eq!((count(&blue, "numbers", "received"), count(&blue, "numbers", "refused.oversize")), (3, 1));
    assert_eq!((count(&red, "numbers", "delivered"), red.summary.stream("numbers").unwrap().total("lost")), (2, 0));
}
