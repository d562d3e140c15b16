//! Packets, built from the inside out: each function wraps a payload in one header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86DD;
pub const ARP: u16 = 0x0806;
pub const VLAN: u16 = 0x8100;
pub const QINQ: u16 = 0x88A8;
pub const DIODE: u16 = 0x88B5;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const HOP_BY_HOP: u8 = 0;
pub const ROUTING: u8 = 43;
pub const FRAGMENT: u8 = 44;
pub const AUTHENTICATION: u8 = 51;
pub const NO_NEXT: u8 = 59;
pub const DESTINATION: u8 = 60;

pub const OWN_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
pub const OTHER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x99];
pub const BROADCAST: [u8; 6] = [0xff; 6];
/// 224.0.0.251 (RFC 1112 section 6.4).
pub const MULTICAST: [u8; 6] = [0x01, 0, 0x5e, 0, 0, 0xfb];

pub const SOURCE_PORT: u16 = 40_000;
/// What the datagrams carry.
pub const PAYLOAD: &[u8] = b"<13>payload";

/// IPv4 "more fragments" (RFC 791 section 3.1).
pub const MORE: u16 = 0x2000;
/// A fragment offset in units of eight bytes: 1,480, behind the first fragment on a 1500-byte link.
pub const OFFSET: u16 = 1480 / 8;
/// IPv4 "don't fragment".
pub const DONT: u16 = 0x4000;

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn word(value: usize) -> [u8; 2] {
    u16::try_from(value).expect("a length of 16 bits").to_be_bytes()
}

pub fn ethernet_to(destination: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    join(&[&destination, &[0x02, 0, 0, 0, 0, 0x10], &ethertype.to_be_bytes(), payload])
}

pub fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    ethernet_to(OWN_MAC, ethertype, payload)
}

/// What follows a tag's own ethertype: VLAN 42, then the inner ethertype.
pub fn tag(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    join(&[&[0, 42], &ethertype.to_be_bytes(), payload])
}

/// An IPv4 header whose fields can lie.
pub struct Ipv4 {
    pub source: Ipv4Addr,
    pub protocol: u8,
    pub version: u8,
    /// Header length in words of four bytes.
    pub ihl: u8,
    pub options: Vec<u8>,
    /// None: the truth.
    pub total_len: Option<usize>,
    pub fragment: u16,
}

impl Ipv4 {
    pub fn new(source: &str, protocol: u8) -> Self {
        let source = source.parse().expect("an IPv4 address");
        Self { source, protocol, version: 4, ihl: 5, options: Vec::new(), total_len: None, fragment: DONT }
    }

    pub fn wrap(&self, payload: &[u8]) -> Vec<u8> {
        let total_len = self.total_len.unwrap_or(20 + self.options.len() + payload.len());
        join(&[
            &[self.version << 4 | self.ihl, 0],
            &word(total_len),
            &[0x12, 0x34],
            &self.fragment.to_be_bytes(),
            &[64, self.protocol, 0, 0],
            &self.source.octets(),
            &[192, 168, 100, 1],
            &self.options,
            payload,
        ])
    }
}

/// An IPv6 header whose payload length can lie.
pub fn ipv6_with_len(source: &str, next: u8, payload: &[u8], payload_len: usize) -> Vec<u8> {
    let source: Ipv6Addr = source.parse().expect("an IPv6 address");
    let destination: Ipv6Addr = "fd00:100::1".parse().expect("an IPv6 address");
    join(&[&[0x60, 0, 0, 0], &word(payload_len), &[next, 64], &source.octets(), &destination.octets(), payload])
}

pub fn ipv6(source: &str, next: u8, payload: &[u8]) -> Vec<u8> {
    ipv6_with_len(source, next, payload, payload.len())
}

/// Either family, by the address.
pub fn ip(source: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match source.parse().expect("an address") {
        IpAddr::V4(_) => ethernet(IPV4, &Ipv4::new(source, protocol).wrap(payload)),
        IpAddr::V6(_) => ethernet(IPV6, &ipv6(source, protocol, payload)),
    }
}

/// Hop-by-hop, routing or destination options of `8 * (units + 1)` bytes (RFC 8200 section 4).
pub fn extension(next: u8, units: u8, payload: &[u8]) -> Vec<u8> {
    join(&[&[next, units], &vec![0; 8 * (usize::from(units) + 1) - 2], payload])
}

/// An authentication header with a 12-byte check value: 24 bytes (RFC 4302 section 2.2).
pub fn authentication(next: u8, payload: &[u8]) -> Vec<u8> {
    join(&[&[next, 4], &[0; 22], payload])
}

/// A fragment header (RFC 8200 section 4.5); the offset counts eight bytes.
pub fn fragment(next: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let offset = offset << 3 | u16::from(more);
    join(&[&[next, 0], &offset.to_be_bytes(), &[0, 0, 0, 7], payload])
}

pub fn udp_with_len(port: u16, payload: &[u8], len: usize) -> Vec<u8> {
    join(&[&SOURCE_PORT.to_be_bytes(), &port.to_be_bytes(), &word(len), &[0, 0], payload])
}

pub fn udp(port: u16) -> Vec<u8> {
    udp_with_len(port, PAYLOAD, 8 + PAYLOAD.len())
}

/// A SYN whose header length, in words of four bytes, can lie.
pub fn syn_with_offset(port: u16, offset: u8) -> Vec<u8> {
    join(&[&SOURCE_PORT.to_be_bytes(), &port.to_be_bytes(), &[0; 8], &[offset << 4, 0x02, 0xff, 0xff, 0, 0, 0, 0]])
}

pub fn syn(port: u16) -> Vec<u8> {
    syn_with_offset(port, 5)
}
