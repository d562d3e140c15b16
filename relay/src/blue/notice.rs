//! What lanes tell the control thread.

use std::net::SocketAddr;

use crate::telemetry::reasons::SendRefused;

/// Notices that may wait; more are dropped, because the counters have them too.
pub const NOTICES_MAX: usize = 1024;

/// Something that deserves a log line.
#[derive(Debug)]
pub enum Notice {
    /// A datagram or a client was refused.
    Refused {
        /// The stream's slot.
        slot: u16,
        /// Who sent it.
        source: SocketAddr,
        /// Why.
        reason: SendRefused,
    },
    /// A TCP session was broken off.
    SessionBroken {
        /// The stream.
        stream: String,
        /// The client.
        source: SocketAddr,
        /// The session's UUID.
        session: String,
        /// Why.
        reason: String,
    },
    /// The return link carried something that is no status, and may carry nothing else.
    NotStatus {
        /// The stream's slot.
        slot: u16,
    },
    /// Trouble with a file, or with the place of files.
    File {
        /// The channel's name.
        stream: String,
        /// Stable reason.
        reason: &'static str,
        /// What happened, and what is done.
        text: String,
    },
    /// RED has started anew.
    NewEpoch(u32),
    /// RED stops.
    Stopping,
    /// RED's file has a stream that ours has not, or as another type.
    TablesDiffer(u64),
}
