//! BLUE's programs, packet by packet.

use std::os::fd::AsFd as _;

use relay::steer::{IngressOptions, SendingLink};

use crate::{
    ingress::{
        ALLOWED, ALLOWED6, CLOSED, CLOSED_PORT, Counted, HISTORIAN, HISTORIAN_PORT, REFUSED, REFUSED6, Rig, SYSLOG,
        SYSLOG_PORT, datagram, ingress_test, ipv4, options, over_ipv6, refused_datagram,
    },
    packets::{
        ARP, AUTHENTICATION, BROADCAST, DESTINATION, FRAGMENT, HOP_BY_HOP, ICMP, IPV4, IPV6, Ipv4, MORE, MULTICAST,
        NO_NEXT, OFFSET, OTHER_MAC, PAYLOAD, QINQ, ROUTING, TCP, UDP, VLAN, authentication, ethernet, ethernet_to,
        extension, fragment, ip, ipv6, ipv6_with_len, syn, syn_with_offset, tag, udp, udp_with_len,
    },
    rig::{self, INTERFACE, Program, Verdict, in_namespace, xdp_socket},
};

use Counted::{Allowed, Fragment, LaterFragment, Malformed, NoSocket, Other, OtherMac, Passed, Refused, TooDeep};
use Verdict::{Drop, Pass, Redirect};

#[test]
fn sources_are_checked_per_stream_and_family() {
    ingress_test("sources_are_checked_per_stream_and_family", |rig| {
        rig.expect_all(&[
            ("UDP, source in a prefix", datagram(), Redirect, Allowed(SYSLOG)),
            ("UDP, source given alone", ip("192.168.100.11", UDP, &udp(514)), Redirect, Allowed(SYSLOG)),
            ("UDP, its neighbour", ip("192.168.100.10", UDP, &udp(514)), Drop, Refused(SYSLOG)),
            ("UDP, first of the prefix", ip("10.0.0.0", UDP, &udp(514)), Redirect, Allowed(SYSLOG)),
            ("UDP, last of the prefix", ip("10.255.255.255", UDP, &udp(514)), Redirect, Allowed(SYSLOG)),
            ("UDP, one before the prefix", ip("9.255.255.255", UDP, &udp(514)), Drop, Refused(SYSLOG)),
            ("UDP, one behind the prefix", ip("11.0.0.0", UDP, &udp(514)), Drop, Refused(SYSLOG)),
            ("UDP over IPv6", over_ipv6(ALLOWED6, UDP, &udp(514)), Redirect, Allowed(SYSLOG)),
            ("UDP over IPv6, refused", over_ipv6(REFUSED6, UDP, &udp(514)), Drop, Refused(SYSLOG)),
            (
                "UDP, IPv6 address that starts like an IPv4 prefix",
                ip("0a01:203::", UDP, &udp(514)),
                Drop,
                Refused(SYSLOG),
            ),
            ("stream without sources", ip(ALLOWED, UDP, &udp(CLOSED_PORT)), Drop, Refused(CLOSED)),
            ("TCP SYN", ip(ALLOWED, TCP, &syn(HISTORIAN_PORT)), Pass, Passed(HISTORIAN)),
            ("TCP SYN, refused", ip(REFUSED, TCP, &syn(HISTORIAN_PORT)), Drop, Refused(HISTORIAN)),
            ("TCP SYN, allowed only on the other stream", ip("10.9.9.9", TCP, &syn(601)), Drop, Refused(HISTORIAN)),
            ("TCP SYN over IPv6", ip(ALLOWED6, TCP, &syn(HISTORIAN_PORT)), Pass, Passed(HISTORIAN)),
            ("TCP SYN over IPv6, other /64", ip("fd00:10:1::5", TCP, &syn(601)), Drop, Refused(HISTORIAN)),
        ]);
    });
}

#[test]
fn what_is_no_stream_is_left_to_the_kernel() {
    ingress_test("what_is_no_stream_is_left_to_the_kernel", |rig| {
        rig.expect_all(&[
            ("UDP to another port", ip(ALLOWED, UDP, &udp(515)), Pass, Other),
            ("TCP to the port with its bytes swapped", ip(ALLOWED, TCP, &syn(601_u16.swap_bytes())), Pass, Other),
            ("UDP to another port, refused source", ip(REFUSED, UDP, &udp(515)), Pass, Other),
            ("UDP to the TCP stream's port", ip(ALLOWED, UDP, &udp(HISTORIAN_PORT)), Pass, Other),
            ("TCP to the UDP stream's port", ip(ALLOWED, TCP, &syn(SYSLOG_PORT)), Pass, Other),
            ("ICMP", ip(ALLOWED, ICMP, &[8, 0, 0, 0]), Pass, Other),
            ("IPv6 without payload", over_ipv6(ALLOWED6, NO_NEXT, &[]), Pass, Other),
            ("ARP", ethernet(ARP, &[0; 28]), Pass, Other),
            ("Ethernet header alone, unknown type", ethernet(0x1234, &[]), Pass, Other),
        ]);
    });
}

