//! RED's program, packet by packet.

use std::os::fd::{AsFd as _, OwnedFd};

use relay::steer::{Encapsulation, ReceivingLink, RedLinkCounters};

use crate::{
    packets::{
        ARP, BROADCAST, DIODE, ICMP, IPV4, IPV6, Ipv4, MORE, OFFSET, TCP, UDP, VLAN, ethernet, ethernet_to, ip, ipv6,
        syn, tag, udp, udp_with_len,
    },
    rig::{self, INTERFACE, Program, Verdict, in_namespace, xdp_socket},
};

const PORT: u16 = 7400;
const BLUE: &str = "10.71.2.1";
/// Magic, and a little of a frame.
const FRAME: &[u8] = &[0xD1, 0x0D, 1, 0, 0, 0];

/// The one place where a packet is expected to be counted.
#[derive(Clone, Copy, Debug)]
enum Counted {
    Frame,
    NotFrame,
    OtherPort,
    BadMagic,
    Fragment,
    Malformed,
    NoSocket,
}

use Counted::{BadMagic, Fragment, Frame, Malformed, NoSocket, NotFrame, OtherPort};

impl Counted {
    fn add_to(self, mut counters: RedLinkCounters, frame_len: usize) -> RedLinkCounters {
        let counter = match self {
            Frame => {
                counters.frame_bytes += frame_len as u64;
                &mut counters.frames
            }
            NotFrame => &mut counters.not_frame,
            OtherPort => &mut counters.other_port,
            BadMagic => &mut counters.bad_magic,
            Fragment => &mut counters.fragment,
            Malformed => &mut counters.malformed,
            NoSocket => &mut counters.no_socket,
        };
        *counter += 1;
        counters
    }
}

struct Rig {
    link: ReceivingLink,
    program: Program,
    socket: Option<OwnedFd>,
}

impl Rig {
    fn new(encapsulation: Encapsulation) -> Self {
        let mut link = ReceivingLink::attach(INTERFACE, PORT, encapsulation).expect("attaches");
        let socket = xdp_socket();
        link.register(0, socket.as_fd()).expect("takes the socket");
        Self { link, program: Program::attached(), socket: Some(socket) }
    }

    /// Everything but a frame is dropped.
    fn expect(&self, case: &str, frame: &[u8], counted: Counted) {
        let before = self.link.counters().expect("reads the counters");
        let verdict = if matches!(counted, Frame) { Verdict::Redirect } else { Verdict::Drop };
        assert_eq!(self.program.run(frame), verdict, "verdict of: {case}");
        let after = self.link.counters().expect("reads the counters");
        assert_eq!(after, counted.add_to(before, frame.len()), "counters of: {case}");
    }
}

fn red_test(name: &str, encapsulation: Encapsulation, test: impl FnOnce(&Rig) + Send + 'static) {
    if rig::is_root_or_skip(name) {
        in_namespace(move || test(&Rig::new(encapsulation)));
    }
}

fn diode_udp() -> Vec<u8> {
    udp_with_len(PORT, FRAME, 8 + FRAME.len())
}

/// A diode frame over IPv4, whose header a case may change.
fn over_ipv4(change: impl FnOnce(&mut Ipv4)) -> Vec<u8> {
    let mut header = Ipv4::new(BLUE, UDP);
    change(&mut header);
    ethernet(IPV4, &header.wrap(&diode_udp()))
}

