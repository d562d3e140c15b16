//! The lane's side of RED's TCP sessions.

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::delivery::{Begin, Deliveries};
use crate::config::Impersonate;
use crate::link::{Delivery, Nanos};
use crate::red::memory::{HeardTime, SESSIONS_MAX};
use crate::red::notice::Notice;
use crate::red::table::{Entry, Table};
use crate::session::{self, SessionId};
use crate::tcp::{Failure, Fate, Inflow, Peer, Piece, way};
use crate::telemetry::counters::ReceiveStream;
use crate::telemetry::reasons::ReceiveRefused;
use crate::wire::{FLAG_ABORT, FLAG_END, FLAG_WRAPPED, RecordHead, RecordType, Standing, Status, origin_from_wire};

#[derive(Debug)]
struct Session {
    slot: usize,
    peer: Arc<Peer>,
    /// `None`: it could not begin.
    inflow: Option<Inflow>,
    /// On the clock of the time that BLUE was heard for.
    ended_at: Nanos,
    /// Counted as broken off.
    counted: bool,
}

/// What a record is about.
struct Scene<'a> {
    now: Nanos,
    id: SessionId,
    entry: &'a Entry,
    counters: &'a ReceiveStream,
    notices: &'a crossbeam_channel::Sender<Notice>,
}

/// One lane's TCP sessions.
pub struct Sessions {
    lane: usize,
    deliveries: Deliveries,
    notices: crossbeam_channel::Sender<Notice>,
    by_id: FxHashMap<SessionId, Session>,
    /// Sessions with collected bytes.
    touched: Vec<SessionId>,
}

impl Sessions {
    /// For lane number `lane`.
    pub fn new(lane: usize, deliveries: Deliveries, notices: crossbeam_channel::Sender<Notice>) -> Self {
        Self { lane, deliveries, notices, by_id: FxHashMap::default(), touched: Vec::new() }
    }

    /// Takes a record of a TCP stream.
    pub fn record(&mut self, now: Nanos, table: &Table, delivery: &Delivery<'_>) {
        let Some(entry) = table.get(delivery.slot) else { return };
        let Some(counters) = entry.counters.lane(self.lane) else { return };
        let head = delivery.head;
        if head.kind == RecordType::Status {
            return self.status(delivery);
        }
        let begins = matches!(head.kind, RecordType::Open | RecordType::Data) && self.by_id.len() < SESSIONS_MAX;
        let scene = Scene { now, id: head.session, entry, counters, notices: &self.notices };
        let session = match self.by_id.entry(head.session) {
            Occupied(known) => Some(known.into_mut()),
            Vacant(new) if begins => Some(new.insert(begin(&scene, &self.deliveries, delivery))),
            // Nothing of it was delivered: RED joined too late for it, or it has long ended.
            Vacant(_) => {
                counters.refused.add(ReceiveRefused::Aborted, u64::from(head.kind == RecordType::Data));
                None
            }
        };
        let Some(session) = session else {
            let is_unknown = head.kind == RecordType::Mark;
            return self.answer(delivery, if is_unknown { Standing::Gone } else { Standing::Failed });
        };
        if session.has_failed_uncounted() {
            // Its delivery has said why.
            scene.count_aborted(session);
        }
        match head.kind {
            RecordType::Data => {
                let taken = scene.data(session, delivery);
                if taken && self.touched.last() != Some(&head.session) {
                    self.touched.push(head.session);
                }
            }
            RecordType::Close | RecordType::Abort | RecordType::Mark => scene.mark(session, head),
            _ => {}
        }
        if let Some(standing) = session.outcome() {
            self.answer(delivery, standing);
        }
    }

    /// BLUE says how far the client has taken the answers. Whatever becomes of BLUE, what was delivered was delivered.
    fn status(&self, delivery: &Delivery<'_>) {
        let status = Status::from_wire(delivery.payload);
        let session = self.by_id.get(&delivery.head.session).filter(|session| session.is_being_delivered());
        if let (Some(status), Some(session)) = (status, session) {
            session.peer.report(&status);
        }
    }

    /// Tells BLUE, if there is a return link, what has become of a session of which BLUE seems not to know that it is over.
    /// Data is not worth an answer each: a mark comes with the next heartbeat.
    fn answer(&self, delivery: &Delivery<'_>, standing: Standing) {
        let head = delivery.head;
        let asks = matches!(head.kind, RecordType::Open | RecordType::Mark) && head.flags & FLAG_ABORT == 0;
        if let Some(returns) = self.deliveries.returns().filter(|_| asks) {
            let status = Status { standing, window_bytes: 0, consumed_bytes: 0 };
            returns.try_send(delivery.slot as u16, head.session, Piece::Answer(status));
        }
    }

