//! One line on standard error that says how far it is; nothing where nobody watches.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

/// How far a number of steps has got.
pub struct Progress {
    shown: bool,
    started: Instant,
    done: usize,
    total: usize,
}

impl Progress {
    /// `total` steps are to be done.
    pub fn new(total: usize) -> Self {
        Self { shown: std::io::stderr().is_terminal(), started: Instant::now(), done: 0, total }
    }

    /// Begins the next step.
    pub fn step(&mut self, what: &str) {
        self.done += 1;
        if self.shown {
            let seconds = self.started.elapsed().as_secs();
            // A terminal that cannot be written to is no reason to stop measuring.
            let _ = write!(std::io::stderr(), "\r\x1b[K[{}/{}] {seconds} s  {what}", self.done, self.total);
        }
    }

    /// Says something that stays.
    pub fn tell(&self, what: &str) {
        // Over the line of the step, which the next one writes anew.
        let _ = writeln!(std::io::stderr(), "{}{what}", if self.shown { "\r\x1b[K" } else { "" });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
