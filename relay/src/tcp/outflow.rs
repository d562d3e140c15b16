//! A session's bytes on their way into the link, from whoever has them.

use bytes::Bytes;

use super::Broken;
use super::feed::{FeedSender, Piece};
use super::pace::Pace;
use super::peer::Peer;
use crate::session::SessionId;

/// The sending end of one session.
pub struct Outflow<'a, F> {
    /// To its lane.
    pub feed: &'a FeedSender,
    /// Slot and UUID.
    pub session: (u16, SessionId),
    /// The other end.
    pub peer: &'a Peer,
    /// The stream's rate, and whether it is still in force.
    pub pace: Pace<F>,
    /// So many bytes have gone.
    pub sent_bytes: u64,
}

impl<F: Fn() -> bool> Outflow<'_, F> {
    /// Sends bytes, as far ahead as the other end grants.
    ///
    /// # Errors
    /// The stream is no longer in force, or the lane is gone. That the other end has failed is for the caller to notice.
    pub async fn push(&mut self, mut bytes: Bytes) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let room_bytes = usize::try_from(self.peer.room(self.sent_bytes).await).unwrap_or(usize::MAX);
            let part_bytes_max = self.feed.piece_bytes_max().min(self.pace.piece_bytes_max());
            let part = bytes.split_to(bytes.len().min(room_bytes).min(part_bytes_max));
            let part_bytes = part.len() as u64;
            self.pace.pass(part.len(), || ()).await?;
            if !self.feed.send(self.session.0, self.session.1, Piece::Data(part)).await {
                return Err(Broken::Stopping);
            }
            self.sent_bytes += part_bytes;
        }
        Ok(())
    }
}
