//! The validated site: plain data that every other part reads.
//!
//! Owns the types only. It never reads a file and never looks at the machine; a [`Site`] made by
//! [`super::load`] has been through every rule, one made by hand (in tests) has not.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::files::Files;

/// Which of the two hosts a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The sending host, on the BLUE zone's side.
    Blue,
    /// The receiving host, on the RED zone's side.
    Red,
}

impl Role {
    /// The name used in the site file, on the command line and in counters: `blue` or `red`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Red => "red",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The whole installation: one file, the same on both hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// The one-way link between the hosts.
    pub link: Link,
    /// The BLUE host's own part.
    pub blue: Host,
    /// The RED host's own part.
    pub red: Host,
    /// The streams, in the file's order. Empty only if there are files.
    pub streams: Vec<Stream>,
    /// The files, in the file's order.
    pub files: Vec<Files>,
}

impl Site {
    /// The part of the host that plays `role`.
    pub const fn host(&self, role: Role) -> &Host {
        match role {
            Role::Blue => &self.blue,
            Role::Red => &self.red,
        }
    }

    /// Everything that has a channel, as the link sees it: the streams, then the files.
    pub fn channels(&self) -> Vec<Stream> {
        self.streams.iter().cloned().chain(self.files.iter().map(Files::stream)).collect()
    }

    /// The stream of `channel`, if there is one.
    pub fn stream(&self, channel: u16) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.channel == channel)
    }

    /// The files of `channel`, if there are any.
    pub fn files_of(&self, channel: u16) -> Option<&Files> {
        self.files.iter().find(|files| files.channel == channel)
    }

    /// Most bytes of one session of `stream` that may wait on the host of `role` for a slow receiver; with a
    /// return link also the window that the other host may be ahead.
    ///
    /// The stream's own [`Stream::buffer_bytes`], but not more than an equal share of [`Host::buffer_bytes`] among all
    /// sessions that may wait there: those of every TCP stream and all files on RED, those of `tcp-bilateral` streams on BLUE. At least
    /// [`LEAST_ROOM_BYTES`] on a checked site; 0 for a stream whose bytes never wait on that host.
    pub fn session_room(&self, role: Role, stream: &Stream) -> usize {
        if !stream.kind.waits_on(role) {
            return 0;
        }
        let share = self.host(role).buffer_bytes / self.waiting_sessions(role).max(1);
        share.min(u64::from(stream.buffer_bytes)) as usize
    }

    /// Sessions that may be open at a time and whose bytes may wait on the host of `role`.
    pub(super) fn waiting_sessions(&self, role: Role) -> u64 {
        self.channels()
            .iter()
            .filter(|stream| stream.kind.waits_on(role))
            .map(|stream| u64::from(stream.max_sessions))
            .sum()
    }
}

/// Least room of one TCP session, 64 KiB: a TCP window without scaling (RFC 9293). With less a session would crawl; more is for
/// the site file to grant.
pub const LEAST_ROOM_BYTES: u32 = 64 << 10;

/// The one-way link BLUE -> RED.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// IP MTU of the link in bytes, 576..=9000.
    pub mtu: u16,
    /// UDP port of the frames, 1..=65535.
    pub port: u16,
    /// What frames are carried in.
    pub encapsulation: Encapsulation,
    /// Most bits per second that may leave, Ethernet payload included; `None` is unpaced.
    pub rate_bps: Option<u64>,
    /// Largest burst in bytes that may leave at once when a rate is set.
    pub burst_bytes: u32,
    /// Pre-shared key of the seal, resolved against the site file's folder; `None` is unsealed.
    pub key_file: Option<PathBuf>,
    /// How frames are sent and received, unless a host says otherwise in [`Host::driver`].
    pub driver: Driver,
    /// How packets of the XDP driver leave, on either host.
    pub transmit: Transmit,
    /// Period of the heartbeats.
    pub heartbeat: Duration,
    /// BLUE's end.
    pub blue: Endpoint,
    /// RED's end.
    pub red: Endpoint,
    /// Forward error correction of streams that do not override it.
    pub fec: Fec,
    /// The optional second one-way link RED -> BLUE.
    pub return_link: Option<ReturnLink>,
}

/// What frames are carried in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// UDP over IPv4: RED's network card can spread lanes over queues.
    Udp,
    /// Directly in Ethernet. Needs the XDP driver.
    Ethernet,
}

/// How packets enter and leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// XDP programs and `AF_XDP` sockets: the fast way, needs privilege.
    Xdp,
    /// Plain kernel UDP sockets: needs no privilege.
    Socket,
}

/// How packets of the XDP driver leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transmit {
    /// Over `AF_XDP` if the card is zero-copy, over a packet socket if not.
    #[default]
    Auto,
    /// Over `AF_XDP`.
    AfXdp,
    /// Over a packet socket.
    Packet,
}

/// One end of a one-way link.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Network interface on that host, 1..=15 bytes (`IFNAMSIZ` of linux/if.h, less its NUL).
    pub interface: String,
    /// IPv4 address on the link.
    pub address: Ipv4Addr,
    /// Unicast MAC address; without it frames go to the broadcast address.
    pub mac: Option<[u8; 6]>,
}

