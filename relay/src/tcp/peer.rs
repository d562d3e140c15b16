//! What one end of a session knows of the other: whether it is there, and how far it lets us send.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};

use tokio::sync::Notify;

use super::failure::Failure;
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
    /// A packed [`Failure`]: the first there was.
    failure: AtomicU64,
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
            failure: AtomicU64::new(0),
            changed: Notify::new(),
        }
    }

    /// Takes a status record. One that was overtaken by a later one changes nothing.
    pub fn report(&self, status: &Status) {
        self.consumed_bytes.fetch_max(status.consumed_bytes, AcqRel);
        self.allowed_bytes.fetch_max(status.consumed_bytes.saturating_add(status.window_bytes.into()), AcqRel);
        match status.standing {
            Standing::Failed => self.fail(Failure::ByPeer),
            Standing::Gone => self.fail(Failure::PeerGone),
            standing => self.advance(standing),
        }
    }

    /// The session is broken off, unless it was over before.
    pub fn fail(&self, why: Failure) {
        // The first reason stays.
        let _ = self.failure.compare_exchange(0, why.pack(), AcqRel, Acquire);
        self.advance(Standing::Failed);
    }

    /// The session is broken off, also if it was over at the other end: not everything of it has come here.
    pub fn break_off(&self, why: Failure) {
        let _ = self.failure.compare_exchange(0, why.pack(), AcqRel, Acquire);
        self.standing.store(Standing::Failed as u8, Release);
        self.changed.notify_waiters();
    }

    fn advance(&self, standing: Standing) {
        let is_final = |word| word >= Standing::Closed as u8;
        // A final standing stays; the others only go forward. Nothing to change is no failure.
        let _ = self.standing.try_update(AcqRel, Acquire, |word| (!is_final(word)).then(|| word.max(standing as u8)));
        self.changed.notify_waiters();
    }

    /// Has the other end answered?
    pub fn is_heard(&self) -> bool {
        self.standing.load(Acquire) != UNHEARD
    }

    /// Has it failed?
    pub fn has_failed(&self) -> bool {
        self.standing.load(Acquire) == Standing::Failed as u8
    }

    /// Waits until the other end has answered. True: it is connected.
    pub async fn opened(&self) -> bool {
        self.when(|| self.is_heard().then(|| !self.has_failed())).await
    }

    /// Waits until some more than `sent_bytes` may have been sent, and returns how many.
    pub async fn room(&self, sent_bytes: u64) -> u64 {
        let room = || self.allowed_bytes.load(Acquire).saturating_sub(sent_bytes);
        self.when(|| Some(room()).filter(|room| *room > 0)).await
    }

    /// Waits until it has taken `bytes` in all.
    pub async fn took(&self, bytes: u64) {
        self.when(|| (self.consumed_bytes.load(Acquire) >= bytes).then_some(())).await;
    }

    /// Why it has failed, if it has.
    pub fn failure(&self) -> Option<Failure> {
        Failure::unpack(self.failure.load(Acquire)).filter(|_| self.has_failed())
    }

    /// Waits until the session has failed, and says why.
    pub async fn failed(&self) -> Failure {
        self.when(|| self.failure()).await
    }

    /// Waits until the other end's peer sends no more.
    pub async fn half_closed(&self) {
        let half_closed = Standing::HalfClosed as u8..=Standing::Closed as u8;
        self.when(|| half_closed.contains(&self.standing.load(Acquire)).then_some(())).await;
    }

    /// Is it over in order?
    pub fn is_closed(&self) -> bool {
        self.standing.load(Acquire) == Standing::Closed as u8
    }

    /// Waits until everything was taken and the session is over.
    pub async fn closed(&self) {
        self.when(|| self.is_closed().then_some(())).await;
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
        assert_eq!(peer.room(1000).await, 400, "an old status takes nothing back");
        peer.took(400).await;
    }

    #[tokio::test]
    async fn a_final_standing_stays() {
        let peer = Peer::unheard();
        peer.fail(Failure::Overflow);
        peer.report(&good(1, 0));
        peer.fail(Failure::PeerGone);
        assert!(!peer.opened().await);
        assert_eq!(peer.failed().await, Failure::Overflow, "the first reason stays");
        let closed = Peer::unheard();
        closed.report(&Status { standing: Standing::Closed, ..good(0, 7) });
        closed.fail(Failure::ByPeer);
        closed.closed().await;
        assert_eq!(closed.failure(), None, "everything was taken before it failed");
    }

    #[tokio::test]
    async fn who_cannot_be_heard_grants_everything() {
        let peer = Peer::unhearable();
        assert!(peer.opened().await);
        assert!(peer.room(1 << 60).await > 1 << 60);
    }
}
