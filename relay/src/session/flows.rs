//! The flows of one BLUE lane: which source has which session.
//!
//! Datagrams come in runs of one flow: the one that came last is looked at first, without hashing anything.

use std::hash::{Hash, Hasher};
use std::net::SocketAddr;

use rustc_hash::FxBuildHasher;

use super::ended::Announced;
use super::limit::{Place, SessionLimit};
use super::{SessionId, new_id};
use crate::link::Nanos;

/// What a flow table needs to know of its streams, by slot.
pub trait StreamRules {
    /// The stream's limit, `None` if the stream is gone.
    fn limit(&self, slot: u16) -> Option<&SessionLimit>;
    /// A session without traffic for this long is over.
    fn idle_ns(&self, slot: u16) -> Nanos;
}

/// A flow: who sends to which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    /// The sender.
    pub source: SocketAddr,
    /// The stream's slot.
    pub slot: u16,
}

impl Hash for FlowKey {
    /// One word for IPv4, instead of one for each field.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let port_and_slot = u64::from(self.source.port()) << 16 | u64::from(self.slot);
        match self.source {
            SocketAddr::V4(source) => state.write_u64(u64::from(source.ip().to_bits()) << 32 | port_and_slot),
            SocketAddr::V6(source) => {
                state.write_u128(source.ip().to_bits());
                state.write_u64(port_and_slot);
            }
        }
    }
}

#[derive(Debug)]
struct Flow {
    key: FlowKey,
    id: SessionId,
    next_sequence: u32,
    last_at: Nanos,
    _place: Place,
}

/// The stream has as many sessions as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// As many sessions as it may.
    #[error("session limit reached")]
    Limit,
    /// The stream is gone.
    #[error("no such stream")]
    NoStream,
}

/// Flows of one lane.
#[derive(Debug, Default)]
pub struct FlowTable {
    flows: Vec<Flow>,
    /// Where in `flows` each is.
    places: std::collections::HashMap<FlowKey, usize, FxBuildHasher>,
    /// Where the flow was that came last.
    last: usize,
    /// With slot and number of the datagram that would have been next.
    ended: Announced<(u16, u32)>,
}

impl FlowTable {
    /// The session of `key` and the number of its next datagram, which is thereby used. Opens a session if there is
    /// none; the third value says so.
    #[inline]
    pub fn next(
        &mut self,
        now: Nanos,
        key: FlowKey,
        rules: &impl StreamRules,
    ) -> Result<(SessionId, u32, bool), OpenError> {
        let Some(flow) = self.find(&key) else { return self.open(now, key, rules) };
        flow.last_at = now;
        let sequence = flow.next_sequence;
        flow.next_sequence = sequence.wrapping_add(1);
        Ok((flow.id, sequence, false))
    }

    #[cold]
    fn open(
        &mut self,
        now: Nanos,
        key: FlowKey,
        rules: &impl StreamRules,
    ) -> Result<(SessionId, u32, bool), OpenError> {
        let limit = rules.limit(key.slot).ok_or(OpenError::NoStream)?;
        let place = limit.enter().ok_or(OpenError::Limit)?;
        let id = new_id();
        self.places.insert(key, self.flows.len());
        self.flows.push(Flow { key, id, next_sequence: 1, last_at: now, _place: place });
        Ok((id, 0, true))
    }

    /// Gives the number that [`FlowTable::next`] just used back: its datagram did not go out.
    pub fn undo(&mut self, key: FlowKey) {
        if let Some(flow) = self.find(&key) {
            flow.next_sequence = flow.next_sequence.wrapping_sub(1);
        }
    }

    /// Ends sessions that were idle too long or whose stream is gone; `each` is told.
    pub fn expire(&mut self, now: Nanos, rules: &impl StreamRules, mut each: impl FnMut(&FlowKey, SessionId)) {
        let mut index = 0;
        while let Some(flow) = self.flows.get(index) {
            let slot = flow.key.slot;
            if rules.limit(slot).is_some() && now.saturating_sub(flow.last_at) < rules.idle_ns(slot) {
                index += 1;
            } else {
                each(&flow.key, flow.id);
                self.end(index);
            }
        }
    }

    /// Ends the flow at `index`; the last one takes its place.
    fn end(&mut self, index: usize) {
        let flow = self.flows.swap_remove(index);
        self.places.remove(&flow.key);
        if let Some(moved) = self.flows.get(index) {
            self.places.insert(moved.key, index);
        }
        self.ended.push(flow.id, (flow.key.slot, flow.next_sequence));
    }

    #[inline]
    fn find(&mut self, key: &FlowKey) -> Option<&mut Flow> {
        if self.flows.get(self.last).is_none_or(|flow| flow.key != *key) {
            self.last = self.look_up(key)?;
        }
        self.flows.get_mut(self.last)
    }

