//! A port with little room, and a link with a rate.

use super::*;
use crate::wire::Header;

/// Frames of the small port: room for two blocks' repair symbols and few others.
const SMALL: usize = 64;

fn burst_protection(burst: u16) -> Protection {
    Protection::Promise { loss: 0.0001, residual: 1e-9, burst }
}

#[test]
fn a_full_port_is_busy_and_loses_nothing() {
    let mut world = World::new(&Plan { frames_max: SMALL, ..Plan::main(1) });
    let (mut pushed, mut busy) = (0_u64, 0_u64);
    while pushed < 2000 {
        if world.push_on(0).is_ok() {
            pushed += 1;
        } else {
            busy += 1;
            world.pass(10 * US);
        }
    }
    assert!(busy > 50, "{busy}: the port was never full");
    assert_eq!(world.finish_and_verify(), 0);
    assert_eq!((world.check.records, world.senders[0].counters().tx_full), (pushed, 0));
}

#[test]
fn busy_takes_nothing_of_the_record() {
    let mut world = World::new(&Plan { frames_max: SMALL, ..Plan::main(2) });
    while world.push_on(0).is_ok() {}
    let state = |world: &World| (world.senders[0].counters(), world.senders[0].port().on_their_way());
    let before = state(&world);
    assert_eq!(world.push_on(0), Err(PushError::Busy));
    assert_eq!(state(&world), before);
    assert_eq!(world.finish_and_verify(), 0);
}

/// A paced world whose sender is always asked for more than the rate.
fn paced(rate: Rate, frames_max: usize) -> Plan {
    Plan { rate: Some(rate), frames_max, ..Plan::main(3) }
}

#[test]
fn the_rate_holds_in_every_window_and_order_is_kept() {
    let rate = Rate { bits_per_second: 200_000_000, burst_bytes: 20_000 };
    let mut world = World::new(&paced(rate, 200));
    let mut left: Vec<(Nanos, usize, u64)> = Vec::new();
    while left.len() < 1500 {
        while world.push_on(0).is_ok() {}
        let next = world.senders[0].poll(world.now).expect("memory does not fail");
        let (now, receiver, check) = (world.now, &mut world.receiver, &mut world.check);
        let each = &mut |frame: &mut [u8]| {
            left.push((now, frame.len(), Header::read(frame).expect("genuine").packet_number));
            receiver.frame(now, frame, check);
        };
        world.senders[0].port_mut().receive(usize::MAX, each).expect("memory does not fail");
        world.now = next.min(world.now + 100 * US);
    }
    assert!(left.windows(2).all(|pair| pair[0].2 + 1 == pair[1].2), "in order, none left out");
    for from in 0..left.len() {
        let mut bytes = 0;
        for (at, len, _) in &left[from..] {
            bytes += len;
            let window_ns = (at - left[from].0 + 1) as f64;
            let allowed = window_ns * rate.bits_per_second as f64 / 8e9 + f64::from(rate.burst_bytes);
            assert!(bytes as f64 <= allowed, "{bytes} bytes in {window_ns} ns, {allowed} allowed");
        }
    }
    let whole_ns = (left[left.len() - 1].0 - left[0].0) as f64;
    let sent: usize = left.iter().map(|(_, len, _)| len).sum();
    assert!(sent as f64 > 0.95 * whole_ns * rate.bits_per_second as f64 / 8e9, "the rate is used, too");
}

#[test]
fn a_paced_link_that_is_asked_for_too_much_loses_nothing() {
    let mut world = World::new(&paced(Rate { bits_per_second: 50_000_000, burst_bytes: 3000 }, SMALL));
    let mut pushed = 0;
    while pushed < 1000 {
        if world.push_on(0).is_ok() {
            pushed += 1;
        } else {
            world.pass(100 * US);
        }
    }
    let now = world.now;
    world.senders[0].stop(now);
    assert!(!world.senders[0].is_drained(), "the backlog is paced, too");
    world.pass(200 * MS);
    assert!(world.senders[0].is_drained());
    assert_eq!(world.finish_and_verify(), 0);
    assert_eq!((world.check.records, world.senders[0].counters().tx_full), (pushed, 0));
}

/// However many frames a port has: heartbeats wait behind them, and a sender that stops has not long.
#[test]
fn the_backlog_of_a_slow_link_is_short() {
    let mut world = World::new(&paced(Rate { bits_per_second: 10_000_000, burst_bytes: 3000 }, 8192));
    while world.push_on(0).is_ok() {}
    let full_at = world.now;
    world.senders[0].stop(full_at);
    while !world.senders[0].is_drained() {
        world.pass(MS);
        assert!(world.now < full_at + 250 * MS, "{} frames wait still", world.senders[0].waiting_frames());
    }
    assert_eq!(world.finish_and_verify(), 0);
}

