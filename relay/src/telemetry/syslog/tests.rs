//! The whole way to real sockets.

use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use super::*;

/// How long a test waits for what must come: long enough for a loaded machine.
const LONG: Duration = Duration::from_secs(20);

/// A path in the temporary folder that no other test uses, removed at the end.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("relay-{}-{name}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn refused(source: &str) -> Event {
    Event {
        stream: Some("video".to_owned()),
        source: Some(source.parse().unwrap()),
        port: Some(5004),
        ..Event::new(Kind::Drop, "source", "source is not allowed")
    }
}

#[test]
fn a_udp_server_receives_the_event() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(LONG)).unwrap();
    let target = config::Syslog::Udp(server.local_addr().unwrap());
    let syslog = Syslog::start(Target::Some(target)).unwrap();
    syslog.send(refused("192.0.2.7"));
    let mut buffer = [0; 2048];
    let len = server.recv(&mut buffer).unwrap();
    let message = std::str::from_utf8(&buffer[..len]).unwrap();
    assert!(message.starts_with("<28>1 "), "{message}");
    assert!(message.contains(" relay ") && message.contains(" DROP [relay@32473 "), "{message}");
    assert!(message.contains("source=\"192.0.2.7\" port=\"5004\" reason=\"source\"] "), "{message}");
}

#[test]
fn an_ipv6_server_receives_the_event() {
    let Ok(server) = UdpSocket::bind("[::1]:0") else {
        println!("skipped: this machine has no IPv6");
        return;
    };
    server.set_read_timeout(Some(LONG)).unwrap();
    let target = config::Syslog::Udp(server.local_addr().unwrap());
    let syslog = Syslog::start(Target::Some(target)).unwrap();
    syslog.send(refused("2001:db8::7"));
    let mut buffer = [0; 2048];
    let len = server.recv(&mut buffer).unwrap();
    let message = std::str::from_utf8(&buffer[..len]).unwrap();
    assert!(message.contains("source=\"2001:db8::7\""), "{message}");
}

#[test]
fn a_local_socket_receives_repetitions_as_one_follow_up() {
    let path = SocketPath::new("repeat");
    let server = UnixDatagram::bind(&path.0).unwrap();
    server.set_read_timeout(Some(LONG)).unwrap();
    let syslog = Syslog::start(Target::Some(config::Syslog::Local(path.0.clone()))).unwrap();
    for _ in 0..20 {
        syslog.send(refused("192.0.2.7"));
    }
    // Stopping closes every window and sends what waits.
    drop(syslog);
    let mut messages = Vec::new();
    let mut buffer = [0; 2048];
    while messages.len() < limit::BURST as usize + 1 {
        let len = server.recv(&mut buffer).unwrap();
        messages.push(String::from_utf8(buffer[..len].to_vec()).unwrap());
    }
    let last = messages.last().unwrap();
    assert!(last.contains("suppressed=\"17\""), "{messages:?}");
    assert!(last.contains("17 more suppressed from 192.0.2.7"), "{messages:?}");
}

#[test]
fn a_tcp_server_receives_counted_messages() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = config::Syslog::Tcp(server.local_addr().unwrap());
    let syslog = Syslog::start(Target::Some(target)).unwrap();
    syslog.send(refused("192.0.2.1"));
    syslog.send(refused("192.0.2.2"));
    drop(syslog);
    let mut text = String::new();
    server.accept().unwrap().0.read_to_string(&mut text).unwrap();
    let mut rest = text.as_str();
    let mut count = 0;
    while !rest.is_empty() {
        let (len, after) = rest.split_once(' ').unwrap();
        let (message, next) = after.split_at(len.parse().unwrap());
        assert!(message.starts_with("<28>1 "), "{text}");
        rest = next;
        count += 1;
    }
    assert_eq!(count, 2, "{text}");
}

#[test]
fn messages_wait_for_a_server_that_comes_later() {
    let path = SocketPath::new("late");
    let syslog = Syslog::start(Target::Some(config::Syslog::Local(path.0.clone()))).unwrap();
    syslog.send(refused("192.0.2.7"));
    let begun = Instant::now();
    while syslog.account().failures == 0 {
        assert!(begun.elapsed() < LONG, "no attempt was made");
        std::thread::yield_now();
    }
    let server = UnixDatagram::bind(&path.0).unwrap();
    server.set_read_timeout(Some(LONG)).unwrap();
    let mut buffer = [0; 2048];
    assert!(server.recv(&mut buffer).unwrap() > 0);
    assert_eq!(syslog.account().lost, 0);
}

#[test]
fn a_server_that_restarts_is_used_again() {
    let path = SocketPath::new("restart");
    let first = UnixDatagram::bind(&path.0).unwrap();
    first.set_read_timeout(Some(LONG)).unwrap();
    let syslog = Syslog::start(Target::Some(config::Syslog::Local(path.0.clone()))).unwrap();
    let mut buffer = [0; 2048];
    syslog.send(refused("192.0.2.1"));
    assert!(first.recv(&mut buffer).unwrap() > 0);
    drop(first);
    std::fs::remove_file(&path.0).unwrap();
    let second = UnixDatagram::bind(&path.0).unwrap();
    second.set_read_timeout(Some(LONG)).unwrap();
    syslog.send(refused("192.0.2.2"));
    let len = second.recv(&mut buffer).unwrap();
    assert!(String::from_utf8_lossy(&buffer[..len]).contains("192.0.2.2"));
}

#[test]
fn a_target_that_is_down_loses_messages_and_counts_them() {
    let missing = config::Syslog::Local(PathBuf::from("/nonexistent/log"));
    let syslog = Syslog::start(Target::Some(missing)).unwrap();
    let counts = Arc::clone(&syslog.counts);
    for source in 0..5_u8 {
        syslog.send(refused(&format!("192.0.2.{source}")));
    }
    drop(syslog);
    let begun = Instant::now();
    while counts.lost.load(Relaxed) < 5 {
        assert!(begun.elapsed() < LONG, "{counts:?}");
        std::thread::yield_now();
    }
    assert_eq!(counts.sent.load(Relaxed), 0);
    assert!(counts.failures.load(Relaxed) > 0);
}

#[test]
fn without_a_target_events_vanish_quietly() {
    let syslog = Syslog::start(Target::None).unwrap();
    syslog.send(refused("192.0.2.7"));
    assert_eq!(syslog.account(), Account::default());
}

#[test]
fn the_file_decides_the_target_before_the_machine_does() {
    let server = config::Syslog::Udp("192.0.2.1:514".parse().unwrap());
    assert_eq!(Target::resolve(Some(&server)), Target::Some(server));
    let found = Target::resolve(None);
    assert_eq!(found == Target::None, !Path::new(LOCAL_SOCKET).exists());
}
