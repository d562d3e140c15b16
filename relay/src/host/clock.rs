//! The clock of the hosts.

use std::time::Instant;

use crate::link::Nanos;

/// Nanoseconds since the clock was made, from `CLOCK_MONOTONIC`. All threads of a process share one.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Default for Clock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock {
    /// Now. Never 0, so that 0 can mean "never".
    pub fn now(&self) -> Nanos {
        self.0.elapsed().as_nanos() as Nanos + 1
    }
}
