//! The headers of diode frames: written in front of a frame that is already in place, and taken off again.

use std::net::Ipv4Addr;

use super::parse::{ethertype, locate_udp};
use super::{ETHERNET_LEN, ETHERTYPE_DIODE, ETHERTYPE_IPV4, IPV4_LEN, Mac, UDP_LEN, checksum, put_ethernet, put_ipv4};

const UDP_HEADER_LEN: usize = ETHERNET_LEN + IPV4_LEN + UDP_LEN;

/// How diode frames travel on the link (`encapsulation` in the site file).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encapsulation {
    /// In UDP/IPv4: RED's network card can spread lanes over its queues by source port.
    Udp,
    /// Directly in Ethernet, type 0x88b5.
    Ethernet,
}

/// The network headers of one lane's diode frames.
///
/// UDP goes without a checksum (RFC 768 allows it on IPv4): the frame's own tag protects every byte, and summing
/// payload that is about to be sealed would read it twice. Frames that a packet socket joins get one from whoever cuts them apart.
#[derive(Debug, Clone)]
pub struct LinkHeader {
    header: [u8; UDP_HEADER_LEN],
    len: usize,
    /// Sum of the IPv4 header without its length.
    ip_sum: u64,
}

impl LinkHeader {
    /// Headers of Ethernet, IPv4 (DF, TTL 64) and UDP: 42 bytes.
    pub fn udp(
        source_mac: Mac,
        destination_mac: Mac,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        source_port: u16,
        destination_port: u16,
    ) -> Self {
        let mut header = [0; UDP_HEADER_LEN];
        put_ethernet(&mut header, source_mac, destination_mac, ETHERTYPE_IPV4);
        let (ip, udp) = header[ETHERNET_LEN..].split_at_mut(IPV4_LEN);
        put_ipv4(ip, source, destination);
        udp[..2].copy_from_slice(&source_port.to_be_bytes());
        udp[2..4].copy_from_slice(&destination_port.to_be_bytes());
        let ip_sum = checksum::add(0, ip);
        Self { header, len: UDP_HEADER_LEN, ip_sum }
    }

    /// An Ethernet header of type 0x88b5: 14 bytes.
    pub fn ethernet(source_mac: Mac, destination_mac: Mac) -> Self {
        let mut header = [0; UDP_HEADER_LEN];
        put_ethernet(&mut header, source_mac, destination_mac, ETHERTYPE_DIODE);
        Self { header, len: ETHERNET_LEN, ip_sum: 0 }
    }

    /// Bytes that go in front of the payload.
    #[expect(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Writes the headers in front of `payload_len` bytes that stand, or will stand, at `frame[self.len()..]`, and
    /// gives the whole frame's length in bytes.
    ///
    /// Gives 0 and writes nothing when `frame` is too short for both or IPv4 cannot say the length.
    pub fn write(&self, frame: &mut [u8], payload_len: usize) -> usize {
        let frame_len = self.len.saturating_add(payload_len);
        let Ok(ip_len) = u16::try_from(frame_len - ETHERNET_LEN) else {
            return 0;
        };
        let Some(frame) = frame.get_mut(..frame_len) else {
            return 0;
        };
        let header = &mut frame[..self.len];
        header.copy_from_slice(&self.header[..self.len]);
        if self.len == UDP_HEADER_LEN {
            header[16..18].copy_from_slice(&ip_len.to_be_bytes());
            let sum = checksum::finish(checksum::add_u16(self.ip_sum, ip_len));
            header[24..26].copy_from_slice(&sum.to_be_bytes());
            header[38..40].copy_from_slice(&(ip_len - IPV4_LEN as u16).to_be_bytes());
        }
        frame_len
    }

    /// The diode frame inside a received Ethernet frame, or `None` when there is none.
    ///
    /// Addresses and ports are not compared: the XDP program and the socket have done that. With
    /// [`Encapsulation::Ethernet`] anything after the type is taken, since nothing states its length; a diode frame
    /// is longer than Ethernet's minimum of 46 bytes, so that padding never follows one.
    pub fn strip(frame: &mut [u8], encapsulation: Encapsulation) -> Option<&mut [u8]> {
        let payload = match encapsulation {
            Encapsulation::Udp => locate_udp(frame).ok()?.payload,
            Encapsulation::Ethernet => match ethertype(frame).ok()? {
                (ETHERTYPE_DIODE, at) => at..frame.len(),
                _ => return None,
            },
        };
        frame.get_mut(payload)
    }
}
