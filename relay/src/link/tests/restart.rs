//! Either side starts again, the link goes down, old frames come again.

use super::frames::{Forge, record};
use super::*;
use crate::wire::HeartbeatEntry;

/// A world that has sent `records` at 20,000 a second and remembers every frame that arrived.
fn recorded(plan: &Plan, records: u64) -> World {
    let mut world = World::new(plan);
    world.recording = Some(Vec::new());
    world.run_evenly(records, 50 * US);
    world
}

fn recording(world: &World) -> Vec<Vec<u8>> {
    world.recording.clone().unwrap_or_default()
}

#[test]
fn a_restarted_sender_is_followed_at_once_and_its_past_refused() {
    let mut world = World::new(&Plan::main(1));
    world.run_evenly(230, 50 * US);
    world.set_faults(Faults { delay: u16::MAX, delay_frames: u16::MAX, ..Faults::default() });
    world.run_evenly(40, 50 * US);
    let before = world.check.records;
    let in_flight = world.restart_senders();
    assert!(in_flight.len() >= 40);
    world.push();
    world.deliver();
    assert_eq!(world.check.records, before + 1, "the new epoch's first frame is delivered at once");
    for frame in &in_flight {
        world.replay(std::slice::from_ref(frame));
        world.push();
        world.pass(50 * US);
    }
    assert_eq!(world.receiver.counters().old_epoch, in_flight.len() as u64);
    assert_eq!(world.check.epochs, [FIRST_EPOCH, FIRST_EPOCH + 1], "each is told once");
    assert_eq!(world.check.records, before + 1 + in_flight.len() as u64, "nothing of the old epoch came");
    assert_eq!(world.finish_and_verify(), 0);
}

/// What came before the restart and waited for a gap is delivered, and before the sink hears of the new epoch.
#[test]
fn what_was_held_of_the_old_epoch_comes_before_the_new() {
    let mut world = World::new(&Plan::bare(14));
    for n in 0..10 {
        world.set_faults(if n == 3 { Faults::down() } else { Faults::default() });
        world.push();
        world.deliver();
    }
    assert_eq!(world.check.records, 3);
    world.restart_senders();
    world.push();
    world.deliver();
    assert_eq!(world.check.records, 9 + 1);
    assert_eq!(world.check.delivered[&(0, 0)].records, 1, "the check's accounts are the new epoch's");
    assert_eq!(world.finish_and_verify(), 0);
}

/// The receiver's last run ended in the middle of a block, of which some symbols were delivered.
#[test]
fn a_receiver_that_remembers_takes_up_where_it_was() {
    for scheme in [Scheme::None, Scheme::RaptorQ, Scheme::ReedSolomon] {
        let mut world = recorded(&Plan { scheme, ..Plan::main(2) }, 2345);
        let before = world.check.records;
        world.restart_receiver(true);
        let old = recording(&world);
        world.replay(&old);
        assert_eq!(world.receiver.counters().replayed, old.len() as u64, "every frame of the past is refused");
        world.push();
        world.deliver();
        assert_eq!(world.check.records, before + 1, "the first new datagram is delivered at once");
        world.run_evenly(3000, 50 * US);
        assert_eq!(world.finish_and_verify(), 0, "what was delivered before is no loss");
        assert_eq!(world.check.settled[&(0, 0)].before_join_records, before);
        assert_eq!(world.check.records, 2345 + 1 + 3000);
    }
}

/// The first heartbeat after the restart falls into the block that was open then.
#[test]
fn a_heartbeat_amid_the_first_block_makes_no_loss() {
    for heartbeat_first in [false, true] {
        let mut world = recorded(&Plan::bare(3), 2345);
        world.restart_receiver(true);
        let now = world.now;
        if heartbeat_first {
            world.senders[0].heartbeat(now);
            world.deliver();
        }
        world.run_evenly(5, 50 * US);
        let now = world.now;
        world.senders[0].heartbeat(now);
        world.run_evenly(3000, 50 * US);
        assert_eq!(world.finish_and_verify(), 0);
        assert_eq!(world.check.settled[&(0, 0)].before_join_records, 2345);
    }
}

