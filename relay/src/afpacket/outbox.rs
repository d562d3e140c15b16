//! Packets into messages.

use std::io;
use std::mem;
use std::os::fd::BorrowedFd;
use std::ptr;

use crate::mmsg::{self, SEND_MAX};
use crate::packet::{ETHERNET_LEN, IPV6_LEN, JoinedHeader, UDP_LEN};

/// What the length fields of IP and UDP can say, less the longer headers, those of IPv6; bytes.
const PAYLOAD_MAX: usize = u16::MAX as usize - IPV6_LEN - UDP_LEN;
/// Ethernet, IPv6 and UDP: the longest headers of a message, bytes.
const HEADER_MAX: usize = ETHERNET_LEN + IPV6_LEN + UDP_LEN;

/// How the kernel is to cut a message: `virtio_net_hdr` (`linux/virtio_net.h`), in the machine's byte order.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Cut {
    flags: u8,
    gso_type: u8,
    /// Bytes of all headers, which every packet gets.
    header_len: u16,
    /// Bytes of payload in each packet but the last.
    gso_size: u16,
    /// Where to sum from, and where from there the sum belongs.
    csum_start: u16,
    csum_offset: u16,
}

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum field holds the pseudo header's sum.
const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_UDP_L4` (since Linux 6.2).
const GSO_UDP_L4: u8 = 5;

/// What stands in front of a message's payload.
#[repr(C)]
#[derive(Clone, Copy)]
struct Head {
    cut: Cut,
    headers: [u8; HEADER_MAX],
}

/// Packets that leave as one message.
#[derive(Clone, Copy, Default)]
struct Run {
    /// The place of the message's head in the batch; payload follows.
    head_at: usize,
    packets: usize,
    header: Option<JoinedHeader>,
    /// Payload of each packet but the last, which may be shorter.
    payload_bytes: usize,
    /// Payload of all.
    bytes: usize,
    /// None may join any more.
    is_closed: bool,
}

/// What one call sends.
pub(super) struct Batch {
    /// For each message a head, then the payload of each packet.
    parts: [libc::iovec; 2 * SEND_MAX],
    parts_used: usize,
    heads: [Head; SEND_MAX],
    runs: [Run; SEND_MAX],
    messages: usize,
}

impl Batch {
    pub(super) fn new() -> Self {
        let none = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Self {
            parts: [none; 2 * SEND_MAX],
            parts_used: 0,
            heads: [Head { cut: Cut::default(), headers: [0; HEADER_MAX] }; SEND_MAX],
            runs: [Run::default(); SEND_MAX],
            messages: 0,
        }
    }

    /// Adds a packet, for which there is room; with `joins` to the message before if it is of the same flow and size. It must live
    /// until the batch is sent.
    pub(super) fn add(&mut self, packet: &[u8], joins: bool) {
        if joins && let Some(payload) = self.join(packet) {
            self.push(payload);
            return;
        }
        let header = joins.then(|| JoinedHeader::of(packet)).flatten();
        let (headers, payload) = packet.split_at(header.map_or(0, JoinedHeader::len));
        let head = &mut self.heads[self.messages];
        head.cut = Cut::default();
        head.headers[..headers.len()].copy_from_slice(headers);
        self.runs[self.messages] = Run {
            head_at: self.parts_used,
            packets: 1,
            header,
            payload_bytes: payload.len(),
            bytes: payload.len(),
            // An empty payload cannot be cut.
            is_closed: header.is_none() || payload.is_empty(),
        };
        self.messages += 1;
        // Where the head is, is known when the batch has come to rest.
        self.parts_used += 1;
        self.push(payload);
    }

    /// The payload of a packet that joins the last message.
    fn join<'a>(&mut self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let last = self.messages.checked_sub(1)?;
        let (run, head) = (&mut self.runs[last], &self.heads[last]);
        let header = run.header.filter(|header| !run.is_closed && header.is_shared(&head.headers, packet))?;
        let payload = &packet[header.len()..];
        let len = payload.len();
        if len == 0 || len > run.payload_bytes || run.bytes + len > PAYLOAD_MAX {
            return None;
        }
        (run.packets, run.bytes, run.is_closed) = (run.packets + 1, run.bytes + len, len < run.payload_bytes);
        Some(payload)
    }

    fn push(&mut self, payload: &[u8]) {
        let part = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
        self.parts[self.parts_used] = part;
        self.parts_used += 1;
    }

    /// Packets in the first message.
    pub(super) fn head_packets(&self) -> usize {
        self.runs[..self.messages].first().map_or(0, |run| run.packets)
    }

    /// Sends; returns how many packets have left.
    ///
    /// # Safety
    /// What was added must still be there.
    pub(super) unsafe fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        // SAFETY: all zeroes is a valid value of these plain C structs.
        let mut headers: [libc::mmsghdr; SEND_MAX] = unsafe { mem::zeroed() };
        let runs = &self.runs[..self.messages];
        let parts = self.parts.as_mut_ptr();
        for ((run, head), header) in runs.iter().zip(&mut self.heads).zip(&mut headers) {
            run.complete(head);
            let headers_len = run.header.map_or(0, JoinedHeader::len);
            let part = libc::iovec { iov_base: ptr::from_mut(head).cast(), iov_len: size_of::<Cut>() + headers_len };
            let parts = parts.wrapping_add(run.head_at);
            // SAFETY: each message's head has its place among the parts, which live in `self`.
            unsafe { parts.write(part) };
            header.msg_hdr.msg_iov = parts;
            header.msg_hdr.msg_iovlen = (1 + run.packets) as _;
        }
        // SAFETY: the headers point into `parts`, and these to heads, which live through the call, and to packets that do by this
        // function's contract.
        let sent = unsafe { mmsg::send_messages(socket, &mut headers[..self.messages]) }?;
        Ok(runs[..sent].iter().map(|run| run.packets).sum())
    }
}

impl Run {
    /// Tells how the message is cut, if it is more than one packet.
    fn complete(&self, head: &mut Head) {
        let Some(header) = self.header.filter(|_| self.packets > 1) else { return };
        header.stretch(&mut head.headers, self.bytes as u16);
        let (csum_start, csum_offset) = header.checksum_at();
        head.cut = Cut {
            flags: NEEDS_CSUM,
            gso_type: GSO_UDP_L4,
            header_len: header.len() as u16,
            gso_size: self.payload_bytes as u16,
            csum_start: csum_start as u16,
            csum_offset: csum_offset as u16,
        };
    }
}
