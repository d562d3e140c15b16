//! A stream's rate: all of its sessions share it, and each has its turn.

use std::time::{Duration, Instant};

use lab::{Loss, require_root};

use super::rig;

const BYTES_PER_SECOND: f64 = 500_000.0;
/// What passes at once: 128 KiB, and a piece of a connection.
const BURST_BYTES: f64 = 140_000.0;
const SMALL_ONES: u8 = 64;
/// Two turns of each.
const SMALL_BYTES: u64 = 16 << 10;
/// Of one beside them, which always has more.
const LARGE_BYTES: u64 = 300_000;

/// A turn of everybody takes a second. Who waits that long for its own is not idle.
#[test]
fn sessions_take_turns_within_their_stream_s_rate() {
    require_root!();
    let lines = ["rate = \"4Mbit/s\"", "max_sessions = 80", "idle = \"500ms\""];
    let path = rig::start("xdp", Loss::None, ("0.1%", "1e-9", 4), &lines);
    let server = rig::serve(&path.ground.lab.server);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| rig::send_whole(&path, u8::MAX, LARGE_BYTES));
        for seed in 0..SMALL_ONES {
            let path = &path;
            scope.spawn(move || rig::send_whole(path, seed, SMALL_BYTES));
        }
    });
    let took = begun.elapsed();
    for _ in 0..=SMALL_ONES {
        let arrived = server.next();
        let bytes = if arrived.seed == Some(u8::MAX) { LARGE_BYTES } else { SMALL_BYTES };
        assert!(arrived.is_whole(bytes), "{arrived:?}\n{}", path.blue.log().text());
    }
    let total_bytes = (LARGE_BYTES + u64::from(SMALL_ONES) * SMALL_BYTES) as f64;
    let (least, most) = ((total_bytes - BURST_BYTES) / BYTES_PER_SECOND, 3.0 * total_bytes / BYTES_PER_SECOND);
    let expected = Duration::from_secs_f64(least)..Duration::from_secs_f64(most);
    assert!(expected.contains(&took), "{total_bytes} bytes in {took:?}, and not in {expected:?}");
    let (blue, red, log) = rig::stop(path);
    assert_eq!((blue.number("sessions_aborted").unwrap(), red.number("sessions_aborted").unwrap()), (0, 0), "{log}");
}
