//! Real traffic, every byte of it checked: paced datagrams that are accounted for one by one, streams of bytes, and, in
//! [`tcp`], connections. In [`bulk`] datagrams at rates where checking every byte would be what is measured.
//!
//! A receiver knows from a seed alone what must come, so sender and receiver share nothing.

pub mod bulk;
mod bytes;
mod payload;
mod receiver;
mod sender;
pub mod tcp;

pub use bytes::{Arrived, ByteStream, CHUNK_BYTES, receive_bytes, send_bytes};
pub use payload::HEADER_LEN;
pub use receiver::{Flow, Received, Receiver};
pub use sender::{Load, Sender, Sent};
