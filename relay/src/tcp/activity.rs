//! When a session last did anything, and whether it is in the middle of something.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::host::Clock;
use crate::link::Nanos;

/// Touched with every byte that goes either way; cheap enough for that, since nobody is woken.
#[derive(Debug)]
pub struct Activity {
    clock: Clock,
    last_at: AtomicU64,
    /// Its ways that have bytes to bring on, or whose end nobody has confirmed.
    working: AtomicUsize,
}

impl Activity {
    /// Active now.
    pub fn new(clock: Clock) -> Self {
        Self { clock, last_at: AtomicU64::new(clock.now()), working: AtomicUsize::new(0) }
    }

    /// Something happened.
    pub fn touch(&self) {
        self.last_at.store(self.clock.now(), Relaxed);
    }

    /// One of its ways has something to bring on.
    pub fn begin(&self) {
        self.working.fetch_add(1, Relaxed);
    }

    /// That way waits for its sender again.
    pub fn rest(&self) {
        self.working.fetch_sub(1, Relaxed);
    }

    /// Waits until nothing has happened for `idle`. True: no way was at work, so that nothing is lost if it ends now.
    pub async fn ceases(&self, idle: Duration) -> bool {
        loop {
            let quiet_ns: Nanos = self.clock.now().saturating_sub(self.last_at.load(Relaxed));
            let rest = idle.saturating_sub(Duration::from_nanos(quiet_ns));
            if rest.is_zero() {
                return self.working.load(Relaxed) == 0;
            }
            tokio::time::sleep(rest).await;
        }
    }
}
