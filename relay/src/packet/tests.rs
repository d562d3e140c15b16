//! Packets against a naive builder and the checksum of RFC 1071 as its text has it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;

use super::*;

const BLUE_MAC: Mac = [2, 0, 0, 0, 0, 1];
const RED_MAC: Mac = [2, 0, 0, 0, 0, 2];

/// RFC 1071, 4.1: 16 bits at a time.
fn naive_checksum(data: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in data.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Pseudo header and UDP packet of a frame without tags, options and extensions.
fn udp_with_pseudo_header(frame: &[u8], v4: bool) -> Vec<u8> {
    let (addresses, udp) = if v4 { (&frame[26..34], &frame[34..]) } else { (&frame[22..54], &frame[54..]) };
    let mut bytes = addresses.to_vec();
    bytes.extend([0, PROTOCOL_UDP]);
    bytes.extend(u16::try_from(udp.len()).unwrap().to_be_bytes());
    bytes.extend(udp);
    bytes
}

fn v4(last: u8, port: u16) -> SocketAddr {
    (Ipv4Addr::new(10, 71, 1, last), port).into()
}

fn v6(last: u16, port: u16) -> SocketAddr {
    (Ipv6Addr::new(0xfd00, 0x71, 0, 0, 0, 0, 0, last), port).into()
}

fn build(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let template = UdpTemplate::new(BLUE_MAC, RED_MAC, source, destination).unwrap();
    let mut frame = vec![0xee; template.header_len() + payload.len() + 3];
    let len = template.write(&mut frame, payload).unwrap();
    assert_eq!(&frame[len..], [0xee; 3], "bytes after the frame are untouched");
    frame.truncate(len);
    frame
}

/// Inserts VLAN tags, the first outermost.
fn tagged(frame: &[u8], tags: &[u16]) -> Vec<u8> {
    let mut bytes = frame[..12].to_vec();
    for tag in tags {
        bytes.extend(tag.to_be_bytes());
        bytes.extend([0x20, 0x2a]);
    }
    bytes.extend(&frame[12..]);
    bytes
}

/// Inserts IPv4 options (`words` of 4 bytes, all "no operation") into a frame.
fn with_options(frame: &[u8], words: u8) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    bytes[14] += words;
    let total = u16::from_be_bytes([bytes[16], bytes[17]]) + u16::from(words) * 4;
    bytes[16..18].copy_from_slice(&total.to_be_bytes());
    bytes.splice(34..34, vec![1; usize::from(words) * 4]);
    bytes
}

/// Inserts IPv6 extension headers (type, length in bytes) in front of UDP.
fn with_extensions(frame: &[u8], headers: &[(u8, usize)]) -> Vec<u8> {
    let mut extensions = Vec::new();
    for (index, (_, len)) in headers.iter().enumerate() {
        let next = headers.get(index + 1).map_or(PROTOCOL_UDP, |(kind, _)| *kind);
        let mut header = vec![0; *len];
        header[0] = next;
        header[1] = u8::try_from(len / 8 - 1).unwrap();
        extensions.extend(header);
    }
    let mut bytes = frame.to_vec();
    bytes[20] = headers.first().map_or(PROTOCOL_UDP, |(kind, _)| *kind);
    let len = u16::from_be_bytes([bytes[18], bytes[19]]) + u16::try_from(extensions.len()).unwrap();
    bytes[18..20].copy_from_slice(&len.to_be_bytes());
    bytes.splice(54..54, extensions);
    bytes
}

/// Every prefix of a frame without padding is refused.
fn assert_truncations_refused(frame: &[u8]) {
    for len in 0..frame.len() {
        assert!(parse_udp(&frame[..len]).is_err(), "{len} of {} bytes were taken", frame.len());
    }
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| IpAddr::from(Ipv4Addr::from(octets))),
        any::<[u8; 16]>().prop_map(|octets| IpAddr::from(Ipv6Addr::from(octets))),
    ]
}

/// Two addresses of one family.
fn endpoints() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    (address(), address(), any::<u16>(), any::<u16>()).prop_filter_map(
        "one family",
        |(from, to, from_port, to_port)| {
            (from.is_ipv4() == to.is_ipv4()).then(|| ((from, from_port).into(), (to, to_port).into()))
        },
    )
}