/// Sparse traffic: one datagram a block, delivered before the restart, its repair symbols sent after it.
#[test]
fn repair_of_what_was_delivered_before_delivers_nothing_again() {
    let mut world = World::new(&Plan::main(4));
    // Lets the floor be above zero.
    world.pass(0);
    world.push();
    world.deliver();
    assert_eq!(world.check.records, 1);
    world.restart_receiver(true);
    world.pass(10 * MS);
    assert!(world.senders[0].counters().repair_frames > 0);
    world.push();
    world.pass(10 * MS);
    assert_eq!(world.check.records, 2, "each once: the check knows");
    assert_eq!(world.finish_and_verify(), 0);
}

#[test]
fn a_receiver_that_remembers_nothing_joins_without_false_loss() {
    let mut world = World::new(&Plan::main(5));
    world.run_evenly(2345, 50 * US);
    world.restart_receiver(false);
    world.push();
    world.deliver();
    assert_eq!(world.check.records, 2346);
    world.run_evenly(3000, 50 * US);
    assert_eq!(world.finish_and_verify(), 0);
    assert_eq!(world.check.settled[&(0, 0)].before_join_records, 2345);
}

/// Loss after the join is a loss, and FEC works as ever.
#[test]
fn after_the_join_losses_count() {
    let mut world = World::new(&Plan::bare(6));
    world.run_evenly(2000, 50 * US);
    world.restart_receiver(true);
    // The account joins at the first heartbeat after the first block.
    world.run_evenly(6000, 50 * US);
    world.set_faults(Faults { lose: 2000, ..Faults::default() });
    let (joined, lost) = (world.check.records, world.senders[0].port().counts.lost);
    world.run_evenly(3000, 50 * US);
    world.set_faults(Faults::default());
    let lost = world.senders[0].port().counts.lost - lost;
    let missing = world.finish_and_verify();
    assert_eq!(world.check.records, joined + 3000 - missing);
    assert!(missing > 0 && missing <= lost && missing + 1 >= lost, "one of {lost} may be a heartbeat: {missing}");
}

#[test]
fn a_whole_session_replayed_delivers_nothing() {
    let mut world = recorded(&Plan { sessions: 5, channels: 2, ..Plan::main(7) }, 1000);
    world.finish_and_verify();
    let (before, old) = (world.check.records, recording(&world));
    world.replay(&old);
    world.replay(&old);
    assert_eq!(world.check.records, before);
    assert_eq!(world.receiver.counters().replayed, 2 * old.len() as u64);
}

#[test]
fn frames_below_the_least_epoch_are_refused() {
    let mut world = World::new(&Plan::main(8));
    world.receiver = world.plan.receiver(FIRST_EPOCH + 1, Vec::new());
    world.run_evenly(100, 50 * US);
    assert_eq!((world.check.records, world.receiver.counters().frames), (0, 0));
    assert!(world.receiver.counters().old_epoch >= 100);
    assert!(world.check.epochs.is_empty());
    world.restart_senders();
    world.run_evenly(100, 50 * US);
    assert_eq!(world.finish_and_verify(), 0);
}

#[test]
fn two_lanes_interleave_and_each_has_its_account() {
    let plan = Plan {
        lanes: 2,
        channels: 2,
        sessions: 8,
        faults: Faults { lose: 3000, delay: 3000, delay_frames: 20, ..Faults::default() },
        ..Plan::bare(9)
    };
    let mut world = World::new(&plan);
    world.run_evenly(4000, 25 * US);
    let missing = world.finish_and_verify();
    assert_eq!(world.check.settled.len(), 4, "two lanes of two channels");
    assert!(missing > 50);
    assert!(world.check.settled.values().all(|settled| settled.missing_records > 0));
}

/// A second restart before a lane was heard again must not forget that lane.
#[test]
fn floors_outlive_a_run_that_heard_nothing() {
    let plan = Plan { lanes: 2, sessions: 2, ..Plan::main(10) };
    let mut world = recorded(&plan, 400);
    let floors: BTreeMap<u16, u64> = world.receiver.packet_floors().collect();
    assert_eq!(floors.len(), 2);
    world.restart_receiver(true);
    assert_eq!(world.receiver.packet_floors().collect::<BTreeMap<_, _>>(), floors, "nothing heard yet");
    // Only lane 0 is heard.
    while world.next_sequence[&0] < 300 {
        let _ = world.push_on(0);
        world.pass(0);
    }
    world.restart_receiver(true);
    let again: BTreeMap<u16, u64> = world.receiver.packet_floors().collect();
    assert!(again[&0] > floors[&0] && again[&1] == floors[&1], "{again:?}");
    let old = recording(&world);
    world.replay(&old);
    assert_eq!(world.receiver.counters().replayed, old.len() as u64);
}

