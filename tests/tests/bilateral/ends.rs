//! How sessions end: each way by itself, or both at once with a reset on either end.

use std::io;
use std::net::{Shutdown, TcpStream};

use lab::path::Path5;
use lab::{Diode, Loss, RelayProcess, require_root};

use super::pattern::{End, Pattern};
use super::rig::{self, Door, Plan, SOON, Way};

/// What still flows after the other way has ended.
const BYTES: u64 = 5 << 20;
/// Outages are shorter than two of them, so that no host counts as gone.
const HEARTBEAT: &str = "heartbeat = \"1s\"";
/// Frames: more than a block and all its repair symbols, four times over.
const LOST_FRAMES: u64 = 600;

/// One end closes its side, the other goes on and closes later.
fn half_close(first: &TcpStream, second: &TcpStream) {
    let (short, long) = (Pattern::new(1), Pattern::new(2));
    short.send(first, 0, 1000).unwrap();
    first.shutdown(Shutdown::Write).unwrap();
    assert_eq!(short.read_to_end(second), (1000, End::Closed));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            long.send(second, 0, BYTES).unwrap();
            second.shutdown(Shutdown::Write).unwrap();
        });
        assert_eq!(long.read_to_end(first), (BYTES, End::Closed));
    });
}

#[test]
fn the_server_goes_on_after_the_client_has_closed() {
    require_root!();
    let path = Plan::new(Way::Both).start();
    let (client, server) = rig::pair(&path, &Door::open(&path));
    half_close(&client, &server);
    none_broken(path);
}

#[test]
fn the_client_goes_on_after_the_server_has_closed() {
    require_root!();
    let path = Plan::new(Way::Both).start();
    let (client, server) = rig::pair(&path, &Door::open(&path));
    half_close(&server, &client);
    none_broken(path);
}

fn none_broken(path: Path5) {
    let (blue, red, log) = rig::stop(path);
    for line in [blue, red] {
        assert_eq!((line.number("sessions").unwrap(), line.number("sessions_aborted").unwrap()), (1, 0), "{log}");
    }
}

#[test]
fn a_reset_of_the_client_reaches_the_server() {
    require_root!();
    let path = Plan::new(Way::Both).start();
    let (client, server) = rig::pair(&path, &Door::open(&path));
    exchange(&client, &server, 1000);
    rig::reset(client);
    assert_eq!(Pattern::new(1).read_to_end(&server), (0, End::Reset));
    one_broken(path, "other host broke it off");
}

#[test]
fn a_reset_of_the_server_reaches_the_client() {
    require_root!();
    let path = Plan::new(Way::Both).start();
    let (client, server) = rig::pair(&path, &Door::open(&path));
    exchange(&client, &server, 1000);
    rig::reset(server);
    assert_eq!(Pattern::new(1).read_to_end(&client), (0, End::Reset));
    one_broken(path, "onnection reset by peer");
}

/// Also where the way that the reset comes from had ended in order.
#[test]
fn a_reset_after_a_half_close_reaches_the_other_end() {
    require_root!();
    let path = Plan { lines: &["max_sessions = 2"], ..Plan::new(Way::Both) }.start();
    let door = Door::open(&path);
    for client_first in [true, false] {
        let (client, server) = rig::pair(&path, &door);
        let (first, second) = if client_first { (client, server) } else { (server, client) };
        exchange(&first, &second, 1000);
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(Pattern::new(1).read_to_end(&second), (0, End::Closed));
        rig::reset(first);
        // Reading has ended: what is written finds the reset.
        let reset = rig::wait_for("a reset", || Pattern::new(1).send(&second, 0, 1000).err());
        assert!(is_reset(&reset), "{reset}");
    }
    for relay in [&path.blue, &path.red] {
        rig::wait_for("both count", || (rig::counts(relay, "forward").sum("sessions_aborted") == 2).then_some(()));
    }
    rig::stop(path);
}

/// Also an end that neither sends nor reads any more, as one that works on its answer does.
#[test]
fn a_reset_after_a_half_close_reaches_a_silent_end() {
    require_root!();
    let path = Plan { lines: &["max_sessions = 2"], ..Plan::new(Way::Both) }.start();
    let door = Door::open(&path);
    for client_first in [true, false] {
        let (client, server) = rig::pair(&path, &door);
        let (first, second) = if client_first { (client, server) } else { (server, client) };
        Pattern::new(1).send(&first, 0, 1000).unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(Pattern::new(1).read_to_end(&second), (1000, End::Closed));
        rig::reset(first);
        rig::wait_for("a reset", || second.take_error().unwrap());
    }
    rig::stop(path);
}