#[test]
fn what_is_no_stream_is_dropped_if_configured_so() {
    if !rig::is_root_or_skip("what_is_no_stream_is_dropped_if_configured_so") {
        return;
    }
    in_namespace(|| {
        let rig = Rig::new(IngressOptions { drop_other: true, ..options() }, true);
        rig.expect_all(&[
            ("UDP to another port", ip(ALLOWED, UDP, &udp(515)), Drop, Other),
            ("ARP", ethernet(ARP, &[0; 28]), Drop, Other),
            ("cut off", datagram()[..30].to_vec(), Drop, Malformed),
            ("UDP stream", datagram(), Redirect, Allowed(SYSLOG)),
            ("TCP stream", ip(ALLOWED, TCP, &syn(HISTORIAN_PORT)), Pass, Passed(HISTORIAN)),
            ("later fragment", ipv4(|ip| ip.fragment = OFFSET), Pass, LaterFragment),
        ]);
    });
}

#[test]
fn only_frames_for_this_interface_are_relayed() {
    let to = |mac, protocol, payload: &[u8]| ethernet_to(mac, IPV4, &Ipv4::new(ALLOWED, protocol).wrap(payload));
    ingress_test("only_frames_for_this_interface_are_relayed", move |rig| {
        rig.expect_all(&[
            ("other unicast address", to(OTHER_MAC, UDP, &udp(514)), Pass, OtherMac),
            ("other unicast address, TCP", to(OTHER_MAC, TCP, &syn(601)), Pass, OtherMac),
            ("broadcast", to(BROADCAST, UDP, &udp(514)), Redirect, Allowed(SYSLOG)),
            ("multicast", to(MULTICAST, UDP, &udp(514)), Redirect, Allowed(SYSLOG)),
        ]);
    });
    if rig::is_root_or_skip("only_frames_for_this_interface_are_relayed") {
        in_namespace(move || {
            let rig = Rig::new(IngressOptions { own_mac: None, ..options() }, true);
            rig.expect("not checked", &to(OTHER_MAC, UDP, &udp(514)), Redirect, Allowed(SYSLOG));
        });
    }
}

#[test]
fn vlan_tags_are_looked_through() {
    ingress_test("vlan_tags_are_looked_through", |rig| {
        let inner = Ipv4::new(ALLOWED, UDP).wrap(&udp(514));
        let inner6 = ipv6(ALLOWED6, UDP, &udp(514));
        let refused = Ipv4::new(REFUSED, UDP).wrap(&udp(514));
        let two = tag(VLAN, &tag(IPV4, &inner));
        let three = tag(VLAN, &tag(VLAN, &tag(IPV4, &inner)));
        rig.expect_all(&[
            ("802.1Q", ethernet(VLAN, &tag(IPV4, &inner)), Redirect, Allowed(SYSLOG)),
            ("802.1Q, IPv6", ethernet(VLAN, &tag(IPV6, &inner6)), Redirect, Allowed(SYSLOG)),
            ("802.1Q, refused", ethernet(VLAN, &tag(IPV4, &refused)), Drop, Refused(SYSLOG)),
            ("802.1ad alone", ethernet(QINQ, &tag(IPV4, &inner)), Redirect, Allowed(SYSLOG)),
            ("QinQ", ethernet(QINQ, &two), Redirect, Allowed(SYSLOG)),
            ("802.1Q twice", ethernet(VLAN, &two), Redirect, Allowed(SYSLOG)),
            ("three tags", ethernet(QINQ, &three), Pass, Other),
            ("802.1Q, ARP", ethernet(VLAN, &tag(ARP, &[0; 28])), Pass, Other),
        ]);
    });
}