/// Another receiver of the link saw a newer epoch: what is remembered of the old one says nothing of the new.
#[test]
fn floors_are_those_of_the_epoch_that_is_told() {
    let mut world = World::new(&Plan::main(11));
    world.run_evenly(3000, 50 * US);
    world.receiver.raise_epoch(FIRST_EPOCH + 1);
    assert_eq!(world.receiver.epoch(), FIRST_EPOCH + 1);
    assert_eq!(world.receiver.packet_floors().collect::<Vec<_>>(), []);
    world.restart_receiver(true);
    world.restart_senders();
    world.run_evenly(100, 50 * US);
    assert_eq!(world.finish_and_verify(), 0);
}

#[test]
fn a_link_that_was_down_resumes_with_an_exact_account() {
    for (scheme, gap_ns) in [(Scheme::None, MS), (Scheme::RaptorQ, MS), (Scheme::ReedSolomon, 50 * US)] {
        let mut world = World::new(&Plan { scheme, ..Plan::main(12) });
        world.run_evenly(3 * SECOND / gap_ns / 10 + 7, gap_ns);
        world.set_faults(Faults::down());
        let during = 3 * SECOND / gap_ns;
        world.run_evenly(during, gap_ns);
        world.set_faults(Faults::default());
        let before = world.check.records;
        world.run_evenly(20, gap_ns);
        // The block that was open when the link came back has a gap: it is held until it is over.
        world.pass(world.plan.deadline_ns + world.plan.hold_ns);
        assert!(world.check.records > before, "no new datagram came");
        world.run_evenly(500, gap_ns);
        let missing = world.finish_and_verify();
        assert!(missing <= during && missing + 30 >= during, "{missing} of {during}: repair saves the ends at most");
        assert_eq!(world.check.epochs, [FIRST_EPOCH]);
    }
}

/// A heartbeat that was overtaken does not take back what a newer one said.
#[test]
fn an_overtaken_heartbeat_delays_no_account() {
    let mut world = World::new(&Plan::bare(15));
    let mut forge = Forge::new(&world.plan, FIRST_EPOCH, 0);
    let entry = |next_block: u32, last_k| HeartbeatEntry {
        channel: 1,
        stream_type: 1,
        next_block,
        last_k,
        records: u64::from(next_block),
        bytes: 0,
    };
    let (old, new) = (forge.heartbeat(&[entry(0, None)]), forge.heartbeat(&[entry(2, Some(1))]));
    let late = forge.block(0, &record(&world.plan, 0, 0));
    let last = forge.block(1, &record(&world.plan, 0, 1));
    world.replay(&[last, new, old, late]);
    let settled = world.check.settled[&(0, 0)];
    assert_eq!((settled.sent_records, settled.missing_records), (2, 0));
}

/// Block numbers pass 2^32, in order and with an account.
#[test]
fn block_numbers_wrap() {
    let mut world = World::new(&Plan { payload_min: 40, payload_max: 40, ..Plan::bare(13) });
    let mut forge = Forge::new(&world.plan, FIRST_EPOCH, 5000);
    let first = u32::MAX - 100;
    let entry = |sent: u32| HeartbeatEntry {
        channel: 1,
        stream_type: 1,
        next_block: first.wrapping_add(sent),
        last_k: Some(1),
        records: 1_000_000 + u64::from(sent),
        bytes: 0,
    };
    for sequence in 0..200_u32 {
        let frame = forge.block(first.wrapping_add(sequence), &record(&world.plan, 0, sequence));
        if sequence % 10 != 9 {
            world.replay(&[frame]);
        }
        if sequence % 7 == 0 {
            let heartbeat = forge.heartbeat(&[entry(sequence + 1)]);
            world.replay(&[heartbeat]);
        }
        world.now += 20 * MS;
        world.receiver.poll(world.now, &mut world.check);
    }
    let heartbeat = forge.heartbeat(&[entry(200)]);
    world.replay(&[heartbeat]);
    world.receiver.poll(world.now + SECOND, &mut world.check);
    let settled = world.check.settled[&(0, 0)];
    assert_eq!(world.check.records, 180);
    assert_eq!((settled.before_join_records, settled.missing_records), (1_000_000, 20));
}
