//! The sending end of a link: opens what frames leave through, and tells the counters what was sent.
//!
//! ```text
//! lane 0 -> LinkTx -> AF_XDP queue 0 or packet socket -.
//! lane 1 -> LinkTx -> AF_XDP queue 1 or packet socket --+-> interface ==> link      [SendingLink] drops whatever comes back
//! ```
//!
//! With the socket driver there is one lane, a kernel socket, and no program.

use std::net::SocketAddr;

use anyhow::Context as _;

use super::link_end::LinkEnd;
use crate::card::{CardConfig, CardTx};
use crate::config::{Encapsulation, Transmit};
use crate::link::SenderCounters;
use crate::link::socket::SocketTx;
use crate::link::xdp::XdpTx;
use crate::packet::{BROADCAST, LinkHeader};
use crate::steer::SendingLink;
use crate::telemetry::counters::SendLink;
use crate::wire::FRAME_OVERHEAD;
use crate::xsk::interface::InterfaceInfo;

/// Lane n sends from this UDP port plus n: the start of the dynamic ports (RFC 6335, 6), so that the receiver's network
/// card spreads lanes over its queues.
const SOURCE_PORT_BASE: u16 = 49_152;

/// A lane's sending end.
pub struct LinkTx<P> {
    /// Where its frames leave.
    pub port: P,
    /// The largest symbol that the port's frames hold, bytes.
    pub symbol_bytes: u16,
    /// Frames that the port could not send, if it counts any.
    pub send_errors: fn(&P) -> u64,
}

/// A sending end with the XDP driver.
pub struct XdpSending {
    /// Keeps the link one-way.
    pub program: SendingLink,
    /// The lanes' ends.
    pub lanes: Vec<LinkTx<XdpTx>>,
    /// Where the program runs and how sockets move packets: `native/copy`.
    pub mode: String,
}

impl XdpSending {
    /// Opens `end`, which is at `interface`, for `lanes` lanes that have `frames` frames each.
    pub fn open(end: &LinkEnd<'_>, interface: &InterfaceInfo, lanes: usize, frames: usize) -> anyhow::Result<Self> {
        let program = SendingLink::attach(&end.own.interface)?;
        let mut mode = program.mode().to_string();
        let mut opened = Vec::with_capacity(lanes);
        for lane in 0..lanes {
            let tx = open_lane(end, interface, (lane, lanes), frames)?;
            mode = format!("{}/{}", program.mode(), tx.port.card().mode());
            opened.push(tx);
        }
        Ok(Self { program, lanes: opened, mode })
    }
}

fn open_lane(
    end: &LinkEnd<'_>,
    interface: &InterfaceInfo,
    (lane, lanes): (usize, usize),
    frames: usize,
) -> anyhow::Result<LinkTx<XdpTx>> {
    let (own_mac, peer_mac) = (interface.mac, end.peer.mac.unwrap_or(BROADCAST));
    let header = match end.encapsulation {
        Encapsulation::Udp => {
            let from = SOURCE_PORT_BASE + lane as u16;
            LinkHeader::udp(own_mac, peer_mac, end.own.address, end.peer.address, from, end.port)
        }
        Encapsulation::Ethernet => LinkHeader::ethernet(own_mac, peer_mac),
    };
    let transmit = match (end.transmit, end.encapsulation) {
        // Without ports to tell flows by no message holds two frames, and no card spreads lanes over its queues.
        (Transmit::Auto, Encapsulation::Ethernet) => Transmit::AfXdp,
        (transmit, _) => transmit,
    };
    let (card, mtu) = CardTx::open(&CardConfig {
        interface: &end.own.interface,
        queue: lane as u32,
        mtu: end.mtu.into(),
        frames: frames as u32,
        receive_frames: 0,
        transmit,
        lanes: lanes as u32,
    })?;
    let port = XdpTx::new(card, header, frames);
    // Symbols are as large as frames allow.
    let symbol_bytes = end.symbol_bytes_within(mtu as usize);
    Ok(LinkTx { port, symbol_bytes, send_errors: |port| port.card().errors() })
}

impl LinkTx<SocketTx> {
    /// Opens `end` through the kernel, with `frames` frames.
    pub fn open(end: &LinkEnd<'_>, frames: usize) -> anyhow::Result<Self> {
        end.check_interface_if_there()?;
        let symbol_bytes = end.symbol_bytes();
        let (from, to) = (SocketAddr::from((end.own.address, 0)), SocketAddr::from((end.peer.address, end.port)));
        let port = SocketTx::open(from, to, usize::from(symbol_bytes) + FRAME_OVERHEAD, frames);
        let port = port.with_context(|| {
            let (address, interface) = (end.own.address, &end.own.interface);
            format!("cannot send from {address} ({} address) to {to}; give {interface} that address", end.table)
        })?;
        Ok(Self { port, symbol_bytes, send_errors: |port| port.errors().0 })
    }
}

impl SendLink {
    /// Takes over what a lane's sender has sent, and what its port could not send.
    pub fn publish(&self, sender: &SenderCounters, send_errors: u64) {
        self.source_frames.set(sender.source_frames);
        self.repair_frames.set(sender.repair_frames);
        self.heartbeats.set(sender.heartbeats);
        self.bytes.set(sender.frame_bytes);
        self.blocks.set(sender.blocks);
        self.tx_full.set(sender.tx_full);
        self.send_errors.set(send_errors);
    }

    /// Takes over what came back from the link. For the control thread's slot.
    pub fn publish_program(&self, program: &SendingLink) {
        match program.counters() {
            Ok(counts) => self.from_link.set(counts.dropped),
            Err(error) => tracing::warn!("{error}"),
        }
    }
}
