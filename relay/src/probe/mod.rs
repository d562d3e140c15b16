//! `relay bench send | receive`: what the diode at hand can carry, measured with the relay's own lanes, codes and seal.
//!
//! ```text
//! BLUE  Ladder -> Stage -> Source -> SendingLane -> link::Sender ==> diode ==> link::Receiver -> ReceivingLane -> Counting  RED
//!       (rates, one after the other)   full records                                      Tally (per step) -> Advice
//! ```
//!
//! Nothing comes back over a diode, so BLUE climbs a ladder of rates without knowing how it goes; every record says which
//! step it belongs to, and at the end of each step BLUE says what it really sent. RED compares, finds the highest rate that
//! was safe, and prints lines for the site file.
//!
//! Needs the link's cards only, never those of the zones. Its records travel on [`crate::wire::BENCH_CHANNEL`], which a
//! relay refuses; epochs come from the relay's own state files, so that replay protection stays right.

mod advice;
mod counting;
mod ladder;
mod message;
mod receive;
mod send;
mod show;
mod source;
mod tally;

pub use ladder::Rates;
pub use message::PAYLOAD_BYTES_MIN;
pub use receive::{Receive, receive};
pub use send::{Send, send};

use std::time::Duration;

/// Between two steps nothing is sent for so long and the time in which a block closes and is given up: RED then adds up
/// what lanes tell every 100 ms and its control thread takes every 100 ms, so each step gets its own losses.
const PAUSE: Duration = Duration::from_millis(600);

/// Processor time of this process so far, all threads together.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.clamp(0, 999_999_999) as u32)
}
