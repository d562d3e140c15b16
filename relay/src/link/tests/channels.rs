//! Tables of channels that change while traffic runs.

use super::*;

/// Two channels, four sessions.
fn two(mut plan: Plan) -> Plan {
    (plan.channels, plan.sessions) = (2, 4);
    (plan.payload_min, plan.payload_max) = (0, 900);
    plan
}

#[test]
fn other_blocks_and_codes_lose_nothing() {
    let shapes = [(Scheme::ReedSolomon, 16), (Scheme::None, 200), (Scheme::RaptorQ, 300), (Scheme::RaptorQ, 1)];
    let mut world = World::new(&two(Plan::main(1)));
    for (scheme, block_symbols) in shapes.into_iter().cycle().take(40) {
        world.run(50);
        let plan = Plan { scheme, block_symbols, ..world.plan.clone() };
        world.senders[0].set_channels(world.now, plan.sender_channels(), plan.encoder());
        world.receiver.set_channels(&plan.receiver_channels());
    }
    world.run(50);
    assert_eq!(world.finish_and_verify(), 0);
    assert_eq!(world.check.records, 41 * 50);
    assert_eq!(world.receiver.counters().blocks_abandoned, 0);
}

#[test]
fn other_tables_on_a_bad_link_leave_an_exact_account() {
    let faults = Faults { lose: 4000, delay: 4000, delay_frames: 30, ..Faults::default() };
    let mut world = World::new(&two(Plan { faults, ordered: false, ..Plan::main(2) }));
    for block_symbols in [5, 128, 1, 60].into_iter().cycle().take(40) {
        world.run(50);
        let plan = Plan { block_symbols, ..world.plan.clone() };
        world.senders[0].set_channels(world.now, plan.sender_channels(), plan.encoder());
    }
    world.finish_and_verify();
}

/// The last block of a removed channel lost symbols beyond its protection: its rest is delivered all the same, and
/// the account is complete.
#[test]
fn a_channel_removed_at_the_sender_is_settled() {
    let mut world = World::new(&two(Plan::bare(3)));
    world.run(200);
    world.set_faults(Faults::down());
    let slot_1: Vec<u64> = (0..4).filter(|session| world.plan.slot_of(*session) == 1).collect();
    for _ in 0..6 {
        world.push_on(slot_1[0]).expect("room");
        world.pass(60 * US);
        world.set_faults(Faults::default());
    }
    let mut channels = world.plan.sender_channels();
    channels.truncate(1);
    world.senders[0].set_channels(world.now, channels, world.plan.encoder());
    assert_eq!(world.push_on(slot_1[0]), Err(PushError::Oversize), "nothing is taken for a channel that is gone");
    let slot_0 = (0..4).find(|session| world.plan.slot_of(*session) == 0).expect("there is one");
    for _ in 0..1000 {
        world.push_on(slot_0).expect("room");
        world.pass(MS);
    }
    let settled = world.check.settled[&(0, 1)];
    assert_eq!(settled.sent_records, world.sent[&(0, 1)].records);
    assert_eq!(settled.missing_records, 1);
    assert_eq!(world.finish_and_verify(), 1);
}

#[test]
fn a_channel_removed_at_the_receiver_holds_nothing() {
    let mut world = World::new(&two(Plan::bare(4)));
    world.set_faults(Faults { lose: 20_000, ..Faults::default() });
    world.run(200);
    assert!(world.receiver.pool_used() > 0);
    world.receiver.set_channels(&world.plan.receiver_channels()[..1]);
    world.set_faults(Faults::default());
    world.senders[0].port_mut().receive(usize::MAX, &mut |_| ()).expect("memory does not fail");
    world.pass(20 * MS);
    world.run(50);
    assert!(world.receiver.counters().unknown_channel > 0);
    assert!(world.check.mismatches.is_empty());
    world.pass(SECOND);
    assert!(world.check.mismatches.contains(&(2, 1, None)));
    assert_eq!(world.receiver.pool_used(), 0);
}

