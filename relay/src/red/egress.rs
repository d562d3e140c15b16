//! Datagrams out into RED's zone: with headers of our own through the card, or through kernel sockets.
//!
//! Every session has a connected kernel socket: it reserves the source port and finds the source address by the kernel's
//! routes. With the socket driver datagrams leave through it; with the XDP driver only those do that are larger than the
//! path's MTU (the kernel fragments them) and those that leave by another interface.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::neighbour::NextHopState;
use super::table::Entry;
use crate::card::CardTx;
use crate::link::Nanos;
use crate::packet::{BROADCAST, Mac, UdpTemplate};
use crate::session::SessionId;
use crate::telemetry::reasons::ReceiveRefused;

/// Datagrams of one stream that wait for a neighbour's address: a resolution takes milliseconds, and this is 12 ms at
/// 20,000 a second.
const WAITING_MAX: usize = 256;
/// Bytes that wait on a lane, over all streams: bounds what many unreachable destinations can hold.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// Nobody wants older datagrams: the kernel, too, drops what waits after three queries, one a second
/// (`mcast_solicit`, `retrans_time`; Documentation/networking/ip-sysctl.rst).
const WAITING_NS_MAX: Nanos = 3_000_000_000;
/// A relay that stops tries so often, in 0.1 s all together, to send what its card was too busy for.
const DRAIN_TRIES: u32 = 100;
/// Between these.
const DRAIN_PAUSE: Duration = Duration::from_millis(1);
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
    /// The way out through the zone interface.
    pub card: CardTx,
    /// The zone interface's address.
    pub mac: Mac,
    /// Largest IP packet that leaves this way.
    pub mtu: usize,
}

/// One lane's way into the zone.
pub struct Egress {
    xdp: Option<XdpEgress>,
    /// By slot: a destination that does not answer must not hold up the other streams.
    waiting: Vec<VecDeque<Waiting>>,
    waiting_bytes: usize,
    unkicked: bool,
    /// What the card had not taken at the end.
    left: usize,
}

/// A datagram that waits for a neighbour's address. It is not counted yet.
#[derive(Debug)]
pub struct Waiting {
    /// Its session.
    pub session: SessionId,
    /// It came by error correction.
    pub recovered: bool,
    /// What it holds.
    pub payload: Box<[u8]>,
    since: Nanos,
}

/// A datagram on its way out.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Its stream's slot.
    pub slot: usize,
    /// Its session.
    pub session: SessionId,
    /// It came by error correction.
    pub recovered: bool,
    /// What it holds.
    pub payload: &'a [u8],
}

/// What became of a datagram that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is on its way.
    Sent,
    /// It waits for a neighbour's address, and comes back by [`Egress::take_waiting`].
    Waits,
}

impl Egress {
    /// Through a card if `xdp` is given.
    pub fn new(xdp: Option<XdpEgress>) -> Self {
        Self { xdp, waiting: Vec::new(), waiting_bytes: 0, unkicked: false, left: 0 }
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

    /// Sends a datagram, or keeps it until the neighbour's address is known.
    pub fn send(
        &mut self,
        now: Nanos,
        exit: &mut Exit,
        entry: &Entry,
        datagram: Outgoing<'_>,
    ) -> Result<Fate, ReceiveRefused> {
        let payload = datagram.payload;
        let (Some(xdp), Some(template), Some(next_hop)) = (&mut self.xdp, &mut exit.template, &entry.next_hop) else {
            return through_kernel(&exit.socket, payload);
        };
        let fits = template.header_len() - ETHERNET_LEN + payload.len() <= xdp.mtu.min(next_hop.mtu());
        if !fits || next_hop.state() == NextHopState::OtherInterface {
            return through_kernel(&exit.socket, payload);
        }
        let nothing_waits = self.waiting.get(datagram.slot).is_none_or(VecDeque::is_empty);
        let Some(mac) = next_hop.mac().filter(|_| nothing_waits) else {
            return self.keep(now, datagram);
        };
        if exit.mac != Some(mac) {
            template.set_destination_mac(mac);
            exit.mac = Some(mac);
        }
        self.unkicked = true;
        xdp.send(template, payload)
    }

    fn keep(&mut self, now: Nanos, datagram: Outgoing<'_>) -> Result<Fate, ReceiveRefused> {
        let Outgoing { slot, session, recovered, payload } = datagram;
        if self.waiting.len() <= slot {
            self.waiting.resize_with(slot + 1, VecDeque::new);
        }
        if self.waiting[slot].len() >= WAITING_MAX || self.waiting_bytes + payload.len() > WAITING_BYTES_MAX {
            return Err(ReceiveRefused::NoNeighbour);
        }
        self.waiting_bytes += payload.len();
        self.waiting[slot].push_back(Waiting { session, recovered, payload: payload.into(), since: now });
        Ok(Fate::Waits)
    }

    /// Slots that something waits in.
    pub fn waiting_slots(&self) -> usize {
        self.waiting.len()
    }

    /// Takes everything that waits in `slot`, oldest first: the caller sends it again, or gives it up.
    pub fn take_waiting(&mut self, slot: usize) -> VecDeque<Waiting> {
        let taken = self.waiting.get_mut(slot).map(std::mem::take).unwrap_or_default();
        self.waiting_bytes -= taken.iter().map(|datagram| datagram.payload.len()).sum::<usize>();
        taken
    }

    /// Drops what has waited too long in `slot`; says how many datagrams.
    pub fn give_up(&mut self, now: Nanos, slot: usize) -> u64 {
        let Some(waiting) = self.waiting.get_mut(slot) else { return 0 };
        let mut given_up = 0;
        while let Some(datagram) = waiting.pop_front_if(|datagram| now.saturating_sub(datagram.since) > WAITING_NS_MAX)
        {
            self.waiting_bytes -= datagram.payload.len();
            given_up += 1;
        }
        given_up
    }

    /// Does anything wait in `slot` for a neighbour's address?
    pub fn waits(&self, slot: usize) -> bool {
        self.waiting.get(slot).is_some_and(|waiting| !waiting.is_empty())
    }

    /// Does anything wait for a neighbour's address?
    pub fn is_waiting(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.is_empty())
    }

