//! Ports over `AF_XDP`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::{RxPort, TxPort};
use crate::packet::{Encapsulation, LinkHeader};
use crate::xsk::{Frame, RxSocket, TxSocket, XskError};

/// Sends diode frames through one queue.
pub struct XdpTx {
    socket: TxSocket,
    header: LinkHeader,
    frames: usize,
}

impl XdpTx {
    /// Frames leave through `socket` behind `header`.
    pub fn new(socket: TxSocket, header: LinkHeader) -> Self {
        let frames = socket.free_frames() as usize;
        Self { socket, header, frames }
    }

    /// The socket, for its mode and statistics.
    pub fn socket(&self) -> &TxSocket {
        &self.socket
    }
}

impl TxPort for XdpTx {
    type Frame = Frame;

    fn take(&mut self) -> Option<Frame> {
        self.socket.take()
    }

    fn has_free(&mut self, wanted: usize) -> bool {
        if (self.socket.free_frames() as usize) < wanted {
            self.socket.reap();
        }
        self.socket.free_frames() as usize >= wanted
    }

    fn frames(&self) -> usize {
        self.frames
    }

    fn bytes<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8] {
        &mut self.socket.bytes(frame)[self.header.len()..]
    }

    fn submit(&mut self, mut frame: Frame, len: usize) -> Result<(), Frame> {
        let packet_bytes = self.header.write(self.socket.bytes(&mut frame), len);
        self.socket.submit(frame, packet_bytes as u32)
    }

    fn kick(&mut self) -> io::Result<bool> {
        self.socket.kick().map(|waiting| waiting > 0).map_err(to_io)
    }

    fn overhead_bytes(&self) -> usize {
        self.header.len()
    }
}

/// Receives diode frames from one queue.
pub struct XdpRx {
    socket: RxSocket,
    encapsulation: Encapsulation,
    malformed: u64,
}

impl XdpRx {
    /// Frames arrive at `socket`.
    pub fn new(socket: RxSocket, encapsulation: Encapsulation) -> Self {
        Self { socket, encapsulation, malformed: 0 }
    }

    /// The socket, for its mode and statistics.
    pub fn socket(&self) -> &RxSocket {
        &self.socket
    }

    /// Packets whose headers could not be taken off, which the XDP program should have dropped.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }
}

impl RxPort for XdpRx {
    fn receive(&mut self, max: usize, each: &mut dyn FnMut(&mut [u8])) -> io::Result<usize> {
        let (encapsulation, malformed) = (self.encapsulation, &mut self.malformed);
        Ok(self.socket.receive(max, |packet| match LinkHeader::strip(packet, encapsulation) {
            Some(frame) => each(frame),
            None => *malformed += 1,
        }))
    }
}

impl AsFd for XdpRx {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn to_io(error: XskError) -> io::Error {
    io::Error::other(error)
}
