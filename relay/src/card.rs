//! One lane's way out through a card: `AF_XDP` where the card reads our memory itself (zero-copy), a packet socket where the
//! kernel has to copy anyway.
//!
//! Either takes whole Ethernet packets past the host's addresses and routes, so that the rest of the relay need not know which it is.

use std::fmt::{self, Display as _};

use crate::afpacket::PacketSender;
use crate::config::Transmit;
use crate::packet;
use crate::xsk::{self, CHUNK_MAX, SPANNING_MAX, TxConfig, TxSocket, XskError};

/// Ethernet header, bytes.
const ETHERNET_LEN: u32 = packet::ETHERNET_LEN as u32;
/// The usual frame of `AF_XDP`, bytes: half a page, enough for an MTU of 1,500.
const FRAME_BYTES: u32 = 2048;

/// How to open a [`CardTx`].
#[derive(Clone, Copy, Debug)]
pub struct CardConfig<'a> {
    /// Interface name, in the calling thread's network namespace.
    pub interface: &'a str,
    /// TX queue, from 0. A packet socket leaves the choice to the kernel.
    pub queue: u32,
    /// The largest IP packet, bytes.
    pub mtu: u32,
    /// Frames to send from.
    pub frames: u32,
    /// Frames for the kernel to receive with on a zero-copy card, see [`TxConfig::receive_frames`].
    pub receive_frames: u32,
    /// Which way.
    pub transmit: Transmit,
    /// Lanes that send through the card, each from frames of its own.
    pub lanes: u32,
}

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
    /// Opens the way out that the site file says. Also gives the largest IP packet that it takes, bytes: less than what was
    /// asked for where `AF_XDP` refuses frames of several pieces, and never above 16,370.
    ///
    /// # Errors
    /// Any [`XskError`]; each says what to do.
    pub fn open(config: &CardConfig<'_>) -> Result<(Self, u32), XskError> {
        let config = CardConfig { mtu: config.mtu.min(SPANNING_MAX - ETHERNET_LEN), ..*config };
        let CardConfig { interface, mtu, frames, transmit, lanes, .. } = config;
        if transmit != Transmit::Packet {
            let (socket, mtu) = open_xdp(&config)?;
            if transmit == Transmit::AfXdp || socket.mode().zero_copy {
                return Ok((Self::Xdp(socket), mtu));
            }
        }
        let sender = PacketSender::open(interface, frames as usize, (mtu + ETHERNET_LEN) as usize, lanes as usize)?;
        tracing::info!(interface, "a packet socket sends");
        Ok((Self::Packet(sender), mtu))
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

    /// Makes sure that what was submitted leaves. Returns how much still waits: call again later if that is not 0.
    ///
    /// # Errors
    /// [`XskError::NoInterface`] once the interface is gone. Otherwise the failed system call.
    pub fn kick(&mut self) -> Result<usize, XskError> {
        match self {
            Self::Xdp(socket) => socket.kick().map(|waiting| waiting as usize),
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

fn open_xdp(config: &CardConfig<'_>) -> Result<(TxSocket, u32), XskError> {
    let &CardConfig { interface, queue, mtu, frames, receive_frames, .. } = config;
    let packet_bytes = mtu + ETHERNET_LEN;
    let frame_size = if packet_bytes <= FRAME_BYTES { FRAME_BYTES } else { packet_bytes.next_multiple_of(CHUNK_MAX) };
    let config = TxConfig { frame_count: frames, frame_size, receive_frames, ..TxConfig::new(interface, queue) };
    match TxSocket::open(&config) {
        Ok(socket) => Ok((socket, mtu)),
        Err(error) if frame_size > CHUNK_MAX => {
            tracing::info!(interface, %error, "frames of several pieces are refused: packets stay below {CHUNK_MAX} bytes");
            let socket = TxSocket::open(&TxConfig { frame_size: CHUNK_MAX, ..config })?;
            Ok((socket, CHUNK_MAX - ETHERNET_LEN))
        }
        Err(error) => Err(error),
    }
}
