//! Builds UDP datagrams towards one destination from headers prepared once.

use std::net::SocketAddr;

use super::{
    ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_LEN, IPV6_LEN, Mac, PROTOCOL_UDP, TTL, UDP_LEN, checksum,
    put_ethernet, put_ipv4,
};

/// The longest header: Ethernet, IPv6, UDP.
const HEADER_MAX: usize = ETHERNET_LEN + IPV6_LEN + UDP_LEN;

/// Headers of one flow, complete but for lengths and checksums, whose constant parts are summed already.
///
/// A datagram costs one copy of the header and one pass over the payload, which copies and sums it.
#[derive(Debug, Clone)]
pub struct UdpTemplate {
    header: [u8; HEADER_MAX],
    header_len: usize,
    v4: bool,
    /// Sum of the IPv4 header without its length. Unused for IPv6, which has no header checksum.
    ip_sum: u64,
    /// Sum of pseudo header and UDP header without the length, which stands in both.
    udp_sum: u64,
}

impl UdpTemplate {
    /// Prepares the headers; `None` when the two addresses are not of one family.
    ///
    /// IPv4 goes with DF set, identification 0 (RFC 6864, 4.1) and TTL 64; IPv6 with hop limit 64, flow label 0.
    pub fn new(source_mac: Mac, destination_mac: Mac, source: SocketAddr, destination: SocketAddr) -> Option<Self> {
        let mut header = [0; HEADER_MAX];
        let (v4, addresses, ip_len) = match (source, destination) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
                put_ethernet(&mut header, source_mac, destination_mac, ETHERTYPE_IPV4);
                put_ipv4(&mut header[ETHERNET_LEN..][..IPV4_LEN], *source.ip(), *destination.ip());
                (true, 12..IPV4_LEN, IPV4_LEN)
            }
            (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
                put_ethernet(&mut header, source_mac, destination_mac, ETHERTYPE_IPV6);
                let ip = &mut header[ETHERNET_LEN..][..IPV6_LEN];
                ip[0] = 0x60;
                ip[6] = PROTOCOL_UDP;
                ip[7] = TTL;
                ip[8..24].copy_from_slice(&source.ip().octets());
                ip[24..40].copy_from_slice(&destination.ip().octets());
                (false, 8..IPV6_LEN, IPV6_LEN)
            }
            _ => return None,
        };
        let udp = ETHERNET_LEN + ip_len;
        header[udp..udp + 2].copy_from_slice(&source.port().to_be_bytes());
        header[udp + 2..udp + 4].copy_from_slice(&destination.port().to_be_bytes());

        let ip = &header[ETHERNET_LEN..udp];
        let ip_sum = checksum::add(0, ip);
        let pseudo = checksum::add_u16(checksum::add(0, &ip[addresses]), u16::from(PROTOCOL_UDP));
        let udp_sum = checksum::add(pseudo, &header[udp..udp + 4]);
        Some(Self { header, header_len: udp + UDP_LEN, v4, ip_sum, udp_sum })
    }

    /// Bytes in front of the payload: 42 for IPv4, 62 for IPv6.
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// Sends to another next hop from now on.
    pub fn set_destination_mac(&mut self, mac: Mac) {
        self.header[..6].copy_from_slice(&mac);
    }

    /// Writes headers and payload to the start of `frame`; gives the frame's length in bytes.
    ///
    /// `None`, with `frame` untouched, when the frame is too short or the payload more than IP's length field can
    /// say (65,507 bytes for IPv4, 65,527 for IPv6). The link's MTU is the caller's matter.
    pub fn write(&self, frame: &mut [u8], payload: &[u8]) -> Option<usize> {
        let udp_len = u16::try_from(UDP_LEN + payload.len()).ok()?;
        let ip_len = if self.v4 { udp_len.checked_add(IPV4_LEN as u16)? } else { udp_len };
        let frame_len = self.header_len + payload.len();
        let (header, body) = frame.get_mut(..frame_len)?.split_at_mut(self.header_len);
        header.copy_from_slice(&self.header[..self.header_len]);

        if self.v4 {
            header[16..18].copy_from_slice(&ip_len.to_be_bytes());
            let sum = checksum::finish(checksum::add_u16(self.ip_sum, ip_len));
            header[24..26].copy_from_slice(&sum.to_be_bytes());
        } else {
            header[18..20].copy_from_slice(&ip_len.to_be_bytes());
        }
        // UDP's length is in the pseudo header and in the header.
        let sum = checksum::add_u16(checksum::add_u16(self.udp_sum, udp_len), udp_len);
        let sum = match checksum::finish(checksum::copy_and_add(sum, payload, body)) {
            // Zero means "no checksum" (RFC 768), which IPv6 forbids (RFC 8200, 8.1).
            0 => 0xffff,
            sum => sum,
        };
        let udp = self.header_len - UDP_LEN;
        header[udp + 4..udp + 6].copy_from_slice(&udp_len.to_be_bytes());
        header[udp + 6..udp + 8].copy_from_slice(&sum.to_be_bytes());
        Some(frame_len)
    }
}
