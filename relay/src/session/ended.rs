//! Sessions that have ended and are still to be announced.

use std::collections::VecDeque;

use super::SessionId;

/// An ended session is announced so often, at heartbeats: two may be lost with their blocks.
const END_MARKS: u8 = 3;
/// Ends that wait to be announced: beyond it the oldest is no longer repeated. 32 bytes each.
const ENDED_MAX: usize = 65_536;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Slot of its stream.
    pub slot: u16,
    /// The session.
    pub id: SessionId,
    /// Its end: number of the datagram, or offset of the byte, that would have been next.
    pub next_sequence: u32,
    /// It was broken off.
    pub aborted: bool,
}

/// Ends to announce.
#[derive(Debug, Default)]
pub struct EndedSessions(VecDeque<(Ended, u8)>);

impl EndedSessions {
    /// Announce this one from now on.
    pub fn push(&mut self, ended: Ended) {
        self.0.push_back((ended, END_MARKS));
        if self.0.len() > ENDED_MAX {
            self.0.pop_front();
        }
    }

    /// Announces all, once; `mark` returns false if it could not take the mark now.
    pub fn announce(&mut self, mut mark: impl FnMut(&Ended) -> bool) {
        self.0.retain_mut(|(ended, marks_left)| {
            *marks_left -= u8::from(mark(ended));
            *marks_left > 0
        });
    }
}
