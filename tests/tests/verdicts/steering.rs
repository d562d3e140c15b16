//! What `relay::steer` does around the programs: updates, events, attaching and its errors.

use std::{
    net::IpAddr,
    os::fd::{AsFd as _, AsRawFd as _},
};

use relay::steer::{
    BlueIngress, DropReason, Encapsulation, Events, IngressOptions, Mode, Protocol, ReceivingLink, Rule, SendingLink,
    SteerError,
};

use crate::{
    packets::{IPV4, Ipv4, OWN_MAC, SOURCE_PORT, TCP, UDP, ethernet, ip, syn, udp},
    rig::{self, INTERFACE, Program, Verdict, in_namespace, xdp_socket},
};

fn rule(slot: u32, protocol: Protocol, port: u16, sources: &[(&str, u8)]) -> Rule {
    let sources = sources.iter().map(|(address, len)| (address.parse().unwrap(), *len)).collect();
    Rule { slot, protocol, port, sources }
}

/// Runs a test of attached programs where that is possible.
fn steering_test(name: &str, test: impl FnOnce() + Send + 'static) {
    if rig::is_root_or_skip(name) {
        in_namespace(test);
    }
}

fn is_readable(events: &Events) -> bool {
    let mut poll = libc::pollfd { fd: events.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which lives through the call; a timeout of 0 does not wait.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
}

#[test]
fn an_event_says_who_was_refused_where() {
    steering_test("an_event_says_who_was_refused_where", || {
        let options = IngressOptions { own_mac: Some(OWN_MAC), ..IngressOptions::default() };
        let mut ingress = BlueIngress::attach(INTERFACE, &options).expect("attaches");
        ingress
            .update(&[rule(5, Protocol::Udp, 514, &[("10.0.0.1", 32)]), rule(6, Protocol::Tcp, 601, &[])])
            .expect("takes the rules");
        let mut events = ingress.take_events().expect("nobody took them");
        assert!(ingress.take_events().is_none());
        let program = Program::attached();
        assert!(!is_readable(&events));

        program.run(&ip("192.0.2.7", UDP, &udp(514)));
        program.run(&ip("2001:db8::7", TCP, &syn(601)));
        program.run(&ip("10.0.0.1", UDP, &udp(514)));
        assert!(is_readable(&events));
        let mut seen = Vec::new();
        assert_eq!(events.drain(|event| seen.push(event)), 3);
        assert!(!is_readable(&events));
        assert_eq!(events.drain(|_| panic!("drained already")), 0);

        let source = |address: &str| (address.parse::<IpAddr>().unwrap(), SOURCE_PORT).into();
        let said: Vec<_> =
            seen.iter().map(|e| (e.reason, e.slot, e.protocol, e.source, e.destination_port, e.suppressed)).collect();
        assert_eq!(
            said,
            [
                (DropReason::RefusedSource, 5, Protocol::Udp, source("192.0.2.7"), 514, 0),
                (DropReason::RefusedSource, 6, Protocol::Tcp, source("2001:db8::7"), 601, 0),
                (DropReason::NoSocket, 5, Protocol::Udp, source("10.0.0.1"), 514, 0),
            ]
        );
        assert!(seen.is_sorted_by_key(|event| event.at));
    });
}

/// The rate limit is per CPU, so the thread stays on one.
fn stay_on_one_cpu() {
    // SAFETY: a CPU set is plain data; the calls read and write it and affect this thread only.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(usize::try_from(libc::sched_getcpu()).expect("a CPU"), &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set), 0);
    }
}

