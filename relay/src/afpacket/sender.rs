//! The socket and its frames.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use super::outbox::Batch;
use super::sys;
use crate::mmsg::{self, SEND_MAX};
use crate::xsk::{PACKET_MIN, XskError, interface};

/// Asked of the kernel for all senders of a card together; it doubles that, and grants what `net.core.wmem_max` allows: 512 KiB may
/// be on their way through it. At 1 Gbit/s that leaves in 4.2 ms, below the 5 ms beyond which `fq_codel`, the usual queue of a card,
/// begins to drop; a lane at 10 Gbit/s fills it in 0.4 ms and looks again after 20 us.
const SEND_BUFFER_BYTES: usize = 256 << 10;
/// At least so much for each sender, which the kernel doubles too: two full messages.
const SEND_BUFFER_BYTES_MIN: usize = 64 << 10;

/// Sends whole Ethernet packets through one interface, from frames of its own.
#[derive(Debug)]
pub struct PacketSender {
    socket: OwnedFd,
    interface: String,
    /// The last one that came back is the next to be taken: it is in the cache.
    free: Vec<Box<[u8]>>,
    queued: VecDeque<(Box<[u8]>, usize)>,
    /// Packets of one flow and size leave as one message, until the kernel says that it cannot cut it.
    joins: bool,
    errors: u64,
}

impl PacketSender {
    /// Opens one of `senders` sockets on `interface`, in the calling thread's network namespace, with `frames` frames of
    /// `frame_bytes` each.
    ///
    /// # Errors
    /// [`XskError::NoInterface`], [`XskError::Permission`] without `CAP_NET_RAW`, otherwise the failed system call.
    pub fn open(interface: &str, frames: usize, frame_bytes: usize, senders: usize) -> Result<Self, XskError> {
        let index = interface::info(interface)?.index;
        let failed = |call| move |error| XskError::packet_socket(call, interface, error);
        // Protocol 0: nothing is received.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None);
        let socket = socket.map_err(|errno| failed("socket")(errno.into()))?;
        sys::announce_cuts(socket.as_fd()).map_err(failed("setsockopt(PACKET_VNET_HDR)"))?;
        sys::bind(socket.as_fd(), index).map_err(failed("bind"))?;
        let send_bytes = (SEND_BUFFER_BYTES / senders.max(1)).max(SEND_BUFFER_BYTES_MIN);
        let grown = sockopt::set_socket_send_buffer_size(&socket, send_bytes);
        grown.map_err(|errno| failed("setsockopt(SO_SNDBUF)")(errno.into()))?;
        Ok(Self {
            socket,
            interface: interface.to_owned(),
            free: (0..frames).map(|_| vec![0; frame_bytes].into()).collect(),
            queued: VecDeque::with_capacity(frames),
            joins: true,
            errors: 0,
        })
    }

    /// A free frame, or None while all wait. Its bytes are what its last packet left.
    pub fn take(&mut self) -> Option<Box<[u8]>> {
        self.free.pop()
    }

    /// Queues the first `len` bytes of a frame. They leave with the next [`Self::kick`].
    ///
    /// # Errors
    /// Gives the frame back if `len` is under [`PACKET_MIN`] or over the frame.
    pub fn submit(&mut self, frame: Box<[u8]>, len: usize) -> Result<(), Box<[u8]>> {
        if !(PACKET_MIN as usize..=frame.len()).contains(&len) {
            return Err(frame);
        }
        self.queued.push_back((frame, len));
        Ok(())
    }

    /// Puts a frame back unsent.
    pub fn release(&mut self, frame: Box<[u8]>) {
        self.free.push(frame);
    }

    /// Hands what is queued to the kernel, as much as it takes now. Call it after each batch, and again later while it returns
    /// more than 0: so many packets still wait.
    ///
    /// Packets that the kernel drops by a rule of the host, or will never take, one larger than the MTU for example, are lost and
    /// counted ([`Self::errors`]); none is sent again that may have left. While the interface is down packets wait.
    ///
    /// # Errors
    /// [`XskError::NoInterface`] once the interface is gone: the socket is of no use any more.
    pub fn kick(&mut self) -> Result<usize, XskError> {
        while !self.queued.is_empty() {
            match self.send() {
                Ok(sent) => self.free.extend(self.queued.drain(..sent).map(|(frame, _)| frame)),
                Err(Refusal { error, .. }) if is_passing(&error) => break,
                Err(Refusal { error, .. }) if is_gone(&error) => {
                    return Err(XskError::packet_socket("sendmmsg", &self.interface, error));
                }
                Err(Refusal { error, packets: 2.. }) if mmsg::is_about_segments(&error) => {
                    let interface = &self.interface;
                    tracing::info!(%interface, %error, "the kernel cuts no messages here: packets leave one by one");
                    self.joins = false;
                }
                Err(refusal) => self.lose(&refusal),
            }
        }
        Ok(self.queued.len())
    }

    /// Drops what the kernel refused.
    fn lose(&mut self, Refusal { error, packets }: &Refusal) {
        if self.errors == 0 {
            let interface = &self.interface;
            tracing::warn!(%interface, %error, "the system refuses packets: a rule of its firewall or queue, or the MTU; they are lost, and counted");
        }
        self.errors += *packets as u64;
        self.free.extend(self.queued.drain(..*packets).map(|(frame, _)| frame));
    }

    /// Packets that the kernel refused for good.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// Frames that [`Self::take`] gives now.
    pub fn free_frames(&self) -> usize {
        self.free.len()
    }

    /// Sends a batch; returns how many packets have left.
    fn send(&self) -> Result<usize, Refusal> {
        let mut batch = Batch::new();
        for (frame, len) in self.queued.iter().take(SEND_MAX) {
            batch.add(&frame[..*len], self.joins);
        }
        // SAFETY: the frames are borrowed from `self` until this function returns.
        let sent = unsafe { batch.send(self.socket.as_fd()) };
        sent.map_err(|error| Refusal { error, packets: batch.head_packets() })
    }
}

/// What the kernel says of the first message of a batch.
struct Refusal {
    error: io::Error,
    /// Packets in it.
    packets: usize,
}

/// Time heals it, and nothing has left: as much as may be is on its way, memory is short, or the interface is down. Not `ENOBUFS`, which a
/// queue or a rule answers for what it dropped (`net_xmit_errno`, linux/netdevice.h), perhaps only for the last packet of a message.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR | libc::ENOMEM | libc::ENETDOWN))
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENODEV))
}
