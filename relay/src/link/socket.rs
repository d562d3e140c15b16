//! Ports over plain kernel UDP sockets, for hosts without the privilege for XDP.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use super::{RxPort, TxPort};
use crate::wire::IP_UDP_LEN;

/// Ethernet header, bytes: what leaves the host in front of IP.
const ETHERNET_LEN: usize = 14;
/// Asked of the kernel for both directions: at 1 Gbit/s this is 32 ms of frames. The kernel grants what
/// `net.core.rmem_max` and `wmem_max` allow.
const BUFFER_BYTES: usize = 4 << 20;

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
        while let Some((frame, len)) = self.queued.pop_front() {
            match self.socket.send(&frame[..len]) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.queued.push_front((frame, len));
                    return Ok(true);
                }
                Err(error) => {
                    self.errors += 1;
                    self.last_error = Some(error);
                }
            }
            self.free.push(frame);
        }
        Ok(false)
    }

    fn overhead_bytes(&self) -> usize {
        IP_UDP_LEN + ETHERNET_LEN
    }
}

/// Receives diode frames over UDP.
#[derive(Debug)]
pub struct SocketRx {
    socket: UdpSocket,
    buffer: Box<[u8]>,
}

impl SocketRx {
    /// Frames arrive at `at`.
    pub fn open(at: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(at)?;
        socket.set_nonblocking(true)?;
        grow_receive_buffer(&socket)?;
        Ok(Self { socket, buffer: vec![0; usize::from(u16::MAX)].into() })
    }
}

impl SocketRx {
    /// The kernel's buffer, bytes, as it counts them: with what packets cost besides their payload.
    pub fn buffer_bytes(&self) -> usize {
        rustix::net::sockopt::socket_recv_buffer_size(&self.socket).unwrap_or(0)
    }
}

impl RxPort for SocketRx {
    fn receive(&mut self, max: usize, each: &mut dyn FnMut(&mut [u8])) -> io::Result<usize> {
        for count in 0..max {
            match self.socket.recv(&mut self.buffer) {
                Ok(len) => each(&mut self.buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(count),
                // Such as a port unreachable that somebody sent us: says nothing about this socket.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
        Ok(max)
    }
}

impl AsFd for SocketRx {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
