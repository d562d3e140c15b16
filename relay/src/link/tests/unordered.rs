//! `ordered = false`: records as they come.

use super::*;

fn world(mut plan: Plan) -> World {
    plan.ordered = false;
    let mut world = World::new(&plan);
    world.pass(0);
    world.check.log = Some(Vec::new());
    world
}

/// Sends ten datagrams, 10 us apart, of which the second is lost. Returns when each that came came.
fn lose_the_second(world: &mut World) -> Vec<(Nanos, u32)> {
    for sequence in 0..10 {
        world.set_faults(if sequence == 1 { Faults::down() } else { Faults::default() });
        world.push();
        world.deliver();
        world.pass(10 * US);
    }
    world.pass(20 * MS);
    world.check.log.iter().flatten().map(|(at, _, sequence)| (*at, *sequence)).collect()
}

#[test]
fn records_after_a_gap_come_at_once() {
    let mut world = world(Plan::main(1));
    let start = world.now;
    let came = lose_the_second(&mut world);
    let mut expected: Vec<(Nanos, u32)> =
        (0..10).filter(|n| *n != 1).map(|n| (start + u64::from(n) * 10 * US, n)).collect();
    expected.push((start + world.plan.deadline_ns, 1));
    assert_eq!(came, expected, "the lost one is recovered when the block closes");
    assert_eq!((world.check.early, world.check.recovered), (8, 1));
    assert_eq!(world.finish_and_verify(), 0);
}

#[test]
fn what_stays_lost_is_in_the_account_once() {
    let mut world = world(Plan::bare(2));
    let came = lose_the_second(&mut world);
    assert_eq!(came.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [0, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(world.finish_and_verify(), 1);
    assert_eq!(world.check.records, 9);
}

/// Blocks after a gapped block do not wait for it either.
#[test]
fn later_blocks_do_not_wait() {
    let mut world = world(Plan { block_symbols: 4, hold_ns: SECOND, ..Plan::bare(3) });
    let start = world.now;
    let came = lose_the_second(&mut world);
    assert!(came.iter().all(|(at, n)| *at == start + u64::from(*n) * 10 * US), "{came:?}");
    assert_eq!(came.len(), 9);
    assert_eq!(world.finish_and_verify(), 1);
}
