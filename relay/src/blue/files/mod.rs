//! Files on BLUE: watched, checked, written down, sent, and then put away.
//!
//! ```text
//! watcher (a task per channel): list -> settled? -> checks -> journal
//!     v
//! sender (a task per file) -> transfer (a session per attempt) -> FeedSender ==> Feed on the lane -> link::Sender
//!     | sent, confirmed           ^ status
//!     v                        Answers on the return lane, if there is a return link
//! original deleted, moved, or kept
//! ```
//!
//! The journal has a file before its first byte leaves, and knows that it has crossed before its original goes: whenever BLUE
//! is killed, it goes on with the same UUID, by which RED knows what it has already.

mod ledger;
mod manifests;
mod orders;
mod sender;
mod source;
mod transfer;
mod watcher;

pub use ledger::{Entry, Known, Ledger, Stage};
pub use orders::{ORDERS, Order, order};
pub use source::{folder, journal_of};
pub use watcher::{Common, Watchers};
