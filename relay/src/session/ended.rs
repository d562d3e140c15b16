//! Sessions that have ended and are still to be announced.

use std::collections::VecDeque;

use super::SessionId;

/// An ended session is announced so often, at heartbeats: two may be lost with their blocks.
const TIMES: u8 = 3;
/// Ends that wait to be announced: beyond it the oldest is no longer repeated. About 100 bytes each.
const ENDED_MAX: usize = 65_536;

/// Ends to announce, each with what is to be said of it.
#[derive(Debug)]
pub struct Announced<T>(VecDeque<(SessionId, T, u8)>);

impl<T> Default for Announced<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Announced<T> {
    /// Announce this one from now on.
    pub fn push(&mut self, id: SessionId, ended: T) {
        self.0.push_back((id, ended, TIMES));
        if self.0.len() > ENDED_MAX {
            self.0.pop_front();
        }
    }

    /// Announces all, once; `mark` returns false if it could not take the mark now.
    pub fn announce(&mut self, mut mark: impl FnMut(SessionId, &mut T) -> bool) {
        self.0.retain_mut(|(id, ended, times_left)| {
            *times_left -= u8::from(mark(*id, ended));
            *times_left > 0
        });
    }
}
