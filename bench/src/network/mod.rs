//! The benchmarks that need a network: hosts in namespaces, made by the crate `lab`, with the relay or the kernel's own
//! forwarding between client and server. The programs at both ends are the same on every path that is compared.
//!
//! ```text
//!  client --- blu0 BLUE blu1 ---> diode ---> red1 RED red0 --- server        relay, or kernel forwarding on BLUE and RED
//! ```

mod cost;
pub mod idle;
pub mod link;
pub mod memory;
mod path;
mod search;
pub mod tcp;
pub mod udp;

use std::time::Duration;

use crate::measured::Bench;

/// With `--quick`: a look.
const RUNS_QUICK: u32 = 1;

/// Makes a benchmark; with `true`, fewer cases.
pub type Make = fn(bool, Times) -> Bench;

/// How long the cases last.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// One step that counts.
    pub step: Duration,
    /// One step that only looks where it gets interesting.
    pub look: Duration,
    /// How long memory is watched under load.
    pub memory: Duration,
}

impl Times {
    /// Steps of so many seconds, and so many minutes for memory.
    pub fn new(seconds: f64, memory_minutes: f64) -> Self {
        let step = Duration::from_secs_f64(seconds);
        let memory = Duration::from_secs_f64(memory_minutes * 60.0);
        Self { step, look: step.min(Duration::from_secs(1)), memory }
    }
}