/// What a writer gets from a reset: the first call after it, or one that it interrupts, the reset itself, later ones a
/// broken pipe.
fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// Also where everything had come over the link before the destination failed.
#[test]
fn a_destination_that_refuses_is_counted_and_told() {
    require_root!();
    for way in [Way::Alone, Way::Status, Way::Both] {
        let path = Plan::new(way).start();
        let client = rig::connect(&path);
        // With a return link the client may be dropped before.
        let _ = Pattern::new(1).send(&client, 0, 10);
        drop(client);
        path.red.wait_for_line(0, SOON, |line| line.contains("refused") && line.contains("session=")).unwrap();
        rig::wait_for("RED counts it", || {
            (rig::counts(&path.red, "forward").sum("sessions_aborted") == 1).then_some(())
        });
        rig::stop(path);
    }
}

/// `bytes` both ways.
fn exchange(one: &TcpStream, other: &TcpStream, bytes: u64) {
    let pattern = Pattern::new(1);
    for (from, to) in [(one, other), (other, one)] {
        pattern.send(from, 0, bytes).unwrap();
        pattern.expect(to, 0, bytes);
    }
}

/// Both hosts count the one session as broken off, and RED says why.
fn one_broken(path: Path5, why: &str) {
    path.red.wait_for_line(0, SOON, |line| line.contains("session=") && line.contains(why)).unwrap();
    let (blue, red, log) = rig::stop(path);
    assert_eq!(blue.number("sessions_aborted").unwrap(), 1, "{log}");
    assert_eq!(red.number("sessions_aborted").unwrap(), 1, "{log}");
}

/// One of three sessions loses a block on its way forward or back.
fn lost_block(forward: bool) {
    let plan =
        Plan { lines: &["max_sessions = 3"], link: &["rate = \"200Mbit/s\"", HEARTBEAT], ..Plan::new(Way::Both) };
    let path = plan.start();
    let door = Door::open(&path);
    let (hit, other, closed) = (rig::pair(&path, &door), rig::pair(&path, &door), rig::pair(&path, &door));
    for (client, server) in [&hit, &other, &closed] {
        exchange(client, server, 10_000);
    }
    // A session whose lost way had ended has nothing in the block.
    let (loses, stays) = if forward { (&closed.0, &closed.1) } else { (&closed.1, &closed.0) };
    loses.shutdown(Shutdown::Write).unwrap();
    assert_eq!(Pattern::new(1).read_to_end(stays), (0, End::Closed));
    let lab = &path.ground.lab;
    let (diode, from, tells) =
        if forward { (&lab.diode, &hit.0, &path.red) } else { (lab.back.as_ref().unwrap(), &hit.1, &path.blue) };
    lose(diode, from);
    let to = if forward { &hit.1 } else { &hit.0 };
    let (read, ended) = Pattern::new(7).read_to_end(to);
    assert_eq!(ended, End::Reset, "after {read}");
    let told = gap_told(tells);
    exchange(&other.0, &other.1, 100_000);
    Pattern::new(3).send(stays, 0, 100_000).unwrap();
    Pattern::new(3).expect(loses, 0, 100_000);
    rig::settle(&path);
    for relay in [&path.blue, &path.red] {
        assert_eq!(rig::counts(relay, "forward").sum("sessions_aborted"), 1, "{told}\n{}", relay.log().text());
    }
    rig::stop(path);
}

/// Sends from this end, which gets a reset for it, while the diode is out, until more than a block with all its repair
/// symbols is lost.
fn lose(diode: &Diode, from: &TcpStream) {
    let long = Pattern::new(7);
    let before = diode.counters().unwrap().dropped;
    diode.set_loss(Loss::All).unwrap();
    std::thread::scope(|scope| {
        let sends = scope.spawn(|| long.send(from, 0, 20 * BYTES));
        rig::wait_for("enough is lost", || (diode.counters().unwrap().dropped >= before + LOST_FRAMES).then_some(()));
        diode.set_loss(Loss::None).unwrap();
        let ended = sends.join().unwrap().expect_err("broken off in the middle");
        assert!(is_reset(&ended), "{ended}");
    });
}

/// The log line of a session with bytes missing; it names the session and how many.
fn gap_told(relay: &RelayProcess) -> String {
    let told = relay.wait_for_line(0, SOON, |line| line.contains("never came over the link")).unwrap();
    let session = told.split_once("session=").map(|(_, rest)| rest.trim_matches('"')).unwrap_or_default();
    let uuid = session.get(..36).unwrap_or_default();
    assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "no UUID in {told}");
    let gap = told.split_once("broken off: ").and_then(|(_, why)| why.split(' ').next()?.parse::<u64>().ok());
    assert!(gap.is_some_and(|bytes| bytes > 0), "no gap in {told}");
    told
}

#[test]
fn a_lost_block_breaks_off_its_session_alone() {
    require_root!();
    lost_block(true);
}

#[test]
fn a_lost_block_of_answers_breaks_off_its_session_alone() {
    require_root!();
    lost_block(false);
}
