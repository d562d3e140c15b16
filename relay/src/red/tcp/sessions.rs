//! The lane's side of RED's TCP sessions.

use std::sync::atomic::Ordering::{AcqRel, Acquire};

use bytes::BytesMut;
use rustc_hash::FxHashMap;

use super::delivery::{Deliveries, Piece, Way};
use crate::link::{Delivery, Nanos};
use crate::red::memory::HeardTime;
use crate::red::table::{Entry, Table};
use crate::session::{ByteTrack, HeardBytes, SessionId};
use crate::telemetry::counters::ReceiveStream;
use crate::telemetry::reasons::ReceiveRefused;
use crate::wire::{FLAG_ABORT, FLAG_END, RecordType};

/// What may wait for a session's destination. Beyond it the destination is too slow for the stream, and nothing can tell the
/// client: the session is aborted. At 1 Gbit/s this is 130 ms.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// Bytes collected for a session before they are handed over within a batch; allocated at once.
const CHUNK_BYTES: usize = 64 << 10;

#[derive(Debug)]
struct Session {
    slot: usize,
    track: ByteTrack,
    /// Bytes of this batch.
    collected: BytesMut,
    /// `None` once it has ended, in order or not.
    way: Option<Way>,
    /// On the clock of the time that BLUE was heard for.
    ended_at: Nanos,
}

/// One lane's TCP sessions.
pub struct Sessions {
    lane: usize,
    deliveries: Deliveries,
    by_id: FxHashMap<SessionId, Session>,
    /// Sessions with collected bytes.
    touched: Vec<SessionId>,
}

impl Sessions {
    /// For lane number `lane`.
    pub fn new(lane: usize, deliveries: Deliveries) -> Self {
        Self { lane, deliveries, by_id: FxHashMap::default(), touched: Vec::new() }
    }

    /// Takes a record of a TCP stream.
    pub fn record(&mut self, now: Nanos, table: &Table, delivery: &Delivery<'_>) {
        let Some(entry) = table.get(delivery.slot) else { return };
        let Some(counters) = entry.counters.lane(self.lane) else { return };
        let head = delivery.head;
        match head.kind {
            RecordType::Open => drop(self.session(now, entry, counters, delivery)),
            RecordType::Data => self.data(now, entry, counters, delivery),
            RecordType::Close | RecordType::Abort | RecordType::Mark => {
                let Some(session) = self.by_id.get_mut(&head.session) else {
                    // Nothing of it was delivered: a session that RED joined too late for, or that has long ended.
                    return;
                };
                let whole = session.track.mark(head.sequence) == HeardBytes::Next;
                if !whole || head.flags & FLAG_ABORT != 0 {
                    session.abort(now, counters);
                } else if head.flags & FLAG_END != 0 {
                    session.close(now);
                }
            }
            _ => {}
        }
    }

    fn data(&mut self, now: Nanos, entry: &Entry, counters: &ReceiveStream, delivery: &Delivery<'_>) {
        let id = delivery.head.session;
        let Some(session) = self.session(now, entry, counters, delivery) else {
            return counters.refused.add(ReceiveRefused::Aborted, 1);
        };
        let collecting = !session.collected.is_empty();
        match session.track.data(delivery.head.sequence, delivery.payload.len()) {
            HeardBytes::Stale => {}
            HeardBytes::Gap(_) => {
                session.abort(now, counters);
                counters.refused.add(ReceiveRefused::Aborted, 1);
            }
            HeardBytes::Next => {
                session.collect(delivery.payload);
                counters.delivered.add(1);
                counters.delivered_bytes.add(delivery.payload.len() as u64);
                counters.recovered.add(u64::from(delivery.recovered));
                if !collecting {
                    self.touched.push(id);
                }
            }
        }
    }

