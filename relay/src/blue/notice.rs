//! What lanes tell the control thread.

use std::net::SocketAddr;

use crate::telemetry::reasons::SendRefused;

/// Notices that may wait; more are dropped, because the counters have them too.
pub const NOTICES_MAX: usize = 1024;

/// Something that deserves a log line.
#[derive(Debug)]
pub enum Notice {
    /// A datagram was refused.
    Refused {
        /// The stream's slot.
        slot: u16,
        /// Who sent it.
        source: SocketAddr,
        /// Why.
        reason: SendRefused,
    },
}
