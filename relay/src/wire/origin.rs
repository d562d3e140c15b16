//! The payload of an open record whose stream shows the client's address to the destination.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::bytes::{array, put, u16_at};

/// Bytes of the payload.
pub const ORIGIN_LEN: usize = 18;

/// The client's address and port: address (16; an IPv4 address as RFC 4291, 2.5.5.2 maps it) | port (2).
pub fn origin_to_wire(client: SocketAddr) -> [u8; ORIGIN_LEN] {
    let address = match client.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let mut to = [0; ORIGIN_LEN];
    put(&mut to, 0, &address.octets());
    put(&mut to, 16, &client.port().to_be_bytes());
    to
}

/// Reads the payload; `None` if its length is wrong.
pub fn origin_from_wire(from: &[u8]) -> Option<SocketAddr> {
    if from.len() != ORIGIN_LEN {
        return None;
    }
    let address = Ipv6Addr::from(array::<16>(from, 0));
    Some(SocketAddr::new(address.to_canonical(), u16_at(from, 16)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_come_back() {
        for client in ["192.0.2.7:514", "[2001:db8::7]:40000"] {
            let client: SocketAddr = client.parse().expect("an address");
            assert_eq!(origin_from_wire(&origin_to_wire(client)), Some(client));
        }
        assert_eq!(origin_from_wire(&[0; ORIGIN_LEN - 1]), None);
        assert_eq!(origin_from_wire(&[]), None);
    }
}
