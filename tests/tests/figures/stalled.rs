//! A healthy stream at full speed, alone and next to one whose destination takes nothing.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use lab::traffic::{ByteStream, CHUNK_BYTES};
use lab::{Loss, require_root, usage};

use super::rig;

/// A write that is not taken for this long looks whether it is time to stop.
const LOOK: Duration = Duration::from_millis(100);

/// Sends as fast as it is taken until told to stop or broken off; gives the bytes that were taken.
fn push(mut client: &TcpStream, stop: &AtomicBool) -> u64 {
    client.set_write_timeout(Some(LOOK)).expect("a socket");
    let (mut stream, mut taken) = (ByteStream::new(2), 0);
    let mut rest: &[u8] = &[];
    while !stop.load(Relaxed) {
        if rest.is_empty() {
            rest = stream.next_chunk(CHUNK_BYTES as u64);
        }
        match client.write(rest) {
            Ok(bytes) => (rest, taken) = (&rest[bytes..], taken + bytes as u64),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    taken
}

/// Bits per second of the healthy stream.
fn healthy_rate(beside_stalled: bool) -> f64 {
    let path = rig::start(rig::site().scheme("raptorq").repair("2%"), Loss::None, 2);
    let healthy = rig::check_next(rig::listen(&path, 0));
    // Its connections wait in the backlog, where the kernel takes what fits a socket and nobody reads it.
    let stalled = rig::listen(&path, 1);
    let (client, neighbour) = (rig::connect(&path, 0), rig::connect(&path, 1));
    let stop = AtomicBool::new(!beside_stalled);
    let time = Duration::from_secs(rig::number("SECONDS", 5).into());
    let (sent, taken) = std::thread::scope(|scope| {
        let neighbour = scope.spawn(|| push(&neighbour, &stop));
        let sent = rig::send_for(&client, 1, time);
        rig::end(&client);
        stop.store(true, Relaxed);
        (sent, neighbour.join().expect("it only writes"))
    });
    let arrived = healthy.recv_timeout(rig::SOON).expect("the session ends");
    let memory = usage::memory_max_bytes(path.red.id()).expect("RED runs");
    println!(
        "stalled {:<14} healthy {:.2} Gb/s, RED's memory at most {:.0} MiB, {:.1} MB taken from the stalled one's client | {}",
        if beside_stalled { "beside it:" } else { "without it:" },
        arrived.bits_per_second() / 1e9,
        memory as f64 / f64::from(1 << 20),
        taken as f64 / 1e6,
        rig::link(),
    );
    rig::assert_whole(&arrived, sent, &path);
    drop((neighbour, stalled));
    rig::stop(path);
    arrived.bits_per_second()
}

#[test]
#[ignore = "measures; see the crate's head"]
fn stalled() {
    require_root!();
    let alone = healthy_rate(false);
    let beside = healthy_rate(true);
    println!("stalled the healthy stream keeps {:.0}% of its rate", beside * 100.0 / alone);
}
