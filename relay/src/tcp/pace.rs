//! A session's turn within its stream's rate, which all sessions of the stream share.

use std::sync::Arc;
use std::time::Duration;

use super::copy::Broken;
use super::failure::Failure;
use crate::host::Clock;
use crate::session::SharedRate;

/// Who waits for its turn looks after so long whether its stream is still in force, and shows that it is not idle.
const LOOK: Duration = Duration::from_millis(100);

/// What a stream grants its sessions. `F` says whether the stream is still in force: a reload may have taken it away.
pub struct Pace<F> {
    /// The stream's rate, if it has one.
    pub rate: Option<Arc<SharedRate>>,
    /// The process's clock.
    pub clock: Clock,
    /// See above.
    pub in_force: F,
}

impl<F: Fn() -> bool> Pace<F> {
    /// The most bytes that should go at once: with a rate few, so that others' turns come soon.
    pub fn piece_bytes_max(&self) -> usize {
        self.rate.as_ref().map_or(usize::MAX, |rate| rate.piece_bytes())
    }

    /// Waits until these bytes may go; calls `waits` again and again meanwhile.
    ///
    /// # Errors
    /// The stream is no longer in force.
    pub async fn pass(&self, bytes: usize, waits: impl Fn()) -> Result<(), Broken> {
        // An end weighs nothing, and waits for nobody.
        let rate = self.rate.as_ref().filter(|_| bytes > 0);
        let turn_at = rate.map_or(0, |rate| rate.reserve(self.clock.now(), bytes));
        loop {
            if !(self.in_force)() {
                return Err(Broken::Given(Failure::StreamRemoved));
            }
            let rest = Duration::from_nanos(turn_at.saturating_sub(self.clock.now()));
            if rest.is_zero() {
                return Ok(());
            }
            waits();
            tokio::time::sleep(rest.min(LOOK)).await;
        }
    }
}
