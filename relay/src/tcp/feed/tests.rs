//! Feeds: whom they wake, and what they put into a link.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::fec::{Encoder, Protection, RepairTable, Scheme};
use crate::link::memory::{Faults, MemoryLink};
use crate::link::{
    Claim, Delivery, Rate, Receiver, ReceiverChannel, ReceiverConfig, RxPort as _, SenderChannel, SenderConfig,
    Settled, Sink,
};
use crate::wire::{Direction, FRAME_OVERHEAD, LinkKey};

fn is_readable(feed: &Feed) -> bool {
    crate::xsk::wait_readable(&[feed.as_fd()], Duration::ZERO).expect("a socket")
}

#[test]
fn a_piece_wakes_a_sleeper_once_and_nobody_else() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (sender, mut feed) = feed(Carries::Everything, None).expect("two sockets");
    let id = [7; 16];
    assert!(runtime.block_on(sender.send(0, id, Piece::Opened)));
    assert!(!is_readable(&feed), "the lane is awake");
    assert!(!feed.fall_asleep(), "there is a piece");
    assert!(feed.queue.try_recv().is_ok());
    for _ in 0..3 {
        assert!(feed.fall_asleep());
        assert!(runtime.block_on(sender.send(0, id, Piece::Close)));
        assert!(is_readable(&feed));
        feed.wake_up();
        assert!(!is_readable(&feed), "a ring is heard once");
        assert!(feed.queue.try_recv().is_ok());
        assert!(feed.fall_asleep());
        feed.wake_up();
    }
}

/// A ring may come between falling asleep and the look for pieces, which finds the piece: its byte must not keep the lane
/// awake later.
#[test]
fn a_ring_that_came_too_late_keeps_nobody_awake() {
    const PIECES: usize = 20_000;
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (sender, mut feed) = feed(Carries::Everything, None).expect("two sockets");
    let tasks = std::thread::spawn(move || {
        for _ in 0..PIECES {
            assert!(runtime.block_on(sender.send(0, [7; 16], Piece::Opened)));
        }
        sender
    });
    let mut taken = 0;
    while taken < PIECES {
        if feed.fall_asleep() {
            feed.wake_up();
        }
        taken += usize::from(feed.queue.try_recv().is_ok());
    }
    let _sender = tasks.join().expect("no panic");
    // A look reads some of the bytes only.
    for _ in 0..PIECES {
        assert!(feed.fall_asleep());
        feed.wake_up();
    }
    assert!(!is_readable(&feed), "a byte is left of which nobody heard");
}

const SYMBOL_BYTES: u16 = 1424;
const CHANNEL: u16 = 1;
/// Far above every clock of a block.
const BLOCK_NS: Nanos = 100_000_000;

#[derive(Default)]
struct Heads(Vec<RecordHead>);

impl Sink for Heads {
    fn record(&mut self, delivery: &Delivery<'_>) {
        self.0.push(delivery.head);
    }
    fn settled(&mut self, _: &Settled) {}
    fn new_epoch(&mut self, _: u32) {}
    fn stream_mismatch(&mut self, _: u16, _: u8, _: Option<u8>) {}
    fn tables_differ(&mut self, _: u64) {}
    fn stopping(&mut self) {}
}

fn link_sender() -> link::Sender<MemoryLink> {
    paced_sender(1, None)
}

fn paced_sender(deadline_ns: Nanos, rate: Option<Rate>) -> link::Sender<MemoryLink> {
    let frame_bytes = usize::from(SYMBOL_BYTES) + FRAME_OVERHEAD;
    let config = SenderConfig {
        lane: 0,
        epoch: 1,
        direction: Direction::Return,
        key: LinkKey::unsealed(),
        symbol_bytes: SYMBOL_BYTES,
        heartbeat_ns: BLOCK_NS,
        rate,
    };
    let none = Protection::Share { repair: 0.0, repair_min: 0 };
    let channel = SenderChannel {
        channel: CHANNEL,
        stream_type: 2,
        scheme: Scheme::None,
        block_symbols: 16,
        flush_ns: 1,
        deadline_ns,
        repair: Arc::new(RepairTable::new(Scheme::None, none, 16).expect("possible")),
    };
    let mut sender = link::Sender::new(config, MemoryLink::new(frame_bytes, 10_000, Faults::default(), 1));
    sender.set_channels(0, vec![channel], Encoder::new(&[]));
    sender
}