/// Forward error correction of one stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Fec {
    /// The code.
    pub scheme: Scheme,
    /// Most source symbols in a block, 1..=8192.
    pub block_symbols: u16,
    /// A partly filled symbol leaves this long after its first byte.
    pub flush: Duration,
    /// A block closes this long after its first byte at the latest.
    pub deadline: Duration,
    /// RED waits this long for stragglers once a block is known to be over.
    pub hold: Duration,
    /// How many repair symbols a block gets. Without meaning for [`Scheme::None`].
    pub protection: Protection,
}

/// Erasure code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `RaptorQ`, RFC 6330.
    RaptorQ,
    /// Reed-Solomon.
    ReedSolomon,
    /// No repair symbols at all.
    None,
}

/// How many repair symbols a block gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Protection {
    /// Enough for a promise: a block of K symbols is lost with at most `residual` probability.
    Promise {
        /// Independent loss of frames to survive, above 0 and below 1.
        loss: f64,
        /// Probability that a block is still lost, above 0 and below 1.
        residual: f64,
        /// Length of the burst of lost frames to survive besides, 0..=4096.
        burst: u16,
    },
    /// A plain share of the source symbols.
    Share {
        /// Repair symbols per source symbol, above 0 and at most 3 (0.1 is 10 %).
        repair: f64,
        /// Least number of repair symbols in a block, 0..=1024.
        repair_min: u16,
    },
}

/// The optional second one-way link RED -> BLUE.
#[derive(Clone, Debug, PartialEq)]
pub struct ReturnLink {
    /// What it carries.
    pub mode: ReturnMode,
    /// Most bits per second that may leave RED, Ethernet payload included; `None` is unpaced.
    pub rate_bps: Option<u64>,
    /// Largest burst in bytes that may leave at once when a rate is set.
    pub burst_bytes: u32,
    /// RED's end, the sending one.
    pub red: Endpoint,
    /// BLUE's end, the receiving one.
    pub blue: Endpoint,
}

/// What the return link carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnMode {
    /// Fixed-size status records only.
    Status,
    /// Status and the data of `tcp-bilateral` streams.
    Full,
}

/// A host's own part.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Interface towards the host's zone, 1..=15 bytes.
    pub interface: String,
    /// This host's driver; the link's where the file does not say.
    pub driver: Driver,
    /// Folder of what must survive a restart (epochs).
    pub state_dir: PathBuf,
    /// Period of the counter lines.
    pub interval: Duration,
    /// Where security events go; `None` is the local syslog if there is one.
    pub syslog: Option<Syslog>,
    /// Most bytes of all TCP sessions and files together that wait on this host, 1 MiB..=1 TiB.
    pub buffer_bytes: u64,
    /// What BLUE does with traffic of no stream. Always `Pass` on RED.
    pub unmatched: Unmatched,
}

/// Where syslog messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Syslog {
    /// A Unix socket on this host, `/dev/log` as a rule.
    Local(PathBuf),
    /// A syslog server over UDP (RFC 5426).
    Udp(SocketAddr),
    /// A syslog server over TCP (RFC 6587, octet counting).
    Tcp(SocketAddr),
}

/// What BLUE does with traffic of no stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// Leaves it to the kernel.
    Pass,
    /// Drops and counts it.
    Drop,
}

/// One stream through the diode.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// Number on the wire, 1..=65535, unique. 0 is left for the link itself.
    pub channel: u16,
    /// Unique name, 1..=32 of `A-Z a-z 0-9 . _ -`.
    pub name: String,
    /// Protocol and directions.
    pub kind: StreamKind,
    /// Who may send. Never empty.
    pub sources: Vec<Network>,
    /// Port that BLUE listens on, 1..=65535, unique per protocol.
    pub source_port: u16,
    /// Where RED delivers to.
    pub destination: SocketAddr,
    /// Most sessions at a time, 1..=65536.
    pub max_sessions: u32,
    /// For people.
    pub description: String,
    /// Most payload bits per second; `None` is unlimited.
    pub rate_bps: Option<u64>,
    /// `[link.fec]` with this stream's overrides applied.
    pub fec: Fec,
    /// A session without traffic for this long is over.
    pub idle: Duration,
    /// Datagrams are delivered in order within a flow; `false` delivers as they arrive.
    pub ordered: bool,
    /// TCP: RED waits this long for the destination to accept, 100 ms..=5 min. With a return link BLUE holds a client
    /// until RED answers, for at most this and two heartbeats.
    pub connect_timeout: Duration,
    /// TCP: a peer that says nothing for this long is asked whether it still lives, 1 s..=2 h.
    pub keepalive: Duration,
    /// TCP: most bytes of one session that wait on the receiving host, 64 KiB..=1 GiB. What a session really gets is
    /// [`Site::session_room`].
    pub buffer_bytes: u32,
    /// TCP: whether the destination learns the client's address. Without it nothing of it crosses the link.
    pub impersonate: Impersonate,
}

