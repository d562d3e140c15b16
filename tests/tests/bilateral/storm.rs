//! Connections by the thousand each second, none of which stays: nothing of them may stay on either host.

use std::sync::mpsc::channel;
use std::time::Duration;

use lab::path::{Path5, is_soak};
use lab::{Host, address, require_root};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::rig::{self, Door, Held, PORT, Plan, SOON, Way};

/// Connections begun at a time, this far apart: 2,000 a second.
const GUST: u32 = 10;
const GUST_PERIOD: Duration = Duration::from_millis(5);
/// Fewer than in any storm, so that places which are not given back are missed.
const LINES: &[&str] = &["max_sessions = 4096"];
/// What may differ after two equal storms: pages that the allocator keeps, and what a host remembers of sessions that ended
/// within the last 10 s, some 300 bytes each. A storm has thousands of sessions with buffers of 64 KiB.
const GROWTH_MAX_KIB: u64 = 8 << 10;
/// All of a storm, on a busy machine.
const LATER: Duration = Duration::from_mins(2);

fn storm_connections() -> u32 {
    let seconds = if is_soak() { 10 } else { 3 };
    GUST * seconds * (1000 / GUST_PERIOD.as_millis() as u32)
}

/// Sends its line and closes: at once, or after it has seen the other side's end too.
async fn pass_by(number: u32) {
    let mut connection = TcpStream::connect((address::BLUE, PORT)).await.expect("BLUE accepts");
    connection.write_all(format!("line {number}\n").as_bytes()).await.unwrap();
    if number.is_multiple_of(2) {
        return;
    }
    connection.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(LATER, connection.read_to_end(&mut rest)).await.expect("an end").expect("in order");
    assert!(rest.is_empty());
}

async fn storm(connections: u32) {
    let mut gusts = tokio::time::interval(GUST_PERIOD);
    let mut passing = JoinSet::new();
    for number in 0..connections {
        if number % GUST == 0 {
            gusts.tick().await;
        }
        passing.spawn(pass_by(number));
        while let Some(passed) = passing.try_join_next() {
            passed.unwrap();
        }
    }
    timeout(LATER, passing.join_all()).await.expect("every connection ends");
}

/// Reads the line of each of so many connections; gives how often each number came.
async fn read_lines(listener: &TcpListener, connections: u32) -> Vec<u32> {
    let mut reading = JoinSet::new();
    for _ in 0..connections {
        let (mut connection, _) = timeout(LATER, listener.accept()).await.expect("RED connects").unwrap();
        reading.spawn(async move {
            let mut line = String::new();
            connection.read_to_string(&mut line).await.expect("an end in order");
            let number = line.strip_prefix("line ").and_then(|rest| rest.strip_suffix('\n')?.parse::<usize>().ok());
            number.unwrap_or_else(|| panic!("not a line: {line:?}"))
        });
    }
    let mut times = vec![0; connections as usize];
    for number in timeout(LATER, reading.join_all()).await.expect("every connection ends") {
        times[number] += 1;
    }
    times
}

/// Both relays once they have no more files open than before.
fn calm(path: &Path5, before: [Held; 2]) -> [Held; 2] {
    rig::wait_for("files are closed", || {
        let now = [rig::held(&path.blue), rig::held(&path.red)];
        (now[0].files <= before[0].files && now[1].files <= before[1].files).then_some(now)
    })
}

/// Ports for all: a connection that has ended keeps its own for a minute, where no other asks for it.
fn many_ports(host: &Host) {
    host.sysctl("net/ipv4/ip_local_port_range", "1024 65535").unwrap();
    host.sysctl("net/ipv4/tcp_tw_reuse", "1").unwrap();
}

/// One storm from the client to the server; every line must arrive exactly once.
fn blow(path: &Path5) {
    let connections = storm_connections();
    let (client, server) = (&path.ground.lab.client, &path.ground.lab.server);
    let (tell_listening, listening) = channel();
    let times = std::thread::scope(|scope| {
        let read = scope.spawn(move || {
            rig::run(server, || async move {
                let listener = rig::listen();
                tell_listening.send(()).unwrap();
                read_lines(&listener, connections).await
            })
        });
        listening.recv_timeout(SOON).unwrap();
        rig::run(client, || storm(connections));
        read.join().unwrap()
    });
    let wrong: Vec<_> = times.iter().enumerate().filter(|(_, times)| **times != 1).collect();
    assert!(wrong.is_empty(), "not once: {wrong:?}");
}

fn storms(way: Way) {
    let path = Plan { lines: LINES, ..Plan::new(way) }.start();
    many_ports(&path.ground.lab.client);
    many_ports(&path.ground.lab.red);
    let before = [rig::held(&path.blue), rig::held(&path.red)];
    let after = [(); 2].map(|()| {
        blow(&path);
        calm(&path, before)
    });
    for (first, second) in after[0].iter().zip(&after[1]) {
        let growth_kib = second.memory_kib.saturating_sub(first.memory_kib);
        assert!(growth_kib < GROWTH_MAX_KIB, "memory grows with every storm: {before:?}, {after:?}");
    }
    // As before the storms.
    let door = Door::open(&path);
    let (client, server) = rig::pair(&path, &door);
    drop(client);
    drop(server);
    let (blue, red, log) = rig::stop(path);
    let connections = 2 * u64::from(storm_connections()) + 1;
    for line in [blue, red] {
        assert_eq!(line.number("sessions").unwrap(), connections, "{log}");
        assert_eq!((line.number("sessions_aborted").unwrap(), line.total("refused")), (0, 0), "{log}");
    }
    println!("{way:?}: {before:?} {after:?}");
}

#[test]
fn storms_alone() {
    require_root!();
    storms(Way::Alone);
}

#[test]
fn storms_with_status() {
    require_root!();
    storms(Way::Status);
}

#[test]
fn storms_both_ways() {
    require_root!();
    storms(Way::Both);
}