    /// The session of a record, if it can still be delivered. Bytes at offset 0 begin one just as an open does, so that
    /// a lost open costs nothing; a session whose beginning is missing is aborted from the start.
    fn session(
        &mut self,
        now: Nanos,
        entry: &Entry,
        counters: &ReceiveStream,
        delivery: &Delivery<'_>,
    ) -> Option<&mut Session> {
        let id = delivery.head.session;
        let session = self.by_id.entry(id).or_insert_with(|| {
            let whole = delivery.head.sequence == 0;
            counters.sessions.add(u64::from(whole));
            let way = whole.then(|| self.deliveries.begin(&entry.name, id, entry.destination));
            let (track, collected) = (ByteTrack::default(), BytesMut::new());
            Session { slot: delivery.slot, track, collected, way, ended_at: now }
        });
        if session.way.as_ref().is_some_and(|way| way.shared.failed.load(Acquire)) {
            // The destination is gone; its delivery has said so.
            session.abort(now, counters);
        }
        session.way.is_some().then_some(session)
    }

    /// Hands over what this batch has collected.
    pub fn flush(&mut self, now: Nanos, table: &Table) {
        for id in self.touched.drain(..) {
            let Some(session) = self.by_id.get_mut(&id) else { continue };
            let counters = table.get(session.slot).and_then(|entry| entry.counters.lane(self.lane));
            if session.hand_over() > WAITING_BYTES_MAX
                && let Some(counters) = counters
            {
                session.abort(now, counters);
            }
        }
    }

    /// Forgets sessions that ended so long ago that BLUE does not repeat their end any more.
    pub fn sweep(&mut self, heard: &HeardTime) {
        self.by_id.retain(|_, session| session.way.is_some() || heard.remembers(session.ended_at, 0));
    }

    /// Breaks off every session: BLUE has started anew.
    pub fn abort_all(&mut self, table: &Table) {
        self.abort_if(table, |_| true);
        self.by_id.clear();
    }

    /// Breaks off the sessions of streams that `new` no longer has; `old` has their counters.
    pub fn set_table(&mut self, old: &Table, new: &Table) {
        self.abort_if(old, |slot| new.get(slot).is_none());
    }

    fn abort_if(&mut self, table: &Table, condition: impl Fn(usize) -> bool) {
        for session in self.by_id.values_mut().filter(|session| condition(session.slot)) {
            if let Some(counters) = table.get(session.slot).and_then(|entry| entry.counters.lane(self.lane)) {
                session.abort(session.ended_at, counters);
            }
        }
    }

    /// Waits until what has ended is delivered.
    pub fn stop(&mut self) {
        self.by_id.clear();
        self.deliveries.wait();
    }
}

impl Session {
    fn collect(&mut self, payload: &[u8]) {
        if self.collected.capacity() - self.collected.len() < payload.len() {
            self.collected.reserve(CHUNK_BYTES.max(payload.len()));
        }
        self.collected.extend_from_slice(payload);
    }

    /// Hands collected bytes over; returns how many wait at the destination.
    fn hand_over(&mut self) -> usize {
        let Some(way) = &self.way else { return 0 };
        let bytes = self.collected.split().freeze();
        let len = bytes.len();
        let waiting = way.shared.waiting_bytes.fetch_add(len, AcqRel) + len;
        // A delivery that is gone has failed, which the next record notices.
        let _ = way.pieces.send(Piece::Data(bytes));
        waiting
    }

    fn close(&mut self, now: Nanos) {
        self.hand_over();
        self.end(now, Piece::Close);
    }

    fn abort(&mut self, now: Nanos, counters: &ReceiveStream) {
        if self.way.is_some() {
            counters.sessions_aborted.add(1);
        }
        self.end(now, Piece::Abort);
    }

    fn end(&mut self, now: Nanos, piece: Piece) {
        if let Some(way) = self.way.take() {
            let _ = way.pieces.send(piece);
            self.ended_at = now;
        }
        self.collected = BytesMut::new();
    }
}
