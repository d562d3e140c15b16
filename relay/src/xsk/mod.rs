//! `AF_XDP`: packets between this process and one queue of a network card, past the kernel's network stack.
//!
//! Owns: packet memory, rings and sockets, and with `steer` and `mmsg` all of the relay's `unsafe`. Never parses a packet, never
//! waits on a lock, and after opening never allocates nor makes a system call per packet.
//!
//! ```text
//!            RxSocket                                     TxSocket
//!   receive(f) <-- RX ring <--- kernel         take, bytes, submit --> TX ring ------> kernel
//!        '-------> fill ring ->   |                reap <---- completion ring <---------  |
//!                               umem                                                    umem
//!
//!   errors      causes and remedies          ring     cursors of the four rings
//!   interface   index, MTU, MAC, queues      umem     packet memory, who owns which frame
//!   plan        limits, modes to try         socket   opening and binding
//!   sys         one wrapper per system call  rx, tx   the packet paths
//! ```
//!
//! A socket either receives or sends, because each interface of a diode relay is one-way per lane. The packet paths
//! (`RxPath`, `TxPath`) borrow the umem instead of owning it, so that a socket with both over one umem needs no
//! other code. Every socket is [`Send`]: a lane thread owns its own.
//!
//! Facts of copy mode that callers should know: one `sendto` takes a limited number of packets, so call
//! [`TxSocket::kick`] as long as packets wait; a closed socket's queue stays busy for a moment, which
//! opening waits out.

mod errors;
pub mod interface;
mod plan;
mod ring;
mod rx;
mod socket;
mod sys;
mod tx;
mod umem;

#[cfg(test)]
mod path_model;
#[cfg(test)]
mod ring_model;

use std::os::fd::BorrowedFd;
use std::time::Duration;

pub use errors::{Call, XskError};
pub use plan::{SPANNING_MAX, ZeroCopy, rx_packet_max};
pub use rx::{GATHERED_MAX, RxConfig, RxCounters, RxSocket};
pub use socket::{Mode, Statistics};
pub use tx::{PACKET_MIN, TxConfig, TxCounters, TxSocket};
pub use umem::{CHUNK_MAX, Frame, Pages};

/// Waits until one of the descriptors (receiving sockets, event descriptors) is readable: true, or `timeout` is over
/// or a signal came: false. At most 8 descriptors. Resolution: that of the kernel's timers, about 50 us.
///
/// A receiving socket whose interface is down or gone never becomes readable: [`RxSocket::check`] tells.
///
/// # Errors
/// [`XskError::Config`] for more than 8 descriptors, otherwise the failed call.
pub fn wait_readable(fds: &[BorrowedFd<'_>], timeout: Duration) -> Result<bool, XskError> {
    if fds.len() > sys::POLL_MAX {
        let what = format!("waiting for {} descriptors at once", fds.len());
        return Err(XskError::config(what, format!("wait for at most {}", sys::POLL_MAX)));
    }
    match sys::poll_readable(fds, timeout) {
        Err(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(false),
        result => result.map_err(|error| XskError::system("ppoll", "AF_XDP", error)),
    }
}
