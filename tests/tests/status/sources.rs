//! Clients whose address is not listed.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use lab::traffic::tcp;
use lab::{Syslog, address, require_root};

use super::rig::{self, About, PORT};

/// Long enough for a SYN and the next: a listener answers in microseconds.
const UNANSWERED: Duration = Duration::from_millis(1500);

/// A stranger's connection is told with its address, port and stream, and no RED hears of it.
fn told(driver: &str, try_in: impl FnOnce(&lab::Host)) {
    let stream = rig::stream(1, PORT).line("source_ip = [\"10.71.1.99\"]");
    let ground = rig::ground(&rig::site(driver).stream(stream));
    let syslog = Syslog::start(&ground.lab.blue);
    let path = ground.start();
    let destination = rig::destination(&path.ground);
    try_in(&path.ground.lab.client);
    let (address, port) = (address::CLIENT.to_string(), PORT.to_string());
    rig::wait_logged(&path.blue, &["source not allowed", &address, &port, "stream1"]);
    rig::wait_told(&syslog, &["source", "not allowed", &address, &port, "stream1"]);
    rig::await_stats(&path.blue, About::Stream, |line| line.number("refused.source").is_ok_and(|count| count > 0));
    let ended = rig::stop(path);
    assert!(destination.is_quiet());
    assert_eq!((ended.blue("sessions"), ended.red("sessions")), (0, 0), "{}", ended.log);
}

/// With the kernel's listener the connection is made and dropped at once.
#[test]
fn an_unlisted_client_is_dropped_at_accept() {
    require_root!();
    told("socket", |client| {
        tcp::turned_away(client, (address::BLUE, PORT)).unwrap();
    });
}

/// With XDP its SYN never reaches the listener: there is no connection, and no refusal either.
#[test]
fn an_unlisted_client_gets_no_answer() {
    require_root!();
    told("xdp", |client| {
        let blue = SocketAddr::from((address::BLUE, PORT));
        let answer = client.run(|| TcpStream::connect_timeout(&blue, UNANSWERED)).unwrap();
        assert_eq!(answer.map(drop).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    });
}
