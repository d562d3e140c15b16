//! Back-pressure from end to end: a destination that does not read slows its own client, and nobody else.

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lab::path::Path5;
use lab::traffic::tcp::{Destination, End, read_all, send_on};
use lab::{Loss, Stream, address, require_root};

use super::rig::{self, PORT};

/// The port of a second stream, whose destination reads.
const HEALTHY_PORT: u16 = 5141;
/// More than every kernel's buffers and the stalled session's window hold.
const MUCH: u64 = 96 << 20;
/// What they hold at most, well counted: kernels grow a connection's buffers to 6 MiB for the receiver and 4 MiB for the
/// sender (`tcp_rmem`, `tcp_wmem`), there are two connections, and the window is no larger than [`BUFFER_BYTES`].
const HELD_MAX: u64 = 40 << 20;
/// Most that may wait in RED, of all sessions.
const BUFFER_BYTES: u64 = 8 << 20;
/// What RED may need besides, over what it has after a transfer of the same size that nothing stalls.
const MARGIN_KIB: u64 = 16 << 10;

/// A client that sends in a thread of its own.
struct Sending {
    taken: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<TcpStream>,
}

fn begin(path: &Path5, port: u16, seed: u8, bytes: u64) -> Sending {
    let mut client = rig::connect(&path.ground, port);
    let taken = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&taken);
    let thread = std::thread::spawn(move || {
        send_on(&mut client, seed, 0, bytes, |bytes| told.store(bytes, Ordering::Relaxed)).expect("BLUE takes all");
        client.shutdown(Shutdown::Write).expect("still connected");
        client
    });
    Sending { taken, thread }
}

impl Sending {
    fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Waits until BLUE takes no more.
    fn wait_stalled(&self) {
        let mut before = 0;
        rig::wait_until("a stalled client", || {
            // Kernels take what they have room for at once: between two looks there is time for it.
            let now = self.taken();
            now > 1 << 20 && std::mem::replace(&mut before, now) == now
        });
    }

    /// The destination has all of it: the client sees the end.
    fn ends(self, path: &Path5) {
        let client = self.thread.join().expect("sent");
        assert_eq!(rig::end_of(path, &client), End::InOrder);
    }
}

/// One whole transfer of the healthy stream, and how long it took.
fn transfer(path: &Path5, destination: &Destination, seed: u8) -> Duration {
    let started = Instant::now();
    let sending = begin(path, HEALTHY_PORT, seed, MUCH);
    let arrived = read_all(destination.accept());
    assert!(arrived.is_whole(MUCH), "{arrived:?}\n{}", rig::logs(path));
    sending.ends(path);
    started.elapsed()
}

fn stalled(driver: &str) {
    let streams: [Stream; 2] = [rig::stream(1, PORT), rig::stream(2, HEALTHY_PORT)];
    let site = streams.into_iter().fold(rig::site(driver), |site, stream| site.stream(stream.line("max_sessions = 4")));
    // No rate anywhere: nothing but windows keeps RED from being overrun.
    let path = rig::ground(&site.red(&format!("buffer = \"{BUFFER_BYTES}B\""))).start();
    let destination = rig::destination(&path.ground);
    let healthy = Destination::open(&path.ground.lab.server, (address::SERVER, HEALTHY_PORT));
    let alone = transfer(&path, &healthy, 1);
    let base_kib = path.red.resident_peak_kib().unwrap();

    let sending = begin(&path, PORT, 2, MUCH);
    let connection = destination.accept();
    sending.wait_stalled();
    let beside = transfer(&path, &healthy, 3);
    let taken = sending.taken();
    assert!(taken < HELD_MAX, "{taken} bytes were taken and nobody read them");
    let peak_kib = path.red.resident_peak_kib().unwrap();
    println!(
        "{driver}: {} MiB in {alone:.2?} alone, in {beside:.2?} beside a stalled session of {} KiB; RED had {base_kib} KiB, then {peak_kib}",
        MUCH >> 20,
        taken >> 10
    );
    assert!(peak_kib < base_kib + (BUFFER_BYTES >> 10) + MARGIN_KIB, "RED had {base_kib} KiB, then {peak_kib}");

    let arrived = read_all(connection);
    assert!(arrived.is_whole(MUCH), "{arrived:?}\n{}", rig::logs(&path));
    sending.ends(&path);
    let ended = rig::stop(path);
    assert_eq!((ended.blue("sessions_aborted"), ended.red("sessions_aborted")), (0, 0), "{}", ended.log);
    let link = ended.red.summary.link("forward").unwrap();
    assert_eq!(link.total("dropped"), 0, "{}", ended.log);
}

#[test]
fn a_stalled_destination_slows_its_own_client_alone_xdp() {
    require_root!();
    stalled("xdp");
}

#[test]
fn a_stalled_destination_slows_its_own_client_alone_socket() {
    require_root!();
    stalled("socket");
}

/// Two sessions of one stream: the one does not wait for the other.
#[test]
fn a_stalled_session_does_not_slow_another_of_its_stream() {
    require_root!();
    let path = rig::start("xdp");
    let destination = rig::destination(&path.ground);
    let stalled = begin(&path, PORT, 1, MUCH);
    let connection = destination.accept();
    stalled.wait_stalled();
    let other = begin(&path, PORT, 2, MUCH);
    let arrived = read_all(destination.accept());
    assert!(arrived.is_whole(MUCH) && arrived.seed == Some(2), "{arrived:?}\n{}", rig::logs(&path));
    other.ends(&path);
    let arrived = read_all(connection);
    assert!(arrived.is_whole(MUCH) && arrived.seed == Some(1), "{arrived:?}\n{}", rig::logs(&path));
    stalled.ends(&path);
    rig::stop(path);
}

/// Lost statuses are repeated: nothing stalls for want of one.
fn lossy_return(loss: Loss, protection: (&str, &str, u32)) {
    let (share, residual, burst) = protection;
    let site = rig::site("xdp").stream(rig::stream(1, PORT).line("max_sessions = 4"));
    let path = rig::ground(&site.protect(share, residual, burst)).start();
    path.ground.lab.back.as_ref().unwrap().set_loss(loss).unwrap();
    let destination = rig::destination(&path.ground);
    for seed in 1..=4 {
        let sending = begin(&path, PORT, seed, 16 << 20);
        let arrived = read_all(destination.accept());
        assert!(arrived.is_whole(16 << 20), "{arrived:?}\n{}", rig::logs(&path));
        sending.ends(&path);
    }
    let lost = path.ground.lab.back.as_ref().unwrap().counters().unwrap().dropped;
    assert!(lost > 0, "nothing was lost");
    let ended = rig::stop(path);
    assert_eq!((ended.blue("sessions_aborted"), ended.red("sessions_aborted")), (0, 0), "{}", ended.log);
}

#[test]
fn statuses_survive_random_loss_within_the_promise() {
    require_root!();
    lossy_return(Loss::percent(5.0), ("5%", "1e-9", 0));
}

#[test]
fn statuses_survive_random_loss_beyond_the_promise() {
    require_root!();
    lossy_return(Loss::percent(5.0), ("0.01%", "1e-3", 0));
}

#[test]
fn statuses_survive_bursts_beyond_the_promise() {
    require_root!();
    // Twice the promise, and still less than an idle link carries in two heartbeats: after a longer silence BLUE must take
    // RED for gone and break its sessions off.
    lossy_return(Loss::Bursts { burst: 8, period: 16 }, ("0.1%", "1e-9", 4));
}