    /// Makes sure that what was sent leaves. True: not all of it has yet.
    pub fn kick(&mut self) -> Result<bool, crate::xsk::XskError> {
        if let Some(xdp) = self.xdp.as_mut().filter(|_| self.unkicked) {
            self.unkicked = xdp.card.kick()? > 0;
        }
        Ok(self.unkicked)
    }

    /// Has what was sent leave, as far as it does soon. For the end.
    pub fn drain(&mut self) {
        let Some(xdp) = &mut self.xdp else { return };
        for _ in 0..DRAIN_TRIES {
            // An interface that is gone takes nothing: what waits is lost.
            self.left = xdp.card.kick().unwrap_or(self.left);
            if self.left == 0 {
                break;
            }
            std::thread::sleep(DRAIN_PAUSE);
        }
    }

    /// Datagrams that counted as sent and that the kernel refused after all, or had not taken at the end.
    pub fn errors(&self) -> u64 {
        self.xdp.as_ref().map_or(0, |xdp| xdp.card.errors()) + self.left as u64
    }
}

impl XdpEgress {
    fn send(&mut self, template: &UdpTemplate, payload: &[u8]) -> Result<Fate, ReceiveRefused> {
        let mut frame = if let Some(frame) = self.card.take() {
            frame
        } else {
            // All frames are in a batch that the kernel was not shown yet.
            self.card.kick().map_err(|_| ReceiveRefused::SendError)?;
            self.card.take().ok_or(ReceiveRefused::TxFull)?
        };
        let Some(len) = template.write(self.card.bytes(&mut frame), payload) else {
            self.card.release(frame);
            return Err(ReceiveRefused::SendError);
        };
        let Err(frame) = self.card.submit(frame, len) else { return Ok(Fate::Sent) };
        let again = match self.card.kick() {
            Ok(_) => self.card.submit(frame, len),
            Err(_) => Err(frame),
        };
        again.map(|()| Fate::Sent).map_err(|frame| {
            self.card.release(frame);
            ReceiveRefused::TxFull
        })
    }
}

fn through_kernel(socket: &UdpSocket, payload: &[u8]) -> Result<Fate, ReceiveRefused> {
    // A port unreachable that came for an earlier datagram is reported here; this one has not been tried yet then.
    let mut sent = socket.send(payload);
    if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        sent = socket.send(payload);
    }
    match sent {
        Ok(_) => Ok(Fate::Sent),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(ReceiveRefused::TxFull),
        Err(_) => Err(ReceiveRefused::SendError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(slot: usize, payload: &[u8]) -> Outgoing<'_> {
        Outgoing { slot, session: SessionId::default(), recovered: false, payload }
    }

    #[test]
    fn what_waits_is_bounded_by_number_bytes_and_time() {
        let mut egress = Egress::new(None);
        for number in 0..WAITING_MAX {
            assert_eq!(egress.keep(number as Nanos, datagram(0, b"x")), Ok(Fate::Waits));
        }
        assert_eq!(egress.keep(0, datagram(0, b"x")), Err(ReceiveRefused::NoNeighbour));
        assert_eq!(egress.keep(0, datagram(3, b"y")), Ok(Fate::Waits), "another stream has its own room");
        assert_eq!(egress.give_up(WAITING_NS_MAX + 10, 0), 10);
        assert_eq!(egress.take_waiting(0).len(), WAITING_MAX - 10);
        assert!(egress.waits(3) && !egress.waits(0));
        assert_eq!(egress.take_waiting(3).len(), 1);
        assert!(!egress.is_waiting());
        let large = vec![0; 60_000];
        let kept = (0..1000).take_while(|slot| egress.keep(0, datagram(*slot, &large)).is_ok()).count();
        assert_eq!(kept, WAITING_BYTES_MAX / large.len());
    }
}
