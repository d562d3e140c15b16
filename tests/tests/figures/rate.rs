//! One stream as fast as it goes: rate from end to end, and what it costs both relays.

use std::time::Duration;

use lab::{Loss, RelayProcess, require_root, usage};

use super::rig;

/// Seconds of processor per GB, then each thread's share of the time that the run took.
fn cost(relay: &RelayProcess, bytes: u64, seconds: f64) -> String {
    let total = usage::cpu_time(relay.id()).expect("it runs").as_secs_f64();
    let mut threads = usage::threads(relay.id()).expect("it runs");
    threads.sort_by_key(|thread| std::cmp::Reverse(thread.cpu));
    let shares: Vec<String> = threads
        .iter()
        .filter(|thread| thread.cpu.as_secs_f64() >= seconds / 100.0)
        .map(|thread| format!("{} {:.0}%", thread.name, thread.cpu.as_secs_f64() * 100.0 / seconds))
        .collect();
    format!("{:.2} CPU-s/GB ({})", total * 1e9 / bytes as f64, shares.join(", "))
}

#[test]
#[ignore = "measures; see the crate's head"]
fn rate() {
    require_root!();
    let path = rig::start(rig::site().scheme("raptorq").repair("2%"), Loss::None, 1);
    let arrived = rig::check_next(rig::listen(&path, 0));
    let client = rig::connect(&path, 0);
    let sent = rig::send_for(&client, 1, Duration::from_secs(rig::number("SECONDS", 5).into()));
    rig::end(&client);
    let arrived = arrived.recv_timeout(rig::SOON).expect("the session ends");
    let seconds = arrived.last_ns.saturating_sub(arrived.first_ns) as f64 / 1e9;
    println!(
        "rate    {:.2} Gb/s, {:.1} s of {} | BLUE {} | RED {} | {}",
        arrived.bits_per_second() / 1e9,
        seconds,
        if arrived.whole { "a whole session" } else { "a BROKEN session" },
        cost(&path.blue, arrived.bytes.max(1), seconds),
        cost(&path.red, arrived.bytes.max(1), seconds),
        rig::link(),
    );
    rig::assert_whole(&arrived, sent, &path);
    rig::stop(path);
}
