//! Receiving.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use super::check;

/// Messages of one call at most: as many as a lane takes at once.
const MESSAGES_MAX: usize = 64;
/// The longest message of UDP.
const MESSAGE_BYTES: usize = 1 << 16;

/// Says of what sizes a message was put together: a `cmsghdr` and an `int`.
#[repr(C)]
#[derive(Clone, Copy)]
struct JoinedSize {
    header: libc::cmsghdr,
    bytes: libc::c_int,
}

/// A message that was received.
#[derive(Clone, Copy)]
struct Message {
    len: usize,
    /// Bytes of each of its datagrams but the last; all of them if it is one.
    segment: usize,
    source: libc::sockaddr_in6,
}

/// A datagram that was received.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// What it holds.
    pub bytes: &'a mut [u8],
    /// Who sent it.
    pub source: Option<SocketAddr>,
}

/// Buffers for many datagrams. What one call brought is taken one by one.
pub struct Inbox {
    bytes: Box<[u8]>,
    messages: Box<[Message]>,
    /// Messages of the last call.
    count: usize,
    /// The next datagram: its message, and where it begins there.
    next: (usize, usize),
}

/// Has the kernel put datagrams of one sender and one size together where they come so (`UDP_GRO`). It then counts such a message as
/// one when it drops it.
pub fn join_on_arrival(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel reads `len` bytes of `on`, which lives through the call.
    check(unsafe { libc::setsockopt(fd, libc::SOL_UDP, libc::UDP_GRO, (&raw const on).cast(), len) }).map(drop)
}

impl Inbox {
    /// For up to `messages` messages with one call, at most 64, each of any length. Memory that is not needed is not touched.
    pub fn new(messages: usize) -> Self {
        // SAFETY: all zeroes is a valid value of this plain C struct.
        let source: libc::sockaddr_in6 = unsafe { mem::zeroed() };
        let messages = messages.clamp(1, MESSAGES_MAX);
        Self {
            bytes: vec![0; messages * MESSAGE_BYTES].into(),
            messages: vec![Message { len: 0, segment: 0, source }; messages].into(),
            count: 0,
            next: (0, 0),
        }
    }

    /// Messages that one call brings at most.
    pub fn capacity(&self) -> usize {
        self.messages.len()
    }

    /// Receives what is there; returns how many messages, at least one. What was not taken of the last call is gone.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing; otherwise what the kernel says of the first message.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        (self.count, self.next) = (0, (0, 0));
        // SAFETY: all zeroes is a valid value of these plain C structs.
        let (mut headers, mut parts, mut sizes): (
            [libc::mmsghdr; MESSAGES_MAX],
            [libc::iovec; MESSAGES_MAX],
            [JoinedSize; MESSAGES_MAX],
        ) = unsafe { mem::zeroed() };
        let places = self.bytes.chunks_exact_mut(MESSAGE_BYTES).zip(&mut self.messages);
        for (((header, part), size), (bytes, message)) in headers.iter_mut().zip(&mut parts).zip(&mut sizes).zip(places)
        {
            *part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut message.source).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            header.msg_hdr.msg_control = std::ptr::from_mut(size).cast();
            header.msg_hdr.msg_controllen = size_of::<JoinedSize>() as _;
        }
        let (fd, count) = (socket.as_raw_fd(), self.messages.len() as libc::c_uint);
        let (flags, no_timeout) = (libc::MSG_DONTWAIT, std::ptr::null_mut());
        // SAFETY: the first `count` headers point to parts, sizes and addresses of their own, and the parts to buffers of their
        // own; all outlive the call.
        self.count = check(unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), count, flags, no_timeout) })?;
        for ((header, size), message) in headers.iter().zip(&sizes).zip(&mut self.messages).take(self.count) {
            message.len = header.msg_len as usize;
            message.segment = segment(header, size).unwrap_or(message.len);
        }
        Ok(self.count)
    }

    /// The next datagram of the last call.
    pub fn pop(&mut self) -> Option<Datagram<'_>> {
        let (number, start) = self.next;
        let message = self.messages[..self.count].get(number)?;
        let end = message.len.min(start + message.segment);
        self.next = if end == message.len { (number + 1, 0) } else { (number, end) };
        let at = number * MESSAGE_BYTES;
        Some(Datagram { bytes: &mut self.bytes[at + start..at + end], source: address(&message.source) })
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("count", &self.count).field("next", &self.next).finish_non_exhaustive()
    }
}

/// The size of the datagrams in a message of several; never 0.
fn segment(header: &libc::mmsghdr, size: &JoinedSize) -> Option<usize> {
    let is_told = header.msg_hdr.msg_controllen >= mem::offset_of!(JoinedSize, bytes) + size_of::<libc::c_int>();
    let is_size = (size.header.cmsg_level, size.header.cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO);
    usize::try_from(size.bytes).ok().filter(|bytes| is_told && is_size && *bytes > 0)
}

fn address(from: &libc::sockaddr_in6) -> Option<SocketAddr> {
    match i32::from(from.sin6_family) {
        libc::AF_INET6 => Some((Ipv6Addr::from(from.sin6_addr.s6_addr), u16::from_be(from.sin6_port)).into()),
        libc::AF_INET => {
            // SAFETY: the family says that the kernel has written this type, which is shorter and no more aligned.
            let from = unsafe { &*std::ptr::from_ref(from).cast::<libc::sockaddr_in>() };
            Some((Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr)), u16::from_be(from.sin_port)).into())
        }
        _ => None,
    }
}
