//! Ethernet, VLAN, IPv4, IPv6 and UDP: parse what `AF_XDP` receives, build what leaves through a card.
//!
//! Owns the byte layouts of the network headers and nothing else. It never does I/O, never allocates, never looks at
//! payload. Its only `unsafe` is a call of the checksum's code for wider registers.
//!
//! ```text
//!            14        0, 4 or 8     20..60 | 40 + extensions      8
//!  +-----------------+-------------+--------------------------+---------+-----------+---------+
//!  | dst, src, type  | 0..2 VLAN   | IPv4           | IPv6    | UDP     | payload   | padding |
//!  +-----------------+-------------+--------------------------+---------+-----------+---------+
//!                                   |<------------ IP length ------------>|
//! ```
//!
//! Checksums are written on every packet that needs one and are **not** verified on receive: a veth hands over
//! frames whose checksum the sender left to hardware (`CHECKSUM_PARTIAL`, so the field holds only the pseudo
//! header's sum), and a real NIC has verified it already. The link's own frames carry an authentication tag.

mod checksum;
mod joined;
mod link_header;
mod parse;
mod template;
#[cfg(test)]
mod tests;

pub use checksum::checksum;
pub use joined::JoinedHeader;
pub use link_header::{Encapsulation, LinkHeader};
pub use parse::{Malformed, UdpDatagram, parse_udp};
pub use template::UdpTemplate;

/// A MAC address as it stands on the wire.
pub type Mac = [u8; 6];

/// The MAC address that every host takes: used where no address can be asked for.
pub const BROADCAST: Mac = [0xff; 6];

/// `EtherType` of diode frames sent directly in Ethernet: IEEE 802 "Local Experimental `EtherType` 1"
/// (`ETH_P_802_EX1`, `linux/if_ether.h`), which no bridge forwards as another protocol.
pub const ETHERTYPE_DIODE: u16 = 0x88b5;

/// IPv4 (`ETH_P_IP`).
pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
/// IPv6 (`ETH_P_IPV6`).
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Customer VLAN tag (`ETH_P_8021Q`).
pub(crate) const ETHERTYPE_VLAN: u16 = 0x8100;
/// Service VLAN tag of `QinQ` (`ETH_P_8021AD`).
pub(crate) const ETHERTYPE_QINQ: u16 = 0x88a8;
/// UDP in IPv4's protocol and IPv6's next header field (IANA).
pub(crate) const PROTOCOL_UDP: u8 = 17;

/// Two MAC addresses and an `EtherType`.
pub(crate) const ETHERNET_LEN: usize = 14;
/// IPv4 header without options (RFC 791, 3.1).
pub(crate) const IPV4_LEN: usize = 20;
/// IPv6 fixed header (RFC 8200, 3).
pub(crate) const IPV6_LEN: usize = 40;
/// UDP header (RFC 768).
pub(crate) const UDP_LEN: usize = 8;
/// TTL and hop limit of what is sent: IANA's recommended default, enough for every real path.
pub(crate) const TTL: u8 = 64;

/// Writes destination, source and type at the start of `frame`, which holds at least [`ETHERNET_LEN`] bytes.
pub(crate) fn put_ethernet(frame: &mut [u8], source: Mac, destination: Mac, ethertype: u16) {
    frame[..6].copy_from_slice(&destination);
    frame[6..12].copy_from_slice(&source);
    frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
}

/// Writes an IPv4 header for UDP with DF set and without length and checksum into `header` (20 bytes).
///
/// With DF set and no fragment the datagram is atomic, so the identification may be constant (RFC 6864, 4.1).
pub(crate) fn put_ipv4(header: &mut [u8], source: std::net::Ipv4Addr, destination: std::net::Ipv4Addr) {
    header[..12].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, TTL, PROTOCOL_UDP, 0, 0]);
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
}