#[test]
fn ipv4_headers_are_checked() {
    ingress_test("ipv4_headers_are_checked", |rig| {
        let end = 20 + 8 + PAYLOAD.len();
        let padded = [datagram(), vec![0; 18]].concat();
        let options = |ihl: u8| {
            ipv4(|ip| {
                ip.ihl = ihl;
                ip.options = vec![1; 4 * (usize::from(ihl) - 5)];
            })
        };
        let options_cut = ipv4(|ip| (ip.ihl, ip.total_len) = (15, Some(60)));
        rig.expect_all(&[
            ("options", options(6), Redirect, Allowed(SYSLOG)),
            ("the longest options", options(15), Redirect, Allowed(SYSLOG)),
            ("options longer than the frame", options_cut, Pass, Malformed),
            ("header length below 20 bytes", ipv4(|ip| ip.ihl = 4), Pass, Malformed),
            ("header length 0", ipv4(|ip| ip.ihl = 0), Pass, Malformed),
            ("version 6 under IPv4's ethertype", ipv4(|ip| ip.version = 6), Pass, Malformed),
            ("total length beyond the frame", ipv4(|ip| ip.total_len = Some(end + 1)), Pass, Malformed),
            ("total length below the header", ipv4(|ip| ip.total_len = Some(19)), Pass, Malformed),
            ("total length without the UDP header", ipv4(|ip| ip.total_len = Some(27)), Pass, Malformed),
            ("total length that cuts the datagram", ipv4(|ip| ip.total_len = Some(end - 1)), Pass, Malformed),
            ("Ethernet padding behind the packet", padded, Redirect, Allowed(SYSLOG)),
        ]);
    });
}

#[test]
fn transport_headers_are_checked() {
    ingress_test("transport_headers_are_checked", |rig| {
        let udp_len = |len| ip(ALLOWED, UDP, &udp_with_len(514, PAYLOAD, len));
        let full = 8 + PAYLOAD.len();
        rig.expect_all(&[
            ("UDP length beyond the packet", udp_len(full + 1), Pass, Malformed),
            ("UDP length below its header", udp_len(7), Pass, Malformed),
            ("UDP length 0", udp_len(0), Pass, Malformed),
            ("UDP length short of the packet", udp_len(full - 1), Redirect, Allowed(SYSLOG)),
            ("UDP without payload", ip(ALLOWED, UDP, &udp_with_len(514, &[], 8)), Redirect, Allowed(SYSLOG)),
            ("TCP data offset below its header", ip(ALLOWED, TCP, &syn_with_offset(601, 4)), Pass, Malformed),
            ("TCP data offset beyond the packet", ip(ALLOWED, TCP, &syn_with_offset(601, 6)), Pass, Malformed),
        ]);
        for len in 0..8 {
            let frame = ip(ALLOWED, UDP, &udp(514)[..len]);
            rig.expect(&format!("{len} bytes of a UDP header"), &frame, Pass, Malformed);
        }
        for len in 0..20 {
            let frame = ip(ALLOWED, TCP, &syn(601)[..len]);
            rig.expect(&format!("{len} bytes of a TCP header"), &frame, Pass, Malformed);
        }
    });
}

#[test]
fn a_frame_cut_anywhere_is_malformed() {
    let options = ipv4(|ip| (ip.ihl, ip.options) = (8, vec![1; 12]));
    let chain = extension(ROUTING, 0, &extension(DESTINATION, 1, &authentication(UDP, &udp(514))));
    let inner = Ipv4::new(ALLOWED, UDP).wrap(&udp(514));
    let frames = [
        ("UDP over IPv4", datagram()),
        ("TCP over IPv4", ip(ALLOWED, TCP, &syn(601))),
        ("UDP over IPv6", over_ipv6(ALLOWED6, UDP, &udp(514))),
        ("IPv4 with options", options),
        ("IPv6 with extension headers", over_ipv6(ALLOWED6, HOP_BY_HOP, &chain)),
        ("IPv6 with a fragment header", over_ipv6(ALLOWED6, FRAGMENT, &fragment(UDP, 0, true, &udp(514)))),
        ("802.1Q", ethernet(VLAN, &tag(IPV4, &inner))),
        ("QinQ", ethernet(QINQ, &tag(VLAN, &tag(IPV4, &inner)))),
    ];
    ingress_test("a_frame_cut_anywhere_is_malformed", move |rig| {
        for (case, frame) in &frames {
            // BPF_PROG_TEST_RUN takes no frame below an Ethernet header, and no driver delivers one.
            for len in 14..frame.len() {
                rig.expect(&format!("{case}, {len} bytes of it"), &frame[..len], Pass, Malformed);
            }
        }
    });
}

