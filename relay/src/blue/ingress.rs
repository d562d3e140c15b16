//! Where BLUE's datagrams come from: `AF_XDP` queues, and kernel sockets.
//!
//! With the XDP driver, kernel sockets serve beside the queues: the XDP program leaves IP fragments to the kernel, which
//! puts them together.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, Socket, Type};

use super::table::Table;
use crate::host::Readiness;
use crate::link::Nanos;
use crate::link::socket::grow_receive_buffer;
use crate::mmsg::Inbox;
use crate::packet::parse_udp;
use crate::xsk::RxSocket;

/// While the queues are busy, kernel sockets are looked at this often: a system call, so not with every batch.
const KERNEL_EVERY_NS: Nanos = 500_000;
/// Sockets that one look serves; the others' turn comes with the next.
const READY_MAX: usize = 32;
/// Datagrams taken with one call: a part of a lane's batch that stays in the first cache.
const MESSAGES: usize = 16;

/// A datagram that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// To which port.
    pub port: u16,
    /// What it holds.
    pub payload: &'a [u8],
    /// Its source was checked already.
    pub checked: bool,
}

/// One lane's sources of datagrams.
#[derive(Default)]
pub struct Ingress {
    queues: Vec<RxSocket>,
    kernel: Option<KernelSockets>,
    /// When the kernel's sockets are looked at again although the queues have work.
    kernel_at: Nanos,
    /// Packets from the queues that are no datagrams, which the XDP program should have kept.
    malformed: u64,
}

impl Ingress {
    /// From these queues, and from kernel sockets if given.
    pub fn new(queues: Vec<RxSocket>, kernel: Option<KernelSockets>) -> Self {
        Self { queues, kernel, kernel_at: 0, malformed: 0 }
    }

    /// Packets from the queues that are no datagrams.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Puts everything to wait for into `readiness`.
    pub fn register(&self, readiness: &Readiness) -> io::Result<()> {
        self.queues.iter().try_for_each(|queue| readiness.add(queue.as_fd()))?;
        self.kernel.iter().try_for_each(|kernel| readiness.add(kernel.readiness.as_fd()))
    }

    /// Opens and closes kernel sockets as the table asks. What cannot be opened is an error after all others are.
    pub fn set_table(&mut self, table: &Table) -> io::Result<()> {
        self.kernel.as_mut().map_or(Ok(()), |kernel| kernel.set_table(table))
    }

    /// Hands over up to `max` datagrams of each source. Returns how many there were; never waits.
    pub fn receive(&mut self, now: Nanos, max: usize, mut each: impl FnMut(Arrival<'_>)) -> usize {
        // First, because datagrams came this way until the XDP program had its rules: those are the older ones.
        let look = self.queues.is_empty() || now >= self.kernel_at;
        let mut count = if look { self.receive_from_kernel(now, max, &mut each) } else { 0 };
        for queue in &mut self.queues {
            let malformed = &mut self.malformed;
            count += queue.receive(max, |packet| match parse_udp(packet) {
                Ok(datagram) => each(Arrival {
                    source: datagram.source,
                    port: datagram.destination.port(),
                    payload: datagram.payload,
                    checked: true,
                }),
                Err(_) => *malformed += 1,
            });
        }
        if count == 0 && !look {
            count = self.receive_from_kernel(now, max, &mut each);
        }
        count
    }
}

impl Ingress {
    fn receive_from_kernel(&mut self, now: Nanos, max: usize, each: &mut impl FnMut(Arrival<'_>)) -> usize {
        self.kernel_at = now + KERNEL_EVERY_NS;
        self.kernel.as_mut().map_or(0, |kernel| kernel.receive(max, each))
    }
}

/// One kernel socket per stream.
pub struct KernelSockets {
    interface: String,
    sockets: HashMap<u16, std::net::UdpSocket>,
    readiness: Readiness,
    inbox: Inbox,
}

impl KernelSockets {
    /// Sockets that receive on `interface` only; none before [`KernelSockets::set_table`].
    pub fn new(interface: &str) -> io::Result<Self> {
        Ok(Self {
            interface: interface.to_owned(),
            sockets: HashMap::new(),
            readiness: Readiness::new()?,
            inbox: Inbox::new(MESSAGES),
        })
    }

    /// Opens what the table has and closes what it has not.
    pub fn set_table(&mut self, table: &Table) -> io::Result<()> {
        self.sockets.retain(|port, _| table.by_port(*port).is_some());
        let mut result = Ok(());
        for (_, entry) in table.udp() {
            if !self.sockets.contains_key(&entry.port) {
                match self.open(entry.port) {
                    Ok(socket) => drop(self.sockets.insert(entry.port, socket)),
                    Err(error) => result = Err(named(&error, "UDP", entry.port, &self.interface)),
                }
            }
        }
        result
    }

    fn open(&self, port: u16) -> io::Result<std::net::UdpSocket> {
        // One socket for both families where there is IPv6.
        let socket = bound(Domain::IPV6, Ipv6Addr::UNSPECIFIED.into(), port, &self.interface)
            .or_else(|_| bound(Domain::IPV4, Ipv4Addr::UNSPECIFIED.into(), port, &self.interface))?;
        self.readiness.add_as(socket.as_fd(), u64::from(port))?;
        Ok(socket)
    }

    fn receive(&mut self, max: usize, each: &mut impl FnMut(Arrival<'_>)) -> usize {
        let mut ready = [0; READY_MAX];
        let mut count = 0;
        for &port in self.readiness.ready(&mut ready) {
            let Some(socket) = self.sockets.get(&(port as u16)) else { continue };
            let mut taken = 0;
            // Errors (such as a port unreachable from outside) say nothing about the next datagram.
            while taken < max
                && let Ok(messages) = self.inbox.receive(socket.as_fd())
            {
                while let Some(datagram) = self.inbox.pop() {
                    let Some(source) = datagram.source else { continue };
                    let source = SocketAddr::new(source.ip().to_canonical(), source.port());
                    each(Arrival { source, port: port as u16, payload: datagram.bytes, checked: false });
                }
                taken += messages;
                if messages < self.inbox.capacity() {
                    break;
                }
            }
            count += taken;
        }
        count
    }
}

fn bound(domain: Domain, address: IpAddr, port: u16, interface: &str) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    grow_receive_buffer(&socket)?;
    socket.bind(&SocketAddr::new(address, port).into())?;
    Ok(socket.into())
}

/// The error of a socket that cannot listen, with its remedy.
pub fn named(error: &io::Error, protocol: &str, port: u16, interface: &str) -> io::Error {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there: stop it, or choose another `source_port`",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: grant it, or choose another `source_port`"
        }
        _ => "check that the interface exists",
    };
    io::Error::new(error.kind(), format!("cannot listen on {protocol} port {port} of {interface}: {error}; {remedy}"))
}