#[test]
fn over_udp_only_diode_frames_are_taken() {
    red_test("over_udp_only_diode_frames_are_taken", Encapsulation::Udp, |rig| {
        let magic = |bytes: &[u8]| ip(BLUE, UDP, &udp_with_len(PORT, bytes, 8 + bytes.len()));
        let jumbo = [FRAME, &[0; 8900]].concat();
        let tagged = ethernet(VLAN, &tag(IPV4, &Ipv4::new(BLUE, UDP).wrap(&diode_udp())));
        let broadcast = ethernet_to(BROADCAST, IPV4, &Ipv4::new(BLUE, UDP).wrap(&diode_udp()));
        rig.expect("diode frame", &over_ipv4(|_| {}), Frame);
        rig.expect("to the broadcast address", &broadcast, Frame);
        rig.expect("with IP options", &over_ipv4(|ip| (ip.ihl, ip.options) = (6, vec![1; 4])), Frame);
        rig.expect("over several buffers", &magic(&jumbo), Frame);
        rig.expect("the magic alone", &magic(&FRAME[..2]), Frame);
        rig.expect("other port", &ip(BLUE, UDP, &udp(PORT + 1)), OtherPort);
        rig.expect("other payload", &ip(BLUE, UDP, &udp(PORT)), BadMagic);
        rig.expect("half the magic", &magic(&[0xD1, 0x0E]), BadMagic);
        rig.expect("the magic swapped", &magic(&[0x0D, 0xD1]), BadMagic);
        rig.expect("TCP", &ip(BLUE, TCP, &syn(PORT)), NotFrame);
        rig.expect("ICMP", &ip(BLUE, ICMP, &[8, 0, 0, 0]), NotFrame);
        rig.expect("ARP", &ethernet(ARP, &[0; 28]), NotFrame);
        rig.expect("IPv6", &ethernet(IPV6, &ipv6("fd00::1", UDP, &diode_udp())), NotFrame);
        rig.expect("with a VLAN tag", &tagged, NotFrame);
        rig.expect("directly in Ethernet", &ethernet(DIODE, FRAME), NotFrame);
        rig.expect("first fragment", &over_ipv4(|ip| ip.fragment = MORE), Fragment);
        rig.expect("later fragment", &over_ipv4(|ip| ip.fragment = OFFSET), Fragment);
    });
}

#[test]
fn over_udp_lengths_are_checked() {
    red_test("over_udp_lengths_are_checked", Encapsulation::Udp, |rig| {
        let whole = over_ipv4(|_| {});
        // Up to the payload's first two bytes.
        for len in 14..whole.len() {
            rig.expect(&format!("{len} bytes of a diode frame"), &whole[..len], Malformed);
        }
        let udp_len = |len| ip(BLUE, UDP, &udp_with_len(PORT, FRAME, len));
        rig.expect("UDP length beyond the packet", &udp_len(8 + FRAME.len() + 1), Malformed);
        rig.expect("UDP length below its header", &udp_len(7), Malformed);
        rig.expect("IP header length below 20 bytes", &over_ipv4(|ip| ip.ihl = 4), Malformed);
        rig.expect("IP version 5", &over_ipv4(|ip| ip.version = 5), Malformed);
        rig.expect("IP total length beyond the frame", &over_ipv4(|ip| ip.total_len = Some(9000)), Malformed);
        rig.expect("no payload", &ip(BLUE, UDP, &udp_with_len(PORT, &[], 8)), Malformed);
        rig.expect("one byte", &ip(BLUE, UDP, &udp_with_len(PORT, &FRAME[..1], 9)), Malformed);
        // The magic in Ethernet's padding is not in the datagram.
        let padded = [ip(BLUE, UDP, &udp_with_len(PORT, &[], 8)), FRAME.to_vec()].concat();
        rig.expect("no payload, the magic in the padding", &padded, Malformed);
    });
}

#[test]
fn over_ethernet_only_diode_frames_are_taken() {
    red_test("over_ethernet_only_diode_frames_are_taken", Encapsulation::Ethernet, |rig| {
        rig.expect("diode frame", &ethernet(DIODE, FRAME), Frame);
        rig.expect("to the broadcast address", &ethernet_to(BROADCAST, DIODE, FRAME), Frame);
        rig.expect("other payload", &ethernet(DIODE, b"payload"), BadMagic);
        rig.expect("no payload", &ethernet(DIODE, &[]), Malformed);
        rig.expect("one byte", &ethernet(DIODE, &FRAME[..1]), Malformed);
        rig.expect("over UDP", &over_ipv4(|_| {}), NotFrame);
        rig.expect("with a VLAN tag", &ethernet(VLAN, &tag(DIODE, FRAME)), NotFrame);
        rig.expect("ARP", &ethernet(ARP, &[0; 28]), NotFrame);
    });
}

#[test]
fn without_a_socket_a_diode_frame_is_dropped() {
    if !rig::is_root_or_skip("without_a_socket_a_diode_frame_is_dropped") {
        return;
    }
    in_namespace(|| {
        let mut rig = Rig::new(Encapsulation::Udp);
        rig.expect("socket", &over_ipv4(|_| {}), Frame);
        drop(rig.socket.take());
        rig.expect("socket closed", &over_ipv4(|_| {}), NoSocket);
    });
}
