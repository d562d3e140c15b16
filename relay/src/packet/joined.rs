//! Datagrams of one flow joined behind one header, for a kernel or a card that cuts them apart again.

use super::{
    ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_LEN, IPV6_LEN, PROTOCOL_UDP, UDP_LEN, checksum, parse::ethertype,
};

/// The headers of a packet that may be joined with others: Ethernet, IPv4 without options or IPv6 without extensions, UDP; as
/// [`super::LinkHeader`] and [`super::UdpTemplate`] write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinedHeader {
    /// Where the UDP header begins.
    udp: usize,
}

impl JoinedHeader {
    /// Of `packet`; `None` if it is another kind.
    pub fn of(packet: &[u8]) -> Option<Self> {
        let (udp, protocol) = match ethertype(packet).ok()? {
            (ETHERTYPE_IPV4, ETHERNET_LEN) if packet.get(ETHERNET_LEN) == Some(&0x45) => (ETHERNET_LEN + IPV4_LEN, 23),
            (ETHERTYPE_IPV6, ETHERNET_LEN) => (ETHERNET_LEN + IPV6_LEN, 20),
            _ => return None,
        };
        (packet.len() >= udp + UDP_LEN && packet[protocol] == PROTOCOL_UDP).then_some(Self { udp })
    }

    /// Bytes in front of the payload.
    #[expect(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub fn len(self) -> usize {
        self.udp + UDP_LEN
    }

    /// Where the UDP header begins, and its checksum from there.
    pub fn checksum_at(self) -> (usize, usize) {
        (self.udp, 6)
    }

    /// Do `one` and `other`, which both have such a header, differ in nothing but payload, lengths and checksums?
    pub fn is_shared(self, one: &[u8], other: &[u8]) -> bool {
        let same = |from: usize, to: usize| one.get(from..to).is_some_and(|bytes| other.get(from..to) == Some(bytes));
        let ip = if self.is_v4() { same(0, 16) && same(18, 24) && same(26, 34) } else { same(0, 18) && same(20, 54) };
        ip && same(self.udp, self.udp + 4) && other.len() >= self.len()
    }

    /// Makes the first packet's `header` that of a message with `payload_bytes`: the IP header complete, the UDP checksum left to
    /// whoever cuts the message, as the sum of the pseudo header (`CHECKSUM_PARTIAL`, linux/skbuff.h).
    pub fn stretch(self, header: &mut [u8], payload_bytes: u16) {
        let udp_len = payload_bytes + UDP_LEN as u16;
        let addresses = if self.is_v4() {
            let ip_len = udp_len + IPV4_LEN as u16;
            header[16..18].copy_from_slice(&ip_len.to_be_bytes());
            header[24..26].fill(0);
            let sum = checksum::checksum(&header[ETHERNET_LEN..self.udp]);
            header[24..26].copy_from_slice(&sum.to_be_bytes());
            26..34
        } else {
            header[18..20].copy_from_slice(&udp_len.to_be_bytes());
            22..54
        };
        let pseudo = checksum::add(0, &header[addresses]);
        let pseudo = checksum::add_u16(checksum::add_u16(pseudo, u16::from(PROTOCOL_UDP)), udp_len);
        header[self.udp + 4..self.udp + 6].copy_from_slice(&udp_len.to_be_bytes());
        header[self.udp + 6..self.udp + 8].copy_from_slice(&(!checksum::finish(pseudo)).to_be_bytes());
    }

    fn is_v4(self) -> bool {
        self.udp == ETHERNET_LEN + IPV4_LEN
    }
}