/// Two channels on a busy link: one without repair symbols floods it, the other needs room for many.
#[test]
fn a_channel_with_much_protection_does_not_starve() {
    let plan =
        Plan { channels: 2, sessions: 2, ..paced(Rate { bits_per_second: 100_000_000, burst_bytes: 3000 }, 120) };
    let mut world = World::new(&plan);
    let mut channels = plan.sender_channels();
    channels[0].scheme = Scheme::None;
    channels[0].repair = Arc::new(RepairTable::new(Scheme::None, burst_protection(0), 128).expect("possible"));
    channels[1].scheme = Scheme::ReedSolomon;
    channels[1].repair = Arc::new(RepairTable::new(Scheme::ReedSolomon, burst_protection(40), 128).expect("possible"));
    world.senders[0].set_channels(world.now, channels, Encoder::new(&[(Scheme::ReedSolomon, 128)]));
    let mut quiet = 0;
    for round in 0..2000 {
        // One record of the quiet channel every 20 ms, tried again until it is taken.
        if quiet * 200 <= round && world.push_on(1).is_ok() {
            quiet += 1;
        }
        while world.push_on(0).is_ok() {}
        world.pass(100 * US);
    }
    assert!(quiet >= 9, "{quiet} of 10 records were taken");
    assert!(world.check.delivered[&(0, 1)].records + 1 >= quiet, "{:?}", world.check.delivered);
    assert!(world.senders[0].counters().repair_frames > 300, "{:?}", world.senders[0].counters());
    world.pass(100 * MS);
    assert_eq!(world.finish_and_verify(), 0);
    assert_eq!(world.senders[0].counters().tx_full, 0);
}

/// Open symbols of many channels have their frames kept, whatever happens at once.
#[test]
fn a_new_table_and_a_stop_at_a_full_port_lose_no_record() {
    let plan = Plan { channels: 8, sessions: 8, payload_min: 10, payload_max: 700, frames_max: 48, ..Plan::main(4) };
    for stops in [false, true] {
        let mut world = World::new(&plan);
        let mut session = 0;
        while world.push_on(session % 8).is_ok() {
            session += 3;
        }
        let now = world.now;
        assert!(!world.senders[0].is_drained());
        if stops {
            world.senders[0].stop(now);
        } else {
            world.senders[0].set_channels(now, plan.sender_channels(), plan.encoder());
        }
        world.pass(10 * MS);
        assert_eq!(world.finish_and_verify(), 0, "stops: {stops}");
    }
}

#[test]
fn heartbeats_never_take_an_open_symbols_frame() {
    let plan = Plan { channels: 8, sessions: 8, payload_min: 10, payload_max: 700, frames_max: 48, ..Plan::main(5) };
    let mut world = World::new(&plan);
    let mut session = 0;
    while world.push_on(session % 8).is_ok() {
        session += 3;
    }
    let now = world.now;
    for _ in 0..200 {
        world.senders[0].heartbeat(now);
    }
    assert_eq!(world.senders[0].counters().tx_full, 0);
    assert_eq!(world.finish_and_verify(), 0);
}

/// A lane that is alone has all of the link's rate, two that are busy have half of it each, and together never more.
#[test]
fn lanes_share_one_rate() {
    const FRAME_BYTES: u32 = 1472;
    let rate = Rate { bits_per_second: 100_000_000, burst_bytes: 10_000 };
    let mut world = World::new(&Plan { lanes: 2, sessions: 2, ..Plan::bare(4) });
    let pacer = Pacer::shared(rate, 2, FRAME_BYTES);
    world.senders.iter_mut().for_each(|sender| sender.share_rate(pacer.clone()));
    let allowed = |time_ns: Nanos| (time_ns as f64 * rate.bits_per_second as f64 / 8e9) / f64::from(FRAME_BYTES);
    let left = |world: &World, lane: usize| world.senders[lane].port().counts.frames as f64;
    let mut busy = |sessions: std::ops::Range<u64>| {
        let (began, before) = (world.now, [left(&world, 0), left(&world, 1)]);
        while world.now < began + 500 * MS {
            sessions.clone().for_each(|session| while world.push_on(session).is_ok() {});
            world.pass(MS);
        }
        let (all, burst) = (allowed(world.now - began), f64::from(rate.burst_bytes / FRAME_BYTES));
        let share = [0, 1].map(|lane| (left(&world, lane) - before[lane]) / all);
        // Heartbeats are smaller than frames are counted as.
        assert!((share[0] + share[1]) * all <= all + burst + 8.0, "{share:?} of {all} frames");
        share
    };
    let alone = busy(0..1);
    assert!(alone[0] > 0.95, "{alone:?}");
    let both = busy(0..2);
    assert!(both.iter().all(|share| (0.45..0.55).contains(share)), "{both:?}");
}
