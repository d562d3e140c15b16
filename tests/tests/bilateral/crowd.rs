//! A thousand sessions of one stream at a time.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use lab::{Diode, Loss, address, require_root};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::pattern::Pattern;
use super::rig::{self, PORT, Plan, SOON, Way};

const SESSIONS: usize = 1000;
/// Each sends so much while it waits for all others ...
const FIRST_BYTES: usize = 4 << 10;
/// ... and so much after that.
const MORE_BYTES: usize = 28 << 10;
/// The number of one more, which loses a block where that is asked for.
const VICTIM: u64 = SESSIONS as u64;
/// In place of the bytes of a session that ended with a reset.
const RESET: u64 = u64::MAX;
/// Places of the pattern from one session's start to the next one's.
const APART: u64 = 61;
/// A thousand of whatever takes milliseconds, on a busy machine.
const LATER: Duration = Duration::from_mins(1);
/// Frames of an outage: a window's worth with its repair symbols, less than what restores it.
const LOST_FRAMES: u64 = 12;
/// From one outage to the next: every session's marks get through in between.
const RECOVERY: Duration = Duration::from_millis(1500);

/// Sends everything back, or only reads, until the client's end; then ends too. Gives the session's number and its bytes,
/// which must be right, or [`RESET`].
async fn serve(mut connection: TcpStream, pattern: Arc<Pattern>, echoes: bool) -> (u64, u64) {
    let number = connection.read_u64().await.expect("a number first");
    let (mut buffer, mut bytes) = (vec![0; FIRST_BYTES], 0);
    loop {
        let Ok(len) = connection.read(&mut buffer).await else { return (number, RESET) };
        if len == 0 {
            return (number, bytes);
        }
        assert!(buffer[..len] == *pattern.at(number * APART + bytes, len), "session {number}, from byte {bytes}");
        if echoes {
            connection.write_all(&buffer[..len]).await.expect("no reset");
        }
        bytes += len as u64;
    }
}

/// Serves so many connections to their ends.
async fn serve_all(listener: TcpListener, sessions: usize, echoes: bool) -> Vec<(u64, u64)> {
    let pattern = Arc::new(Pattern::new(9));
    let mut served = JoinSet::new();
    for _ in 0..sessions {
        let (connection, _) = timeout(LATER, listener.accept()).await.expect("RED connects").unwrap();
        served.spawn(serve(connection, Arc::clone(&pattern), echoes));
    }
    let mut all = timeout(LATER, served.join_all()).await.expect("every session ends");
    all.sort_unstable();
    all
}

/// One client: sends in two parts, the second once everybody is there, and reads the echo if there is one.
async fn visit(number: u64, pattern: Arc<Pattern>, all_there: Arc<(Barrier, Barrier)>, echoed: bool) {
    let mut connection = TcpStream::connect((address::BLUE, PORT)).await.expect("BLUE accepts");
    connection.write_u64(number).await.unwrap();
    let mut sent = 0;
    for (bytes, is_first) in [(FIRST_BYTES, true), (MORE_BYTES, false)] {
        let part = pattern.at(number * APART + sent, bytes);
        let (mut reads, mut writes) = connection.split();
        let mut echo = vec![0; if echoed { bytes } else { 0 }];
        let (written, read) = tokio::join!(writes.write_all(part), reads.read_exact(&mut echo));
        written.unwrap_or_else(|error| panic!("session {number}: {error}"));
        read.unwrap_or_else(|error| panic!("session {number}: {error}"));
        assert!(!echoed || echo == part, "session {number}, from byte {sent}");
        sent += bytes as u64;
        if is_first {
            all_there.0.wait().await;
            all_there.1.wait().await;
        }
    }
    connection.shutdown().await.unwrap();
    let mut rest = Vec::new();
    connection.read_to_end(&mut rest).await.unwrap_or_else(|error| panic!("session {number}: {error}"));
    assert!(rest.is_empty(), "session {number}");
}

/// One more than there may be is dropped, without a byte.
async fn one_too_many() {
    // The kernel accepts; the reset may come before that is noticed.
    let Ok(mut connection) = TcpStream::connect((address::BLUE, PORT)).await else { return };
    let read = timeout(SOON, connection.read(&mut [0])).await.expect("dropped at once");
    assert!(!read.is_ok_and(|bytes| bytes > 0));
}

