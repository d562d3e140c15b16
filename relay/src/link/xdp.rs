//! Ports of the XDP driver: receiving over `AF_XDP`, sending through a card.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::{RxPort, TxPort};
use crate::card::{CardFrame, CardTx};
use crate::packet::{Encapsulation, LinkHeader};
use crate::xsk::{RxSocket, XskError};

/// Sends diode frames through one card.
pub struct XdpTx {
    card: CardTx,
    header: LinkHeader,
    frames: usize,
    /// Submitted since the last kick, and what that left.
    waiting: usize,
}

impl XdpTx {
    /// `frames` frames leave through `card` behind `header`.
    pub fn new(card: CardTx, header: LinkHeader, frames: usize) -> Self {
        Self { card, header, frames, waiting: 0 }
    }

    /// The card, for its mode and errors.
    pub fn card(&self) -> &CardTx {
        &self.card
    }
}

impl TxPort for XdpTx {
    type Frame = CardFrame;

    fn take(&mut self) -> Option<CardFrame> {
        self.card.take()
    }

    fn has_free(&mut self, wanted: usize) -> bool {
        self.card.has_free(wanted)
    }

    fn frames(&self) -> usize {
        self.frames
    }

    fn bytes<'a>(&'a mut self, frame: &'a mut CardFrame) -> &'a mut [u8] {
        &mut self.card.bytes(frame)[self.header.len()..]
    }

    fn submit(&mut self, mut frame: CardFrame, len: usize) -> Result<(), CardFrame> {
        let packet_bytes = self.header.write(self.card.bytes(&mut frame), len);
        self.card.submit(frame, packet_bytes)?;
        self.waiting += 1;
        Ok(())
    }

    fn kick(&mut self) -> io::Result<bool> {
        self.waiting = self.card.kick().map_err(to_io)?;
        Ok(self.waiting > 0)
    }

    fn waiting(&self) -> usize {
        self.waiting
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
