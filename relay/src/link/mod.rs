//! The one-way link without its wires: [`Sender`] turns records into frames, [`Receiver`] turns frames back into
//! records, exactly once and in order, or says exactly what is missing. Sans-I/O: frames go through a [`TxPort`] or
//! come as byte slices, time comes as a parameter, so that a test can be any network. The return link is the same
//! pair the other way round.
//!
//! `xdp`, `socket` and `memory` are ports: the only places here that touch the system.
//!
//! Neither side ever blocks, reads a clock, or knows what a record means. Neither allocates per frame; only the codecs do,
//! per block that is closed with repair symbols or has something to restore.
//!
//! ```text
//! records -> Sender -> Outgoing (open block per channel) -> fec::Encoder -> Emitter (seal, pace) -> TxPort
//! frames -> Receiver (open, replay window) -> Incoming (blocks per lane and channel) -> fec::Decoder -> Sink
//! ```

mod block;
mod claim;
mod emitter;
mod incoming;
mod lane;
mod loss;
pub mod memory;
mod outgoing;
mod pacer;
mod pool;
mod port;
mod receiver;
mod seen;
mod sender;
pub mod socket;
mod walker;
pub mod xdp;

pub use claim::Claim;
pub use emitter::SenderCounters;
pub use loss::{LinkLoss, RANDOM_RUN_MAX};
pub use pacer::{Pacer, Rate};
pub use port::{RxPort, TxPort};
pub use receiver::{Delivery, Receiver, ReceiverChannel, ReceiverConfig, Settled, Sink, Turn};
pub use seen::ReceiverCounters;
pub use sender::{PushError, Sender, SenderChannel, SenderConfig, Waypoint};

/// Nanoseconds on a clock that only goes forward; which one is the caller's business.
pub type Nanos = u64;

/// Most lanes that a receiver keeps state for: far more than any sender has queues.
pub const LANES_MAX: u16 = 256;

#[cfg(test)]
mod tests;
