//! From connection tasks to a lane: a bounded queue that the lane empties as the link has room.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf, Bytes};
use rustc_hash::FxHashMap;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::link::{self, Nanos, PushError, TxPort, Waypoint};
use crate::session::{Announced, SessionId};
use crate::telemetry::counters::SendStream;
use crate::telemetry::reasons::SendRefused;
use crate::wire::{
    FLAG_ABORT, FLAG_END, FLAG_WRAPPED, ORIGIN_LEN, RecordHead, RecordType, STATUS_LEN, Standing, Status,
    origin_to_wire,
};

/// Pieces that may wait for a lane, however small.
const QUEUE_PIECES: usize = 64;
/// Bytes that may wait for a lane: a few milliseconds of a fast link ...
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// ... and for a link with a rate so much time of it: a session that begins, or reports, waits behind them.
const QUEUE_NS: u64 = 100_000_000;
/// On the slowest link too, the first pieces of a few sessions.
const QUEUE_BYTES_MIN: usize = 64 << 10;
/// One session's share of the bytes that may wait, so that sessions take turns.
const QUEUE_SHARE: usize = 8;
/// Bytes put into the link at one go, between two looks at datagrams and clocks: 0.2 ms at 10 Gbit/s.
const PUMP_BYTES: usize = 256 * 1024;
/// Frames that must be free for another record.
const FRAMES_PER_RECORD: usize = 4;
/// An open that nobody can answer is repeated at so many heartbeats: two may be lost.
const OPENS_UNANSWERED: u32 = 3;

/// What happens to a session.
#[derive(Debug)]
pub enum Piece {
    /// It begins.
    Open {
        /// Who the client is, if its stream shows that to the destination.
        origin: Option<SocketAddr>,
        /// There is a return link: repeat it until [`Piece::Opened`].
        answered: bool,
    },
    /// The other host has answered.
    Opened,
    /// It goes on with these bytes.
    Data(Bytes),
    /// Its bytes end in order.
    Close,
    /// It is broken off. Nothing comes after it.
    Abort,
    /// How it stands here, for the other host. Nothing comes after a final one.
    Status(Status),
    /// Tells once everything before it has left, with its blocks' repair symbols: not before then may its source be forgotten.
    Reached(Option<oneshot::Sender<()>>),
    /// It is over. Nothing comes after it.
    Leave,
    /// A status of a session that is over or was never there; said once.
    Answer(Status),
}

/// What a feed may put into its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Records of every type.
    Everything,
    /// Status records and nothing else.
    StatusOnly,
}

impl Carries {
    fn admits(self, piece: &Piece) -> bool {
        let silent = matches!(piece, Piece::Opened | Piece::Reached(_) | Piece::Leave);
        self == Self::Everything || silent || matches!(piece, Piece::Status(_) | Piece::Answer(_))
    }
}

/// A piece, of which session.
#[derive(Debug)]
struct Fed {
    slot: u16,
    id: SessionId,
    piece: Piece,
    /// The room that its bytes take, until all of them have gone.
    _room: Option<OwnedSemaphorePermit>,
}

/// Wakes a lane that sleeps, and costs nothing while it does not.
#[derive(Debug)]
struct Bell {
    asleep: AtomicBool,
    rope: UnixStream,
}

/// The tasks' end.
#[derive(Clone, Debug)]
pub struct FeedSender {
    queue: Sender<Fed>,
    bell: Arc<Bell>,
    /// In bytes.
    room: Arc<Semaphore>,
    room_bytes: usize,
}

impl FeedSender {
    /// Hands a piece over; waits while the lane has enough. False: the lane is gone.
    pub async fn send(&self, slot: u16, id: SessionId, piece: Piece) -> bool {
        let bytes = if let Piece::Data(bytes) = &piece { bytes.len().min(self.room_bytes) } else { 0 };
        let room = if bytes == 0 { None } else { Arc::clone(&self.room).acquire_many_owned(bytes as u32).await.ok() };
        let sent = self.queue.send(Fed { slot, id, piece, _room: room }).await.is_ok();
        self.ring();
        sent
    }

