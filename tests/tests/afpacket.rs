//! `relay::afpacket` with the real kernel: two network namespaces, a veth pair, `AF_XDP` at the other end, which sees every byte.

mod support;

use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use relay::afpacket::PacketSender;
use relay::packet::{self, LinkHeader, UdpTemplate, parse_udp};
use relay::xsk::{RxConfig, RxSocket, XskError, interface, wait_readable};
use support::{Cable, Redirect, may_run};

const MTU: usize = 1500;
const ETHERNET_LEN: usize = 14;
/// More than one batch, fewer than a veth holds.
const PACKETS_MAX: usize = 150;
/// What must come comes at once.
const SOON: Duration = Duration::from_secs(5);
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

/// The kinds of packets that the relay sends.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Diode frames in UDP.
    Link,
    /// Diode frames in Ethernet: no message can hold two.
    Ethernet,
    /// Datagrams of the session with this number, 0 to 2.
    V4(u16),
    V6(u16),
}

/// A packet with a payload of `len` bytes that all depend on `number`.
fn packet(kind: Kind, number: usize, len: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..len).map(|at| (number * 31 + at * 7 + at / 256) as u8).collect();
    let mut bytes = vec![0; 62 + len];
    let used = match kind {
        Kind::Link | Kind::Ethernet => {
            let ends = [Ipv4Addr::new(10, 71, 2, 1), Ipv4Addr::new(10, 71, 2, 2)];
            let header = match kind {
                Kind::Link => LinkHeader::udp(MACS[0], MACS[1], ends[0], ends[1], 49_152, 7400),
                _ => LinkHeader::ethernet(MACS[0], MACS[1]),
            };
            bytes[header.len()..][..len].copy_from_slice(&payload);
            header.write(&mut bytes, len)
        }
        Kind::V4(session) => {
            zone((Ipv4Addr::new(10, 71, 3, 1), 40_000 + session), (Ipv4Addr::new(10, 71, 3, 10), 5000))
                .write(&mut bytes, &payload)
                .unwrap()
        }
        Kind::V6(session) => {
            let address = |last| Ipv6Addr::new(0xfd71, 3, 0, 0, 0, 0, 0, last);
            zone((address(1), 40_000 + session), (address(0x10), 5000)).write(&mut bytes, &payload).unwrap()
        }
    };
    bytes.truncate(used);
    bytes
}

fn zone(source: impl Into<SocketAddr>, destination: impl Into<SocketAddr>) -> UdpTemplate {
    UdpTemplate::new(MACS[0], MACS[1], source.into(), destination.into()).unwrap()
}

/// Both ends of a cable.
struct Path {
    tx: PacketSender,
    rx: RxSocket,
    _redirect: Redirect,
}

impl Path {
    /// `sums`: the sending card sums, as a veth claims to; otherwise the kernel does before.
    fn open(cable: &Cable, sums: bool) -> Self {
        let (rx, redirect) = cable.in_b(|| {
            let redirect = Redirect::attach(interface::info("b").unwrap().index);
            let socket = RxSocket::open(&RxConfig::new("b", 0)).unwrap();
            redirect.set(0, socket.as_fd());
            (socket, redirect)
        });
        let tx = cable.in_a(|| {
            lab::offload::set("a", "tx-checksum-ip-generic", sums).unwrap();
            PacketSender::open("a", 2 * PACKETS_MAX, ETHERNET_LEN + MTU, 1).unwrap()
        });
        Self { tx, rx, _redirect: redirect }
    }

    fn send(&mut self, packets: &[Vec<u8>]) {
        for packet in packets {
            let mut frame = self.tx.take().expect("a free frame");
            frame[..packet.len()].copy_from_slice(packet);
            self.tx.submit(frame, packet.len()).expect("a length that a packet may have");
        }
        assert_eq!(self.tx.kick().unwrap(), 0, "a veth takes what it is given");
    }

    fn receive(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut received = Vec::new();
        while received.len() < count && (!self.rx.is_empty() || wait_readable(&[self.rx.as_fd()], SOON).unwrap()) {
            self.rx.receive(64, |packet| received.push(packet.to_vec()));
        }
        received
    }
}

/// The same packet, but for IP's identification and the sums, which are right. `summed`: UDP's, if there is one, is complete.
fn assert_same(received: &[u8], sent: &[u8], summed: bool) {
    let Ok(datagram) = parse_udp(sent) else {
        assert_eq!(received, sent);
        return;
    };
    assert_eq!(parse_udp(received).as_ref(), Ok(&datagram));
    assert_eq!((received.len(), &received[..ETHERNET_LEN]), (sent.len(), &sent[..ETHERNET_LEN]));
    let (addresses, udp) = if datagram.source.is_ipv4() {
        assert_eq!(packet::checksum(&received[14..34]), 0, "IP's sum");
        assert_eq!(received[14..16], sent[14..16]);
        assert_eq!(received[20..24], sent[20..24], "no fragment, time to live, protocol");
        (26..34, 34)
    } else {
        (22..54, 54)
    };
    if summed && received[udp + 6..udp + 8] != [0, 0] {
        let mut bytes = received[addresses].to_vec();
        bytes.extend([0, 17]);
        bytes.extend(((received.len() - udp) as u16).to_be_bytes());
        bytes.extend(&received[udp..]);
        assert_eq!(packet::checksum(&bytes), 0, "UDP's sum");
    }
}

