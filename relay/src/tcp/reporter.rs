//! Tells the other host how a session stands here.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::feed::{FeedSender, Piece};
use super::windows::Window;
use crate::session::SessionId;
use crate::wire::{Standing, Status};

/// A report is due when this share of the window was consumed since the last: the sender never waits for one while data
/// flows, and reports are few.
const WINDOW_SHARE: u64 = 4;

/// Reports of one session.
#[derive(Debug)]
pub struct Reporter {
    feed: FeedSender,
    slot: u16,
    id: SessionId,
    window: Window,
    /// A [`Standing`]; only the session's own task changes it.
    standing: AtomicU8,
    consumed_bytes: AtomicU64,
    told_bytes: AtomicU64,
    /// The window that the other host knows.
    told_window_bytes: AtomicU32,
}

impl Reporter {
    /// For a session that grants `window`. Says nothing yet.
    pub fn new(feed: FeedSender, slot: u16, id: SessionId, window: Window) -> Self {
        Self {
            feed,
            slot,
            id,
            window,
            standing: AtomicU8::new(Standing::Good as u8),
            consumed_bytes: AtomicU64::new(0),
            told_bytes: AtomicU64::new(0),
            told_window_bytes: AtomicU32::new(0),
        }
    }

    /// The session's peer took `bytes` more.
    pub async fn consumed(&self, bytes: u64) {
        let consumed_bytes = self.consumed_bytes.fetch_add(bytes, Relaxed) + bytes;
        let due = u64::from(self.told_window_bytes.load(Relaxed)) / WINDOW_SHARE;
        if consumed_bytes - self.told_bytes.load(Relaxed) >= due {
            self.tell_again().await;
        }
    }

    /// The session's peer took everything that there was.
    pub async fn consumed_all(&self) {
        if self.consumed_bytes.load(Relaxed) > self.told_bytes.load(Relaxed) {
            self.tell_again().await;
        }
    }

    /// Says how far it is now; nothing else has become of it.
    async fn tell_again(&self) {
        let half_closed = self.standing.load(Relaxed) == Standing::HalfClosed as u8;
        self.tell(if half_closed { Standing::HalfClosed } else { Standing::Good }).await;
    }

    /// Says what has become of the session.
    pub async fn tell(&self, standing: Standing) {
        self.standing.store(standing as u8, Relaxed);
        let consumed_bytes = self.consumed_bytes.load(Relaxed);
        self.told_bytes.store(consumed_bytes, Relaxed);
        let window_bytes = self.window.bytes();
        self.told_window_bytes.store(window_bytes, Relaxed);
        let status = Status { standing, window_bytes, consumed_bytes };
        // A lane that is gone takes the whole host with it.
        self.feed.send(self.slot, self.id, Piece::Status(status)).await;
    }
}
