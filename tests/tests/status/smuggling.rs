//! A RED that wants to bring data back: nothing but well-formed statuses gets through BLUE's end of the return link.
//!
//! The attacker has everything that RED has: the link's key, its epoch, its card, and the UUIDs of its sessions.

use std::net::Shutdown;

use lab::path::{Ground, Path5};
use lab::traffic::tcp::{self, End, send, send_on};
use lab::{Stream, Syslog, Tap, address, require_root};
use relay::config::{self, Purpose, Role, Site};
use relay::host::{LinkEnd, byte_channel, encoder, link_key, sender_channel};
use relay::link::socket::SocketTx;
use relay::link::{Claim, Delivery, Receiver, ReceiverConfig, Sender, SenderConfig, Settled, Sink};
use relay::wire::{
    Direction, FLAG_ABORT, FLAG_END, FRAME_OVERHEAD, RecordHead, RecordType, STATUS_LEN, Standing, Status,
};

use super::rig::{self, About, PORT};

const BYTES: u64 = 1_000_000;
/// A session that BLUE never began.
const NOBODY: [u8; 16] = [7; 16];
/// The attacker's own lane: RED itself goes on, on lane 0.
const LANE: u16 = 1;
/// Longer than any clock of a block.
const BLOCK_NS: u64 = 100_000_000;
/// The attacker sends no heartbeats.
const NEVER_NS: u64 = u64::MAX / 2;
/// Frames that may wait to be sent.
const FRAMES: usize = 4096;
/// Ethernet, IPv4 and UDP headers in front of a frame on the link, bytes.
const HEADERS_LEN: usize = 14 + 20 + 8;
/// The UDP stream's place in the attacker's table.
const UDP_SLOT: usize = 1;

/// A status of a session that goes well.
const GOOD: Status = Status { standing: Standing::Good, window_bytes: 1 << 20, consumed_bytes: 0 };

/// A TCP stream and one of datagrams. No repair symbols: every record of an attack is one frame.
fn site(driver: &str) -> lab::Site {
    let datagrams = Stream::udp(2, "datagrams", 5000, (address::SERVER, 5000));
    rig::site(driver).scheme("none").stream(rig::stream(1, PORT).line("max_sessions = 4")).stream(datagrams)
}

fn loaded(ground: &Ground) -> Site {
    config::load(&ground.site_file, Purpose::Run(Role::Red)).expect("a site").site
}

/// Knows the sessions on the forward link.
struct Eavesdropper {
    tap: Tap,
    receiver: Receiver,
    heard: Heard,
}

#[derive(Default)]
struct Heard {
    sessions: Vec<[u8; 16]>,
}

impl Sink for Heard {
    fn record(&mut self, delivery: &Delivery<'_>) {
        if delivery.head.kind == RecordType::Open && !self.sessions.contains(&delivery.head.session) {
            self.sessions.push(delivery.head.session);
        }
    }
    fn settled(&mut self, _: &Settled) {}
    fn new_epoch(&mut self, _: u32) {}
    fn stream_mismatch(&mut self, _: u16, _: u8, _: Option<u8>) {}
    fn tables_differ(&mut self, _: u64) {}
    fn stopping(&mut self) {}
}

impl Eavesdropper {
    fn start(ground: &Ground) -> Self {
        let site = loaded(ground);
        let mut receiver = Receiver::new(ReceiverConfig {
            key: link_key(&site).expect("a key"),
            direction: Direction::Forward,
            epoch_min: 0,
            packet_floors: Vec::new(),
            claim: Claim::first(),
            symbol_bytes: LinkEnd::forward(&site.link, Role::Red).symbol_bytes(),
            hold_ns: BLOCK_NS,
            heartbeat_ns: BLOCK_NS,
            pool_bytes: 1 << 20,
        });
        let channels: Vec<_> = site.streams.iter().map(|stream| byte_channel(stream.channel, stream.kind)).collect();
        receiver.set_channels(&channels);
        let tap = Tap::listen(ground.lab.diode.host(), address::DIODE_BLUE_IF).expect("a tap");
        Self { tap, receiver, heard: Heard::default() }
    }

    /// The UUID of session number `number`.
    fn session(&mut self, number: usize) -> [u8; 16] {
        rig::wait_until("an open", || {
            for mut packet in self.tap.take().expect("frames") {
                self.receiver.frame(0, &mut packet[HEADERS_LEN..], &mut self.heard);
            }
            self.heard.sessions.len() > number
        });
        self.heard.sessions[number]
    }
}