#[test]
fn a_flood_of_refused_packets_gives_few_events_and_counts_the_rest() {
    steering_test("a_flood_of_refused_packets_gives_few_events_and_counts_the_rest", || {
        const LIMIT: u32 = 10;
        const FLOOD: u32 = 100_000;
        stay_on_one_cpu();
        let options = IngressOptions { events_per_second: LIMIT, ..IngressOptions::default() };
        let mut ingress = BlueIngress::attach(INTERFACE, &options).expect("attaches");
        ingress.update(&[rule(0, Protocol::Udp, 514, &[])]).expect("takes the rule");
        let mut events = ingress.take_events().expect("nobody took them");
        let program = Program::attached();
        program.repeat(&ip("192.0.2.7", UDP, &udp(514)), FLOOD);

        let mut seen = Vec::new();
        events.drain(|event| seen.push(event));
        let counts = ingress.counters().expect("reads the counters");
        assert_eq!(counts.streams[0].1.refused_source, u64::from(FLOOD));
        assert_eq!(counts.other.events, seen.len() as u64);
        assert_eq!(counts.other.events + counts.other.events_suppressed, u64::from(FLOOD));
        assert_eq!(counts.other.events_lost, 0);
        // One second's share for each second that the flood may have touched; more than that is no limit.
        let first = seen.first().expect("some events").at;
        let last = seen.last().expect("some events").at;
        let seconds = last.saturating_sub(first).as_secs() + 1;
        assert!(seen.len() as u64 <= seconds * u64::from(LIMIT), "{} events in {seconds} s", seen.len());
        assert!(seen.len() >= LIMIT as usize);
        let withheld: u64 = seen.iter().map(|event| u64::from(event.suppressed)).sum();
        assert!(withheld <= counts.other.events_suppressed);
    });
}

#[test]
fn events_can_be_turned_off_and_a_full_ring_is_counted() {
    steering_test("events_can_be_turned_off_and_a_full_ring_is_counted", || {
        stay_on_one_cpu();
        for (limit, flood) in [(0, 100), (u32::MAX, 5_000)] {
            let options = IngressOptions { events_per_second: limit, ..IngressOptions::default() };
            let mut ingress = BlueIngress::attach(INTERFACE, &options).expect("attaches");
            ingress.update(&[rule(0, Protocol::Udp, 514, &[])]).expect("takes the rule");
            Program::attached().repeat(&ip("192.0.2.7", UDP, &udp(514)), flood);
            let drained = ingress.take_events().expect("nobody took them").drain(|_| {}) as u64;
            let other = ingress.counters().expect("reads the counters").other;
            assert_eq!(other.events, drained);
            assert_eq!(other.events + other.events_lost + other.events_suppressed, u64::from(flood));
            if limit == 0 {
                assert_eq!(drained, 0);
            } else {
                assert!(other.events_lost > 0, "the ring is smaller than the flood");
            }
        }
    });
}

#[test]
fn an_update_replaces_the_rules_and_keeps_the_counters() {
    steering_test("an_update_replaces_the_rules_and_keeps_the_counters", || {
        let mut ingress = BlueIngress::attach(INTERFACE, &IngressOptions::default()).expect("attaches");
        let socket = xdp_socket();
        ingress.register(0, socket.as_fd()).expect("takes the socket");
        let program = Program::attached();
        let from = |source, port| ip(source, UDP, &udp(port));
        assert_eq!(program.run(&from("10.0.0.1", 514)), Verdict::Pass);

        ingress.update(&[rule(0, Protocol::Udp, 514, &[("10.0.0.0", 8)])]).expect("takes the rules");
        assert_eq!(program.run(&from("10.0.0.1", 514)), Verdict::Redirect);
        assert_eq!(program.run(&from("10.0.0.1", 515)), Verdict::Pass);

        // A narrower list, and the wider one for another port.
        let narrow = rule(0, Protocol::Udp, 514, &[("10.0.0.1", 32), ("fd00::1", 128)]);
        ingress.update(&[narrow, rule(1, Protocol::Udp, 515, &[("0.0.0.0", 0)])]).expect("takes the rules");
        assert_eq!(program.run(&from("10.0.0.1", 514)), Verdict::Redirect);
        assert_eq!(program.run(&from("10.0.0.2", 514)), Verdict::Drop);
        assert_eq!(program.run(&from("fd00::1", 514)), Verdict::Redirect);
        assert_eq!(program.run(&from("198.51.100.9", 515)), Verdict::Redirect);
        assert_eq!(program.run(&from("fd00::1", 515)), Verdict::Drop);

        // The slots change places with their ports' lists staying where they are.
        let swapped = [rule(1, Protocol::Udp, 514, &[("10.0.0.1", 32)]), rule(0, Protocol::Udp, 515, &[])];
        ingress.update(&swapped).expect("takes the rules");
        assert_eq!(program.run(&from("10.0.0.1", 514)), Verdict::Redirect);
        assert_eq!(program.run(&from("10.0.0.1", 515)), Verdict::Drop);

        // Rules that cannot be do not touch those that are.
        assert!(ingress.update(&[rule(0, Protocol::Udp, 1, &[("10.0.0.0", 40)])]).is_err());
        assert_eq!(program.run(&from("10.0.0.1", 514)), Verdict::Redirect);

        ingress.update(&[]).expect("takes no rules");
        assert_eq!(program.run(&from("10.0.0.1", 514)), Verdict::Pass);
        let streams = ingress.counters().expect("reads the counters").streams;
        let counted: Vec<_> = streams.iter().map(|(slot, s)| (*slot, s.allowed, s.refused_source)).collect();
        assert_eq!(counted, [(0, 3, 2), (1, 3, 1)]);
    });
}

