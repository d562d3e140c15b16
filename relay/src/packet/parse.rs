//! From an Ethernet frame to the UDP datagram in it, or the reason why there is none.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use super::{
    ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, IPV4_LEN, IPV6_LEN, PROTOCOL_UDP,
    UDP_LEN,
};

/// VLAN tags looked through: one customer tag inside one service tag is all that IEEE 802.1ad defines.
const VLAN_TAGS_MAX: usize = 2;
/// IPv6 extension headers looked through. RFC 8200 (4.1) recommends each at most once, which makes three without
/// fragments and `IPsec`; the fourth leaves room for the second set of destination options. The bound keeps the walk short.
const EXTENSIONS_MAX: usize = 4;

const NEXT_HOP_BY_HOP: u8 = 0;
const NEXT_ROUTING: u8 = 43;
const NEXT_FRAGMENT: u8 = 44;
const NEXT_DESTINATION: u8 = 60;

/// A UDP datagram inside a received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpDatagram<'a> {
    /// Sender's address and port. IPv6 addresses have no scope and no flow label.
    pub source: SocketAddr,
    /// Receiver's address and port.
    pub destination: SocketAddr,
    /// What the sender sent: cut to UDP's own length, without Ethernet padding.
    pub payload: &'a [u8],
}

/// Why a frame holds no UDP datagram that can be taken. Each is a counter's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// Shorter than an Ethernet header and its VLAN tags.
    #[error("frame ends inside the Ethernet header")]
    EthernetTruncated,
    /// More than two VLAN tags.
    #[error("more than two VLAN tags")]
    TooManyTags,
    /// Neither IPv4 nor IPv6.
    #[error("neither IPv4 nor IPv6")]
    NotIp,
    /// Frame ends before the IP header, its options or its extension headers do.
    #[error("frame ends inside the IP header")]
    IpTruncated,
    /// Version or header length is impossible.
    #[error("IP version or header length is impossible")]
    IpHeader,
    /// IP's length is shorter than its headers or longer than the frame.
    #[error("IP length does not fit the frame")]
    IpLength,
    /// A fragment: these go through the kernel, which reassembles them.
    #[error("IP fragment")]
    Fragment,
    /// An IPv6 routing header that still has segments to visit: the datagram is not for here (RFC 8200, 4.4).
    #[error("IPv6 routing header with segments left")]
    SourceRoute,
    /// More than four IPv6 extension headers.
    #[error("more than four IPv6 extension headers")]
    TooManyExtensions,
    /// Another transport, or one behind a header that is not looked through (ESP, AH).
    #[error("not UDP")]
    NotUdp,
    /// IP's length leaves no room for a UDP header.
    #[error("packet ends inside the UDP header")]
    UdpTruncated,
    /// UDP's length is below 8 or beyond IP's.
    #[error("UDP length does not fit the IP packet")]
    UdpLength,
}

/// Where things are in a frame: inside it, by construction.
pub(super) struct Located {
    /// Where the IP header begins, and its version.
    ip: usize,
    version: Version,
    /// Where the UDP header begins.
    udp: usize,
    /// The payload's bytes.
    pub(super) payload: Range<usize>,
}

/// Of IP.
#[derive(Clone, Copy)]
enum Version {
    Four,
    Six,
}

/// Finds the UDP datagram in an Ethernet frame.
///
/// Looks through up to two VLAN tags (0x8100, 0x88a8), IPv4 options and up to four IPv6 extension headers. Padding
/// after the IP packet is ignored, and so is a surplus between UDP's length and IP's (RFC 9868 puts options there).
/// Checksums are not verified: see the module's head.
#[expect(clippy::inline_always, reason = "addresses given back in memory are read there before they are whole")]
#[inline(always)]
pub fn parse_udp(frame: &[u8]) -> Result<UdpDatagram<'_>, Malformed> {
    // Positions are passed on in registers; addresses are read at the end, once.
    let Located { ip, version, udp, payload } = locate_udp(frame)?;
    let &[s0, s1, d0, d1] = field(frame, udp).ok_or(Malformed::UdpTruncated)?;
    let ports = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
    let (source, destination) = match version {
        Version::Four => {
            let &[s0, s1, s2, s3, d0, d1, d2, d3] = field(frame, ip + 12).ok_or(Malformed::IpTruncated)?;
            let addresses = (Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(d0, d1, d2, d3));
            (SocketAddr::from((addresses.0, ports.0)), SocketAddr::from((addresses.1, ports.1)))
        }
        Version::Six => {
            let addresses = (address_v6(frame, ip + 8)?, address_v6(frame, ip + 24)?);
            (SocketAddr::from((addresses.0, ports.0)), SocketAddr::from((addresses.1, ports.1)))
        }
    };
    Ok(UdpDatagram { source, destination, payload: &frame[payload] })
}

