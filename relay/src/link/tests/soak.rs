//! Very many frames over very many links, each with its own faults.

use super::*;

/// Frames of the short form, which always runs, and of the long one (`RELAY_SOAK=1`): an hour's worth at 2,800 a second.
const FRAMES_SHORT: u64 = 300_000;
const FRAMES_LONG: u64 = 10_500_000;
/// Records of one run between restarts.
const RECORDS: u64 = 1500;

fn plan(seed: u64) -> Plan {
    let mut random = Seeded::new(seed);
    let mut pick = |from: u64, to: u64| from + random.below(to - from);
    let symbol_bytes = 2 * pick(20, 120) as u16;
    let block_symbols = pick(1, 140) as u16;
    let block_bytes = u64::from(block_symbols) * u64::from(symbol_bytes);
    let schemes = [Scheme::None, Scheme::RaptorQ, Scheme::ReedSolomon];
    // Most links are bad in a few ways, few in every way.
    let mut share = |most: u64| if pick(0, 2) == 0 { 0 } else { pick(0, most) as u16 };
    let faults = Faults {
        lose: share(4000),
        burst: share(200),
        burst_every: u32::from(share(3000)),
        burst_frames: 1 + share(30),
        duplicate: share(4000),
        delay: share(4000),
        delay_frames: 1 + share(100),
        corrupt: share(2000),
        truncate: share(2000),
    };
    let protection = match pick(0, 3) {
        0 => Protection::Share { repair: pick(0, 30) as f64 / 100.0, repair_min: pick(0, 4) as u16 },
        _ => Protection::Promise { loss: pick(1, 50) as f64 / 1000.0, residual: 1e-9, burst: pick(0, 20) as u16 },
    };
    Plan {
        scheme: schemes[pick(0, 3) as usize],
        protection,
        block_symbols,
        symbol_bytes,
        lanes: pick(1, 3) as u16,
        channels: pick(1, 4) as u16,
        sessions: pick(1, 20),
        payload_min: 0,
        payload_max: pick(1, 400).min(block_bytes - 24),
        gap_ns: [500, 10 * US, 50 * US, 500 * US][pick(0, 4) as usize],
        heartbeat_ns: 20 * MS,
        faults,
        ordered: pick(0, 2) == 0,
        sealed: pick(0, 4) > 0,
        ..Plan::main(seed)
    }
}

/// One link's life: traffic, restarts of either side, an exact account at the end. Returns frames and missing records.
fn life(seed: u64) -> (u64, u64) {
    let plan = plan(seed);
    let mut world = World::new(&plan);
    let mut frames = 0;
    for _ in 0..world.random.below(3) {
        world.run(RECORDS);
        if world.random.below(2) == 0 {
            frames += world.frames_sent();
            let stale = world.restart_senders();
            world.run(50);
            if world.receiver.epoch() == world.epoch {
                world.replay(&stale);
            }
        } else {
            world.restart_receiver(true);
        }
    }
    world.run(RECORDS);
    let missing = world.finish_and_verify();
    (frames + world.frames_sent(), missing)
}

#[test]
fn soak() {
    let long = std::env::var_os("RELAY_SOAK").is_some();
    let wanted = if long { FRAMES_LONG } else { FRAMES_SHORT };
    let (mut frames, mut missing, mut lives) = (0, 0, 0);
    while frames < wanted {
        // Printed when the test fails, so that the link can be had again.
        println!("seed {lives}");
        let (more_frames, more_missing) = life(lives);
        frames += more_frames;
        missing += more_missing;
        lives += 1;
    }
    println!("{frames} frames over {lives} links, {missing} records lost beyond FEC and all in the account");
}
