//! What one end of a session knows of the other: whether it is there, and how far it lets us send.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::AcqRel, Ordering::Acquire};

use tokio::sync::Notify;

use crate::wire::{Standing, Status};

/// Nothing was heard of the session yet.
const UNHEARD: u8 = 0;

/// The other end of a session. A lane writes it, the session's tasks wait for it.
#[derive(Debug)]
pub struct Peer {
    /// [`UNHEARD`], or the last [`Standing`]; never goes back, and a final one stays.
    standing: AtomicU8,
    /// Bytes that may have been sent in all.
    allowed_bytes: AtomicU64,
    /// Bytes that it has taken.
    consumed_bytes: AtomicU64,
    changed: Notify,
}

impl Peer {
    /// One that was not heard of yet, and grants nothing.
    pub fn unheard() -> Self {
        Self::new(UNHEARD, 0)
    }

    /// One that cannot be heard, because there is no return link: it counts as good and grants everything.
    pub fn unhearable() -> Self {
        Self::new(Standing::Good as u8, u64::MAX)
    }

    fn new(standing: u8, allowed_bytes: u64) -> Self {
        Self {
            standing: AtomicU8::new(standing),
            allowed_bytes: AtomicU64::new(allowed_bytes),
            consumed_bytes: AtomicU64::new(0),
            changed: Notify::new(),
        }
    }

    /// Takes a status record. One that was overtaken by a later one changes nothing.
    pub fn report(&self, status: &Status) {
        self.consumed_bytes.fetch_max(status.consumed_bytes, AcqRel);
        self.allowed_bytes.fetch_max(status.consumed_bytes.saturating_add(status.window_bytes.into()), AcqRel);
        self.advance(status.standing);
    }

    /// The other end is gone.
    pub fn fail(&self) {
        self.advance(Standing::Failed);
    }

    fn advance(&self, standing: Standing) {
        let is_final = |word| word >= Standing::Closed as u8;
        // A final standing stays; the others only go forward. Nothing to change is no failure.
        let _ = self.standing.try_update(AcqRel, Acquire, |word| (!is_final(word)).then(|| word.max(standing as u8)));
        self.changed.notify_waiters();
    }

    /// Was the session connected, and is it still?
    pub fn is_good(&self) -> bool {
        (Standing::Good as u8..Standing::Closed as u8).contains(&self.standing.load(Acquire))
    }

    /// Has it failed?
    pub fn has_failed(&self) -> bool {
        self.standing.load(Acquire) == Standing::Failed as u8
    }

    /// Bytes that it has taken.
    pub fn consumed_bytes(&self) -> u64 {
        self.consumed_bytes.load(Acquire)
    }

    /// Waits until the other end has answered. True: it is connected.
    pub async fn opened(&self) -> bool {
        self.when(|| (self.standing.load(Acquire) != UNHEARD).then(|| !self.has_failed())).await
    }

    /// Waits until some more than `sent_bytes` may have been sent, and returns how many.
    pub async fn room(&self, sent_bytes: u64) -> u64 {
        let room = || self.allowed_bytes.load(Acquire).saturating_sub(sent_bytes);
        self.when(|| Some(room()).filter(|room| *room > 0)).await
    }

    /// Waits until the session has failed.
    pub async fn failed(&self) {
        self.when(|| self.has_failed().then_some(())).await;
    }

    /// Waits until the other end's peer sends no more, or the session is over.
    pub async fn half_closed(&self) {
        self.when(|| (self.standing.load(Acquire) >= Standing::HalfClosed as u8).then_some(())).await;
    }

    /// Waits until the session is over. True: everything was taken.
    pub async fn over(&self) -> bool {
        self.when(|| (self.standing.load(Acquire) >= Standing::Closed as u8).then(|| !self.has_failed())).await
    }

    /// Waits until more than `consumed_bytes` have been taken.
    pub async fn consumed_beyond(&self, consumed_bytes: u64) {
        self.when(|| (self.consumed_bytes() > consumed_bytes).then_some(())).await;
    }

    /// Waits until `look` finds something.
    async fn when<T>(&self, look: impl Fn() -> Option<T>) -> T {
        loop {
            // Made before the look, so that no change falls between the two.
            let changed = self.changed.notified();
            if let Some(found) = look() {
                return found;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn good(window_bytes: u32, consumed_bytes: u64) -> Status {
        Status { standing: Standing::Good, window_bytes, consumed_bytes }
    }

    #[tokio::test]
    async fn room_is_what_was_granted_and_not_used() {
        let peer = Arc::new(Peer::unheard());
        let waits = tokio::spawn({
            let peer = Arc::clone(&peer);
            async move { (peer.opened().await, peer.room(1000).await) }
        });
        peer.report(&good(1000, 0));
        tokio::task::yield_now().await;
        assert!(!waits.is_finished(), "all of it is used");
        peer.report(&good(1000, 400));
        assert_eq!(waits.await.expect("no panic"), (true, 400));
        peer.report(&good(1000, 100));
        assert_eq!((peer.room(1000).await, peer.consumed_bytes()), (400, 400), "an old status takes nothing back");
    }

    #[tokio::test]
    async fn a_final_verdict_stays() {
        let peer = Peer::unheard();
        peer.fail();
        peer.report(&good(1, 0));
        assert!(peer.has_failed() && !peer.is_good());
        assert!(!peer.opened().await);
        assert!(!peer.over().await);
        let closed = Peer::unheard();
        closed.report(&Status { standing: Standing::Closed, ..good(0, 7) });
        closed.fail();
        assert!(closed.over().await, "everything was taken before it failed");
    }

    #[tokio::test]
    async fn who_cannot_be_heard_grants_everything() {
        let peer = Peer::unhearable();
        assert!(peer.opened().await && peer.is_good());
        assert!(peer.room(1 << 60).await > 1 << 60);
    }
}