    /// Hands a piece over if the lane has room for it now.
    pub fn try_send(&self, slot: u16, id: SessionId, piece: Piece) {
        if self.queue.try_send(Fed { slot, id, piece, _room: None }).is_ok() {
            self.ring();
        }
    }

    /// The most bytes that one piece should have.
    pub fn piece_bytes_max(&self) -> usize {
        self.room_bytes / QUEUE_SHARE
    }

    fn ring(&self) {
        if self.bell.asleep.swap(false, Ordering::SeqCst) {
            // A full pipe wakes the lane just as well.
            let _ = (&self.bell.rope).write(&[1]);
        }
    }
}

/// Where a session's bytes stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// Nothing of them was told.
    Untold,
    /// No byte and no end was sent; the open is repeated so often, and says this of the client.
    Opening(u32, Option<SocketAddr>),
    /// Bytes may come at any time, also the first ones: a session that says nothing is no less alive.
    Running,
    Closed,
    Aborted,
}

/// A session as this side announces it at heartbeats.
#[derive(Debug)]
struct Live {
    slot: u16,
    /// Bytes sent.
    offset: u64,
    flow: Flow,
    status: Option<Status>,
}

/// The lane's end.
#[derive(Debug)]
pub struct Feed {
    carries: Carries,
    queue: Receiver<Fed>,
    bell: Arc<Bell>,
    wake: UnixStream,
    /// Rings that were heard of and whose byte was not read yet: it may come a moment later.
    rings: usize,
    /// A piece of which part has gone out, or for which there was no room.
    rest: Option<Fed>,
    live: FxHashMap<SessionId, Live>,
    /// Which of them, in the map's order, was the first that the last heartbeat had no room for.
    left_out: Option<usize>,
    ended: Announced<Live>,
    /// Who waits for what has not left yet.
    unreached: Vec<(Waypoint, oneshot::Sender<()>)>,
}

/// Both ends of a feed of a link that takes `bits_per_second`, if it has a rate.
pub fn feed(carries: Carries, bits_per_second: Option<u64>) -> std::io::Result<(FeedSender, Feed)> {
    let (sender, queue) = channel(QUEUE_PIECES);
    let (rope, wake) = UnixStream::pair()?;
    rope.set_nonblocking(true)?;
    wake.set_nonblocking(true)?;
    let bell = Arc::new(Bell { asleep: AtomicBool::new(false), rope });
    let feed = Feed {
        carries,
        queue,
        bell: Arc::clone(&bell),
        wake,
        rings: 0,
        rest: None,
        live: FxHashMap::default(),
        left_out: None,
        ended: Announced::default(),
        unreached: Vec::new(),
    };
    let room_bytes = bits_per_second.map_or(QUEUE_BYTES_MAX, queue_bytes);
    Ok((FeedSender { queue: sender, bell, room: Arc::new(Semaphore::new(room_bytes)), room_bytes }, feed))
}

/// Bytes that may wait for a link of this rate.
fn queue_bytes(bits_per_second: u64) -> usize {
    let bytes = u128::from(bits_per_second) * u128::from(QUEUE_NS) / 8_000_000_000;
    usize::try_from(bytes).unwrap_or(usize::MAX).clamp(QUEUE_BYTES_MIN, QUEUE_BYTES_MAX)
}

impl Feed {
    /// Puts what tasks have handed over into the link, as far as there is room. `stream` gives a slot's place in the sender
    /// and its counters. Returns whether there was anything.
    pub fn pump<'t, P: TxPort>(
        &mut self,
        now: Nanos,
        sender: &mut link::Sender<P>,
        stream: impl Fn(u16) -> Option<(usize, &'t SendStream)>,
    ) -> bool {
        self.tell_reached(sender);
        let mut budget = PUMP_BYTES;
        let mut worked = false;
        while budget > 0 && sender.has_frames(FRAMES_PER_RECORD) {
            let Some(mut fed) = self.rest.take().or_else(|| self.queue.try_recv().ok()) else { break };
            worked = true;
            let Some((sender_slot, counters)) = stream(fed.slot) else {
                // The stream is gone: so is its session, without a word that the other host could place.
                self.live.remove(&fed.id);
                continue;
            };
            if !self.carries.admits(&fed.piece) {
                counters.refused.add(SendRefused::StatusOnly, 1);
                continue;
            }
            match self.push(now, sender, sender_slot, &mut fed) {
                Ok(bytes) => {
                    budget = budget.saturating_sub(bytes.max(1));
                    if let Piece::Data(left) = &fed.piece {
                        counters.received.add(1);
                        counters.received_bytes.add(bytes as u64);
                        counters.sent.add(1);
                        if !left.is_empty() {
                            self.rest = Some(fed);
                        }
                    }
                }
                Err(PushError::Busy) => {
                    self.rest = Some(fed);
                    break;
                }
                Err(PushError::Oversize) => counters.refused.add(SendRefused::Oversize, 1),
            }
        }
        worked
    }

