//! Real TCP connections: clients that send a pattern, destinations that check it, and how connections end.
//!
//! The pattern follows from a seed, which is its first byte, so that clients and destinations share nothing.

mod client;
mod destination;

pub use client::{End, connect, end_of, is_open, reset, send, send_on, turned_away};
pub use destination::{Arrived, Destination, Server, expect, read_all, read_on};

use std::time::Duration;

/// A bound for what takes milliseconds.
pub const SOON: Duration = Duration::from_secs(20);
/// Bytes read or written at once.
const CHUNK: usize = 64 * 1024;

/// The bytes of a seed's pattern from number `from` on. 251 is prime, so that no block or buffer size repeats it.
fn pattern(seed: u8, from: u64, to: &mut [u8]) {
    for (at, byte) in (from..).zip(to) {
        *byte = (at % 251) as u8 ^ (at >> 16) as u8 ^ seed;
    }
}