/// A removed channel that comes back goes on where it was.
#[test]
fn a_channel_that_comes_back_keeps_its_account() {
    let mut world = World::new(&two(Plan::main(5)));
    for _ in 0..5 {
        world.run(100);
        let mut channels = world.plan.sender_channels();
        channels.truncate(1);
        world.senders[0].set_channels(world.now, channels, world.plan.encoder());
        world.pass(100 * MS);
        world.senders[0].set_channels(world.now, world.plan.sender_channels(), world.plan.encoder());
    }
    world.run(100);
    assert_eq!(world.finish_and_verify(), 0);
    assert_eq!(world.check.records, 600);
}

/// Added on both sides while traffic runs, the receiver first, as an operator would: its very first frame is lost and
/// recovered.
#[test]
fn a_channel_added_on_both_sides_is_whole_from_its_first_record() {
    let plan = two(Plan::main(6));
    let mut world = World::new(&plan);
    world.receiver = Plan { channels: 1, ..plan.clone() }.receiver(0, Vec::new());
    let one = Plan { channels: 1, ..plan.clone() };
    world.senders = vec![one.sender(0, FIRST_EPOCH, world.now, plan.encoder())];
    let slot_0: Vec<u64> = (0..4).filter(|session| plan.slot_of(*session) == 0).collect();
    for n in 0..500 {
        world.push_on(slot_0[n % slot_0.len()]).expect("room");
        world.pass(100 * US);
    }
    world.receiver.set_channels(&plan.receiver_channels());
    world.pass(SECOND);
    world.senders[0].set_channels(world.now, plan.sender_channels(), plan.encoder());
    let slot_1 = (0..4).find(|session| plan.slot_of(*session) == 1).expect("there is one");
    world.set_faults(Faults::down());
    world.push_on(slot_1).expect("room");
    world.pass(100 * US);
    world.set_faults(Faults::default());
    world.push_on(slot_1).expect("room");
    world.run(500);
    assert_eq!(world.finish_and_verify(), 0);
    assert_eq!(world.check.settled[&(0, 1)].before_join_records, 0);
}

/// Known to the receiver only after the sender had used it for long: what came before is not missed.
#[test]
fn a_channel_added_late_at_the_receiver_is_no_loss() {
    let plan = two(Plan::bare(7));
    let mut world = World::new(&plan);
    world.receiver = Plan { channels: 1, ..plan.clone() }.receiver(0, Vec::new());
    world.run(1000);
    assert!(world.receiver.counters().unknown_channel > 0);
    let before = world.sent[&(0, 1)].records;
    world.receiver.set_channels(&plan.receiver_channels());
    world.run(1000);
    assert_eq!(world.finish_and_verify(), 0);
    let settled = world.check.settled[&(0, 1)];
    assert!(settled.before_join_records.abs_diff(before) < 10, "{settled:?}, {before} sent before");
}

#[test]
fn a_stream_of_another_type_or_unknown_is_told() {
    let mut world = World::new(&two(Plan::main(8)));
    let mut channels = world.plan.sender_channels();
    channels[0].stream_type = 3;
    channels[1].channel = 77;
    world.senders[0].set_channels(world.now, channels, world.plan.encoder());
    world.pass(0);
    let told = &world.check.mismatches;
    assert!(told.contains(&(1, 3, Some(1))), "{told:?}");
    assert!(told.contains(&(77, 1, None)), "{told:?}");
}

/// A stream that only the receiver has cannot show up as a frame; the tables' digest tells.
#[test]
fn a_stream_that_the_sender_lacks_is_told() {
    let mut world = World::new(&two(Plan::main(8)));
    world.pass(SECOND);
    assert_eq!(world.check.tables_differed, 0, "the tables are the same");
    let mut channels = world.plan.sender_channels();
    channels.truncate(1);
    world.senders[0].set_channels(world.now, channels, world.plan.encoder());
    world.pass(SECOND);
    assert!(world.check.tables_differed > 0);
    assert!(world.check.mismatches.is_empty());
}