    /// Puts a piece, or the next part of it, into the link. Returns how many bytes went.
    fn push<P: TxPort>(
        &mut self,
        now: Nanos,
        sender: &mut link::Sender<P>,
        sender_slot: usize,
        fed: &mut Fed,
    ) -> Result<usize, PushError> {
        if let Piece::Answer(status) = &fed.piece {
            let head = RecordHead { kind: RecordType::Status, flags: 0, session: fed.id, sequence: 0 };
            return sender.push(now, sender_slot, &head, &status.to_wire()).map(|()| 0);
        }
        if let Piece::Reached(told) = &mut fed.piece {
            self.unreached.extend(told.take().map(|told| (sender.waypoint(sender_slot), told)));
            return Ok(0);
        }
        let live = self.live.entry(fed.id).or_insert_with(|| Live::new(fed.slot));
        let mut push = |(head, payload): (RecordHead, Payload)| sender.push(now, sender_slot, &head, payload.bytes());
        match &mut fed.piece {
            Piece::Open { origin, answered } => {
                live.flow = Flow::Opening(if *answered { u32::MAX } else { OPENS_UNANSWERED }, *origin);
                push(live.open(fed.id, *origin))?;
            }
            Piece::Opened => live.opened(),
            Piece::Data(bytes) => {
                live.flow = Flow::Running;
                let flags = if live.offset > u64::from(u32::MAX) { FLAG_WRAPPED } else { 0 };
                let head = live.head(fed.id, RecordType::Data, flags);
                let taken = sender.push_part(now, sender_slot, &head, bytes)?;
                bytes.advance(taken);
                live.offset += taken as u64;
                return Ok(taken);
            }
            Piece::Close => {
                push((live.head(fed.id, RecordType::Close, FLAG_END), Payload::None))?;
                live.flow = Flow::Closed;
            }
            Piece::Abort => {
                push((live.head(fed.id, RecordType::Abort, FLAG_END | FLAG_ABORT), Payload::None))?;
                live.flow = Flow::Aborted;
                self.end(fed.id);
            }
            Piece::Status(status) => {
                push(status_record(fed.id, *status))?;
                live.status = Some(*status);
                if status.standing.is_final() {
                    self.end(fed.id);
                }
            }
            Piece::Leave => self.end(fed.id),
            Piece::Reached(_) | Piece::Answer(_) => {}
        }
        Ok(0)
    }

    /// Tells whoever waits for something that has left by now.
    fn tell_reached<P: TxPort>(&mut self, sender: &link::Sender<P>) {
        for (_, told) in self.unreached.extract_if(.., |(waypoint, _)| sender.has_passed(waypoint)) {
            // Who does not wait any more does not need to know.
            let _ = told.send(());
        }
    }

    /// A session is only announced from now on.
    fn end(&mut self, id: SessionId) {
        if let Some(live) = self.live.remove(&id) {
            self.ended.push(id, live);
        }
    }

    /// Announces where every session stands: `mark` gets slot, record and payload, and returns false if it could not take
    /// it.
    pub fn marks(&mut self, mut mark: impl FnMut(u16, &RecordHead, &[u8]) -> bool) {
        let mut announce = |id: SessionId, live: &mut Live| {
            let mut records = live.records(id).into_iter().flatten();
            let taken = records.all(|(head, payload)| mark(live.slot, &head, payload.bytes()));
            if taken {
                live.repeated();
            }
            taken
        };
        // A full link leaves some out: the next time those come first.
        let first = self.left_out.take().unwrap_or(0);
        let left_out = &mut self.left_out;
        let mut announce_at = |(place, (id, live)): (usize, (&SessionId, &mut Live))| {
            if !announce(*id, live) {
                left_out.get_or_insert(place);
            }
        };
        self.live.iter_mut().enumerate().skip(first).for_each(&mut announce_at);
        self.live.iter_mut().enumerate().take(first).for_each(&mut announce_at);
        self.ended.announce(announce);
    }

