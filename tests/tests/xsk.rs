//! `relay::xsk` with the real kernel: two network namespaces, a veth pair, `AF_XDP` at both ends.

mod support;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use relay::xsk::{RxConfig, RxSocket, TxConfig, TxSocket, XskError, ZeroCopy, interface, wait_readable};
use support::{Cable, Redirect, may_run};

/// Ethernet header of the test's packets: broadcast, from a local address, experimental type (IEEE 802).
const HEADER: [u8; 14] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
/// Header, then the sequence number.
const BODY: usize = HEADER.len() + 8;

/// The bytes of packet `sequence`: every one depends on the number and on its place.
fn write_packet(packet: &mut [u8], sequence: u64) {
    packet[..HEADER.len()].copy_from_slice(&HEADER);
    packet[HEADER.len()..BODY].copy_from_slice(&sequence.to_be_bytes());
    for (at, byte) in packet[BODY..].iter_mut().enumerate() {
        *byte = (sequence as u8) ^ (at as u8) ^ (at >> 8) as u8;
    }
}

/// The sequence number of a packet; panics if any byte is not as sent.
fn read_packet(packet: &[u8]) -> u64 {
    assert_eq!(packet[..HEADER.len()], HEADER);
    let sequence = u64::from_be_bytes(packet[HEADER.len()..BODY].try_into().unwrap());
    for (at, byte) in packet[BODY..].iter().enumerate() {
        assert_eq!(*byte, (sequence as u8) ^ (at as u8) ^ (at >> 8) as u8, "byte {at} of packet {sequence}");
    }
    sequence
}

/// A sender, a receiver, and the program between them.
struct Path {
    tx: TxSocket,
    rx: RxSocket,
    _redirect: Redirect,
}

fn open(cable: &Cable, tx: &TxConfig, rx: &RxConfig) -> Path {
    let (rx, redirect) = cable.in_b(|| {
        let redirect = Redirect::attach(interface::info("b").unwrap().index);
        let socket = RxSocket::open(rx).unwrap();
        redirect.set(rx.queue, socket.as_fd());
        (socket, redirect)
    });
    let tx = cable.in_a(|| TxSocket::open(tx).unwrap());
    Path { tx, rx, _redirect: redirect }
}

impl Path {
    /// Submits up to `count` packets from number `first` on and kicks; returns how many were submitted.
    fn send(&mut self, first: u64, count: u64, len: u32) -> u64 {
        let mut sent = 0;
        while sent < count {
            let Some(mut frame) = self.tx.take() else { break };
            write_packet(&mut self.tx.bytes(&mut frame)[..len as usize], first + sent);
            if let Err(frame) = self.tx.submit(frame, len) {
                self.tx.release(frame);
                break;
            }
            sent += 1;
        }
        self.tx.kick().unwrap();
        sent
    }
}

/// Sends `count` packets with at most `window` on their way (fewer than any queue on the path holds), and checks
/// that each arrives once, in order, intact.
fn exchange(path: &mut Path, count: u64, len: u32, window: u64) {
    let (mut sent, mut received) = (0, 0);
    while received < count {
        let credit = (window - (sent - received)).min(count - sent).min(64);
        sent += path.send(sent, credit, len);
        let ready = !path.rx.is_empty() || wait_readable(&[path.rx.as_fd()], Duration::from_secs(5)).unwrap();
        assert!(ready, "{sent} sent, {received} received: {:?} {:?}", path.rx.statistics(), path.tx.counters());
        path.rx.receive(64, |packet| {
            assert_eq!(packet.len(), len as usize);
            assert_eq!(read_packet(packet), received, "in order, each once");
            received += 1;
        });
    }
    assert_eq!(path.tx.kick().unwrap(), 0);
    assert!(path.rx.is_empty());
}

#[test]
fn a_million_frames_arrive_once_and_intact() {
    if !may_run("a_million_frames_arrive_once_and_intact") {
        return;
    }
    let cable = Cable::new(1500, 1);
    let mut path = open(&cable, &TxConfig::new("a", 0), &RxConfig::new("b", 0));
    eprintln!("tx: {}; rx: {}", path.tx.mode(), path.rx.mode());
    assert!(!path.rx.mode().zero_copy, "veth has no zero-copy");
    assert_eq!(path.rx.mode().zero_copy_refused, Some(libc::EOPNOTSUPP));
    exchange(&mut path, 1_000_000, 256, 128);
    let (rx, kernel) = (path.rx.counters(), path.rx.statistics().unwrap());
    assert_eq!((rx.packets, rx.bytes, rx.kernel_faults), (1_000_000, 256_000_000, 0));
    assert_eq!((kernel.rx_dropped, kernel.rx_ring_full, kernel.rx_invalid_descriptors), (0, 0, 0));
    path.tx.reap();
    assert_eq!((path.tx.free_frames(), path.tx.outstanding()), (4096, 0), "every frame came back");
    let tx = path.tx.counters();
    assert_eq!((tx.submitted, tx.completed, tx.kernel_faults), (1_000_000, 1_000_000, 0));
    assert_eq!(path.tx.statistics().unwrap().tx_invalid_descriptors, 0);
}