/// Sends on the return link whatever it likes.
struct Impostor {
    sender: Sender<SocketTx>,
    now: u64,
}

impl Impostor {
    /// With symbols of `symbol_bytes`, or of the link's largest.
    fn start(ground: &Ground, epoch: u32, lane: u16, symbol_bytes: Option<u16>) -> Self {
        let site = loaded(ground);
        let end = LinkEnd::of_return(&site.link, Role::Red).expect("a return link");
        let symbol_bytes = symbol_bytes.unwrap_or(end.symbol_bytes());
        let (from, to) = ((end.own.address, 0).into(), (end.peer.address, end.port).into());
        let open = || SocketTx::open(from, to, usize::from(symbol_bytes) + FRAME_OVERHEAD, FRAMES);
        let port = ground.lab.red.run(open).expect("the host").expect("a socket");
        let config = SenderConfig {
            lane,
            epoch,
            direction: Direction::Return,
            key: link_key(&site).expect("a key"),
            symbol_bytes,
            heartbeat_ns: NEVER_NS,
            rate: None,
        };
        let mut sender = Sender::new(config, port);
        let channels: Vec<_> = site.streams.iter().map(|stream| sender_channel(stream).expect("a channel")).collect();
        let encoder = encoder(&channels);
        sender.set_channels(0, channels, encoder);
        Self { sender, now: 0 }
    }

    /// Sends one record, alone in its block.
    fn send(&mut self, slot: usize, head: RecordHead, payload: &[u8]) {
        self.sender.push(self.now, slot, &head, payload).expect("room");
        self.now += BLOCK_NS;
        self.sender.poll(self.now).expect("it sends");
    }

    fn attack(&mut self, session: [u8; 16]) -> u64 {
        let attacks = attacks(session);
        for (head, payload) in &attacks {
            self.send(0, *head, payload);
        }
        attacks.len() as u64
    }
}

/// Records that a status link must not carry: everything that is no status, and statuses that say more than they may.
fn attacks(session: [u8; 16]) -> Vec<(RecordHead, Vec<u8>)> {
    let others = [
        RecordType::Open,
        RecordType::Data,
        RecordType::Datagram,
        RecordType::Close,
        RecordType::Abort,
        RecordType::Mark,
    ];
    let mut attacks = Vec::new();
    for kind in others {
        for flags in [0, FLAG_END, FLAG_END | FLAG_ABORT, 0x80] {
            for payload in [&[][..], b"smuggled", &GOOD.to_wire(), &[b's'; 1200]] {
                attacks.push((RecordHead { kind, flags, session, sequence: 0 }, payload.to_vec()));
            }
        }
    }
    let status = RecordHead { kind: RecordType::Status, flags: 0, session, sequence: 0 };
    for flags in [FLAG_END, FLAG_ABORT, 0x80, 0xff] {
        attacks.push((RecordHead { flags, ..status }, GOOD.to_wire().to_vec()));
    }
    for sequence in [1, u32::MAX] {
        attacks.push((RecordHead { sequence, ..status }, GOOD.to_wire().to_vec()));
    }
    for len in [0, 1, STATUS_LEN - 1, STATUS_LEN + 1, 1200] {
        let mut payload = GOOD.to_wire().to_vec();
        payload.resize(len, b's');
        attacks.push((status, payload));
    }
    // Standings that there are not, and reserved bytes.
    for (at, value) in [(0, 0), (0, 6), (0, 0xff), (1, 1), (2, 0x80), (3, 0xff)] {
        let mut payload = GOOD.to_wire().to_vec();
        payload[at] = value;
        attacks.push((status, payload));
    }
    attacks
}

/// The epoch that RED uses on the return link, from its log.
fn epoch_of_red(path: &Path5) -> u32 {
    let line = path.red.wait_for_line(0, tcp::SOON, |line| line.contains("return link: ")).expect("it says so");
    let epoch = line.split("epoch=").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    epoch.unwrap_or_else(|| panic!("no epoch in {line}"))
}

/// Waits until BLUE has refused exactly so many records.
fn await_refused(path: &Path5, records: u64) {
    let line =
        rig::await_stats(&path.blue, About::Returned, |line| line.number("refused.not_status").unwrap_or(0) >= records);
    assert_eq!(line.number("refused.not_status").unwrap(), records, "{line:?}");
}

