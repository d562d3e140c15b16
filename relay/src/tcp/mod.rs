//! TCP sessions as both hosts have them: what a connection's tasks and a lane share, and how bytes go between a socket
//! and the link.
//!
//! ```text
//!  socket -> read_in (task) -> FeedSender ==> Feed on the sending lane -> link::Sender
//!               ^ room, standing
//!             Peer <------------------------- status records of the other host
//!
//!  link::Receiver -> Inflow on the receiving lane ==> write_out (task) -> socket
//!                                                        | consumed bytes
//!                                                        v
//!                                                     Reporter -> FeedSender: status records to the other host
//! ```
//!
//! Without a return link there is no status: a [`Peer`] then grants everything, and there is no [`Reporter`].
//!
//! Owns no socket's beginning and no session's table: BLUE accepts clients, RED connects to destinations, each in its own
//! `tcp` folder.

mod activity;
mod copy;
mod failure;
mod feed;
mod inflow;
mod outflow;
mod pace;
mod peer;
mod reporter;
mod socket;
mod windows;

pub use activity::Activity;
pub use copy::{Broken, fails_after_end, read_in, write_out};
pub use failure::Failure;
pub use feed::{Carries, Feed, FeedSender, Piece, feed};
pub use inflow::{Arrived, Fate, Inflow, Memory, Way, WayEnd, way};
pub use outflow::Outflow;
pub use pace::Pace;
pub use peer::Peer;
pub use reporter::Reporter;
pub use socket::{end_in_order, keep_alive, lost, reset_when_dropped};
pub use windows::{Window, Windows};