proptest! {
    #[test]
    fn checksum_is_rfc_1071(data in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(checksum(&data), naive_checksum(&data));
    }

    #[test]
    fn what_is_built_parses_to_the_same(
        (source, destination) in endpoints(),
        payload in prop::collection::vec(any::<u8>(), 0..1500),
        padding in 0_usize..50,
    ) {
        let mut frame = build(source, destination, &payload);
        prop_assert_eq!(naive_checksum(&udp_with_pseudo_header(&frame, source.is_ipv4())), 0);
        if source.is_ipv4() {
            prop_assert_eq!(naive_checksum(&frame[14..34]), 0);
            prop_assert_ne!(&frame[40..42], [0, 0], "a checksum of zero would mean none");
        }
        frame.resize(frame.len() + padding, 0);
        prop_assert_eq!(parse_udp(&frame), Ok(UdpDatagram { source, destination, payload: &payload }));
    }

    #[test]
    fn any_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_udp(&bytes);
        let _ = LinkHeader::strip(&mut bytes, Encapsulation::Udp);
        let _ = LinkHeader::strip(&mut bytes, Encapsulation::Ethernet);
    }

    /// Starts from a sound packet, so that the damage is met deep in the headers.
    #[test]
    fn damaged_packets_never_panic(
        v6_flow in any::<bool>(),
        damage in prop::collection::vec((0_usize..110, any::<u8>()), 1..6),
        keep in 0_usize..200,
    ) {
        let mut frame = if v6_flow {
            with_extensions(&build(v6(1, 5000), v6(2, 5000), &[7; 30]), &[(0, 8), (43, 16), (60, 8)])
        } else {
            with_options(&build(v4(1, 5000), v4(2, 5000), &[7; 30]), 10)
        };
        for (at, value) in damage {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        frame.truncate(keep);
        if let Ok(datagram) = parse_udp(&frame) {
            prop_assert!(datagram.payload.len() <= frame.len());
        }
    }

    #[test]
    fn link_headers_strip_to_the_payload(payload in prop::collection::vec(any::<u8>(), 0..1500), padding in 0_usize..20) {
        let udp = LinkHeader::udp(BLUE_MAC, RED_MAC, [10, 71, 2, 1].into(), [10, 71, 2, 2].into(), 40000, 7400);
        for (header, encapsulation) in
            [(udp, Encapsulation::Udp), (LinkHeader::ethernet(BLUE_MAC, RED_MAC), Encapsulation::Ethernet)]
        {
            let mut frame = vec![0; header.len() + payload.len()];
            frame[header.len()..].copy_from_slice(&payload);
            prop_assert_eq!(header.write(&mut frame, payload.len()), frame.len());
            if encapsulation == Encapsulation::Udp {
                prop_assert_eq!(naive_checksum(&frame[14..34]), 0);
                frame.resize(frame.len() + padding, 0);
            }
            let stripped = LinkHeader::strip(&mut frame, encapsulation).map(|payload| payload.to_vec());
            prop_assert_eq!(stripped.as_deref(), Some(&payload[..]));
        }
    }
}

#[test]
fn tags_options_and_extensions_are_looked_through() {
    let plain = build(v4(1, 7), v4(2, 9), b"hello");
    let plain_v6 = build(v6(1, 7), v6(2, 9), b"hello");
    for frame in [
        tagged(&plain, &[ETHERTYPE_VLAN]),
        tagged(&plain, &[ETHERTYPE_QINQ, ETHERTYPE_VLAN]),
        tagged(&plain_v6, &[ETHERTYPE_VLAN, ETHERTYPE_VLAN]),
        with_options(&plain, 1),
        tagged(&with_options(&plain, 10), &[ETHERTYPE_VLAN]),
        with_extensions(&plain_v6, &[(0, 8)]),
        with_extensions(&plain_v6, &[(0, 8), (60, 24), (43, 16), (60, 2048)]),
        plain,
        plain_v6,
    ] {
        let datagram = parse_udp(&frame).unwrap();
        assert_eq!((datagram.source.port(), datagram.destination.port(), datagram.payload), (7, 9, &b"hello"[..]));
        assert_truncations_refused(&frame);
    }
}