#[test]
fn fragments_are_left_to_the_kernel_if_their_source_is_allowed() {
    ingress_test("fragments_are_left_to_the_kernel_if_their_source_is_allowed", |rig| {
        let first = |source, protocol, payload: &[u8]| {
            let mut header = Ipv4::new(source, protocol);
            header.fragment = MORE;
            ethernet(IPV4, &header.wrap(payload))
        };
        // The UDP length speaks of the datagram, which is longer than its first fragment.
        let whole = udp_with_len(514, PAYLOAD, 3008);
        let first6 = |source, payload: &[u8]| over_ipv6(source, FRAGMENT, &fragment(UDP, 0, true, payload));
        let behind = over_ipv6(ALLOWED6, DESTINATION, &extension(FRAGMENT, 0, &fragment(UDP, 0, true, &whole)));
        rig.expect_all(&[
            ("first", first(ALLOWED, UDP, &whole), Pass, Fragment(SYSLOG)),
            ("first, refused", first(REFUSED, UDP, &whole), Drop, Refused(SYSLOG)),
            ("first, other port", first(REFUSED, UDP, &udp(515)), Pass, Other),
            ("first, TCP", first(ALLOWED, TCP, &syn(601)), Pass, Fragment(HISTORIAN)),
            ("first, TCP of 8 bytes", first(ALLOWED, TCP, &syn(601)[..8]), Pass, Fragment(HISTORIAN)),
            ("first, TCP of 8 bytes, refused", first(REFUSED, TCP, &syn(601)[..8]), Drop, Refused(HISTORIAN)),
            ("first, without ports", first(ALLOWED, UDP, &whole[..4]), Pass, Malformed),
            ("later", ipv4(|ip| ip.fragment = MORE | OFFSET), Pass, LaterFragment),
            ("last", ipv4(|ip| ip.fragment = OFFSET), Pass, LaterFragment),
            ("IPv6 first", first6(ALLOWED6, &whole), Pass, Fragment(SYSLOG)),
            ("IPv6 first, refused", first6(REFUSED6, &whole), Drop, Refused(SYSLOG)),
            ("IPv6 first, behind options", behind, Pass, Fragment(SYSLOG)),
            ("IPv6 later", over_ipv6(ALLOWED6, FRAGMENT, &fragment(UDP, OFFSET, true, &whole)), Pass, LaterFragment),
            ("IPv6 last", over_ipv6(ALLOWED6, FRAGMENT, &fragment(UDP, OFFSET, false, &whole)), Pass, LaterFragment),
            // RFC 6946: a whole datagram with a fragment header. The kernel takes that off.
            ("IPv6 atomic", over_ipv6(ALLOWED6, FRAGMENT, &fragment(UDP, 0, false, &udp(514))), Pass, Fragment(SYSLOG)),
        ]);
    });
}

#[test]
fn ipv6_extension_headers_are_looked_through() {
    ingress_test("ipv6_extension_headers_are_looked_through", |rig| {
        let chain = |headers: usize| {
            let mut packet = udp(514);
            let mut next = UDP;
            for _ in 0..headers {
                packet = extension(next, 0, &packet);
                next = DESTINATION;
            }
            over_ipv6(ALLOWED6, if headers == 0 { UDP } else { DESTINATION }, &packet)
        };
        let one = |kind, payload: &[u8]| over_ipv6(ALLOWED6, kind, payload);
        let refused = over_ipv6(REFUSED6, HOP_BY_HOP, &extension(UDP, 0, &udp(514)));
        let five_syn = {
            let inner = extension(DESTINATION, 0, &extension(TCP, 0, &syn(601)));
            let outer = extension(DESTINATION, 0, &extension(DESTINATION, 0, &extension(DESTINATION, 0, &inner)));
            over_ipv6(REFUSED6, DESTINATION, &outer)
        };
        rig.expect_all(&[
            ("hop-by-hop", one(HOP_BY_HOP, &extension(UDP, 0, &udp(514))), Redirect, Allowed(SYSLOG)),
            ("routing", one(ROUTING, &extension(UDP, 2, &udp(514))), Redirect, Allowed(SYSLOG)),
            ("authentication", one(AUTHENTICATION, &authentication(UDP, &udp(514))), Redirect, Allowed(SYSLOG)),
            ("one of the longest", one(DESTINATION, &extension(UDP, 255, &udp(514))), Redirect, Allowed(SYSLOG)),
            ("refused source behind one", refused, Drop, Refused(SYSLOG)),
            ("four", chain(4), Redirect, Allowed(SYSLOG)),
            ("five", chain(5), Drop, TooDeep),
            // The kernel's listener would answer this one, were it passed on.
            ("a refused SYN behind five", five_syn, Drop, TooDeep),
            ("another protocol behind one", one(HOP_BY_HOP, &extension(58, 0, &[128, 0, 0, 0])), Pass, Other),
        ]);
    });
}