#[test]
fn the_longest_prefix_is_found_among_many() {
    steering_test("the_longest_prefix_is_found_among_many", || {
        let mut ingress = BlueIngress::attach(INTERFACE, &IngressOptions::default()).expect("attaches");
        let socket = xdp_socket();
        ingress.register(0, socket.as_fd()).expect("takes the socket");
        let program = Program::attached();
        // Each stream has every second /24 of its own /16, and nests single hosts in the gaps.
        let rules: Vec<Rule> = (0..8_u8)
            .map(|slot| {
                let nets = (0..=255).step_by(2).map(|third| (IpAddr::from([10, slot, third, 0]), 24));
                let hosts = (1..=255).step_by(2).map(|third| (IpAddr::from([10, slot, third, 9]), 32));
                let port = 5000 + u16::from(slot);
                Rule { slot: slot.into(), protocol: Protocol::Udp, port, sources: nets.chain(hosts).collect() }
            })
            .collect();
        ingress.update(&rules).expect("takes the rules");
        for (slot, third, fourth) in (0..8_u8).flat_map(|s| (0..=255_u8).flat_map(move |t| [(s, t, 9), (s, t, 10)])) {
            for stream in [slot, (slot + 1) % 8] {
                let mut header = Ipv4::new("10.0.0.0", UDP);
                header.source = [10, slot, third, fourth].into();
                let frame = ethernet(IPV4, &header.wrap(&udp(5000 + u16::from(stream))));
                let is_allowed = stream == slot && (third % 2 == 0 || fourth == 9);
                let verdict = if is_allowed { Verdict::Redirect } else { Verdict::Drop };
                assert_eq!(program.run(&frame), verdict, "{} to stream {stream}", header.source);
            }
        }
    });
}

#[test]
fn the_most_streams_fit_and_one_more_is_refused() {
    steering_test("the_most_streams_fit_and_one_more_is_refused", || {
        let mut ingress = BlueIngress::attach(INTERFACE, &IngressOptions::default()).expect("attaches");
        let stream = |slot: u16| rule(slot.into(), Protocol::Udp, 1000 + slot, &[("10.0.0.0", 8)]);
        let most: Vec<Rule> = (0..1024).map(stream).collect();
        ingress.update(&most).expect("takes as many as there are");
        // All ports at once make way for others: the table never holds both.
        let moved: Vec<Rule> = most.iter().map(|rule| Rule { port: rule.port + 2000, ..rule.clone() }).collect();
        ingress.update(&moved).expect("takes as many others");
        let program = Program::attached();
        assert_eq!(program.run(&ip("11.0.0.1", UDP, &udp(2000))), Verdict::Pass);
        assert_eq!(program.run(&ip("11.0.0.1", UDP, &udp(4023))), Verdict::Drop);
        let streams = ingress.counters().expect("reads the counters").streams;
        assert_eq!(streams.last().map(|(slot, s)| (*slot, s.refused_source)), Some((1023, 1)));
        let more: Vec<Rule> = (0..1025).map(stream).collect();
        assert!(matches!(ingress.update(&more), Err(SteerError::TooManyStreams { count: 1025 })));
    });
}

#[test]
fn programs_attach_natively_also_at_jumbo_mtu_and_go_with_their_owner() {
    steering_test("programs_attach_natively_also_at_jumbo_mtu_and_go_with_their_owner", || {
        rig::ip(&format!("link set dev {INTERFACE} mtu 9000"));
        let ingress = BlueIngress::attach(INTERFACE, &IngressOptions::default()).expect("attaches");
        assert_eq!(ingress.mode(), Mode::Native);
        drop(ingress);
        assert_eq!(rig::program_id(INTERFACE), None);
        let link = SendingLink::attach(INTERFACE).expect("attaches");
        assert_eq!(link.mode(), Mode::Native);
        drop(link);
        let link = ReceivingLink::attach(INTERFACE, 7400, Encapsulation::Udp).expect("attaches");
        assert_eq!(link.mode(), Mode::Native);
    });
}

