//! Frames of the link as an attacker handles them: recorded in front of the diode, changed, and put back behind it.

use lab::{Lab, Tap, address};

/// Ethernet, IPv4 and UDP headers in front of a diode frame, in bytes.
pub const HEADERS_LEN: usize = 14 + 20 + 8;

/// Hears what BLUE sends, before the diode loses anything of it.
pub fn recorder(lab: &Lab) -> Tap {
    Tap::listen(lab.diode.host(), address::DIODE_BLUE_IF).expect("a tap")
}

/// Sends to RED, beside the diode.
pub fn injector(lab: &Lab) -> Tap {
    Tap::mute(lab.diode.host(), address::DIODE_RED_IF).expect("a tap")
}

/// `packet` with another frame in it, or another length of it: IPv4 and UDP lengths and the IPv4 checksum follow.
pub fn with_frame(packet: &[u8], frame: &[u8]) -> Vec<u8> {
    let mut packet = [&packet[..HEADERS_LEN], frame].concat();
    let (ip_len, udp_len) = ((packet.len() - 14) as u16, (packet.len() - 34) as u16);
    packet[16..18].copy_from_slice(&ip_len.to_be_bytes());
    packet[24..26].fill(0);
    packet[38..40].copy_from_slice(&udp_len.to_be_bytes());
    // No UDP checksum (RFC 768).
    packet[40..42].fill(0);
    let sum: u32 = packet[14..34].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    packet[24..26].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// `packet` from another UDP source port, which decides by which of RED's queues it comes.
pub fn from_port(packet: &[u8], port: u16) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[34..36].copy_from_slice(&port.to_be_bytes());
    packet[40..42].fill(0);
    packet
}

/// Epoch and packet number of a recorded packet's frame (see `relay::wire` for the layout).
pub fn identity(packet: &[u8]) -> (u32, u64) {
    let frame = &packet[HEADERS_LEN..];
    let number = |range: std::ops::Range<usize>| frame[range].iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
    (number(4..8) as u32, number(10..16))
}