    /// Hands over what this batch has collected.
    pub fn flush(&mut self, now: Nanos, table: &Table) {
        for id in self.touched.drain(..) {
            let Some(session) = self.by_id.get_mut(&id) else { continue };
            if session.inflow.as_mut().is_none_or(Inflow::hand_over) {
                continue;
            }
            if let Some((entry, counters)) = counted(table, session.slot, self.lane) {
                Scene { now, id, entry, counters, notices: &self.notices }.abort(session, Failure::Overflow);
            }
        }
    }

    /// Forgets sessions that ended so long ago that BLUE does not repeat their end any more.
    pub fn sweep(&mut self, heard: &HeardTime, table: &Table) {
        for (id, session) in self.by_id.iter_mut().filter(|(_, session)| session.has_failed_uncounted()) {
            // Everything had come, and nothing is heard of it any more.
            if let Some((entry, counters)) = counted(table, session.slot, self.lane) {
                Scene { now: session.ended_at, id: *id, entry, counters, notices: &self.notices }
                    .count_aborted(session);
            }
        }
        self.by_id.retain(|_, session| session.runs() || heard.remembers(session.ended_at, 0));
    }

    /// Breaks off every session: BLUE has started anew, or is gone.
    pub fn abort_all(&mut self, table: &Table) {
        self.abort_if(table, Failure::PeerGone, |_| true);
    }

    /// Forgets everything: no record of before means anything any more.
    pub fn forget_all(&mut self, table: &Table) {
        self.abort_all(table);
        self.by_id.clear();
    }

    /// Breaks off the sessions of streams that `new` no longer has; `old` has their counters.
    pub fn set_table(&mut self, old: &Table, new: &Table) {
        self.abort_if(old, Failure::StreamRemoved, |slot| new.get(slot).is_none());
    }

    fn abort_if(&mut self, table: &Table, why: Failure, condition: impl Fn(usize) -> bool) {
        for (id, session) in self.by_id.iter_mut().filter(|(_, session)| condition(session.slot)) {
            if let Some((entry, counters)) = counted(table, session.slot, self.lane) {
                let scene = Scene { now: session.ended_at, id: *id, entry, counters, notices: &self.notices };
                scene.abort(session, why);
            }
        }
    }

    /// Waits until what has ended is delivered.
    pub fn stop(&mut self) {
        self.by_id.clear();
        self.deliveries.wait();
    }
}

/// A session as its first record asks for it. One whose beginning is missing, or that must not begin, is there but not
/// wanted.
fn begin(scene: &Scene<'_>, deliveries: &Deliveries, delivery: &Delivery<'_>) -> Session {
    let Scene { now, id, entry, counters, .. } = *scene;
    let rules = entry.tcp;
    let client = origin_from_wire(delivery.payload).filter(|_| delivery.head.kind == RecordType::Open);
    let known = rules.impersonate == Impersonate::Off || client.is_some();
    let peer =
        Arc::new(if deliveries.returns().is_some() && rules.bilateral { Peer::unheard() } else { Peer::unhearable() });
    let mut session = Session { slot: delivery.slot, peer, inflow: None, ended_at: now, counted: false };
    // The end of a file tells what of it is missing, also if that is its beginning.
    let notes_gaps = entry.files.is_some() && deliveries.returns().is_none();
    let missing_bytes = missing_before(delivery.head);
    if missing_bytes > 0 && !notes_gaps || !known {
        scene.tell_aborted(Failure::Missing(missing_bytes));
        return session;
    }
    let Some(place) = entry.limit.enter() else {
        counters.refused.add(ReceiveRefused::SessionLimit, 1);
        scene.tell_refused();
        return session;
    };
    counters.sessions.add(1);
    let (way, end) = way(deliveries.memory());
    session.inflow = Some(if notes_gaps {
        Inflow::noting_gaps(way, rules.room_bytes, missing_bytes)
    } else {
        Inflow::new(way, rules.room_bytes)
    });
    let (stream, peer, files) = (&*entry.name, Arc::clone(&session.peer), entry.files.clone());
    deliveries.begin(Begin { stream, slot: delivery.slot, rules, id, client, peer, way: end, place, files });
    session
}

