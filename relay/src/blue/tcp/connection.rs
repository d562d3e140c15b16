//! One client's connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::feed::{FeedSender, Piece};
use crate::host::Clock;
use crate::session::{SessionId, SharedRate};

/// Read at once: as much as a socket usually has when a sender runs at full speed.
const READ_BYTES: usize = 64 * 1024;
/// A stream above its rate is looked at again after this long.
const RATE_PAUSE: Duration = Duration::from_millis(1);

/// A client's session.
pub struct Connection {
    /// Slot of its stream.
    pub slot: u16,
    /// Its UUID.
    pub id: SessionId,
    /// To its lane.
    pub feed: FeedSender,
    /// The stream's rate.
    pub rate: Option<Arc<SharedRate>>,
    /// It ends after this long without a byte.
    pub idle: Duration,
    /// The process's clock.
    pub clock: Clock,
    /// Says whether the stream is still in force: a reload may have taken it away.
    pub in_force: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Connection {
    /// Carries everything that the client sends, until it or its stream ends.
    pub async fn carry(self, mut client: TcpStream) {
        if !self.feed.send(self.slot, self.id, Piece::Open).await {
            return;
        }
        let end = self.copy(&mut client).await;
        // A lane that is gone has told RED already.
        self.feed.send(self.slot, self.id, end).await;
    }

    async fn copy(&self, client: &mut TcpStream) -> Piece {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(READ_BYTES);
            match tokio::time::timeout(self.idle, client.read_buf(&mut buffer)).await {
                Ok(Ok(0)) | Err(_) => return Piece::Close,
                Ok(Err(_)) => return Piece::Abort,
                Ok(Ok(bytes)) => self.wait_for_rate(bytes).await,
            }
            if !(self.in_force)() {
                return Piece::Abort;
            }
            if !self.feed.send(self.slot, self.id, Piece::Data(buffer.split().freeze())).await {
                return Piece::Abort;
            }
        }
    }

    async fn wait_for_rate(&self, bytes: usize) {
        while self.rate.as_ref().is_some_and(|rate| !rate.admit(self.clock.now(), bytes)) {
            tokio::time::sleep(RATE_PAUSE).await;
        }
    }
}
