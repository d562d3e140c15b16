//! Ports over plain kernel UDP sockets, for hosts without the privilege for XDP.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use super::{RxPort, TxPort};
use crate::mmsg::{self, Inbox};
use crate::wire::IP_UDP_LEN;

/// Ethernet header, bytes: what leaves the host in front of IP.
const ETHERNET_LEN: usize = 14;
/// Asked of the kernel for both directions: at 1 Gbit/s this is 32 ms of frames. The kernel grants what
/// `net.core.rmem_max` and `wmem_max` allow.
const BUFFER_BYTES: usize = 4 << 20;
/// Messages taken with one call: one that the kernel has put together may hold as many frames again, so a quarter of a lane's
/// batch.
const MESSAGES: usize = 16;

/// Gives a socket room for bursts: beyond the system's limit where we are privileged, up to it where not.
pub fn grow_receive_buffer(socket: &impl AsFd) -> io::Result<()> {
    use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
    if set_socket_recv_buffer_size_force(socket, BUFFER_BYTES).is_err() {
        set_socket_recv_buffer_size(socket, BUFFER_BYTES)?;
    }
    Ok(())
}

/// Sends diode frames over UDP.
#[derive(Debug)]
pub struct SocketTx {
    socket: UdpSocket,
    free: Vec<Box<[u8]>>,
    queued: VecDeque<(Box<[u8]>, usize)>,
    /// Frames of equal size leave as one message, until the system says that it cannot cut it.
    segments: bool,
    errors: u64,
    last_error: Option<io::Error>,
}

impl SocketTx {
    /// Frames of up to `frame_bytes` go from `from` to `to`; `frames` of them may wait.
    pub fn open(from: SocketAddr, to: SocketAddr, frame_bytes: usize, frames: usize) -> io::Result<Self> {
        let socket = UdpSocket::bind(from)?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        rustix::net::sockopt::set_socket_send_buffer_size(&socket, BUFFER_BYTES)?;
        Ok(Self {
            socket,
            free: (0..frames).map(|_| vec![0; frame_bytes].into()).collect(),
            queued: VecDeque::with_capacity(frames),
            segments: true,
            errors: 0,
            last_error: None,
        })
    }

    /// Frames that the system refused to send, and why it refused the last one.
    pub fn errors(&self) -> (u64, Option<&io::Error>) {
        (self.errors, self.last_error.as_ref())
    }
}

impl TxPort for SocketTx {
    type Frame = Box<[u8]>;

    fn take(&mut self) -> Option<Box<[u8]>> {
        self.free.pop()
    }

    fn has_free(&mut self, wanted: usize) -> bool {
        self.free.len() >= wanted
    }

    fn frames(&self) -> usize {
        self.free.len() + self.queued.len()
    }

    fn bytes<'a>(&'a mut self, frame: &'a mut Box<[u8]>) -> &'a mut [u8] {
        frame
    }

    fn submit(&mut self, frame: Box<[u8]>, len: usize) -> Result<(), Box<[u8]>> {
        self.queued.push_back((frame, len));
        Ok(())
    }

    fn kick(&mut self) -> io::Result<bool> {
        while !self.queued.is_empty() {
            let frames = self.queued.iter().map(|(frame, len)| &frame[..*len]);
            match mmsg::send(self.socket.as_fd(), frames, self.segments) {
                Ok(sent) => self.free.extend(self.queued.drain(..sent).map(|(frame, _)| frame)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if self.segments && mmsg::is_about_segments(&error) => self.segments = false,
                Err(error) => {
                    self.errors += 1;
                    self.last_error = Some(error);
                    self.free.extend(self.queued.pop_front().map(|(frame, _)| frame));
                }
            }
        }
        Ok(false)
    }

    fn waiting(&self) -> usize {
        self.queued.len()
    }

    fn overhead_bytes(&self) -> usize {
        IP_UDP_LEN + ETHERNET_LEN
    }
}

/// Receives diode frames over UDP.
#[derive(Debug)]
pub struct SocketRx {
    socket: UdpSocket,
    inbox: Inbox,
}

impl SocketRx {
    /// Frames arrive at `at`.
    pub fn open(at: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(at)?;
        socket.set_nonblocking(true)?;
        grow_receive_buffer(&socket)?;
        mmsg::join_on_arrival(&socket)?;
        Ok(Self { socket, inbox: Inbox::new(MESSAGES) })
    }
}

impl SocketRx {
    /// Takes what has arrived; false if that was all.
    fn take(&mut self) -> io::Result<bool> {
        match self.inbox.receive(self.socket.as_fd()) {
            Ok(messages) => Ok(messages == self.inbox.capacity()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            // Such as a port unreachable that somebody sent us: says nothing about this socket.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The kernel's buffer, bytes, as it counts them: with what packets cost besides their payload.
    pub fn buffer_bytes(&self) -> usize {
        rustix::net::sockopt::socket_recv_buffer_size(&self.socket).unwrap_or(0)
    }
}

impl RxPort for SocketRx {
    fn receive(&mut self, max: usize, each: &mut dyn FnMut(&mut [u8])) -> io::Result<usize> {
        let (mut count, mut more) = (0, true);
        while count < max {
            if let Some(datagram) = self.inbox.pop() {
                each(datagram.bytes);
                count += 1;
            } else if more {
                more = self.take()?;
            } else {
                break;
            }
        }
        Ok(count)
    }
}

impl AsFd for SocketRx {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