/// Everything that arrives at the other end.
fn arrived(sender: &mut link::Sender<MemoryLink>) -> Vec<RecordHead> {
    sender.poll(BLOCK_NS).expect("memory");
    let mut receiver = Receiver::new(ReceiverConfig {
        key: LinkKey::unsealed(),
        direction: Direction::Return,
        epoch_min: 0,
        packet_floors: Vec::new(),
        claim: Claim::first(),
        symbol_bytes: SYMBOL_BYTES,
        hold_ns: BLOCK_NS,
        heartbeat_ns: BLOCK_NS,
        pool_bytes: 1 << 20,
    });
    receiver.set_channels(&[ReceiverChannel { channel: CHANNEL, stream_type: 2, ordered: true }]);
    let mut heads = Heads::default();
    let received = sender.port_mut().receive(usize::MAX, &mut |frame| receiver.frame(0, frame, &mut heads));
    assert!(received.expect("memory") > 0);
    heads.0
}

/// What comes of every piece that there is, of two heartbeats and of the host's stop.
fn carried(carries: Carries) -> (Vec<RecordType>, u64) {
    let status = Status { standing: Standing::Good, window_bytes: 1, consumed_bytes: 2 };
    let origin = Some(SocketAddr::from(([192, 0, 2, 1], 3)));
    let pieces = || {
        [
            Piece::Open { origin, answered: true },
            Piece::Opened,
            Piece::Data(Bytes::from_static(b"smuggled")),
            Piece::Status(status),
            Piece::Answer(status),
            Piece::Close,
            Piece::Abort,
        ]
    };
    let (to_lane, mut feed) = feed(carries, None).expect("two sockets");
    let (mut sender, counters) = (link_sender(), SendStream::default());
    // Each alone, so that no other has begun or ended its session, and all one after another.
    let alone = (1..).zip(pieces()).map(|(number, piece)| ([number; 16], piece));
    let together = pieces().map(|piece| ([99; 16], piece));
    for (id, piece) in alone.chain(together) {
        to_lane.try_send(0, id, piece);
    }
    while feed.pump(0, &mut sender, |_| Some((0, &counters))) {}
    let mut mark = |head: &RecordHead, payload: &[u8]| sender.push(0, 0, head, payload).is_ok();
    feed.marks(|_, head, payload| mark(head, payload));
    feed.abort_all();
    feed.marks(|_, head, payload| mark(head, payload));
    let kinds = arrived(&mut sender).iter().map(|head| head.kind).collect();
    (kinds, counters.refused.of(SendRefused::StatusOnly).get())
}

#[test]
fn a_feed_of_statuses_puts_nothing_else_into_the_link() {
    let (kinds, refused) = carried(Carries::StatusOnly);
    assert!(kinds.len() > 4 && kinds.iter().all(|kind| *kind == RecordType::Status), "{kinds:?}");
    assert_eq!(refused, 2 * 4, "opens, bytes, closes and aborts");
    let (kinds, refused) = carried(Carries::Everything);
    for kind in [RecordType::Open, RecordType::Data, RecordType::Close, RecordType::Abort, RecordType::Mark] {
        assert!(kinds.contains(&kind), "{kind:?} is not among {kinds:?}");
    }
    assert_eq!(refused, 0);
}

/// A feed with sessions of these numbers that were opened and have said nothing.
fn silent(numbers: std::ops::Range<u8>, answered: bool) -> (FeedSender, Feed) {
    let (to_lane, mut feed) = feed(Carries::Everything, None).expect("two sockets");
    for number in numbers {
        to_lane.try_send(0, [number; 16], Piece::Open { origin: None, answered });
    }
    pump(&mut feed);
    (to_lane, feed)
}

fn pump(feed: &mut Feed) {
    let (mut sender, counters) = (link_sender(), SendStream::default());
    while feed.pump(0, &mut sender, |_| Some((0, &counters))) {}
}

/// What a heartbeat says, if the link takes so many records.
fn marks(feed: &mut Feed, room: usize) -> Vec<RecordHead> {
    let mut said = Vec::new();
    feed.marks(|_, head, _| {
        let taken = said.len() < room;
        said.extend(taken.then_some(*head));
        taken
    });
    said
}

/// Its marks are the other host's only sign of life while a heartbeat is lost.
#[test]
fn a_session_that_says_nothing_is_marked_once_its_open_is_not_repeated() {
    let kind = |feed: &mut Feed| marks(feed, usize::MAX).first().map(|head| (head.kind, head.flags, head.sequence));
    let (open, mark) = (Some((RecordType::Open, 0, 0)), Some((RecordType::Mark, 0, 0)));
    let (to_lane, mut feed) = silent(0..1, true);
    assert_eq!([0; 5].map(|_| kind(&mut feed)), [open; 5]);
    to_lane.try_send(0, [0; 16], Piece::Opened);
    pump(&mut feed);
    assert_eq!([0; 5].map(|_| kind(&mut feed)), [mark; 5]);
    let (_, mut unanswered) = silent(0..1, false);
    assert_eq!([0; 5].map(|_| kind(&mut unanswered)), [open, open, open, mark, mark]);
}

