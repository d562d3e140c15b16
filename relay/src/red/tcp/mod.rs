//! TCP streams on RED: sessions of bytes become connections to the stream's destination.
//!
//! ```text
//! link::Receiver -> Sessions on the lane (offsets) ==> delivery (one task per session) -> destination
//!                                                          | status, answers
//!                                                          v
//!                                                      FeedSender ==> Feed on the return lane, if there is a return link
//! ```
//!
//! Every byte is delivered once and in order, or the connection is reset, so that the destination never takes a part for
//! the whole. What waits for a slow destination is bounded per session. With a return link that is the window that BLUE
//! keeps to; without one a session that goes beyond it is aborted, alone.

mod delivery;
mod impersonate;
mod places;
mod sessions;

pub use delivery::{Deliveries, TcpRules};
pub use places::places;
pub use sessions::Sessions;
