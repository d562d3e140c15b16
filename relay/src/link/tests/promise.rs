//! What the protection promises is kept: nothing is missing, dense or sparse.

use super::*;

/// Reaches over a thousand blocks where traffic is dense, and many times as many where it is sparse.
const DENSE_RECORDS: u64 = 100_000;
const SPARSE_RECORDS: u64 = 20_000;
/// 20,000 and 1,000 datagrams a second.
const DENSE_GAP: Nanos = 50 * US;
const SPARSE_GAP: Nanos = MS;

const SCHEMES: [Scheme; 2] = [Scheme::RaptorQ, Scheme::ReedSolomon];

/// 65,536ths for a share of lost frames.
fn share(loss: f64) -> u16 {
    (loss * 65_536.0).round() as u16
}

/// Runs the main job and asserts that something was lost on the link, and nothing from the account.
fn nothing_is_missing(plan: &Plan, records: u64, gap_ns: Nanos) {
    let mut world = World::new(plan);
    world.run_evenly(records, gap_ns);
    let missing = world.finish_and_verify();
    let (counters, lost) = (world.receiver.counters(), world.senders[0].port().counts.lost);
    assert_eq!(missing, 0, "{plan:?}\n{counters:?}");
    assert_eq!(world.check.records, records);
    assert_eq!(counters.blocks_abandoned, 0);
    assert!(lost > 0 && counters.symbols_recovered > 0, "{lost} lost: the link was too good for this test");
}

fn two_percent(scheme: Scheme, seed: u64) -> Plan {
    Plan {
        scheme,
        protection: Protection::Promise { loss: 0.02, residual: 1e-9, burst: 0 },
        faults: Faults { lose: share(0.02), ..Faults::default() },
        ..Plan::main(seed)
    }
}

#[test]
fn two_percent_loss_dense() {
    for scheme in SCHEMES {
        nothing_is_missing(&two_percent(scheme, 1), DENSE_RECORDS, DENSE_GAP);
    }
}

#[test]
fn two_percent_loss_sparse() {
    for scheme in SCHEMES {
        nothing_is_missing(&two_percent(scheme, 2), SPARSE_RECORDS, SPARSE_GAP);
    }
}

fn bursts(scheme: Scheme, seed: u64) -> Plan {
    Plan {
        scheme,
        protection: Protection::Promise { loss: 0.0001, residual: 1e-9, burst: 15 },
        faults: Faults { burst_every: 700, burst_frames: 15, ..Faults::default() },
        ..Plan::main(seed)
    }
}

#[test]
fn bursts_dense() {
    for scheme in SCHEMES {
        nothing_is_missing(&bursts(scheme, 3), DENSE_RECORDS, DENSE_GAP);
    }
}

#[test]
fn bursts_sparse() {
    for scheme in SCHEMES {
        nothing_is_missing(&bursts(scheme, 4), SPARSE_RECORDS, SPARSE_GAP);
    }
}

/// A plain share of 10% over blocks that have time to fill: K = 128.
#[test]
fn a_tenth_for_two_percent() {
    for scheme in SCHEMES {
        let plan = Plan {
            protection: Protection::Share { repair: 0.1, repair_min: 2 },
            deadline_ns: 10 * MS,
            ..two_percent(scheme, 5)
        };
        nothing_is_missing(&plan, DENSE_RECORDS, DENSE_GAP);
    }
}
