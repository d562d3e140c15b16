//! Everything arrives, as long as losses stay within the promise.

use lab::{Loss, require_root};

use super::rig;

/// Long enough to fill every queue and to take hundreds of blocks.
const BYTES: u64 = 40 << 20;

fn whole(driver: &str, loss: Loss, protection: (&str, &str, u32)) {
    let path = rig::start(driver, loss, protection, &[]);
    let server = rig::serve(&path.ground.lab.server);
    rig::send_whole(&path, 7, BYTES);
    let arrived = server.next();
    let lost = path.ground.lab.diode.counters().unwrap().dropped;
    let (blue, red, log) = rig::stop(path);
    assert!(lost >= loss.frames_min(), "only {lost} frames were lost\n{log}");
    assert!(arrived.whole && !arrived.wrong, "{arrived:?}\n{log}");
    assert_eq!(arrived.bytes, BYTES, "{log}");
    assert_eq!(blue.number("received_bytes").unwrap(), BYTES, "{log}");
    assert_eq!(red.number("delivered_bytes").unwrap(), BYTES, "{log}");
    assert_eq!(red.number("sessions_aborted").unwrap(), 0, "{log}");
}

#[test]
fn xdp_without_loss() {
    require_root!();
    whole("xdp", Loss::None, ("0.1%", "1e-9", 4));
}

#[test]
fn socket_without_loss() {
    require_root!();
    whole("socket", Loss::None, ("0.1%", "1e-9", 4));
}

#[test]
fn xdp_with_one_percent_lost() {
    require_root!();
    whole("xdp", Loss::percent(1.0), ("1%", "1e-9", 0));
}

#[test]
fn xdp_with_bursts() {
    require_root!();
    whole("xdp", Loss::Bursts { burst: 12, period: 900 }, ("0.01%", "1e-9", 12));
}

#[test]
fn a_hundred_connections_at_once_keep_apart() {
    const CLIENTS: u8 = 100;
    require_root!();
    let path = rig::start("xdp", Loss::percent(1.0), ("1%", "1e-9", 0), &["max_sessions = 128"]);
    let server = rig::serve(&path.ground.lab.server);
    std::thread::scope(|scope| {
        for seed in 0..CLIENTS {
            let path = &path;
            scope.spawn(move || rig::send_whole(path, seed, 100_000 + u64::from(seed)));
        }
    });
    let mut seeds: Vec<u8> = (0..CLIENTS)
        .map(|_| {
            let arrived = server.next();
            assert!(arrived.whole && !arrived.wrong, "{arrived:?}");
            let seed = arrived.seed.expect("bytes came");
            assert_eq!(arrived.bytes, 100_000 + u64::from(seed));
            seed
        })
        .collect();
    seeds.sort_unstable();
    assert_eq!(seeds, (0..CLIENTS).collect::<Vec<_>>());
    let (_, red, log) = rig::stop(path);
    assert_eq!(red.number("sessions").unwrap(), u64::from(CLIENTS), "{log}");
}

/// A reload that leaves the stream as it is leaves its connections alone.
#[test]
fn a_reload_interrupts_nobody() {
    require_root!();
    let path = rig::start("xdp", Loss::None, ("0.1%", "1e-9", 4), &["max_sessions = 4"]);
    let server = rig::serve(&path.ground.lab.server);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| rig::send_whole(&path, 3, BYTES));
        server.wait_begun();
        let text = std::fs::read_to_string(&path.ground.site_file).unwrap();
        std::fs::write(&path.ground.site_file, text.replace("max_sessions = 4", "max_sessions = 5")).unwrap();
        for relay in [&path.blue, &path.red] {
            relay.signal(libc::SIGHUP).unwrap();
            relay.wait_for_line(0, rig::SOON, |line| line.contains("reloaded")).unwrap();
        }
        sender.join().unwrap();
    });
    let arrived = server.next();
    let (_, red, log) = rig::stop(path);
    assert!(arrived.whole && !arrived.wrong && arrived.bytes == BYTES, "{arrived:?}\n{log}");
    assert_eq!(red.number("sessions_aborted").unwrap(), 0, "{log}");
}
