//! Real datagrams: paced senders and receivers that check every byte and account for every datagram. And, in [`tcp`],
//! real connections.
//!
//! A receiver knows from a run's seed alone what every datagram must hold, so sender and receiver share nothing.

mod payload;
mod receiver;
mod sender;
pub mod tcp;

pub use payload::HEADER_LEN;
pub use receiver::{Flow, Received, Receiver};
pub use sender::{Load, Sender, Sent};
