//! Sending.

use std::io;
use std::mem;
use std::os::fd::BorrowedFd;

use super::send_messages;

/// Datagrams that one call takes at most. No more than one message may be cut into (`UDP_MAX_SEGMENTS`, linux/udp.h; larger since 6.9).
pub const SEND_MAX: usize = 64;
/// What the kernel takes as one message of UDP, bytes: 65,535 less the longer headers, those of IPv6.
const MESSAGE_MAX: usize = 65_487;

/// Says into what sizes a message is cut: a `cmsghdr` and its 16 bits.
#[repr(C)]
#[derive(Clone, Copy)]
struct SegmentSize {
    header: libc::cmsghdr,
    bytes: u16,
}

/// Datagrams that leave as one message.
#[derive(Clone, Copy, Default)]
struct Run {
    /// The first one's place in the batch.
    first: usize,
    count: usize,
    /// Of each but the last, which may be shorter.
    size: usize,
    bytes: usize,
    /// Nothing follows one that is shorter.
    is_closed: bool,
}

/// What one call sends.
struct Batch {
    parts: [libc::iovec; SEND_MAX],
    datagrams: usize,
    runs: [Run; SEND_MAX],
    messages: usize,
}

/// Sends datagrams over a connected socket, in order, [`SEND_MAX`] of them at most; with `segments` those of equal size together. Returns how many have
/// left, at least one unless there was none.
///
/// # Errors
/// What the kernel says of the first message; [`is_about_segments`] tells whether it would take its datagrams one by one.
pub fn send<'a>(
    socket: BorrowedFd<'_>,
    datagrams: impl Iterator<Item = &'a [u8]>,
    segments: bool,
) -> io::Result<usize> {
    let none = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    let mut batch = Batch { parts: [none; SEND_MAX], datagrams: 0, runs: [Run::default(); SEND_MAX], messages: 0 };
    datagrams.take(SEND_MAX).for_each(|datagram| batch.add(datagram, segments));
    // SAFETY: the datagrams are borrowed for 'a, which outlives this call.
    unsafe { batch.send(socket) }
}

/// The error of a kernel or a card that cannot cut messages: without checksums in hardware (`EIO`), or with an MTU that the cut ones
/// exceed (`EINVAL`, `EMSGSIZE`); `udp_send_skb`, net/ipv4/udp.c. On a packet socket `EINVAL` is also that of a kernel before Linux 6.2,
/// which does not know such messages (`virtio_net_hdr_to_skb`).
pub fn is_about_segments(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP))
}

impl Batch {
    /// Adds a datagram, for which there is room. It must live until the batch is sent.
    fn add(&mut self, datagram: &[u8], segments: bool) {
        let (at, len) = (self.datagrams, datagram.len());
        self.parts[at] = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: len };
        self.datagrams += 1;
        let joins = |run: &&mut Run| segments && !run.is_closed && len <= run.size && run.bytes + len <= MESSAGE_MAX;
        if let Some(run) = self.runs[..self.messages].last_mut().filter(joins) {
            (run.count, run.bytes, run.is_closed) = (run.count + 1, run.bytes + len, len < run.size);
        } else {
            // An empty datagram is a message of its own: no bytes, no segments.
            self.runs[self.messages] = Run { first: at, count: 1, size: len, bytes: len, is_closed: len == 0 };
            self.messages += 1;
        }
    }

    /// Sends; returns how many datagrams have left.
    ///
    /// # Safety
    /// What was added must still be there.
    unsafe fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        // SAFETY: all zeroes is a valid value of these plain C structs.
        let (mut headers, mut sizes): ([libc::mmsghdr; SEND_MAX], [SegmentSize; SEND_MAX]) = unsafe { mem::zeroed() };
        let (parts, sizes) = (self.parts.as_mut_ptr(), sizes.as_mut_ptr());
        let runs = &self.runs[..self.messages];
        for (number, (run, header)) in runs.iter().zip(&mut headers).enumerate() {
            header.msg_hdr.msg_iov = parts.wrapping_add(run.first);
            header.msg_hdr.msg_iovlen = run.count as _;
            if run.count > 1 {
                let size = sizes.wrapping_add(number);
                // SAFETY: `number` is below SEND_MAX.
                unsafe { *size = segment_size(run.size) };
                header.msg_hdr.msg_control = size.cast();
                header.msg_hdr.msg_controllen = size_of::<SegmentSize>() as _;
            }
        }
        // SAFETY: the headers of runs point into `parts` and `sizes`, which live through the call, and the parts to
        // datagrams that do by this function's contract; sending only reads them.
        let sent = unsafe { send_messages(socket, &mut headers[..runs.len()]) }?;
        Ok(runs[..sent].iter().map(|run| run.count).sum())
    }
}

fn segment_size(bytes: usize) -> SegmentSize {
    let len = mem::offset_of!(SegmentSize, bytes) + size_of::<u16>();
    let header = libc::cmsghdr { cmsg_len: len as _, cmsg_level: libc::SOL_UDP, cmsg_type: libc::UDP_SEGMENT };
    SegmentSize { header, bytes: bytes as u16 }
}