#[test]
fn a_full_rx_ring_loses_exactly_what_the_statistics_say() {
    if !may_run("a_full_rx_ring_loses_exactly_what_the_statistics_say") {
        return;
    }
    let cable = Cable::new(1500, 1);
    let rx = RxConfig { ring_size: 64, frame_count: 256, ..RxConfig::new("b", 0) };
    let mut path = open(&cable, &TxConfig::new("a", 0), &rx);
    for batch in 0..4 {
        assert_eq!(path.send(batch * 50, 50, 100), 50);
        while path.tx.outstanding() > 0 {
            path.tx.kick().unwrap();
            path.tx.reap();
        }
    }
    let mut sequences = Vec::new();
    while path.rx.receive(64, |packet| sequences.push(read_packet(packet))) > 0 {}
    assert_eq!(sequences, (0..64).collect::<Vec<_>>(), "the first ring of packets");
    let kernel = path.rx.statistics().unwrap();
    assert_eq!((kernel.rx_ring_full, kernel.rx_dropped), (136, 0));
}

#[test]
fn jumbo_packets_come_over_several_frames() {
    if !may_run("jumbo_packets_come_over_several_frames") {
        return;
    }
    let cable = Cable::new(3400, 1);
    let tx = TxConfig { frame_size: 4096, ..TxConfig::new("a", 0) };
    let mut path = open(&cable, &tx, &RxConfig::new("b", 0));
    assert!(path.rx.mode().multi_buffer);
    exchange(&mut path, 20_000, 3414, 32);
    assert_eq!(path.rx.counters().gathered, 20_000);
}

#[test]
fn an_mtu_beyond_one_frame_is_refused_without_multi_buffer() {
    if !may_run("an_mtu_beyond_one_frame_is_refused_without_multi_buffer") {
        return;
    }
    let cable = Cable::new(3400, 1);
    let config = RxConfig { multi_buffer: false, ..RxConfig::new("b", 0) };
    let error = cable.in_b(|| RxSocket::open(&config)).err().unwrap();
    assert!(matches!(error, XskError::Mtu { mtu: 3400, mtu_max: 1770, .. }), "{error}");
    let larger = RxConfig { frame_size: 4096, ..config };
    assert!(cable.in_b(|| RxSocket::open(&larger)).is_ok());
}

