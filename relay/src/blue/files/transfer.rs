//! One attempt to bring a file, or a manifest, over the link.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::source::LinkSide;
use crate::files::checks::Rest;
use crate::files::frame::{Head, Tail};
use crate::files::{Active, ContentHash, Endpoint, EndpointError, FileName};
use crate::session::SessionId;
use crate::tcp::{Broken, Failure, Outflow, Peer, Piece};

/// Bytes read at a time: large enough that neither a disk nor a server's round trip counts.
const PIECE_BYTES: usize = 1 << 20;

/// How an attempt went.
#[derive(Debug)]
pub enum Attempt {
    /// RED has confirmed it; without a return link: it was sent.
    Sent(ContentHash),
    /// RED could not store it.
    Refused,
    /// RED is not there, or the session was broken off on the way.
    Broken(Broken),
    /// RED did not answer.
    Unanswered,
    /// The file is not as it was when it was taken.
    Changed,
    /// A check says no: why.
    Blocked(String),
    /// A check cannot tell: why.
    Unchecked(String),
    /// The file cannot be read.
    Unreadable(EndpointError),
}

impl From<Broken> for Attempt {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Given(Failure::ByPeer) => Self::Refused,
            broken => Self::Broken(broken),
        }
    }
}

/// Where the content is.
pub enum Content<'a> {
    /// In a place.
    File {
        /// The place.
        place: &'a mut dyn Endpoint,
        /// Its name there.
        at: &'a FileName,
        /// What was read of it already.
        first: Bytes,
        /// What follows that.
        rest: Rest,
    },
    /// Here.
    Bytes(Bytes),
}

/// One session of a files channel.
pub struct Transfer<'a> {
    /// The way over the link.
    pub link: &'a LinkSide,
    /// UUID of the session.
    pub session: SessionId,
    /// What comes first.
    pub head: Head,
    /// Told how far it has come.
    pub active: Active,
}

impl Transfer<'_> {
    /// Sends everything and waits for RED's word, if it can give one.
    pub async fn run(self, content: Content<'_>) -> Attempt {
        let feed = self.link.feed(self.session);
        let peer = Arc::new(if self.link.answers.is_some() { Peer::unheard() } else { Peer::unhearable() });
        let slot = self.link.slot;
        let expected = self.link.answers.as_ref().map(|lane| lane.expect(self.session, slot, Arc::clone(&peer), None));
        let open_timeout = expected.as_ref().map(|_| self.link.open_timeout);
        let open = Piece::Open { origin: None, answered: open_timeout.is_some() };
        feed.send(slot, self.session, open).await;
        let attempt = tokio::select! {
            biased;
            why = peer.failed() => Attempt::from(Broken::Given(why)),
            attempt = self.carry(&peer, open_timeout, content) => attempt.unwrap_or_else(|attempt| attempt),
        };
        let last = if matches!(attempt, Attempt::Sent(_)) { Piece::Leave } else { Piece::Abort };
        // A lane that is gone has told RED already.
        feed.send(slot, self.session, last).await;
        drop(expected);
        attempt
    }

    async fn carry(
        &self,
        peer: &Peer,
        open_timeout: Option<Duration>,
        mut content: Content<'_>,
    ) -> Result<Attempt, Attempt> {
        let (feed, session) = (self.link.feed(self.session), (self.link.slot, self.session));
        if let Some(open_timeout) = open_timeout {
            let opened = tokio::time::timeout(open_timeout, peer.opened()).await;
            if !opened.map_err(|_| Attempt::Unanswered)? {
                return Err(Broken::Given(peer.failed().await).into());
            }
            feed.send(session.0, session.1, Piece::Opened).await;
        }
        let mut outflow = Outflow { feed: &feed, session, peer, pace: self.link.pace(), sent_bytes: 0 };
        outflow.push(self.head.to_wire().into()).await?;
        let mut hasher = blake3::Hasher::new();
        let mut left_bytes = self.head.attributes.size_bytes;
        loop {
            let bytes = content.next().await.map_err(Attempt::Unreadable)?;
            if bytes.is_empty() {
                break;
            }
            left_bytes = left_bytes.checked_sub(bytes.len() as u64).ok_or(Attempt::Changed)?;
            hasher.update(&bytes);
            self.active.advance(bytes.len() as u64);
            // RED has it already: only its hash is still wanted.
            if !peer.is_closed() {
                outflow.push(bytes).await?;
            }
        }
        if left_bytes > 0 || content.has_changed(&self.head).await? {
            return Err(Attempt::Changed);
        }
        let hash = hasher.finalize();
        let tail = Tail { size_bytes: self.head.attributes.size_bytes, hash: *hash.as_bytes() };
        if !peer.is_closed() {
            outflow.push(Bytes::copy_from_slice(&tail.to_wire())).await?;
        }
        feed.send(session.0, session.1, Piece::Close).await;
        if open_timeout.is_some() {
            peer.closed().await;
        } else {
            // What still waits for the lane would be lost with this process.
            let (told, reached) = oneshot::channel();
            feed.send(session.0, session.1, Piece::Reached(Some(told))).await;
            reached.await.map_err(|_| Broken::Stopping)?;
        }
        Ok(Attempt::Sent(hash.into()))
    }
}

impl Content<'_> {
    /// The next bytes; none at the end.
    async fn next(&mut self) -> Result<Bytes, EndpointError> {
        match self {
            Self::File { first, .. } if !first.is_empty() => Ok(std::mem::take(first)),
            Self::File { rest: Rest::None, .. } => Ok(Bytes::new()),
            Self::File { place, .. } => place.read(PIECE_BYTES).await,
            Self::Bytes(bytes) => Ok(std::mem::take(bytes)),
        }
    }

    /// Was it written to since the head was made?
    async fn has_changed(&mut self, head: &Head) -> Result<bool, Attempt> {
        let Self::File { place, at, .. } = self else { return Ok(false) };
        let now = place.stat(at).await.map_err(Attempt::Unreadable)?;
        Ok(now.is_none_or(|now| !now.is_same_content(&head.attributes)))
    }
}
