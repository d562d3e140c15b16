//! How far the other host may be ahead of a session's socket, so that nothing overruns.
//!
//! Bytes on their way wait in two places: in front of the link's receiver, whose queue all sessions share, and for the
//! session's own socket. So a window is the session's room, but all windows together are no more than the queue holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire};

/// No window is smaller: a few frames, so that a session among thousands still moves.
const WINDOW_BYTES_MIN: usize = 8 << 10;

/// All windows that a host grants.
#[derive(Debug, Default)]
pub struct Windows {
    /// What its receivers hold before anything is lost.
    queue_bytes: AtomicUsize,
    sessions: AtomicUsize,
}

/// One session's window, until this is dropped.
#[derive(Debug)]
pub struct Window {
    all: Arc<Windows>,
    room_bytes: usize,
}

impl Windows {
    /// One more receiver, which holds `bytes` before anything is lost.
    pub fn add_queue(&self, bytes: usize) {
        self.queue_bytes.fetch_add(bytes, AcqRel);
    }

    /// One more session, for whose socket `room_bytes` may wait.
    pub fn open(self: &Arc<Self>, room_bytes: usize) -> Window {
        self.sessions.fetch_add(1, AcqRel);
        Window { all: Arc::clone(self), room_bytes }
    }
}

impl Window {
    /// Its size now, bytes: it shrinks as sessions come and grows as they go.
    pub fn bytes(&self) -> u32 {
        let share = self.all.queue_bytes.load(Acquire) / self.all.sessions.load(Acquire).max(1);
        u32::try_from(share.max(WINDOW_BYTES_MIN).min(self.room_bytes)).unwrap_or(u32::MAX)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.all.sessions.fetch_sub(1, AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_windows_share_the_queue_and_none_exceeds_its_room() {
        let windows = Arc::new(Windows::default());
        windows.add_queue(1 << 20);
        let first = windows.open(16 << 20);
        assert_eq!(first.bytes(), 1 << 20);
        let small = windows.open(100_000);
        assert_eq!((first.bytes(), small.bytes()), (1 << 19, 100_000));
        let many: Vec<_> = (0..1000).map(|_| windows.open(16 << 20)).collect();
        assert_eq!(many[7].bytes(), 8 << 10);
        drop((many, small));
        assert_eq!(first.bytes(), 1 << 20);
    }
}