/// As [`parse_udp`], giving positions instead of a borrow.
#[inline]
pub(super) fn locate_udp(frame: &[u8]) -> Result<Located, Malformed> {
    let (ethertype, at) = ethertype(frame)?;
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(frame, at),
        ETHERTYPE_IPV6 => ipv6(frame, at),
        _ => Err(Malformed::NotIp),
    }
}

/// The innermost `EtherType` and where its payload starts.
#[inline]
pub(super) fn ethertype(frame: &[u8]) -> Result<(u16, usize), Malformed> {
    let mut at = ETHERNET_LEN;
    for _ in 0..=VLAN_TAGS_MAX {
        let ethertype = be16(frame, at - 2).ok_or(Malformed::EthernetTruncated)?;
        if !matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_QINQ) {
            return Ok((ethertype, at));
        }
        at += 4;
    }
    Err(Malformed::TooManyTags)
}

#[inline]
fn ipv4(frame: &[u8], at: usize) -> Result<Located, Malformed> {
    let header: &[u8; IPV4_LEN] = field(frame, at).ok_or(Malformed::IpTruncated)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || header_len < IPV4_LEN {
        return Err(Malformed::IpHeader);
    }
    if frame.len() < at + header_len {
        return Err(Malformed::IpTruncated);
    }
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let end = at + total_len;
    if total_len < header_len || end > frame.len() {
        return Err(Malformed::IpLength);
    }
    // More Fragments or any offset (RFC 791, 3.1); DF and the reserved bit say nothing here.
    if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
        return Err(Malformed::Fragment);
    }
    if header[9] != PROTOCOL_UDP {
        return Err(Malformed::NotUdp);
    }
    let udp = at + header_len;
    Ok(Located { ip: at, version: Version::Four, udp, payload: udp_payload(frame, udp, end)? })
}

#[inline(never)]
fn ipv6(frame: &[u8], at: usize) -> Result<Located, Malformed> {
    let header: &[u8; IPV6_LEN] = field(frame, at).ok_or(Malformed::IpTruncated)?;
    if header[0] >> 4 != 6 {
        return Err(Malformed::IpHeader);
    }
    let start = at + IPV6_LEN;
    let end = start + usize::from(u16::from_be_bytes([header[4], header[5]]));
    if end > frame.len() {
        return Err(Malformed::IpLength);
    }
    let udp = skip_extensions(&frame[..end], header[6], start)?;
    Ok(Located { ip: at, version: Version::Six, udp, payload: udp_payload(frame, udp, end)? })
}

/// Walks the extension headers (RFC 8200, 4) of a packet that ends with `packet`; gives UDP's position.
fn skip_extensions(packet: &[u8], first: u8, start: usize) -> Result<usize, Malformed> {
    let mut next = first;
    let mut at = start;
    for _ in 0..=EXTENSIONS_MAX {
        match next {
            PROTOCOL_UDP => return Ok(at),
            NEXT_FRAGMENT => return Err(Malformed::Fragment),
            NEXT_HOP_BY_HOP | NEXT_ROUTING | NEXT_DESTINATION => {}
            _ => return Err(Malformed::NotUdp),
        }
        // The smallest extension header has 8 bytes, and each states its length in units of 8 beyond those.
        let header: &[u8; 8] = field(packet, at).ok_or(Malformed::IpTruncated)?;
        if next == NEXT_ROUTING && header[3] != 0 {
            return Err(Malformed::SourceRoute);
        }
        next = header[0];
        at += 8 + usize::from(header[1]) * 8;
        if at > packet.len() {
            return Err(Malformed::IpTruncated);
        }
    }
    Err(Malformed::TooManyExtensions)
}

/// The payload's place of the UDP packet at `at` in an IP packet that ends at `end`.
#[inline]
fn udp_payload(frame: &[u8], at: usize, end: usize) -> Result<Range<usize>, Malformed> {
    let header: &[u8; UDP_LEN] = field(&frame[..end], at).ok_or(Malformed::UdpTruncated)?;
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if len < UDP_LEN || at + len > end {
        return Err(Malformed::UdpLength);
    }
    Ok(at + UDP_LEN..at + len)
}

fn address_v6(frame: &[u8], at: usize) -> Result<Ipv6Addr, Malformed> {
    let octets: &[u8; 16] = field(frame, at).ok_or(Malformed::IpTruncated)?;
    Ok(Ipv6Addr::from(*octets))
}

/// `N` bytes of `frame` from `at`, if it has them.
#[inline]
fn field<const N: usize>(frame: &[u8], at: usize) -> Option<&[u8; N]> {
    frame.get(at..)?.first_chunk()
}

#[inline]
fn be16(frame: &[u8], at: usize) -> Option<u16> {
    field(frame, at).map(|bytes| u16::from_be_bytes(*bytes))
}
