//! Datagrams out into RED's zone: with headers of our own over `AF_XDP`, or through kernel sockets.
//!
//! Every session has a connected kernel socket: it reserves the source port and finds the source address by the kernel's
//! routes. With the socket driver datagrams leave through it; with the XDP driver only those do that are larger than the
//! MTU (the kernel fragments them) and those that leave by another interface.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::neighbour::{NextHop, NextHopState};
use super::table::Entry;
use crate::packet::{BROADCAST, Mac, UdpTemplate};
use crate::session::SessionId;
use crate::telemetry::reasons::RedRefused;
use crate::xsk::TxSocket;

/// Datagrams that wait for a neighbour's address, over all streams: a resolution takes milliseconds, and at 1,400 bytes
/// this is 350 KiB a lane.
const WAITING_MAX: usize = 256;
/// Ethernet header, bytes.
const ETHERNET_LEN: usize = 14;
/// Nobody reads what the zone answers; the kernel drops it beyond this (its own minimum).
const ANSWERS_BYTES: usize = 1;

/// A session's way out.
#[derive(Debug)]
pub struct Exit {
    socket: UdpSocket,
    template: Option<UdpTemplate>,
    mac: Option<Mac>,
}

/// The XDP driver's part.
pub struct XdpEgress {
    /// Sends on the zone interface.
    pub socket: TxSocket,
    /// The zone interface's address.
    pub mac: Mac,
    /// Largest IP packet that leaves over `AF_XDP`.
    pub mtu: usize,
}

/// One lane's way into the zone.
pub struct Egress {
    xdp: Option<XdpEgress>,
    waiting: VecDeque<(SessionId, Box<[u8]>)>,
    unkicked: bool,
}

impl Egress {
    /// Over `AF_XDP` if `xdp` is given.
    pub fn new(xdp: Option<XdpEgress>) -> Self {
        Self { xdp, waiting: VecDeque::with_capacity(WAITING_MAX), unkicked: false }
    }

    /// Opens a session's way to `destination`.
    pub fn open(&self, destination: SocketAddr) -> io::Result<Exit> {
        let any: SocketAddr = match destination {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        socket2::SockRef::from(&socket).set_recv_buffer_size(ANSWERS_BYTES)?;
        socket.connect(destination)?;
        let template = match &self.xdp {
            None => None,
            Some(xdp) => UdpTemplate::new(xdp.mac, BROADCAST, socket.local_addr()?, destination),
        };
        Ok(Exit { socket, template, mac: None })
    }

    /// Sends a datagram of `session`, or keeps it until the neighbour's address is known.
    pub fn send(
        &mut self,
        session: SessionId,
        exit: &mut Exit,
        entry: &Entry,
        payload: &[u8],
    ) -> Result<(), RedRefused> {
        let (Some(xdp), Some(template), Some(next_hop)) = (&mut self.xdp, &mut exit.template, &entry.next_hop) else {
            return through_kernel(&exit.socket, payload);
        };
        let fits = template.header_len() - ETHERNET_LEN + payload.len() <= xdp.mtu;
        if !fits || next_hop.state() == NextHopState::OtherInterface {
            return through_kernel(&exit.socket, payload);
        }
        let Some(mac) = next_hop.mac().filter(|_| self.waiting.is_empty()) else {
            if self.waiting.len() >= WAITING_MAX {
                return Err(RedRefused::NoNeighbour);
            }
            self.waiting.push_back((session, payload.into()));
            return Ok(());
        };
        if exit.mac != Some(mac) {
            template.set_destination_mac(mac);
            exit.mac = Some(mac);
        }
        self.unkicked = true;
        xdp.send(template, payload)
    }

    /// Takes what waits, if the first of it can go now (or cannot go ever, as `next_hop` of a session that is gone says):
    /// the caller sends it again, in order.
    pub fn take_waiting(
        &mut self,
        next_hop: impl Fn(&SessionId) -> Option<std::sync::Arc<NextHop>>,
    ) -> Option<VecDeque<(SessionId, Box<[u8]>)>> {
        let (session, _) = self.waiting.front()?;
        let ready = next_hop(session).is_none_or(|next_hop| next_hop.mac().is_some());
        ready.then(|| std::mem::replace(&mut self.waiting, VecDeque::with_capacity(WAITING_MAX)))
    }

    /// Does anything wait for a neighbour's address?
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Makes sure that what was sent leaves. True: not all of it has yet.
    pub fn kick(&mut self) -> Result<bool, crate::xsk::XskError> {
        if let Some(xdp) = self.xdp.as_mut().filter(|_| self.unkicked) {
            self.unkicked = xdp.socket.kick()? > 0;
        }
        Ok(self.unkicked)
    }
}

impl XdpEgress {
    fn send(&mut self, template: &UdpTemplate, payload: &[u8]) -> Result<(), RedRefused> {
        let mut frame = if let Some(frame) = self.socket.take() {
            frame
        } else {
            // The ring is full of a batch that the kernel was not shown yet.
            self.socket.kick().map_err(|_| RedRefused::SendError)?;
            self.socket.take().ok_or(RedRefused::TxFull)?
        };
        let Some(len) = template.write(self.socket.bytes(&mut frame), payload) else {
            self.socket.release(frame);
            return Err(RedRefused::SendError);
        };
        let Err(frame) = self.socket.submit(frame, len as u32) else { return Ok(()) };
        let again = match self.socket.kick() {
            Ok(_) => self.socket.submit(frame, len as u32),
            Err(_) => Err(frame),
        };
        again.map_err(|frame| {
            self.socket.release(frame);
            RedRefused::TxFull
        })
    }
}

fn through_kernel(socket: &UdpSocket, payload: &[u8]) -> Result<(), RedRefused> {
    // A port unreachable that came for an earlier datagram is reported here; this one has not been tried yet then.
    let mut sent = socket.send(payload);
    if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        sent = socket.send(payload);
    }
    match sent {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(RedRefused::TxFull),
        Err(_) => Err(RedRefused::SendError),
    }
}
