//! From connection tasks to a lane: a bounded queue that the lane empties as the link has room.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf, Bytes};
use rustc_hash::FxHashMap;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::blue::table::Table;
use crate::link::{self, Nanos, PushError, TxPort};
use crate::session::{Ended, EndedSessions, SessionId};
use crate::telemetry::reasons::SendRefused;
use crate::wire::{FLAG_ABORT, FLAG_END, RecordHead, RecordType};

/// Pieces that may wait for a lane: with pieces of up to 64 KiB that is 4 MiB, a few milliseconds of a fast link.
const QUEUE_PIECES: usize = 64;
/// Bytes put into the link at one go, between two looks at datagrams and clocks: 0.2 ms at 10 Gbit/s.
const PUMP_BYTES: usize = 256 * 1024;
/// Frames that must be free for another record.
const FRAMES_PER_RECORD: usize = 4;

/// What happens to a session.
#[derive(Debug)]
pub enum Piece {
    /// It begins.
    Open,
    /// It goes on with these bytes.
    Data(Bytes),
    /// It ends in order.
    Close,
    /// It is broken off.
    Abort,
}

/// A piece, of which session.
#[derive(Debug)]
struct Fed {
    slot: u16,
    id: SessionId,
    piece: Piece,
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
}

impl FeedSender {
    /// Hands a piece over; waits while the lane has enough. False: the lane is gone.
    pub async fn send(&self, slot: u16, id: SessionId, piece: Piece) -> bool {
        let sent = self.queue.send(Fed { slot, id, piece }).await.is_ok();
        if self.bell.asleep.swap(false, Ordering::SeqCst) {
            // A full pipe wakes the lane just as well.
            let _ = (&self.bell.rope).write(&[1]);
        }
        sent
    }
}

#[derive(Debug)]
struct Live {
    slot: u16,
    offset: u32,
}

/// The lane's end.
#[derive(Debug)]
pub struct Feed {
    queue: Receiver<Fed>,
    bell: Arc<Bell>,
    wake: UnixStream,
    /// Rings that were heard of and whose byte was not read yet: it may come a moment later.
    rings: usize,
    /// A piece of which part has gone out, or for which there was no room.
    rest: Option<Fed>,
    live: FxHashMap<SessionId, Live>,
    ended: EndedSessions,
}

/// Both ends of a feed.
pub fn feed() -> std::io::Result<(FeedSender, Feed)> {
    let (sender, queue) = channel(QUEUE_PIECES);
    let (rope, wake) = UnixStream::pair()?;
    rope.set_nonblocking(true)?;
    wake.set_nonblocking(true)?;
    let bell = Arc::new(Bell { asleep: AtomicBool::new(false), rope });
    let feed = Feed {
        queue,
        bell: Arc::clone(&bell),
        wake,
        rings: 0,
        rest: None,
        live: FxHashMap::default(),
        ended: EndedSessions::default(),
    };
    Ok((FeedSender { queue: sender, bell }, feed))
}

impl Feed {
    /// Puts what tasks have handed over into the link, as far as there is room. Returns whether there was anything.
    pub fn pump<P: TxPort>(
        &mut self,
        now: Nanos,
        lane: usize,
        table: &Table,
        sender_slots: &[Option<usize>],
        sender: &mut link::Sender<P>,
    ) -> bool {
        let mut budget = PUMP_BYTES;
        let mut worked = false;
        while budget > 0 && sender.has_frames(FRAMES_PER_RECORD) {
            let Some(mut fed) = self.rest.take().or_else(|| self.queue.try_recv().ok()) else { break };
            worked = true;
            let sender_slot = sender_slots.get(usize::from(fed.slot)).copied().flatten();
            let (Some(entry), Some(sender_slot)) = (table.get(fed.slot), sender_slot) else {
                // The stream is gone: so is its session, without a word that RED could place.
                self.live.remove(&fed.id);
                continue;
            };
            match self.push(now, sender, sender_slot, &mut fed) {
                Ok(bytes) => {
                    budget = budget.saturating_sub(bytes.max(1));
                    if let (Some(counters), Piece::Data(left)) = (entry.counters.lane(lane), &fed.piece) {
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
                Err(PushError::Oversize) => {
                    if let Some(counters) = entry.counters.lane(lane) {
                        counters.refused.add(SendRefused::Oversize, 1);
                    }
                }
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
        let live = self.live.entry(fed.id).or_insert(Live { slot: fed.slot, offset: 0 });
        let head = |kind, flags| RecordHead { kind, flags, session: fed.id, sequence: live.offset };
        let (kind, flags) = match &mut fed.piece {
            Piece::Open => return sender.push(now, sender_slot, &head(RecordType::Open, 0), &[]).map(|()| 0),
            Piece::Data(bytes) => {
                let taken = sender.push_part(now, sender_slot, &head(RecordType::Data, 0), bytes)?;
                bytes.advance(taken);
                live.offset = live.offset.wrapping_add(taken as u32);
                return Ok(taken);
            }
            Piece::Close => (RecordType::Close, FLAG_END),
            Piece::Abort => (RecordType::Abort, FLAG_END | FLAG_ABORT),
        };
        sender.push(now, sender_slot, &head(kind, flags), &[])?;
        let (slot, next_sequence, aborted) = (live.slot, live.offset, kind == RecordType::Abort);
        self.live.remove(&fed.id);
        self.ended.push(Ended { slot, id: fed.id, next_sequence, aborted });
        Ok(0)
    }

    /// Announces where every session stands: `mark` gets slot and record, and returns false if it could not take it.
    pub fn marks(&mut self, mut mark: impl FnMut(u16, RecordHead) -> bool) {
        let head = |session, sequence, flags| RecordHead { kind: RecordType::Mark, flags, session, sequence };
        for (id, live) in &self.live {
            mark(live.slot, head(*id, live.offset, 0));
        }
        self.ended.announce(|ended| {
            let flags = FLAG_END | if ended.aborted { FLAG_ABORT } else { 0 };
            mark(ended.slot, head(ended.id, ended.next_sequence, flags))
        });
    }

    /// Breaks off every session that still lives: BLUE stops.
    pub fn abort_all(&mut self) {
        for (id, live) in self.live.drain() {
            self.ended.push(Ended { slot: live.slot, id, next_sequence: live.offset, aborted: true });
        }
    }

    /// Is there a piece that the link had no room for?
    pub fn is_blocked(&self) -> bool {
        self.rest.is_some()
    }

    /// Before the lane sleeps. False: something has come meanwhile, do not sleep.
    pub fn fall_asleep(&mut self) -> bool {
        self.bell.asleep.store(true, Ordering::SeqCst);
        let quiet = self.rest.is_none() && self.queue.is_empty();
        if !quiet {
            self.bell.asleep.store(false, Ordering::SeqCst);
        }
        quiet
    }

    /// After the lane slept.
    pub fn wake_up(&mut self) {
        self.rings += usize::from(!self.bell.asleep.swap(false, Ordering::SeqCst));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn is_readable(feed: &Feed) -> bool {
        crate::xsk::wait_readable(&[feed.as_fd()], Duration::ZERO).expect("a socket")
    }

    #[test]
    fn a_piece_wakes_a_sleeper_once_and_nobody_else() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (sender, mut feed) = feed().expect("two sockets");
        let id = [7; 16];
        assert!(runtime.block_on(sender.send(0, id, Piece::Open)));
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
}