#[test]
fn what_a_full_link_does_not_take_is_not_used_up_and_comes_first_the_next_time() {
    const SESSIONS: u8 = 5;
    let (_, mut feed) = silent(0..SESSIONS, false);
    assert!([0; 5].iter().all(|_| marks(&mut feed, 0).is_empty()));
    let mut opens = [0; SESSIONS as usize];
    for turn in 1..=8 {
        for head in marks(&mut feed, 2) {
            opens[usize::from(head.session[0])] += u32::from(head.kind == RecordType::Open);
        }
        assert!(turn != 3 || opens.iter().all(|opens| *opens > 0), "{opens:?} after three turns of two");
    }
    assert_eq!(opens, [OPENS_UNANSWERED; SESSIONS as usize]);
}

/// A RED that was started anew just then must not take the rest for the whole.
#[test]
fn bytes_at_the_wrap_do_not_look_like_a_beginning() {
    const WRAP: u64 = 1 << 32;
    let (to_lane, mut feed) = feed(Carries::Everything, None).expect("two sockets");
    let (mut sender, counters) = (link_sender(), SendStream::default());
    feed.live.insert([1; 16], Live { offset: WRAP - 1, flow: Flow::Running, ..Live::new(0) });
    for bytes in [&b"a"[..], b"b", b"c"] {
        to_lane.try_send(0, [1; 16], Piece::Data(Bytes::from_static(bytes)));
    }
    while feed.pump(0, &mut sender, |_| Some((0, &counters))) {}
    let heads = arrived(&mut sender).into_iter().map(|head| (head.sequence, head.flags));
    assert_eq!(heads.collect::<Vec<_>>(), [(u32::MAX, 0), (0, FLAG_WRAPPED), (1, FLAG_WRAPPED)]);
}

/// On a slow link too, who has little to say waits for little.
#[tokio::test]
async fn bytes_wait_for_room_and_nothing_else_does() {
    let (to_lane, mut feed) = feed(Carries::Everything, Some(1_000_000)).expect("two sockets");
    let (mut sender, counters) = (link_sender(), SendStream::default());
    let bytes = || Piece::Data(Bytes::from(vec![0; QUEUE_BYTES_MIN / QUEUE_SHARE]));
    assert_eq!(to_lane.piece_bytes_max(), QUEUE_BYTES_MIN / QUEUE_SHARE);
    for _ in 0..QUEUE_SHARE {
        assert!(to_lane.send(0, [1; 16], bytes()).await);
    }
    let more = tokio::time::timeout(Duration::ZERO, to_lane.send(0, [1; 16], bytes())).await;
    assert!(more.is_err(), "as much waits as may");
    assert!(to_lane.send(0, [2; 16], Piece::Opened).await);
    while feed.pump(0, &mut sender, |_| Some((0, &counters))) {}
    assert!(to_lane.send(0, [1; 16], bytes()).await);
}

#[test]
fn what_may_wait_follows_the_rate() {
    let room = |rate| feed(Carries::Everything, rate).expect("two sockets").0.room_bytes;
    let expected = [QUEUE_BYTES_MIN, 1_250_000, QUEUE_BYTES_MAX, QUEUE_BYTES_MAX];
    assert_eq!([Some(1000), Some(100_000_000), Some(u64::MAX), None].map(room), expected);
}

/// Whoever deletes what it has sent must not do so while the repair symbols of its last block are still to come.
#[test]
fn what_is_before_a_mark_has_left_once_its_block_is_closed_and_paced_out() {
    const DEADLINE_NS: Nanos = 5_000_000;
    let slow = Rate { bits_per_second: 1_000_000, burst_bytes: 1500 };
    for (rate, behind) in [(None, false), (Some(slow), true)] {
        let (to_lane, mut feed) = feed(Carries::Everything, None).expect("two sockets");
        let (mut sender, counters) = (paced_sender(DEADLINE_NS, rate), SendStream::default());
        let (told, mut reached) = oneshot::channel();
        to_lane.try_send(0, [1; 16], Piece::Data(Bytes::from(vec![0; 4000])));
        to_lane.try_send(0, [1; 16], Piece::Reached(Some(told)));
        let mut has_told = |now| {
            sender.poll(now).expect("memory");
            while feed.pump(now, &mut sender, |_| Some((0, &counters))) {}
            reached.try_recv().is_ok()
        };
        assert!(!has_told(0) && !has_told(DEADLINE_NS - 1), "the block is open");
        assert_eq!(has_told(DEADLINE_NS), !behind);
        // Three frames take 35 ms at this rate.
        let later = (1..20).map(|turn| turn * DEADLINE_NS).position(&mut has_told);
        assert_eq!(later.is_some_and(|turns| turns > 3), behind);
    }
}
