//! Sessions: who sends (BLUE) and what came of it (RED). No I/O; time is a parameter.
//!
//! Owns UUIDs, the table of flows with its limits and expiry, rates per stream, and on the receiving
//! side the sequence account of a session and the account of what is missing. Knows nothing of frames or sockets.

mod account;
mod ended;
mod flows;
mod limit;
mod rate;
mod track;

pub use account::Account;
pub use ended::Announced;
pub use flows::{FlowKey, FlowTable, OpenError, StreamRules};
pub use limit::{Place, SessionLimit};
pub use rate::SharedRate;
pub use track::{ByteTrack, Heard, HeardBytes, Track};

/// A session's UUID.
pub type SessionId = [u8; 16];

/// A new UUID: version 7 (RFC 9562, 5.7), so that they sort by time in logs.
pub fn new_id() -> SessionId {
    uuid::Uuid::now_v7().into_bytes()
}

/// The UUID as people read it.
pub fn display(id: SessionId) -> uuid::fmt::Hyphenated {
    uuid::Uuid::from_bytes(id).hyphenated()
}