/// A session beside all others sends while the diode is out, until it is reset.
async fn lose_block(diode: &Diode) {
    let mut connection = TcpStream::connect((address::BLUE, PORT)).await.expect("BLUE accepts");
    connection.write_u64(VICTIM).await.unwrap();
    // Its echo shows that it has begun.
    let pattern = Pattern::new(9);
    let first = pattern.at(VICTIM * APART, FIRST_BYTES).to_owned();
    connection.write_all(&first).await.unwrap();
    connection.read_exact(&mut vec![0; FIRST_BYTES]).await.unwrap();
    let sends = tokio::spawn(async move { while connection.write_all(&first).await.is_ok() {} });
    let reset = async {
        // A window is small among so many: it may have been used up before, and others' marks be lost in its place.
        while !sends.is_finished() {
            let before = diode.counters().unwrap().dropped;
            diode.set_loss(Loss::All).unwrap();
            while diode.counters().unwrap().dropped < before + LOST_FRAMES {
                tokio::time::sleep(rig::LOOK_PERIOD).await;
            }
            diode.set_loss(Loss::None).unwrap();
            tokio::time::sleep(RECOVERY).await;
        }
    };
    timeout(SOON, reset).await.expect("a reset");
}

/// What happens once everybody is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    OneTooMany,
    LostBlock,
}

fn crowd(driver: &'static str, way: Way, event: Event) {
    let loses = u64::from(event == Event::LostBlock);
    let sessions = SESSIONS as u64 + loses;
    let lines = &[&*format!("max_sessions = {sessions}")];
    // An outage is shorter than two heartbeats, so that no host counts as gone.
    let link = &["rate = \"200Mbit/s\"", "heartbeat = \"1s\""];
    let path = Plan { driver, way, lines, link, ..Plan::new(way) }.start();
    let echoes = way == Way::Both;
    let (client, server) = (&path.ground.lab.client, &path.ground.lab.server);
    let (tell_listening, listening) = channel();
    let served = std::thread::scope(|scope| {
        let served = scope.spawn(move || {
            rig::run(server, || async move {
                let listener = rig::listen();
                tell_listening.send(()).unwrap();
                serve_all(listener, sessions as usize, echoes).await
            })
        });
        listening.recv_timeout(SOON).unwrap();
        rig::run(client, || async {
            let pattern = Arc::new(Pattern::new(9));
            // All and us.
            let all_there = Arc::new((Barrier::new(SESSIONS + 1), Barrier::new(SESSIONS + 1)));
            let mut visits = JoinSet::new();
            for number in 0..SESSIONS as u64 {
                visits.spawn(visit(number, Arc::clone(&pattern), Arc::clone(&all_there), echoes));
            }
            let met = timeout(LATER, all_there.0.wait()).await;
            if met.is_ok() {
                match event {
                    Event::OneTooMany => one_too_many().await,
                    Event::LostBlock => lose_block(&path.ground.lab.diode).await,
                }
                all_there.1.wait().await;
            }
            timeout(LATER, visits.join_all()).await.expect("every session ends");
        });
        served.join().unwrap()
    });
    let bytes = |number| if number == VICTIM { RESET } else { (FIRST_BYTES + MORE_BYTES) as u64 };
    let expected: Vec<_> = (0..sessions).map(|number| (number, bytes(number))).collect();
    assert!(served == expected, "{served:?}");
    let (blue, red, log) = rig::stop(path);
    assert_eq!(blue.total("refused.session_limit"), 1 - loses, "{log}");
    for line in [blue, red] {
        assert_eq!(line.number("sessions").unwrap(), sessions, "{log}");
        assert_eq!(line.number("sessions_aborted").unwrap(), loses, "{log}");
        assert!(loses == 1 || line.total("lost") == 0, "{log}");
    }
}

#[test]
fn a_thousand_sessions_alone() {
    require_root!();
    crowd("xdp", Way::Alone, Event::OneTooMany);
}

#[test]
fn a_thousand_sessions_with_status() {
    require_root!();
    crowd("xdp", Way::Status, Event::OneTooMany);
}

#[test]
fn a_thousand_sessions_both_ways() {
    require_root!();
    crowd("xdp", Way::Both, Event::OneTooMany);
}

#[test]
fn a_thousand_sessions_both_ways_through_the_kernel() {
    require_root!();
    crowd("socket", Way::Both, Event::OneTooMany);
}

#[test]
fn one_of_a_thousand_loses_a_block() {
    require_root!();
    crowd("xdp", Way::Both, Event::LostBlock);
}