#[test]
fn without_driver_support_the_generic_hook_is_used() {
    steering_test("without_driver_support_the_generic_hook_is_used", || {
        // The dummy and loopback drivers have no XDP.
        let link = SendingLink::attach("lo").expect("attaches");
        assert_eq!(link.mode(), Mode::Generic);
        assert!(rig::ip("link show dev lo").contains("xdpgeneric"));
    });
}

#[test]
fn a_second_program_is_refused_with_the_remedy() {
    steering_test("a_second_program_is_refused_with_the_remedy", || {
        let first = SendingLink::attach(INTERFACE).expect("attaches");
        let error = SendingLink::attach(INTERFACE).err().expect("is taken");
        assert!(matches!(&error, SteerError::Occupied { interface } if interface == INTERFACE), "{error}");
        assert!(error.to_string().contains(&format!("ip link set dev {INTERFACE} xdp off")), "{error}");
        // A generic program that is there already must not be shadowed either.
        drop(first);
        let generic = SendingLink::attach("lo").expect("attaches");
        assert!(matches!(SendingLink::attach("lo"), Err(SteerError::Occupied { .. })));
        drop(generic);
        SendingLink::attach("lo").expect("is free again");
    });
}

#[test]
fn wrong_interfaces_and_queues_are_named() {
    steering_test("wrong_interfaces_and_queues_are_named", || {
        for name in ["nowhere0", "", "a name\0with a null"] {
            let error = SendingLink::attach(name).err().expect("does not exist");
            assert!(matches!(&error, SteerError::NoInterface { interface } if interface == name), "{error}");
        }
        let mut link = ReceivingLink::attach(INTERFACE, 7400, Encapsulation::Udp).expect("attaches");
        let socket = xdp_socket();
        let error = link.register(1024, socket.as_fd()).expect_err("is out of range");
        assert!(matches!(error, SteerError::QueueOutOfRange { queue: 1024 }), "{error}");
        // Not an AF_XDP socket.
        let file = std::fs::File::open("/dev/null").expect("opens");
        assert!(matches!(link.register(0, file.as_fd()), Err(SteerError::Map { map: "SOCKETS", .. })));
    });
}

/// Takes all other capabilities from this thread, for good.
fn keep_capabilities(keep: u64) {
    let header: [u32; 2] = [0x2008_0522, 0];
    let (low, high) = (keep as u32, (keep >> 32) as u32);
    let data: [u32; 6] = [low, low, 0, high, high, 0];
    // SAFETY: the layouts of capset(2), version 3; both live through the call, which affects this thread only.
    let set = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    assert_eq!(set, 0, "capset: {}", std::io::Error::last_os_error());
}

const CAP_BPF: u64 = 1 << 39;
const CAP_PERFMON: u64 = 1 << 38;
const CAP_NET_ADMIN: u64 = 1 << 12;

#[test]
fn three_capabilities_are_enough() {
    steering_test("three_capabilities_are_enough", || {
        keep_capabilities(CAP_BPF | CAP_PERFMON | CAP_NET_ADMIN);
        let mut ingress = BlueIngress::attach(INTERFACE, &IngressOptions::default()).expect("attaches");
        ingress.update(&[rule(0, Protocol::Udp, 514, &[("10.0.0.0", 8)])]).expect("takes the rule");
        ingress.counters().expect("reads the counters");
        drop(ingress);
        ReceivingLink::attach(INTERFACE, 7400, Encapsulation::Udp).expect("attaches");
    });
}

#[test]
fn each_missing_capability_is_named() {
    let all = [("CAP_BPF", CAP_BPF), ("CAP_PERFMON", CAP_PERFMON), ("CAP_NET_ADMIN", CAP_NET_ADMIN)];
    for (name, missing) in all {
        steering_test("each_missing_capability_is_named", move || {
            keep_capabilities((CAP_BPF | CAP_PERFMON | CAP_NET_ADMIN) & !missing);
            let error = BlueIngress::attach(INTERFACE, &IngressOptions::default()).err().expect("is not permitted");
            assert!(matches!(error, SteerError::Privilege { .. }), "{error}");
            assert!(error.to_string().contains(&format!("{name} is missing")), "{error}");
            assert!(error.to_string().contains("driver = \"socket\""), "{error}");
        });
    }
}