/// How many bytes of a session at least are before its first record that came.
fn missing_before(head: RecordHead) -> u32 {
    match head.sequence {
        0 if head.flags & FLAG_WRAPPED != 0 => u32::MAX,
        sequence => sequence,
    }
}

fn counted(table: &Table, slot: usize, lane: usize) -> Option<(&Entry, &ReceiveStream)> {
    let entry = table.get(slot)?;
    Some((entry, entry.counters.lane(lane)?))
}

impl Session {
    /// Are more of its bytes expected?
    fn is_open(&self) -> bool {
        self.inflow.as_ref().is_some_and(Inflow::is_open)
    }

    /// Is it still delivered?
    fn runs(&self) -> bool {
        self.is_open() || self.is_being_delivered()
    }

    /// Does its delivery still run? Its task holds the peer.
    fn is_being_delivered(&self) -> bool {
        Arc::strong_count(&self.peer) > 1
    }

    fn has_failed_uncounted(&self) -> bool {
        !self.counted && self.peer.has_failed()
    }

    /// What has become of it, if it is over.
    fn outcome(&self) -> Option<Standing> {
        if self.inflow.is_none() || self.peer.has_failed() {
            return Some(Standing::Failed);
        }
        (!self.runs()).then_some(Standing::Closed)
    }
}

impl Scene<'_> {
    /// Takes a session's bytes. True: they are to be handed over.
    fn data(&self, session: &mut Session, delivery: &Delivery<'_>) -> bool {
        let counters = self.counters;
        let fate = session.inflow.as_mut().map(|inflow| inflow.data(delivery.head.sequence, delivery.payload));
        match fate {
            Some(Fate::Taken) => {
                counters.deliver(delivery.payload.len(), delivery.recovered);
                return true;
            }
            Some(Fate::Stale) => {}
            Some(Fate::Gap(bytes)) => {
                counters.refused.add(ReceiveRefused::Aborted, 1);
                self.abort(session, Failure::Missing(bytes));
            }
            Some(Fate::Counted | Fate::Ended) | None => counters.refused.add(ReceiveRefused::Aborted, 1),
        }
        false
    }

    /// Takes a record that says where a session stands.
    fn mark(&self, session: &mut Session, head: RecordHead) {
        let Some(inflow) = session.inflow.as_mut().filter(|inflow| inflow.is_open()) else {
            if head.flags & FLAG_ABORT != 0 {
                self.abort(session, Failure::ByPeer);
            }
            return;
        };
        let mut missing_bytes = inflow.missing_bytes(head.sequence);
        if missing_bytes > 0 && inflow.notes_gaps() {
            inflow.note_gap(std::mem::take(&mut missing_bytes));
        }
        if missing_bytes > 0 {
            self.abort(session, Failure::Missing(missing_bytes));
        } else if head.flags & FLAG_ABORT != 0 {
            self.abort(session, Failure::ByPeer);
        } else if head.flags & FLAG_END != 0 {
            session.ended_at = self.now;
            inflow.close();
        }
    }

    /// Breaks a session off; says why, and counts it once.
    fn abort(&self, session: &mut Session, why: Failure) {
        let answers = self.entry.tcp.bilateral && session.is_being_delivered() && !session.peer.has_failed();
        if !session.is_open() && !answers {
            // Everything has come; what still waits for the destination goes there.
            return;
        }
        self.count_aborted(session);
        self.tell_aborted(why);
        session.peer.fail(why);
    }

    fn tell_aborted(&self, why: Failure) {
        let (stream, session) = (self.entry.name.clone(), session::display(self.id).to_string());
        // A full queue means that the log is behind already; the counters have it.
        let _ = self.notices.try_send(Notice::SessionAborted { stream, session, why });
    }

    fn tell_refused(&self) {
        let (stream, session) = (self.entry.name.clone(), session::display(self.id).to_string());
        // As above.
        let _ = self.notices.try_send(Notice::SessionRefused { stream, session, places: self.entry.limit.max() });
    }

    fn count_aborted(&self, session: &mut Session) {
        self.counters.sessions_aborted.add(u64::from(!session.counted));
        session.counted = true;
        session.ended_at = self.now;
        if let Some(inflow) = &mut session.inflow {
            inflow.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_byte_is_a_beginning() {
        let head = |sequence, flags| RecordHead { kind: RecordType::Data, flags, session: [1; 16], sequence };
        assert_eq!(missing_before(head(0, 0)), 0);
        assert_eq!(missing_before(head(7, 0)), 7);
        assert_eq!(missing_before(head(0, FLAG_WRAPPED)), u32::MAX);
    }
}
