//! One lane's way out through a card: `AF_XDP` where the card reads our memory itself (zero-copy), a packet socket where the
//! kernel has to copy anyway.
//!
//! Either takes whole Ethernet packets past the host's network stack, so that the rest of the relay need not know which it is.

use std::fmt::{self, Display as _};

use crate::afpacket::PacketSender;
use crate::config::Transmit;
use crate::xsk::{self, TxConfig, TxSocket, XskError};

/// Sends packets through one interface.
#[expect(
    clippy::large_enum_variant,
    reason = "a lane has one, for good: not worth an address to follow for each packet"
)]
pub enum CardTx {
    /// From memory that is shared with the kernel.
    Xdp(TxSocket),
    /// Many packets at once.
    Packet(PacketSender),
}

/// A frame of a [`CardTx`].
pub enum CardFrame {
    /// Of an `AF_XDP` socket.
    Xdp(xsk::Frame),
    /// Of a packet socket.
    Packet(Box<[u8]>),
}

impl CardTx {
    /// Opens the way out that `transmit` says. With a packet socket the queue is the kernel's choice.
    ///
    /// # Errors
    /// Any [`XskError`]; each says what to do.
    pub fn open(config: &TxConfig, transmit: Transmit) -> Result<Self, XskError> {
        if transmit != Transmit::Packet {
            let socket = TxSocket::open(config)?;
            if transmit == Transmit::AfXdp || socket.mode().zero_copy {
                return Ok(Self::Xdp(socket));
            }
        }
        let TxConfig { interface, frame_count, frame_size, .. } = config;
        let sender = PacketSender::open(interface, *frame_count as usize, *frame_size as usize)?;
        tracing::info!(%interface, "a packet socket sends");
        Ok(Self::Packet(sender))
    }

    /// A free frame, or None while all are on their way.
    pub fn take(&mut self) -> Option<CardFrame> {
        match self {
            Self::Xdp(socket) => socket.take().map(CardFrame::Xdp),
            Self::Packet(sender) => sender.take().map(CardFrame::Packet),
        }
    }

    /// All bytes of a frame, to write a packet from the first on. Empty for a frame of another card.
    pub fn bytes<'a>(&'a mut self, frame: &'a mut CardFrame) -> &'a mut [u8] {
        match (self, frame) {
            (Self::Xdp(socket), CardFrame::Xdp(frame)) => socket.bytes(frame),
            (Self::Packet(_), CardFrame::Packet(frame)) => frame,
            _ => &mut [],
        }
    }

    /// Queues the first `len` bytes of a frame; they leave with the next [`Self::kick`].
    ///
    /// # Errors
    /// Gives the frame back if there is no room now (kick, then try again), or if no packet has that length.
    pub fn submit(&mut self, frame: CardFrame, len: usize) -> Result<(), CardFrame> {
        match (self, frame) {
            (Self::Xdp(socket), CardFrame::Xdp(frame)) => socket.submit(frame, len as u32).map_err(CardFrame::Xdp),
            (Self::Packet(sender), CardFrame::Packet(frame)) => sender.submit(frame, len).map_err(CardFrame::Packet),
            (_, frame) => Err(frame),
        }
    }

    /// Puts a frame back unsent. One of another card is dropped.
    pub fn release(&mut self, frame: CardFrame) {
        match (self, frame) {
            (Self::Xdp(socket), CardFrame::Xdp(frame)) => socket.release(frame),
            (Self::Packet(sender), CardFrame::Packet(frame)) => sender.release(frame),
            _ => {}
        }
    }

    /// Makes sure that what was submitted leaves. True: something still waits, call again later.
    ///
    /// # Errors
    /// [`XskError::NoInterface`] once the interface is gone. Otherwise the failed system call.
    pub fn kick(&mut self) -> Result<bool, XskError> {
        match self {
            Self::Xdp(socket) => socket.kick().map(|waiting| waiting > 0),
            Self::Packet(sender) => sender.kick(),
        }
    }

    /// Would [`Self::take`] give `wanted` frames now?
    pub fn has_free(&mut self, wanted: usize) -> bool {
        match self {
            Self::Xdp(socket) => {
                if (socket.free_frames() as usize) < wanted {
                    socket.reap();
                }
                socket.free_frames() as usize >= wanted
            }
            Self::Packet(sender) => sender.free_frames() >= wanted,
        }
    }

    /// Packets that the kernel refused for good. `AF_XDP` tells of none.
    pub fn errors(&self) -> u64 {
        match self {
            Self::Xdp(_) => 0,
            Self::Packet(sender) => sender.errors(),
        }
    }

    /// How packets leave: `zero-copy` or `copy` over `AF_XDP`, else `packet`.
    pub fn mode(&self) -> impl fmt::Display + '_ {
        fmt::from_fn(move |f| match self {
            Self::Xdp(socket) => socket.mode().fmt(f),
            Self::Packet(_) => f.write_str("packet"),
        })
    }
}
