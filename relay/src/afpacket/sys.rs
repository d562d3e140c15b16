//! One small wrapper per system call.

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use libc::c_int;

use crate::mmsg::check;

/// Each message begins with a [`super::outbox::Cut`] (`linux/if_packet.h`; not in the libc crate).
const PACKET_VNET_HDR: c_int = 15;

/// From now on every message begins with how to cut it.
pub(super) fn announce_cuts(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: c_int = 1;
    let (value, len) = ((&raw const on).cast(), size_of_val(&on) as libc::socklen_t);
    // SAFETY: `value` is a live integer of the length given.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, PACKET_VNET_HDR, value, len) })?;
    Ok(())
}

/// Binds to an interface, for sending only.
pub(super) fn bind(socket: BorrowedFd<'_>, interface: u32) -> io::Result<()> {
    // SAFETY: all zeroes is a valid value of this plain C struct.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as _;
    address.sll_ifindex = interface as c_int;
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: `address` is a live `sockaddr_ll` of the length given.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(())
}