    /// Breaks off every session that still lives: this host stops.
    pub fn abort_all(&mut self) {
        for (id, mut live) in self.live.drain() {
            if live.flow != Flow::Closed && self.carries == Carries::Everything {
                live.flow = Flow::Aborted;
            }
            if let Some(status) = &mut live.status {
                status.standing = Standing::Gone;
            }
            self.ended.push(id, live);
        }
    }

    /// Before the lane sleeps. False: something has come meanwhile, do not sleep.
    pub fn fall_asleep(&mut self) -> bool {
        // Swapped, not stored: whoever finds the lane awake has put its piece in before, and the look below finds that.
        self.bell.asleep.swap(true, Ordering::SeqCst);
        let quiet = self.rest.is_none() && self.queue.is_empty();
        if !quiet {
            self.stay_awake();
        }
        quiet
    }

    /// Hears of the ring, if there was one since the lane fell asleep.
    fn stay_awake(&mut self) {
        self.rings += usize::from(!self.bell.asleep.swap(false, Ordering::SeqCst));
    }

    /// After the lane slept.
    pub fn wake_up(&mut self) {
        self.stay_awake();
        if self.rings > 0 {
            // Nothing to read only means that the byte is still on its way; left there, it would keep the lane awake.
            self.rings = self.rings.saturating_sub(self.wake.read(&mut [0; 64]).unwrap_or(0));
        }
    }
}

impl AsFd for Feed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// What a record of a feed carries besides bytes of its session.
enum Payload {
    None,
    Origin([u8; ORIGIN_LEN]),
    Status([u8; STATUS_LEN]),
}

impl Payload {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Origin(bytes) => bytes,
            Self::Status(bytes) => bytes,
        }
    }
}

fn status_record(session: SessionId, status: Status) -> (RecordHead, Payload) {
    let head = RecordHead { kind: RecordType::Status, flags: 0, session, sequence: 0 };
    (head, Payload::Status(status.to_wire()))
}

impl Live {
    fn new(slot: u16) -> Self {
        Self { slot, offset: 0, flow: Flow::Untold, status: None }
    }

    fn head(&self, session: SessionId, kind: RecordType, flags: u8) -> RecordHead {
        RecordHead { kind, flags, session, sequence: self.offset as u32 }
    }

    fn open(&self, id: SessionId, origin: Option<SocketAddr>) -> (RecordHead, Payload) {
        let payload = origin.map_or(Payload::None, |origin| Payload::Origin(origin_to_wire(origin)));
        (self.head(id, RecordType::Open, 0), payload)
    }

    /// Its open needs no repeating.
    fn opened(&mut self) {
        if matches!(self.flow, Flow::Opening(..)) {
            self.flow = Flow::Running;
        }
    }

    /// What a heartbeat repeats of this session: where its bytes stand, and its status.
    fn records(&self, id: SessionId) -> [Option<(RecordHead, Payload)>; 2] {
        let mark = |flags| Some((self.head(id, RecordType::Mark, flags), Payload::None));
        let bytes = match self.flow {
            Flow::Untold => None,
            Flow::Opening(_, origin) => Some(self.open(id, origin)),
            Flow::Running => mark(0),
            Flow::Closed => mark(FLAG_END),
            Flow::Aborted => mark(FLAG_END | FLAG_ABORT),
        };
        [bytes, self.status.map(|status| status_record(id, status))]
    }

    /// A heartbeat has repeated them.
    fn repeated(&mut self) {
        if let Flow::Opening(left, _) = &mut self.flow {
            *left -= 1;
            if *left == 0 {
                self.opened();
            }
        }
    }
}

#[cfg(test)]
mod tests;
