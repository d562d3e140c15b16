//! TCP streams on BLUE: connections of clients become sessions of bytes on a lane.
//!
//! ```text
//! Listeners (one task per stream) -> connection (one task each) -> FeedSender ==> Feed on the lane -> link::Sender
//!                                        ^ status, answers
//!                                    Answers on the return lane <- link::Receiver of the return link, if there is one
//! ```
//!
//! The queue to the lane is bounded: when the link is full, tasks stop reading, and TCP itself slows the clients down.
//! With a return link a client is held until RED has answered, and no session sends further ahead than RED has granted.

mod answers;
mod clients;
mod connection;
mod listener;

pub use answers::{Answers, AnswersSender, answers};
pub use clients::ClientCounts;
pub use listener::{Clients, Listeners};
