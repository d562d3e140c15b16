//! TCP streams on RED: sessions of bytes become connections to the stream's destination.
//!
//! ```text
//! link::Receiver -> Sessions on the lane (offsets) ==> delivery (one task per session) -> destination
//! ```
//!
//! Every byte is delivered once and in order, or the connection is reset, so that the destination never takes a part for
//! the whole. What waits for a slow destination is bounded per session; beyond it that session alone is aborted.

mod delivery;
mod sessions;

pub use delivery::Deliveries;
pub use sessions::Sessions;