    /// Not part of the way that most datagrams go.
    #[inline(never)]
    fn look_up(&self, key: &FlowKey) -> Option<usize> {
        self.places.get(key).copied()
    }

    /// Ends every session.
    pub fn end_all(&mut self) {
        self.places.clear();
        for flow in self.flows.drain(..) {
            self.ended.push(flow.id, (flow.key.slot, flow.next_sequence));
        }
    }

    /// Announces every session: `mark` gets slot, session, next sequence, and whether it has ended; it returns false
    /// if it could not take the mark now.
    pub fn marks(&mut self, mut mark: impl FnMut(u16, SessionId, u32, bool) -> bool) {
        for flow in &self.flows {
            mark(flow.key.slot, flow.id, flow.next_sequence, false);
        }
        self.ended.announce(|id, (slot, next_sequence)| mark(*slot, id, *next_sequence, true));
    }

    /// Live sessions of this lane.
    pub fn live(&self) -> usize {
        self.flows.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rules(SessionLimit);

    impl StreamRules for Rules {
        fn limit(&self, slot: u16) -> Option<&SessionLimit> {
            (slot == 0).then_some(&self.0)
        }
        fn idle_ns(&self, _: u16) -> Nanos {
            100
        }
    }

    fn key(port: u16) -> FlowKey {
        FlowKey { source: SocketAddr::from(([10, 0, 0, 1], port)), slot: 0 }
    }

    #[test]
    fn a_flow_keeps_its_session_and_counts() {
        let (mut table, rules) = (FlowTable::default(), Rules(SessionLimit::new(8, None)));
        let (id, first, opened) = table.next(0, key(1), &rules).expect("room");
        assert_eq!((first, opened), (0, true));
        assert_eq!(table.next(50, key(1), &rules), Ok((id, 1, false)));
        table.undo(key(1));
        assert_eq!(table.next(50, key(1), &rules), Ok((id, 1, false)));
        assert_ne!(table.next(50, key(2), &rules).expect("room").0, id);
    }

    #[test]
    fn flows_stay_apart_whichever_of_them_end() {
        let (mut table, rules) = (FlowTable::default(), Rules(SessionLimit::new(100, None)));
        let ids: Vec<SessionId> = (0..50).map(|port| table.next(0, key(port), &rules).expect("room").0).collect();
        let stays = |port: u16| port.is_multiple_of(3);
        for port in (0..50).filter(|port| stays(*port)) {
            assert_eq!(table.next(60, key(port), &rules), Ok((ids[usize::from(port)], 1, false)));
        }
        let mut ended = Vec::new();
        table.expire(120, &rules, |key, id| ended.push((key.source.port(), id)));
        ended.sort_unstable();
        let gone: Vec<_> = (0..50).filter(|port| !stays(*port)).map(|port| (port, ids[usize::from(port)])).collect();
        assert_eq!((ended, table.live(), rules.0.live()), (gone, 17, 17));
        for port in (0..50).rev() {
            let (id, sequence, opened) = table.next(121, key(port), &rules).expect("room");
            assert_eq!(
                (id == ids[usize::from(port)], sequence, opened),
                (stays(port), if stays(port) { 2 } else { 0 }, !stays(port))
            );
        }
    }

    #[test]
    fn the_limit_holds_over_lanes_and_is_free_again_after_idling() {
        let (mut one, mut other, rules) =
            (FlowTable::default(), FlowTable::default(), Rules(SessionLimit::new(2, None)));
        assert!(one.next(0, key(1), &rules).is_ok());
        assert!(other.next(0, key(2), &rules).is_ok());
        assert_eq!(one.next(0, key(3), &rules), Err(OpenError::Limit));
        let mut ended = 0;
        other.expire(100, &rules, |_, _| ended += 1);
        assert_eq!((ended, rules.0.live()), (1, 1));
        assert!(one.next(100, key(3), &rules).is_ok());
    }

    #[test]
    fn an_end_is_announced_three_times() {
        let (mut table, rules) = (FlowTable::default(), Rules(SessionLimit::new(2, None)));
        table.next(0, key(1), &rules).expect("room");
        table.end_all();
        let mut ends = 0;
        for round in 0..10 {
            table.marks(|_, _, sequence, ended| {
                assert!(ended);
                assert_eq!(sequence, 1);
                ends += u32::from(round > 0);
                round > 0
            });
        }
        assert_eq!(ends, 3);
        assert_eq!(rules.0.live(), 0);
    }

    #[test]
    fn sessions_of_a_stream_that_is_gone_end() {
        let (mut table, rules) = (FlowTable::default(), Rules(SessionLimit::new(2, None)));
        assert_eq!(table.next(0, FlowKey { slot: 9, ..key(1) }, &rules), Err(OpenError::NoStream));
    }
}
