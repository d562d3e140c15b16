//! Real TCP connections: clients that send a seed's stream, destinations that check it, and how connections end.

mod client;
mod destination;

pub use client::{End, connect, end_of, finish, is_open, reset, send, send_for, send_on, turned_away};
pub use destination::{Destination, Server, expect, read_all, read_on};

pub use super::bytes::Arrived;

use std::time::Duration;

/// A bound for what takes milliseconds.
pub const SOON: Duration = Duration::from_secs(20);
