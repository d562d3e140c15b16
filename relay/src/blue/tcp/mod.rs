//! TCP streams on BLUE: connections of clients become sessions of bytes on a lane.
//!
//! ```text
//! Listeners (one task per stream) -> connection (one task each) -> FeedSender ==> Feed on the lane -> link::Sender
//! ```
//!
//! The queue to the lane is bounded: when the link is full, tasks stop reading, and TCP itself slows the clients down.

mod connection;
mod feed;
mod listener;

pub use feed::{Feed, FeedSender, feed};
pub use listener::Listeners;
