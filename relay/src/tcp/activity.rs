//! When a session last did anything.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::host::Clock;
use crate::link::Nanos;

/// Touched with every byte that goes either way; cheap enough for that, since nobody is woken.
#[derive(Debug)]
pub struct Activity {
    clock: Clock,
    last_at: AtomicU64,
}

impl Activity {
    /// Active now.
    pub fn new(clock: Clock) -> Self {
        Self { clock, last_at: AtomicU64::new(clock.now()) }
    }

    /// Something happened.
    pub fn touch(&self) {
        self.last_at.store(self.clock.now(), Relaxed);
    }

    /// Waits until nothing has happened for `idle`.
    pub async fn ceases(&self, idle: Duration) {
        loop {
            let quiet_ns: Nanos = self.clock.now().saturating_sub(self.last_at.load(Relaxed));
            let rest = idle.saturating_sub(Duration::from_nanos(quiet_ns));
            if rest.is_zero() {
                return;
            }
            tokio::time::sleep(rest).await;
        }
    }
}