/// Beside a session that goes on.
fn beside(driver: &str) {
    let ground = rig::ground(&site(driver));
    let mut eavesdropper = Eavesdropper::start(&ground);
    let path = ground.start();
    let syslog = Syslog::start(&path.ground.lab.blue);
    let destination = rig::destination(&path.ground);
    let mut client = rig::connect(&path.ground, PORT);
    send(&mut client, 1, 1000).unwrap();
    let connection = destination.accept();
    let session = eavesdropper.session(0);

    let mut impostor = Impostor::start(&path.ground, epoch_of_red(&path), LANE, None);
    let mut refused = impostor.attack(session);
    refused += impostor.attack(NOBODY);
    for standing in [Standing::Good, Standing::HalfClosed, Standing::Closed, Standing::Failed, Standing::Gone] {
        // Well-formed and about nobody: of no effect.
        let head = RecordHead { kind: RecordType::Status, flags: 0, session: NOBODY, sequence: 0 };
        impostor.send(0, head, &Status { standing, ..GOOD }.to_wire());
    }
    for (head, payload) in attacks(session) {
        impostor.send(UDP_SLOT, head, &payload);
    }
    await_refused(&path, refused);
    assert!(tcp::is_open(&client), "{}", rig::logs(&path));
    rig::wait_logged(&path.blue, &["is no status", "stream1"]);
    rig::wait_told(&syslog, &["not_status", "stream1"]);

    let reads = std::thread::spawn(move || tcp::read_all(connection));
    send_on(&mut client, 1, 1000, BYTES - 1000, |_| ()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let arrived = reads.join().unwrap();
    assert!(arrived.is_whole(BYTES), "{arrived:?}\n{}", rig::logs(&path));
    // Its end, and not one byte before.
    assert_eq!(rig::end_of(&path, &client), End::InOrder);
    let ended = rig::stop(path);
    let link = ended.blue.summary.link("return").unwrap();
    assert_eq!(link.number("dropped.unknown_channel").unwrap(), attacks(session).len() as u64, "{}", ended.log);
    assert_eq!((ended.blue("sessions_aborted"), ended.red("sessions_aborted")), (0, 0), "{}", ended.log);
}

#[test]
fn nothing_comes_back_beside_a_session_xdp() {
    require_root!();
    beside("xdp");
}

#[test]
fn nothing_comes_back_beside_a_session_socket() {
    require_root!();
    beside("socket");
}

/// In RED's place: it may connect sessions and end them, and that is all.
#[test]
fn nothing_comes_back_in_reds_place() {
    require_root!();
    let ground = rig::ground(&site("xdp"));
    let mut eavesdropper = Eavesdropper::start(&ground);
    let path = ground.start();
    let epoch = epoch_of_red(&path) + 1;
    path.red.signal(libc::SIGKILL).unwrap();
    rig::wait_until("its end", || !path.red.is_running());
    let client = rig::connect(&path.ground, PORT);
    let session = eavesdropper.session(0);
    let mut impostor = Impostor::start(&path.ground, epoch, 0, None);
    let refused = impostor.attack(session);
    await_refused(&path, refused);
    assert!(tcp::is_open(&client), "{}", rig::logs(&path));
    let head = RecordHead { kind: RecordType::Status, flags: 0, session, sequence: 0 };
    impostor.send(0, head, &GOOD.to_wire());
    let refused = refused + impostor.attack(session);
    await_refused(&path, refused);
    assert!(tcp::is_open(&client), "{}", rig::logs(&path));
    impostor.send(0, head, &Status { standing: Standing::Failed, ..GOOD }.to_wire());
    assert_eq!(rig::end_of(&path, &client), End::Reset);
}

/// Frames larger than the link's are no way around.
#[test]
fn nothing_comes_back_in_larger_frames() {
    const SYMBOL_BYTES: u16 = 4000;
    require_root!();
    let path = rig::ground(&site("socket")).start();
    let mut impostor = Impostor::start(&path.ground, epoch_of_red(&path), LANE, Some(SYMBOL_BYTES));
    let head = RecordHead { kind: RecordType::Status, flags: 0, session: NOBODY, sequence: 0 };
    impostor.send(0, head, &[b's'; 3000]);
    rig::await_stats(&path.blue, About::ReturnLink, |line| {
        line.number("dropped.oversize").is_ok_and(|frames| frames > 0)
    });
    let ended = rig::stop(path);
    assert_eq!(ended.blue.summary.link("return").unwrap().number("dropped.oversize").unwrap(), 1, "{}", ended.log);
}
