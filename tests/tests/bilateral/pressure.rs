//! Who does not read slows down whoever sends to it, and nobody else; nothing is lost for it.

use std::net::{Shutdown, TcpStream};
use std::thread::{Scope, ScopedJoinHandle};

use lab::require_root;

use super::pattern::{End, Pattern};
use super::rig::{self, Door, Held, Plan, Way};

/// More than all sockets' buffers and both windows on the way hold: 6 MB for each of two receivers, 4 MB for each of two
/// senders (`tcp_rmem`, `tcp_wmem`), 16 MiB for a session.
const STALLED_BYTES: u64 = 64 << 20;
/// Each way of a session that goes on beside it.
const HEALTHY_BYTES: u64 = 10 << 20;
/// A host may take so much more memory while sessions stall: 16 MiB for each way of one, as much again for chunks that are
/// not full, and what a first transfer touches.
const MEMORY_MAX_KIB: u64 = 64 << 10;

/// What a relay says of a session for which more waits than may.
const OVERFLOWED: &str = "waits for it";

/// Sends so much of the pattern and ends.
fn send<'scope>(
    scope: &'scope Scope<'scope, '_>,
    pattern: &'scope Pattern,
    from: &'scope TcpStream,
    bytes: u64,
) -> ScopedJoinHandle<'scope, ()> {
    scope.spawn(move || {
        pattern.send(from, 0, bytes).unwrap();
        from.shutdown(Shutdown::Write).unwrap();
    })
}

/// A session that goes on, both ways at once, to its end.
fn exchange(healthy: &(TcpStream, TcpStream), pattern: &Pattern) {
    std::thread::scope(|scope| {
        for (from, to) in [(&healthy.0, &healthy.1), (&healthy.1, &healthy.0)] {
            send(scope, pattern, from, HEALTHY_BYTES);
            scope.spawn(|| assert_eq!(pattern.read_to_end(to), (HEALTHY_BYTES, End::Closed)));
        }
    });
}

/// Of one session these ends read and the others do not, which all are sent to; another session goes on.
fn stall(driver: &'static str, client_reads: bool, server_reads: bool) {
    let path = Plan { driver, lines: &["max_sessions = 2"], ..Plan::new(Way::Both) }.start();
    let door = Door::open(&path);
    let (stalled, healthy) = (rig::pair(&path, &door), rig::pair(&path, &door));
    let held = || [rig::held(&path.blue), rig::held(&path.red)];
    let before = held();
    let (asked, answered) = (Pattern::new(1), Pattern::new(2));
    let ways = [(client_reads, &answered, &stalled.1, &stalled.0), (server_reads, &asked, &stalled.0, &stalled.1)];
    std::thread::scope(|scope| {
        let stalls = ways.iter().filter(|(reads, ..)| !reads);
        let senders: Vec<_> = stalls.map(|(_, pattern, from, _)| send(scope, pattern, from, STALLED_BYTES)).collect();
        exchange(&healthy, &asked);
        assert!(senders.iter().all(|sender| !sender.is_finished()), "nobody reads, and yet all was sent");
        let after = held();
        let growth_kib = |(before, after): (&Held, &Held)| after.memory_kib.saturating_sub(before.memory_kib);
        let most_kib = before.iter().zip(&after).map(growth_kib).max();
        assert!(most_kib < Some(MEMORY_MAX_KIB), "{before:?} {after:?}");
        for (reads, pattern, _, to) in ways {
            if !reads {
                scope.spawn(move || assert_eq!(pattern.read_to_end(to), (STALLED_BYTES, End::Closed)));
            }
        }
    });
    drop((stalled, healthy));
    let (blue, red, log) = rig::stop(path);
    assert!(!log.contains(OVERFLOWED), "{log}");
    let aborted = blue.number("sessions_aborted").unwrap() + red.number("sessions_aborted").unwrap();
    assert_eq!((aborted, red.total("lost")), (0, 0), "{log}");
}

#[test]
fn a_client_that_does_not_read_stalls_its_server() {
    require_root!();
    stall("xdp", false, true);
}

#[test]
fn a_server_that_does_not_read_stalls_its_client() {
    require_root!();
    stall("xdp", true, false);
}

#[test]
fn neither_end_reads() {
    require_root!();
    stall("xdp", false, false);
}

#[test]
fn neither_end_reads_through_the_kernel() {
    require_root!();
    stall("socket", false, false);
}

/// All of them together stay within what their stream grants them.
#[test]
fn a_crowd_that_does_not_read_is_bounded() {
    const CROWD: usize = 32;
    const EACH_BYTES: u64 = 4 << 20;
    // 8 MiB for all; as much in the pieces that RED has read and not sent, and in chunks that are not full.
    const CROWD_MAX_KIB: u64 = 40 << 10;
    require_root!();
    let path = Plan { lines: &["max_sessions = 33", "buffer = \"256KiB\""], ..Plan::new(Way::Both) }.start();
    let door = Door::open(&path);
    let pairs: Vec<_> = (0..CROWD).map(|_| rig::pair(&path, &door)).collect();
    let before = [rig::held(&path.blue), rig::held(&path.red)];
    let answered = Pattern::new(2);
    std::thread::scope(|scope| {
        for (_, server) in &pairs {
            send(scope, &answered, server, EACH_BYTES);
        }
        let healthy = rig::pair(&path, &door);
        exchange(&healthy, &answered);
        let after = [rig::held(&path.blue), rig::held(&path.red)];
        for (before, after) in before.iter().zip(&after) {
            assert!(after.memory_kib < before.memory_kib + CROWD_MAX_KIB, "{before:?} {after:?}");
        }
        for (client, _) in &pairs {
            scope.spawn(|| assert_eq!(answered.read_to_end(client), (EACH_BYTES, End::Closed)));
        }
    });
    drop(pairs);
    let (_, _, log) = rig::stop(path);
    assert!(!log.contains(OVERFLOWED), "{log}");
}