#[test]
fn packets_arrive_as_they_were_given_however_they_were_joined() {
    const NAME: &str = "packets_arrive_as_they_were_given_however_they_were_joined";
    if !may_run(NAME) {
        return;
    }
    let kind = prop_oneof![
        4 => Just(Kind::Link),
        1 => Just(Kind::Ethernet),
        2 => (0..3_u16).prop_map(Kind::V4),
        2 => (0..3_u16).prop_map(Kind::V6),
    ];
    let len = prop_oneof![0..60_usize, 1300..1438_usize, Just(1438)];
    let runs = prop::collection::vec((kind, len, 1..70_usize), 1..6);
    for sums in [true, false] {
        let cable = Cable::new(MTU as u32, 1);
        let path = RefCell::new(Path::open(&cable, sums));
        TestRunner::new(Config::with_cases(60))
            .run(&runs, |runs| {
                let kinds = runs.iter().flat_map(|&(kind, len, count)| std::iter::repeat_n((kind, len), count));
                let packets = kinds.take(PACKETS_MAX).enumerate();
                let packets: Vec<_> = packets.map(|(number, (kind, len))| packet(kind, number, len)).collect();
                path.borrow_mut().send(&packets);
                let received = path.borrow_mut().receive(packets.len());
                prop_assert_eq!(received.len(), packets.len());
                for (received, sent) in received.iter().zip(&packets) {
                    assert_same(received, sent, !sums);
                }
                Ok(())
            })
            .unwrap();
        let tx = path.into_inner().tx;
        assert_eq!((tx.errors(), tx.free_frames()), (0, 2 * PACKETS_MAX));
    }
}

/// A sender on the end "a" of a cable whose other end has no program, so that it takes whole messages.
fn sender(cable: &Cable) -> PacketSender {
    cable.in_a(|| PacketSender::open("a", 64, 4096, 1).unwrap())
}

fn submit(tx: &mut PacketSender, bytes: &[u8]) {
    let mut frame = tx.take().expect("a free frame");
    frame[..bytes.len()].copy_from_slice(bytes);
    tx.submit(frame, bytes.len()).expect("a length that a packet may have");
}

/// What has come to the end "b": messages that were not cut count once.
fn arrived(cable: &Cable) -> u64 {
    cable.at_b("cat /sys/class/net/b/statistics/rx_packets").trim().parse().unwrap()
}

#[test]
fn packets_of_a_flow_go_through_the_kernel_as_one() {
    const NAME: &str = "packets_of_a_flow_go_through_the_kernel_as_one";
    if !may_run(NAME) {
        return;
    }
    let cable = Cable::new(MTU as u32, 1);
    let mut tx = sender(&cable);
    (0..60).for_each(|number| submit(&mut tx, &packet(Kind::Link, number, 1400)));
    assert_eq!(tx.kick().unwrap(), 0);
    assert_eq!(arrived(&cable), 2, "46 frames are what the length fields can say");
}

#[test]
fn what_is_too_large_or_dropped_by_a_rule_is_counted_and_the_rest_goes_on() {
    const NAME: &str = "what_is_too_large_or_dropped_by_a_rule_is_counted_and_the_rest_goes_on";
    if !may_run(NAME) {
        return;
    }
    let cable = Cable::new(MTU as u32, 1);
    let mut tx = sender(&cable);
    submit(&mut tx, &packet(Kind::Ethernet, 0, 3000));
    submit(&mut tx, &packet(Kind::Link, 1, 1000));
    assert_eq!((tx.kick().unwrap(), tx.errors(), arrived(&cable)), (0, 1, 1));
    let short = tx.take().unwrap();
    let short = tx.submit(short, 13).expect_err("shorter than a header");
    tx.release(short);

    cable.at_a(
        "nft \"table netdev t { chain c { type filter hook egress device a priority 0; udp sport 40001 drop; }; }\"",
    );
    for session in [1, 1, 1, 2, 2, 1] {
        submit(&mut tx, &packet(Kind::V4(session), 0, 100));
    }
    assert_eq!((tx.kick().unwrap(), tx.errors(), arrived(&cable)), (0, 5, 2), "both of session 2 as one message");
    assert_eq!(tx.free_frames(), 64);
}

#[test]
fn what_cannot_leave_while_the_interface_is_down_waits_and_a_lost_interface_ends_the_sender() {
    const NAME: &str = "what_cannot_leave_while_the_interface_is_down_waits_and_a_lost_interface_ends_the_sender";
    if !may_run(NAME) {
        return;
    }
    let cable = Cable::new(MTU as u32, 1);
    let unknown = cable.in_a(|| PacketSender::open("nowhere", 1, 2048, 1).expect_err("no such interface"));
    assert!(matches!(unknown, XskError::NoInterface(_)), "{unknown}");
    let mut tx = sender(&cable);
    let good = packet(Kind::Link, 1, 1000);
    cable.at_a("ip link set dev a down");
    submit(&mut tx, &good);
    assert_eq!((tx.kick().unwrap(), tx.errors(), tx.free_frames()), (1, 0, 63));
    cable.at_a("ip link set dev a up");
    assert_eq!((tx.kick().unwrap(), tx.free_frames(), arrived(&cable)), (0, 64, 1));
    cable.at_a("ip link del dev a");
    submit(&mut tx, &good);
    let gone = tx.kick().expect_err("no interface");
    assert!(matches!(gone, XskError::NoInterface(_)), "{gone}");
}
