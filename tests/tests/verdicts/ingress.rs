//! `blue_ingress` on the test bench: its rules, and one packet's expected verdict and counters.

use std::os::fd::{AsFd as _, OwnedFd};

use relay::steer::{BlueIngress, IngressCounters, IngressCounts, IngressOptions, Protocol, Rule, StreamCounters};

use crate::{
    packets::{IPV4, IPV6, Ipv4, OWN_MAC, UDP, ethernet, ip, ipv6, udp},
    rig::{self, INTERFACE, Program, Verdict, in_namespace, xdp_socket},
};

/// The UDP stream.
pub const SYSLOG: u32 = 3;
pub const SYSLOG_PORT: u16 = 514;
/// The TCP stream.
pub const HISTORIAN: u32 = 7;
pub const HISTORIAN_PORT: u16 = 601;
/// A UDP stream that nobody may send to.
pub const CLOSED: u32 = 9;
pub const CLOSED_PORT: u16 = 700;

/// In 10.0.0.0/8.
pub const ALLOWED: &str = "10.1.2.3";
pub const REFUSED: &str = "11.1.2.3";
/// In `fd00:10::/32`.
pub const ALLOWED6: &str = "fd00:10::5";
pub const REFUSED6: &str = "fd00:11::5";

fn rules() -> Vec<Rule> {
    let sources = |list: &[(&str, u8)]| list.iter().map(|(a, len)| (a.parse().unwrap(), *len)).collect();
    let zone = sources(&[("10.0.0.0", 8), ("192.168.100.11", 32), ("fd00:10::", 32)]);
    vec![
        Rule { slot: SYSLOG, protocol: Protocol::Udp, port: SYSLOG_PORT, sources: zone },
        Rule {
            slot: HISTORIAN,
            protocol: Protocol::Tcp,
            port: HISTORIAN_PORT,
            sources: sources(&[("10.1.2.0", 24), ("fd00:10::", 64)]),
        },
        Rule { slot: CLOSED, protocol: Protocol::Udp, port: CLOSED_PORT, sources: Vec::new() },
    ]
}

/// The one place where a packet is expected to be counted.
#[derive(Clone, Copy, Debug)]
pub enum Counted {
    Allowed(u32),
    Passed(u32),
    Fragment(u32),
    /// With an event.
    Refused(u32),
    /// With an event.
    NoSocket(u32),
    Other,
    Malformed,
    TooDeep,
    LaterFragment,
    OtherMac,
}

impl Counted {
    fn counts(self, frame_len: usize) -> IngressCounts {
        let mut other = IngressCounters::default();
        let mut stream = StreamCounters::default();
        let slot = match self {
            Self::Allowed(slot) => {
                stream.allowed = 1;
                stream.allowed_bytes = frame_len as u64;
                Some(slot)
            }
            Self::Passed(slot) => {
                stream.passed = 1;
                Some(slot)
            }
            Self::Fragment(slot) => {
                stream.fragments = 1;
                Some(slot)
            }
            Self::Refused(slot) => {
                (stream.refused_source, other.events) = (1, 1);
                Some(slot)
            }
            Self::NoSocket(slot) => {
                (stream.no_socket, other.events) = (1, 1);
                Some(slot)
            }
            Self::Other => {
                other.other = 1;
                None
            }
            Self::Malformed => {
                other.malformed = 1;
                None
            }
            Self::TooDeep => {
                other.headers_too_deep = 1;
                None
            }
            Self::LaterFragment => {
                other.later_fragments = 1;
                None
            }
            Self::OtherMac => {
                other.other_mac = 1;
                None
            }
        };
        let counters = |s| (s, if Some(s) == slot { stream } else { StreamCounters::default() });
        IngressCounts { streams: [SYSLOG, HISTORIAN, CLOSED].map(counters).to_vec(), other }
    }
}

/// `blue_ingress` with the rules above.
pub struct Rig {
    pub ingress: BlueIngress,
    pub program: Program,
    _socket: Option<OwnedFd>,
}

impl Rig {
    pub fn new(options: IngressOptions, with_socket: bool) -> Self {
        let mut ingress = BlueIngress::attach(INTERFACE, &options).expect("attaches");
        ingress.update(&rules()).expect("takes the rules");
        let socket = with_socket.then(xdp_socket);
        if let Some(socket) = &socket {
            ingress.register(0, socket.as_fd()).expect("takes the socket");
        }
        Self { ingress, program: Program::attached(), _socket: socket }
    }

    /// With a socket, passing what is not ours, and more events than the cases cause.
    pub fn usual() -> Self {
        Self::new(options(), true)
    }

    pub fn expect(&self, case: &str, frame: &[u8], verdict: Verdict, counted: Counted) {
        let before = self.ingress.counters().expect("reads the counters");
        assert_eq!(self.program.run(frame), verdict, "verdict of: {case}");
        let after = self.ingress.counters().expect("reads the counters");
        assert_eq!(difference(&after, &before), counted.counts(frame.len()), "counters of: {case}");
    }

    pub fn expect_all(&self, cases: &[(&str, Vec<u8>, Verdict, Counted)]) {
        for (case, frame, verdict, counted) in cases {
            self.expect(case, frame, *verdict, *counted);
        }
    }
}

pub fn options() -> IngressOptions {
    IngressOptions { own_mac: Some(OWN_MAC), events_per_second: u32::MAX, ..IngressOptions::default() }
}

fn difference(after: &IngressCounts, before: &IngressCounts) -> IngressCounts {
    let streams = after.streams.iter().zip(&before.streams).map(|((slot, after), (_, before))| {
        let counters = StreamCounters {
            allowed: after.allowed - before.allowed,
            allowed_bytes: after.allowed_bytes - before.allowed_bytes,
            passed: after.passed - before.passed,
            fragments: after.fragments - before.fragments,
            refused_source: after.refused_source - before.refused_source,
            no_socket: after.no_socket - before.no_socket,
        };
        (*slot, counters)
    });
    let (a, b) = (&after.other, &before.other);
    let other = IngressCounters {
        other: a.other - b.other,
        malformed: a.malformed - b.malformed,
        headers_too_deep: a.headers_too_deep - b.headers_too_deep,
        later_fragments: a.later_fragments - b.later_fragments,
        other_mac: a.other_mac - b.other_mac,
        events: a.events - b.events,
        events_suppressed: a.events_suppressed - b.events_suppressed,
        events_lost: a.events_lost - b.events_lost,
    };
    IngressCounts { streams: streams.collect(), other }
}

/// A test of `blue_ingress` in a namespace of its own.
pub fn ingress_test(name: &str, test: impl FnOnce(&Rig) + Send + 'static) {
    if rig::is_root_or_skip(name) {
        in_namespace(|| test(&Rig::usual()));
    }
}

/// An allowed datagram.
pub fn datagram() -> Vec<u8> {
    ip(ALLOWED, UDP, &udp(SYSLOG_PORT))
}

/// A refused one.
pub fn refused_datagram() -> Vec<u8> {
    ip(REFUSED, UDP, &udp(SYSLOG_PORT))
}

/// An allowed datagram over IPv4, whose header a case may change.
pub fn ipv4(change: impl FnOnce(&mut Ipv4)) -> Vec<u8> {
    let mut header = Ipv4::new(ALLOWED, UDP);
    change(&mut header);
    ethernet(IPV4, &header.wrap(&udp(SYSLOG_PORT)))
}

pub fn over_ipv6(source: &str, next: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(IPV6, &ipv6(source, next, payload))
}
