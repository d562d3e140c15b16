//! Any plan over any link.

use proptest::prelude::*;

use super::*;

/// Records of each case.
const RECORDS: u64 = 300;

fn any_plan() -> impl Strategy<Value = Plan> {
    let shape = (any::<u64>(), 0_u8..3, 1_u16..100, 30_u16..150, 1_u16..3, 1_u16..4, 1_u64..20);
    let traffic = (1_u64..800, prop_oneof![Just(500_u64), Just(20_000), Just(400_000)], any::<bool>(), any::<bool>());
    let protection = prop_oneof![
        (0.001_f64..0.1, 0_u16..20).prop_map(|(loss, burst)| Protection::Promise { loss, residual: 1e-9, burst }),
        (0.0_f64..0.5, 0_u16..4).prop_map(|(repair, repair_min)| Protection::Share { repair, repair_min }),
    ];
    (shape, traffic, protection).prop_map(|(shape, traffic, protection)| {
        let (seed, scheme, block_symbols, half, lanes, channels, sessions) = shape;
        let (payload_max, gap_ns, ordered, sealed) = traffic;
        let symbol_bytes = half * 2;
        let block_bytes = u64::from(block_symbols) * u64::from(symbol_bytes);
        Plan {
            scheme: [Scheme::None, Scheme::RaptorQ, Scheme::ReedSolomon][usize::from(scheme)],
            protection,
            block_symbols,
            symbol_bytes,
            lanes,
            channels,
            sessions,
            payload_min: 0,
            payload_max: payload_max.min(block_bytes - 24),
            gap_ns,
            heartbeat_ns: 20 * MS,
            ordered,
            sealed,
            ..Plan::main(seed)
        }
    })
}

fn any_faults() -> impl Strategy<Value = Faults> {
    let share = || prop_oneof![Just(0_u16), 0_u16..500, 0_u16..8000];
    let every = prop_oneof![Just(0_u32), 20_u32..2000];
    let loss = (share(), share(), every, 1_u16..30);
    (loss, share(), share(), 1_u16..200, share(), share()).prop_map(
        |((lose, burst, burst_every, burst_frames), duplicate, delay, delay_frames, corrupt, truncate)| Faults {
            lose,
            burst: burst / 8,
            burst_every,
            burst_frames,
            duplicate,
            delay,
            delay_frames,
            corrupt,
            truncate,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_perfect_link_loses_nothing(plan in any_plan()) {
        let (world, missing) = run(&plan, RECORDS);
        prop_assert_eq!(missing, 0);
        prop_assert_eq!(world.receiver.counters().blocks_abandoned, 0);
        prop_assert_eq!(world.check.epochs, [FIRST_EPOCH]);
        prop_assert!(world.check.mismatches.is_empty());
    }

    #[test]
    fn any_fault_leaves_an_exact_account(mut plan in any_plan(), faults in any_faults()) {
        plan.faults = faults;
        run(&plan, RECORDS);
    }

    /// Reordering and duplication within a few milliseconds cost nothing at all.
    #[test]
    fn reordering_and_duplication_lose_nothing(mut plan in any_plan(), delay_frames in 1_u16..40) {
        plan.gap_ns = 20_000;
        plan.faults = Faults { duplicate: 6000, delay: 6000, delay_frames, ..Faults::default() };
        let (_, missing) = run(&plan, RECORDS);
        // Only what is held back past the `hold` of the last block may miss its turn.
        prop_assert!(missing == 0 || delay_frames > 10, "{} missing", missing);
    }

    /// Restarts of either side at any moment, under any fault: never a record twice, never a stale one.
    #[test]
    fn restarts_deliver_nothing_twice(
        mut plan in any_plan(),
        faults in any_faults(),
        restarts in proptest::collection::vec((any::<bool>(), 1_u64..120), 1..5),
    ) {
        plan.faults = faults;
        let mut world = World::new(&plan);
        let mut epochs = vec![FIRST_EPOCH];
        for (sender, records) in restarts {
            world.run(records);
            if sender {
                let stale = world.restart_senders();
                epochs.push(world.epoch);
                world.run(10);
                let heard = world.receiver.epoch() == world.epoch;
                let before = world.check.records;
                world.replay(&stale);
                prop_assert!(!heard || world.check.records == before);
            } else {
                world.restart_receiver(true);
            }
        }
        world.run(20);
        world.finish_and_verify();
        prop_assert_eq!(world.receiver.epoch(), world.epoch);
    }
}
