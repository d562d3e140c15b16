//! Lane threads: one loop that sends on a link, and one that receives from a link. Either host runs either.
//!
//! ```text
//! Source (what a host sends) -> SendingLane -> link::Sender ==> link ==> link::Receiver -> ReceivingLane -> Sink (what becomes of it)
//! ```
//!
//! A lane owns everything that it touches; the control thread talks to it through a mailbox and reads what it shares. Lanes
//! never wait for anything but readiness and clocks.

mod receiving;
mod sending;

pub use receiving::{Receives, ReceivingLane, ReceivingOrder};
pub use sending::{BATCH, SendingLane, SendingOrder, Sends};