#[test]
fn each_fault_has_its_reason() {
    let plain = build(v4(1, 7), v4(2, 9), b"hello");
    let plain_v6 = build(v6(1, 7), v6(2, 9), b"hello");
    let changed = |frame: &[u8], at: usize, value: u8| {
        let mut frame = frame.to_vec();
        frame[at] = value;
        frame
    };
    let cases = [
        (vec![], Malformed::EthernetTruncated),
        (tagged(&plain, &[ETHERTYPE_VLAN])[..17].to_vec(), Malformed::EthernetTruncated),
        (tagged(&plain, &[ETHERTYPE_QINQ, ETHERTYPE_VLAN, ETHERTYPE_VLAN]), Malformed::TooManyTags),
        (changed(&plain, 13, 0x06), Malformed::NotIp),
        (plain[..33].to_vec(), Malformed::IpTruncated),
        (with_options(&plain, 3)[..40].to_vec(), Malformed::IpTruncated),
        (plain_v6[..53].to_vec(), Malformed::IpTruncated),
        (changed(&plain, 14, 0x65), Malformed::IpHeader),
        (changed(&plain, 14, 0x44), Malformed::IpHeader),
        (changed(&plain_v6, 14, 0x40), Malformed::IpHeader),
        (changed(&plain, 17, 19), Malformed::IpLength),
        (changed(&plain, 17, 34), Malformed::IpLength),
        (changed(&plain_v6, 19, 14), Malformed::IpLength),
        (changed(&plain, 20, 0x20), Malformed::Fragment),
        (changed(&plain, 21, 1), Malformed::Fragment),
        (with_extensions(&plain_v6, &[(NEXT_FRAGMENT_TYPE, 8)]), Malformed::Fragment),
        (changed(&with_extensions(&plain_v6, &[(43, 8)]), 57, 1), Malformed::SourceRoute),
        (with_extensions(&plain_v6, &[(60, 8); 5]), Malformed::TooManyExtensions),
        (changed(&with_extensions(&plain_v6, &[(60, 8)]), 55, 3), Malformed::IpTruncated),
        (changed(&plain, 23, 6), Malformed::NotUdp),
        (changed(&plain_v6, 20, 50), Malformed::NotUdp),
        (changed(&plain, 17, 27), Malformed::UdpTruncated),
        (changed(&plain, 39, 7), Malformed::UdpLength),
        (changed(&plain, 39, 14), Malformed::UdpLength),
        (changed(&plain_v6, 59, 14), Malformed::UdpLength),
    ];
    for (frame, reason) in cases {
        assert_eq!(parse_udp(&frame), Err(reason), "{frame:02x?}");
    }
}

/// Fragment header (RFC 8200, 4.5).
const NEXT_FRAGMENT_TYPE: u8 = 44;

#[test]
fn udp_length_may_be_below_ip_length() {
    let mut frame = build(v4(1, 7), v4(2, 9), b"hello");
    frame[39] = 10;
    assert_eq!(parse_udp(&frame).unwrap().payload, b"he");
}

#[test]
fn checksum_of_zero_is_sent_as_ones() {
    // A payload that brings the sum to all ones: the complement of the checksum over an empty word.
    let frame = build(v6(1, 7), v6(2, 9), &[0, 0]);
    let sum = [frame[60], frame[61]];
    let frame = build(v6(1, 7), v6(2, 9), &sum);
    assert_eq!(&frame[60..62], [0xff, 0xff]);
    assert_eq!(naive_checksum(&udp_with_pseudo_header(&frame, false)), 0);
}

#[test]
fn template_refuses_what_cannot_be_said() {
    assert!(UdpTemplate::new(BLUE_MAC, RED_MAC, v4(1, 7), v6(2, 9)).is_none());
    let payload = vec![0; 65_536];
    let mut frame = vec![0; 70_000];
    let template = UdpTemplate::new(BLUE_MAC, RED_MAC, v4(1, 7), v4(2, 9)).unwrap();
    assert_eq!(template.header_len(), 42);
    assert_eq!(template.write(&mut frame, &payload[..65_507]), Some(65_549));
    assert_eq!(template.write(&mut frame, &payload[..65_508]), None);
    assert_eq!(template.write(&mut frame[..45], &payload[..4]), None);
    let template = UdpTemplate::new(BLUE_MAC, RED_MAC, v6(1, 7), v6(2, 9)).unwrap();
    assert_eq!(template.header_len(), 62);
    assert_eq!(template.write(&mut frame, &payload[..65_527]), Some(65_589));
    assert_eq!(template.write(&mut frame, &payload[..65_528]), None);
}

