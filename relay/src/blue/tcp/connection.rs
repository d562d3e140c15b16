//! One client's connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;
use tokio::sync::oneshot;

use crate::host::Clock;
use crate::session::{SessionId, SharedRate};
use crate::tcp::{
    Activity, Broken, FeedSender, Pace, Peer, Piece, Reporter, WayEnd, fails_after_end, lost, read_in, write_out,
};

/// A client's session.
pub struct Connection {
    /// Slot of its stream.
    pub slot: u16,
    /// Its UUID.
    pub id: SessionId,
    /// To its lane.
    pub feed: FeedSender,
    /// RED's end of it.
    pub peer: Arc<Peer>,
    /// The client's address, if its stream shows that to the destination.
    pub origin: Option<SocketAddr>,
    /// With a return link: RED answers within this time.
    pub open_timeout: Option<Duration>,
    /// What the destination answers, on a stream that carries it.
    pub answers: Option<(WayEnd, Reporter)>,
    /// The stream's rate.
    pub rate: Option<Arc<SharedRate>>,
    /// It ends after this long without a byte either way.
    pub idle: Duration,
    /// The process's clock.
    pub clock: Clock,
    /// Says whether the stream is still in force: a reload may have taken it away.
    pub in_force: Box<dyn Fn() -> bool + Send + Sync>,
}

/// How a session went.
#[derive(Debug)]
pub enum Outcome {
    /// Ended in order.
    Ended,
    /// RED could not connect.
    OpenFailed,
    /// RED did not answer.
    OpenTimeout,
    /// Broken off later.
    Broken(Broken),
}

impl Connection {
    /// Carries everything that the client sends, and what it is answered, until both have ended or one is broken off.
    pub async fn carry(mut self, client: &mut TcpStream) -> Outcome {
        let outcome = match self.open(client).await {
            None => self.exchange(client).await.map_or_else(Outcome::Broken, |()| Outcome::Ended),
            Some(refused) => refused,
        };
        let last = if matches!(outcome, Outcome::Ended) { Piece::Leave } else { Piece::Abort };
        // A lane that is gone has told RED already.
        self.feed.send(self.slot, self.id, last).await;
        outcome
    }

    /// Has RED open the session; with a return link, waits for its answer.
    async fn open(&self, client: &TcpStream) -> Option<Outcome> {
        let open = Piece::Open { origin: self.origin, answered: self.open_timeout.is_some() };
        self.feed.send(self.slot, self.id, open).await;
        if let Some((_, reporter)) = &self.answers {
            // Grants RED its window.
            reporter.tell(crate::wire::Standing::Good).await;
        }
        let open_timeout = self.open_timeout?;
        let answer = tokio::select! {
            answer = tokio::time::timeout(open_timeout, self.peer.opened()) => answer,
            error = lost(client) => return Some(Outcome::Broken(error.into())),
        };
        match answer {
            Ok(true) => {
                self.feed.send(self.slot, self.id, Piece::Opened).await;
                None
            }
            Ok(false) => Some(Outcome::OpenFailed),
            Err(_) => Some(Outcome::OpenTimeout),
        }
    }

    async fn exchange(&mut self, client: &mut TcpStream) -> Result<(), Broken> {
        let activity = Activity::new(self.clock);
        let (mut reads, mut writes) = client.split();
        let (feed, peer, session) = (&self.feed, &*self.peer, (self.slot, self.id));
        let pace = Pace { rate: self.rate.clone(), clock: self.clock, in_force: &self.in_force };
        let (ended, all_read) = oneshot::channel();
        let takes_answers = self.answers.is_some();
        let inward = async {
            let sent_bytes = read_in(&mut reads, feed, session, peer, &activity, &pace).await?;
            // Nobody waits for it once the session is over.
            let _ = ended.send(());
            if !takes_answers {
                std::future::pending::<()>().await;
            }
            Err(fails_after_end(reads.as_ref(), peer, sent_bytes).await)
        };
        let outward = async {
            match &mut self.answers {
                Some((arrived, reporter)) => write_out(&mut writes, arrived, &activity, Some(reporter)).await?,
                None if self.open_timeout.is_some() => follow(peer, &mut writes).await?,
                None => {}
            }
            // What broke reading is the session's end before this is asked.
            let _ = all_read.await;
            Ok(())
        };
        tokio::select! {
            biased;
            why = peer.failed() => Err(Broken::Given(why)),
            broken = inward => broken,
            done = outward => done,
            nothing_lost = activity.ceases(self.idle) => {
                if !nothing_lost {
                    return Err(Broken::Idle);
                }
                feed.send(self.slot, self.id, Piece::Close).await;
                Ok(())
            }
        }
    }
}

/// Follows the destination of a stream without answers: the client learns when it closes, and the session is over once RED
/// has delivered everything.
async fn follow(peer: &Peer, client: &mut WriteHalf<'_>) -> Result<(), Broken> {
    peer.half_closed().await;
    client.shutdown().await?;
    // A session that fails is noticed elsewhere.
    peer.closed().await;
    Ok(())
}