#[test]
fn a_held_queue_is_busy_and_a_closed_one_can_be_opened_at_once() {
    if !may_run("a_held_queue_is_busy_and_a_closed_one_can_be_opened_at_once") {
        return;
    }
    let cable = Cable::new(1500, 2);
    cable.in_b(|| {
        let config = RxConfig::new("b", 1);
        let first = RxSocket::open(&config).unwrap();
        let error = RxSocket::open(&config).err().unwrap();
        assert!(matches!(error, XskError::Busy { .. }), "{error}");
        for part in ["bind(", "interface b, queue 1", "stop the other program"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        drop(first);
        for _ in 0..20 {
            drop(RxSocket::open(&config).unwrap());
        }
        let _other_queue = RxSocket::open(&RxConfig::new("b", 0)).unwrap();
    });
}

#[test]
fn what_cannot_be_opened_says_why() {
    if !may_run("what_cannot_be_opened_says_why") {
        return;
    }
    let cable = Cable::new(1500, 2);
    cable.in_a(|| {
        let info = interface::info("a").unwrap();
        assert_eq!((info.mtu, info.rx_queues, info.tx_queues), (1500, 2, 2));
        let error = TxSocket::open(&TxConfig::new("a", 2)).err().unwrap();
        assert!(error.to_string().contains("use 0 to 1"), "{error}");
        let error = TxSocket::open(&TxConfig::new("nowhere", 0)).err().unwrap();
        assert!(matches!(error, XskError::NoInterface(_)), "{error}");
    });
}

#[test]
fn a_down_interface_comes_back_and_a_lost_one_is_an_error() {
    if !may_run("a_down_interface_comes_back_and_a_lost_one_is_an_error") {
        return;
    }
    let cable = Cable::new(1500, 1);
    let mut path = open(&cable, &TxConfig::new("a", 0), &RxConfig::new("b", 0));
    exchange(&mut path, 10, 100, 10);
    path.rx.check().unwrap();

    cable.at_a("ip link set dev a down");
    cable.at_b("ip link set dev b down");
    assert_eq!(path.send(0, 1, 100), 1);
    assert_eq!(path.tx.counters().kicks_down, 1);
    assert_eq!(path.tx.kick().unwrap(), 1, "it waits");
    let error = path.rx.check().unwrap_err();
    assert!(matches!(error, XskError::Down(_)), "{error}");

    cable.at_b("ip link set dev b up");
    cable.at_a("ip link set dev a up");
    assert_eq!(path.tx.kick().unwrap(), 0, "what waited leaves when the interface is up again");
    path.rx.check().unwrap();
    while path.rx.receive(64, |packet| assert_eq!(read_packet(packet), 0)) == 0 {
        assert!(wait_readable(&[path.rx.as_fd()], Duration::from_secs(5)).unwrap(), "and arrives");
    }

    cable.at_a("ip link del dev a");
    let frame = path.tx.take().unwrap();
    path.tx.submit(frame, 100).unwrap();
    let error = path.tx.kick().unwrap_err();
    assert!(matches!(error, XskError::NoInterface(_)), "{error}");
    let error = path.rx.check().unwrap_err();
    assert!(matches!(error, XskError::NoInterface(_)), "{error}");
    assert_eq!(path.rx.receive(64, |_| ()), 0);
}

#[test]
fn a_process_without_the_capability_is_told_which() {
    if !may_run("a_process_without_the_capability_is_told_which") {
        return;
    }
    let cable = Cable::new(1500, 1);
    cable.in_a(|| {
        // The capability is dropped for this thread alone, which ends with the closure.
        drop_net_raw();
        let error = TxSocket::open(&TxConfig::new("a", 0)).err().unwrap();
        assert!(matches!(error, XskError::Permission(_)), "{error}");
        for part in ["CAP_NET_RAW", "driver = \"socket\""] {
            assert!(error.to_string().contains(part), "{error}");
        }
    });
}

/// Clears the calling thread's effective capabilities (capset(2), version 3 of its header).
fn drop_net_raw() {
    let header = [0x2008_0522_u32, 0];
    let none = [0_u32; 6];
    // SAFETY: the kernel reads both arrays, of the sizes that version 3 demands.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    assert_eq!(result, 0, "capset: {}", std::io::Error::last_os_error());
}

/// Not a check but a figure: `cargo test --test xsk -- --ignored --nocapture`.
#[test]
#[ignore = "prints rates, asserts nothing about them"]
fn rates() {
    if !may_run("rates") {
        return;
    }
    for threaded in [false, true] {
        for len in [64, 1514] {
            rate(threaded, len);
        }
    }
}

/// Sends as fast as it goes from one thread and receives on another, for two seconds.
fn rate(threaded: bool, len: u32) {
    let cable = Cable::new(1500, 1);
    let rx = RxConfig { zero_copy: ZeroCopy::Never, ..RxConfig::new("b", 0) };
    let Path { mut tx, mut rx, _redirect } = open(&cable, &TxConfig::new("a", 0), &rx);
    if threaded {
        cable.at_b("echo 1 > /sys/class/net/b/threaded");
    }
    let limit = Duration::from_secs(2);
    let (sender, receiver) = std::thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let start = Instant::now();
            while start.elapsed() < limit {
                for _ in 0..64 {
                    let Some(mut frame) = tx.take() else { break };
                    tx.bytes(&mut frame)[..HEADER.len()].copy_from_slice(&HEADER);
                    if let Err(frame) = tx.submit(frame, len) {
                        tx.release(frame);
                        break;
                    }
                }
                if tx.kick().unwrap() > 0 {
                    std::thread::yield_now();
                }
            }
            tx.counters()
        });
        let receiver = scope.spawn(move || {
            let start = Instant::now();
            while start.elapsed() < limit {
                if rx.receive(64, |_| ()) == 0 {
                    let _ready = wait_readable(&[rx.as_fd()], Duration::from_millis(1));
                }
            }
            (rx.counters(), rx.statistics().unwrap())
        });
        (sender.join().unwrap(), receiver.join().unwrap())
    });
    let mpps = |packets: u64| packets as f64 / limit.as_secs_f64() / 1e6;
    eprintln!(
        "{len} B, threaded NAPI {threaded}: sent {:.2} Mpps, received {:.2} Mpps {:.1} Gb/s\n  \
         {sender:?}\n  {receiver:?}",
        mpps(sender.completed),
        mpps(receiver.0.packets),
        receiver.0.bytes as f64 * 8.0 / limit.as_secs_f64() / 1e9,
    );
}