#[test]
fn ipv6_lengths_are_checked() {
    ingress_test("ipv6_lengths_are_checked", |rig| {
        let len = |len| ethernet(IPV6, &ipv6_with_len(ALLOWED6, UDP, &udp(514), len));
        let full = 8 + PAYLOAD.len();
        let version = {
            let mut packet = ipv6(ALLOWED6, UDP, &udp(514));
            packet[0] = 0x40;
            ethernet(IPV6, &packet)
        };
        let options_beyond = {
            let packet = extension(UDP, 9, &[])[..16].to_vec();
            over_ipv6(ALLOWED6, DESTINATION, &packet)
        };
        let padded = [over_ipv6(ALLOWED6, UDP, &udp(514)), vec![0; 6]].concat();
        rig.expect_all(&[
            ("payload length beyond the frame", len(full + 1), Pass, Malformed),
            ("payload length 0, as of a jumbogram", len(0), Pass, Malformed),
            ("payload length that cuts the datagram", len(full - 1), Pass, Malformed),
            ("version 4 under IPv6's ethertype", version, Pass, Malformed),
            ("options beyond the payload", options_beyond, Pass, Malformed),
            ("padding behind the packet", padded, Redirect, Allowed(SYSLOG)),
        ]);
    });
}

#[test]
fn jumbo_frames_are_counted_whole_and_hide_nothing() {
    ingress_test("jumbo_frames_are_counted_whole_and_hide_nothing", |rig| {
        let payload = vec![7; 8900];
        let jumbo = ip(ALLOWED, UDP, &udp_with_len(514, &payload, 8908));
        rig.expect("UDP over several buffers", &jumbo, Redirect, Allowed(SYSLOG));
        // Two headers of 2 KiB push the ports out of the first buffer, which is all that a program reads.
        let far = extension(DESTINATION, 255, &extension(TCP, 255, &syn(601)));
        rig.expect("ports out of reach", &over_ipv6(REFUSED6, DESTINATION, &far), Drop, TooDeep);
    });
}

#[test]
fn without_a_socket_an_allowed_datagram_is_dropped() {
    if !rig::is_root_or_skip("without_a_socket_an_allowed_datagram_is_dropped") {
        return;
    }
    in_namespace(|| {
        let mut rig = Rig::new(options(), false);
        rig.expect("no socket", &datagram(), Drop, NoSocket(SYSLOG));
        rig.expect("no socket, refused", &refused_datagram(), Drop, Refused(SYSLOG));
        rig.expect("no socket, TCP", &ip(ALLOWED, TCP, &syn(601)), Pass, Passed(HISTORIAN));
        let socket = xdp_socket();
        rig.ingress.register(1, socket.as_fd()).expect("takes the socket");
        rig.expect("socket of another queue", &datagram(), Drop, NoSocket(SYSLOG));
        rig.ingress.register(0, socket.as_fd()).expect("takes the socket");
        rig.expect("socket", &datagram(), Redirect, Allowed(SYSLOG));
        drop(socket);
        rig.expect("socket closed", &datagram(), Drop, NoSocket(SYSLOG));
    });
}

#[test]
fn the_blue_link_drops_everything() {
    if !rig::is_root_or_skip("the_blue_link_drops_everything") {
        return;
    }
    in_namespace(|| {
        let link = SendingLink::attach(INTERFACE).expect("attaches");
        let program = Program::attached();
        let jumbo = ip(ALLOWED, UDP, &udp_with_len(514, &[7; 8900], 8908));
        let frames = [datagram(), ethernet(ARP, &[0; 28]), ethernet(0x1234, &[]), ip(ALLOWED, TCP, &syn(601)), jumbo];
        let before = link.counters().expect("reads the counters").dropped;
        for (count, frame) in (before + 1..).zip(&frames) {
            assert_eq!(program.run(frame), Drop);
            assert_eq!(link.counters().expect("reads the counters").dropped, count);
        }
    });
}