/// How the destination of a TCP stream learns who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impersonate {
    /// It does not: connections come from RED's own address.
    Off,
    /// By a PROXY protocol header, version 2, before the first byte.
    ProxyV2,
    /// RED connects from the client's address (`IP_TRANSPARENT`, ip(7)).
    Transparent,
}

/// Protocol and directions of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Datagrams BLUE -> RED.
    UdpUnilateral,
    /// A byte stream BLUE -> RED.
    TcpUnilateral,
    /// Byte streams both ways; needs a full return link.
    TcpBilateral,
    /// Files BLUE -> RED, a byte stream each; has no port. Comes of a `[[files]]` table.
    Files,
}

impl StreamKind {
    /// The name used in the site file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UdpUnilateral => "udp-unilateral",
            Self::TcpUnilateral => "tcp-unilateral",
            Self::TcpBilateral => "tcp-bilateral",
            Self::Files => "files",
        }
    }

    /// The number that heartbeats carry, so that RED can tell that the two files disagree.
    pub const fn wire_number(self) -> u8 {
        match self {
            Self::UdpUnilateral => 1,
            Self::TcpUnilateral => 2,
            Self::TcpBilateral => 3,
            Self::Files => 4,
        }
    }

    /// Whether BLUE listens on a TCP port.
    pub const fn is_tcp(self) -> bool {
        matches!(self, Self::TcpUnilateral | Self::TcpBilateral)
    }

    /// Whether BLUE takes datagrams from a UDP port.
    pub const fn is_udp(self) -> bool {
        matches!(self, Self::UdpUnilateral)
    }

    /// Whether its sessions are bytes, which come whole and in order or not at all; else datagrams.
    pub const fn is_bytes(self) -> bool {
        !self.is_udp()
    }

    /// Whether bytes of such a stream may wait on the host of `role` for a slow receiver: that host has a TCP connection or a
    /// file that it writes to.
    pub(super) const fn waits_on(self, role: Role) -> bool {
        match role {
            Role::Blue => matches!(self, Self::TcpBilateral),
            Role::Red => self.is_bytes(),
        }
    }
}

/// A block of addresses in CIDR notation, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// The block's first address: no bit is set behind the prefix.
    pub address: IpAddr,
    /// Length of the prefix in bits, 0..=32 or 0..=128.
    pub prefix_len: u8,
}

impl Network {
    /// Whether `address` lies in the block. An IPv4 address never lies in an IPv6 block.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                (base.to_bits() ^ address.to_bits()) & mask_v4(self.prefix_len) == 0
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                (base.to_bits() ^ address.to_bits()) & mask_v6(self.prefix_len) == 0
            }
            _ => false,
        }
    }

    /// The block of `prefix_len` bits around `address`: bits behind the prefix are cleared.
    pub(super) fn around(address: IpAddr, prefix_len: u8) -> Self {
        let address = match address {
            IpAddr::V4(v4) => IpAddr::from(Ipv4Addr::from_bits(v4.to_bits() & mask_v4(prefix_len))),
            IpAddr::V6(v6) => IpAddr::from(std::net::Ipv6Addr::from_bits(v6.to_bits() & mask_v6(prefix_len))),
        };
        Self { address, prefix_len }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// The first `prefix_len` bits set; a length of 0 shifts everything out.
const fn mask_v4(prefix_len: u8) -> u32 {
    match u32::MAX.checked_shl(32_u32.saturating_sub(prefix_len as u32)) {
        Some(mask) => mask,
        None => 0,
    }
}

/// The first `prefix_len` bits set; a length of 0 shifts everything out.
const fn mask_v6(prefix_len: u8) -> u128 {
    match u128::MAX.checked_shl(128_u32.saturating_sub(prefix_len as u32)) {
        Some(mask) => mask,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str, prefix_len: u8) -> Network {
        Network { address: address.parse().unwrap(), prefix_len }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_contain_exactly_their_block() {
        let ten = network("10.0.0.0", 8);
        assert!(ten.contains(ip("10.0.0.0")) && ten.contains(ip("10.255.255.255")));
        assert!(!ten.contains(ip("9.255.255.255")) && !ten.contains(ip("11.0.0.0")));
        let one = network("192.168.100.11", 32);
        assert!(one.contains(ip("192.168.100.11")) && !one.contains(ip("192.168.100.10")));
        let six = network("2001:db8::", 33);
        assert!(six.contains(ip("2001:db8:7fff::1")) && !six.contains(ip("2001:db8:8000::1")));
    }

    #[test]
    fn a_prefix_of_zero_is_everyone_of_its_family() {
        assert!(network("0.0.0.0", 0).contains(ip("255.255.255.255")));
        assert!(network("::", 0).contains(ip("ffff::1")));
        assert!(!network("0.0.0.0", 0).contains(ip("::1")));
        assert!(!network("::", 0).contains(ip("10.0.0.1")));
    }

    #[test]
    fn around_clears_the_host_bits() {
        assert_eq!(Network::around(ip("10.1.2.3"), 8), network("10.0.0.0", 8));
        assert_eq!(Network::around(ip("fe80::1"), 0), network("::", 0));
        assert_eq!(Network::around(ip("1.2.3.4"), 32), network("1.2.3.4", 32));
    }
}
