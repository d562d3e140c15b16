//! When things leave, are delivered, recovered and given up, to the nanosecond.

use super::*;
use crate::wire::{IP_UDP_LEN, symbol_size};

/// A world at rest, its first heartbeat sent, that notes when records come.
fn world(plan: &Plan) -> World {
    let mut world = World::new(plan);
    world.pass(0);
    world.check.log = Some(Vec::new());
    world
}

fn came_at(world: &World) -> Vec<(Nanos, u32)> {
    world.check.log.iter().flatten().map(|(at, _, sequence)| (*at, *sequence)).collect()
}

#[test]
fn a_full_datagram_costs_one_frame_and_no_time() {
    let plan = Plan::main(1);
    assert_eq!(usize::from(plan.symbol_bytes), symbol_size(1500, IP_UDP_LEN));
    let mut world = world(&plan);
    let before = world.senders[0].counters();
    for n in 1..=20 {
        world.push();
        world.deliver();
        assert_eq!(world.check.records, n, "delivered at once, before any clock rings");
        let counters = world.senders[0].counters();
        assert_eq!(counters.source_frames, n);
        assert_eq!(counters.frame_bytes - before.frame_bytes, n * (1500 - IP_UDP_LEN as u64));
    }
}

#[test]
fn a_small_datagram_leaves_at_flush_and_not_before() {
    let mut world = world(&Plan { payload_min: 100, payload_max: 100, ..Plan::main(2) });
    let start = world.now;
    world.push();
    world.pass(20 * US);
    world.push();
    world.pass(30 * US - 1);
    assert_eq!(came_at(&world), []);
    world.pass(1);
    let flushed = start + world.plan.flush_ns;
    assert_eq!(came_at(&world), [(flushed, 0), (flushed, 1)], "both share the symbol and its first byte's clock");
    assert_eq!(world.senders[0].counters().source_frames, 1);
}

#[test]
fn a_block_closes_at_its_deadline_and_repair_follows() {
    let mut world = world(&Plan::main(3));
    world.push();
    world.pass(world.plan.deadline_ns - 1);
    assert_eq!((world.senders[0].counters().blocks, world.senders[0].counters().repair_frames), (0, 0));
    world.pass(1);
    let counters = world.senders[0].counters();
    assert_eq!((counters.blocks, counters.repair_frames), (1, u64::from(world.plan.repair().repair(1))));
    assert_eq!(world.receiver.counters().blocks_complete, 1);
}

/// Five datagrams, the second lost.
fn lose_the_second(world: &mut World) {
    for sequence in 0..5 {
        world.set_faults(if sequence == 1 { Faults::down() } else { Faults::default() });
        world.push();
        world.deliver();
        world.set_faults(Faults::default());
    }
}

#[test]
fn a_lost_symbol_is_recovered_at_the_deadline() {
    for scheme in [Scheme::RaptorQ, Scheme::ReedSolomon] {
        let mut world = world(&Plan { scheme, ..Plan::main(4) });
        let start = world.now;
        lose_the_second(&mut world);
        world.pass(10 * MS);
        let closed = start + world.plan.deadline_ns;
        assert_eq!(came_at(&world), [(start, 0), (closed, 1), (closed, 2), (closed, 3), (closed, 4)]);
        assert_eq!(world.check.recovered, 1);
    }
}

#[test]
fn a_lost_block_is_held_from_the_next_block_on() {
    let mut world = world(&Plan::bare(5));
    let start = world.now;
    lose_the_second(&mut world);
    world.pass(20 * MS);
    assert_eq!(came_at(&world), [(start, 0)], "nothing says that the block is over");
    let next = world.now;
    world.push();
    world.pass(world.plan.hold_ns - 1);
    assert_eq!(came_at(&world).len(), 1);
    world.pass(1);
    let given_up = next + world.plan.hold_ns;
    assert_eq!(came_at(&world)[1..], [(given_up, 2), (given_up, 3), (given_up, 4), (given_up, 5)]);
}

#[test]
fn a_lost_block_is_held_from_the_heartbeat_on() {
    let mut world = world(&Plan::bare(6));
    lose_the_second(&mut world);
    let heartbeat = MS + world.plan.heartbeat_ns;
    world.pass(SECOND);
    let given_up = heartbeat + world.plan.hold_ns;
    assert_eq!(came_at(&world)[1..], [(given_up, 2), (given_up, 3), (given_up, 4)]);
    let settled = world.check.settled[&(0, 0)];
    assert_eq!((settled.sent_records, settled.missing_records, settled.missing_bytes), (5, 1, 1400));
}

/// A straggler that comes within `hold` costs nothing.
#[test]
fn a_straggler_within_hold_is_in_time() {
    let mut world = world(&Plan::bare(7));
    world.set_faults(Faults { delay: u16::MAX, delay_frames: 1000, ..Faults::default() });
    world.push();
    world.pass(6 * MS);
    world.set_faults(Faults::default());
    world.push();
    world.pass(world.plan.hold_ns - 1);
    assert_eq!(came_at(&world), []);
    world.senders[0].port_mut().settle();
    world.deliver();
    assert_eq!(came_at(&world), [(world.now, 0), (world.now, 1)]);
}

/// When nothing at all comes any more, what is held is delivered after three heartbeat periods.
#[test]
fn a_silent_lane_gives_up_what_it_holds() {
    let mut world = world(&Plan::bare(8));
    lose_the_second(&mut world);
    let last = world.now;
    world.set_faults(Faults::down());
    world.pass(2 * SECOND);
    let silent = last + 3 * world.plan.heartbeat_ns;
    assert_eq!(came_at(&world)[1..], [(silent, 2), (silent, 3), (silent, 4)]);
}

/// Before the first heartbeat nothing tells the sender's period but the receiver's own settings.
#[test]
fn a_slow_sender_is_not_silent_before_its_first_heartbeat() {
    let mut world = world(&Plan { heartbeat_ns: 5 * SECOND, ..Plan::bare(9) });
    lose_the_second(&mut world);
    let last = world.now;
    world.set_faults(Faults::down());
    world.pass(20 * SECOND);
    let silent = last + 3 * world.plan.heartbeat_ns;
    assert_eq!(came_at(&world)[1..], [(silent, 2), (silent, 3), (silent, 4)]);
}
