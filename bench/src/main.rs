//! `cargo xtask bench`: what one core does in BLUE's and in RED's pipeline, without any network.
//!
//! ```text
//!  BLUE: records -> Sender (blocks, FEC, seal) -> MemoryLink        timed by itself
//!  RED:  MemoryLink -> Receiver (open, FEC, order) -> Sink          timed by itself
//! ```
//!
//! Time on the link is simulated: it passes as at [`LINK_BITS_PER_SECOND`], whatever the pipelines really take.

mod pipeline;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use pipeline::{Outcome, Plan};
use relay::fec::Scheme;

/// Rounds of each plan; their median is shown, so that one disturbance does not count.
const ROUNDS: usize = 5;
/// Two in a hundred, of 65,536.
const LOSS_2_PERCENT: u16 = 1311;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    println!(
        "one core, {} datagrams of {} bytes a round, blocks of {}, 10% repair, sealed; Gb/s of payload, median of {ROUNDS} (least to most)\n",
        pipeline::DATAGRAMS,
        pipeline::PAYLOAD_BYTES,
        pipeline::BLOCK_SYMBOLS,
    );
    println!("{:<14} {:>5}  {:<22} {:<22} {:>9} {:>6}", "code", "loss", "BLUE", "RED", "recovered", "lost");
    for (name, scheme) in [("RaptorQ", Scheme::RaptorQ), ("Reed-Solomon", Scheme::ReedSolomon)] {
        for (loss, lose) in [("0%", 0), ("2%", LOSS_2_PERCENT)] {
            let rounds = (1..=ROUNDS as u64).map(|seed| pipeline::run(&Plan { scheme, lose, seed }));
            let rounds = rounds.collect::<Result<Vec<Outcome>>>()?;
            let blue = spread(rounds.iter().map(|round| round.blue_gbit_s));
            let red = spread(rounds.iter().map(|round| round.red_gbit_s));
            let recovered: u64 = rounds.iter().map(|round| round.recovered).sum();
            let lost: u64 = rounds.iter().map(|round| round.lost).sum();
            println!("{name:<14} {loss:>5}  {blue:<22} {red:<22} {recovered:>9} {lost:>6}");
            ensure!(lost == 0 || lose > 0, "a link without loss lost {lost} datagrams");
        }
    }
    Ok(())
}

/// `median (least to most)`.
fn spread(values: impl Iterator<Item = f64>) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(least), Some(median), Some(most)) => format!("{median:.2} ({least:.2} to {most:.2})"),
        _ => String::new(),
    }
}
