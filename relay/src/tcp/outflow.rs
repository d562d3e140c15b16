//! A session's bytes on their way into the link, from whoever has them.

use std::time::Duration;

use bytes::Bytes;

use super::feed::{FeedSender, Piece};
use super::peer::Peer;
use super::{Broken, Failure};
use crate::session::SessionId;

/// A stream above its rate is looked at again after this long.
const RATE_PAUSE: Duration = Duration::from_millis(1);

/// The sending end of one session. `A` says for bytes whether they may go on at once: `Some(false)` asks to wait, `None` breaks
/// off.
pub struct Outflow<'a, A> {
    /// To its lane.
    pub feed: &'a FeedSender,
    /// Slot and UUID.
    pub session: (u16, SessionId),
    /// The other end.
    pub peer: &'a Peer,
    /// The stream's rate, and whether it is still in force.
    pub admit: A,
    /// So many bytes have gone.
    pub sent_bytes: u64,
}

impl<A: Fn(usize) -> Option<bool>> Outflow<'_, A> {
    /// Sends bytes, as far ahead as the other end grants.
    ///
    /// # Errors
    /// The stream is no longer in force, or the lane is gone. That the other end has failed is for the caller to notice.
    pub async fn push(&mut self, mut bytes: Bytes) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let room_bytes = usize::try_from(self.peer.room(self.sent_bytes).await).unwrap_or(usize::MAX);
            let part = bytes.split_to(bytes.len().min(room_bytes).min(self.feed.piece_bytes_max()));
            let part_bytes = part.len() as u64;
            while !(self.admit)(part.len()).ok_or(Broken::Given(Failure::StreamRemoved))? {
                tokio::time::sleep(RATE_PAUSE).await;
            }
            if !self.feed.send(self.session.0, self.session.1, Piece::Data(part)).await {
                return Err(Broken::Stopping);
            }
            self.sent_bytes += part_bytes;
        }
        Ok(())
    }
}