#[test]
fn next_hop_changes_in_place() {
    let mut template = UdpTemplate::new(BLUE_MAC, BROADCAST, v4(1, 7), v4(2, 9)).unwrap();
    template.set_destination_mac(RED_MAC);
    let mut frame = [0; 42];
    assert_eq!(template.write(&mut frame, &[]), Some(42));
    assert_eq!(&frame[..14], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    // DF, no identification, TTL 64, UDP.
    assert_eq!(&frame[18..24], [0, 0, 0x40, 0, 64, 17]);
}

#[test]
fn link_header_refuses_what_does_not_fit() {
    let header = LinkHeader::udp(BLUE_MAC, RED_MAC, [10, 71, 2, 1].into(), [10, 71, 2, 2].into(), 1, 7400);
    assert_eq!(header.write(&mut [0; 50], 9), 0);
    assert_eq!(header.write(&mut [0; 20], 0), 0);
    assert_eq!(header.write(&mut vec![0; 70_000], 65_508), 0);
    assert_eq!(LinkHeader::strip(&mut [0; 60], Encapsulation::Udp), None);
    assert_eq!(LinkHeader::strip(&mut [0; 60], Encapsulation::Ethernet), None);
}

#[test]
fn only_datagrams_of_one_flow_share_a_header() {
    let datagram = build(v4(1, 7), v4(2, 9), b"one");
    let header = JoinedHeader::of(&datagram).unwrap();
    assert_eq!((header.len(), header.checksum_at()), (42, (34, 6)));
    assert!(header.is_shared(&datagram, &build(v4(1, 7), v4(2, 9), b"another one")));
    for other in
        [build(v4(1, 8), v4(2, 9), b"one"), build(v4(1, 7), v4(3, 9), b"one"), build(v6(1, 7), v6(2, 9), b"one")]
    {
        assert!(!header.is_shared(&datagram, &other));
    }
    let mut elsewhere = datagram.clone();
    elsewhere[0] ^= 2;
    assert!(!header.is_shared(&datagram, &elsewhere));
    assert!(!header.is_shared(&datagram, &datagram[..41]));

    assert_eq!(JoinedHeader::of(&build(v6(1, 7), v6(2, 9), b"six")).map(JoinedHeader::len), Some(62));
    assert_eq!(JoinedHeader::of(&tagged(&datagram, &[0x8100])), None);
    assert_eq!(JoinedHeader::of(&datagram[..41]), None);
    let mut tcp = datagram.clone();
    tcp[23] = 6;
    assert_eq!(JoinedHeader::of(&tcp), None);
    let mut diode = vec![0; 100];
    LinkHeader::ethernet(BLUE_MAC, RED_MAC).write(&mut diode, 80);
    assert_eq!(JoinedHeader::of(&diode), None);
}

proptest! {
    #[test]
    fn a_message_has_the_header_that_the_kernel_cuts_by(is_v4: bool, first: Vec<u8>, more in 0..60_000_u16, ports: (u16, u16)) {
        let ends = if is_v4 { (v4(1, ports.0), v4(2, ports.1)) } else { (v6(1, ports.0), v6(2, ports.1)) };
        let mut bytes = build(ends.0, ends.1, &first);
        let header = JoinedHeader::of(&bytes).unwrap();
        bytes.truncate(header.len());
        let len = more + first.len() as u16;
        header.stretch(&mut bytes, len);
        bytes.resize(header.len() + usize::from(len), 0);
        let datagram = parse_udp(&bytes).unwrap();
        prop_assert_eq!((datagram.source, datagram.destination, datagram.payload.len()), (ends.0, ends.1, usize::from(len)));
        if is_v4 {
            prop_assert_eq!(naive_checksum(&bytes[14..34]), 0);
        }
        let pseudo = &udp_with_pseudo_header(&bytes, is_v4)[..if is_v4 { 12 } else { 36 }];
        let (udp, at) = header.checksum_at();
        prop_assert_eq!(bytes[udp + at..][..2].to_vec(), (!naive_checksum(pseudo)).to_be_bytes());
    }
}
