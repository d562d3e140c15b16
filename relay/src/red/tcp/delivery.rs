//! One connection to a destination.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::impersonate;
use crate::config::Impersonate;
use crate::host::Clock;
use crate::red::files::{Reception, Store};
use crate::red::notice::Notice;
use crate::session::{self, Place, SessionId};
use crate::tcp::{
    Activity, Broken, Failure, FeedSender, Memory, Pace, Peer, Reporter, WayEnd, Windows, end_in_order,
    fails_after_end, keep_alive, read_in, write_out,
};
use crate::wire::Standing;

/// After the end the destination gets this long to close its side too, where nobody waits for that.
const LINGER: Duration = Duration::from_secs(30);
/// ... and this long where BLUE waits for it and the client's place is not free before.
const LINGER_REPORTED: Duration = Duration::from_secs(1);
/// Once RED stops, sessions that have ended get this long to be delivered whole.
const STOP_TIMEOUT: Duration = Duration::from_millis(700);

/// How a stream's sessions are delivered.
#[derive(Clone, Copy, Debug)]
pub struct TcpRules {
    /// Where to.
    pub destination: SocketAddr,
    /// The destination has to answer within this time.
    pub connect_timeout: Duration,
    /// A destination that says nothing for so long is asked whether it still lives.
    pub keepalive: Duration,
    /// A session without a byte for so long is over.
    pub idle: Duration,
    /// Most bytes that wait for the destination.
    pub room_bytes: usize,
    /// As whom RED connects.
    pub impersonate: Impersonate,
    /// What the destination answers goes back to the client.
    pub bilateral: bool,
}

/// A session to be delivered.
pub struct Begin<'a> {
    /// Its stream's name.
    pub stream: &'a str,
    /// Its stream's slot.
    pub slot: usize,
    /// Its stream's rules.
    pub rules: TcpRules,
    /// Its UUID.
    pub id: SessionId,
    /// Its client's address, if BLUE sent it.
    pub client: Option<SocketAddr>,
    /// BLUE's end of it; also how the lane calls it off.
    pub peer: Arc<Peer>,
    /// Its bytes.
    pub way: WayEnd,
    /// Its place among the stream's sessions.
    pub place: Place,
    /// It is a file, and goes here.
    pub files: Option<Arc<Store>>,
}

/// Starts deliveries.
#[derive(Clone)]
pub struct Deliveries {
    runtime: tokio::runtime::Handle,
    /// To the return lane, if there is a return link.
    returns: Option<FeedSender>,
    notices: crossbeam_channel::Sender<Notice>,
    clock: Clock,
    memory: Arc<Memory>,
    windows: Arc<Windows>,
    live: Arc<AtomicUsize>,
}

impl Deliveries {
    /// Deliveries on this runtime.
    pub fn new(
        runtime: tokio::runtime::Handle,
        returns: Option<FeedSender>,
        notices: crossbeam_channel::Sender<Notice>,
        clock: Clock,
        memory: Arc<Memory>,
    ) -> Self {
        Self { runtime, returns, notices, clock, memory, windows: Arc::default(), live: Arc::default() }
    }

    /// What BLUE may send ahead.
    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    /// Where what waits for destinations counts.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// The way back to BLUE, if there is one.
    pub fn returns(&self) -> Option<&FeedSender> {
        self.returns.as_ref()
    }

    /// Begins to deliver a session; connects at once.
    pub fn begin(&self, begin: Begin<'_>) {
        let Begin { stream, slot, rules, id, client, peer, way, place, files } = begin;
        let slot = slot as u16;
        let reporter = self.returns.as_ref().map(|feed| {
            let window = self.windows.open(rules.room_bytes);
            Reporter::new(feed.clone(), slot, id, window)
        });
        if let Some(store) = files {
            let reception = Reception::new(store, id, peer, way, reporter);
            return self.spawn(async move {
                // The store has told and counted what there is to tell.
                let _ = reception.run().await;
                drop(place);
            });
        }
        let returns = self.returns.clone().filter(|_| rules.bilateral);
        let delivery = Delivery { rules, slot, id, client, peer, way, reporter, returns, clock: self.clock };
        let (notices, stream) = (self.notices.clone(), stream.to_owned());
        self.spawn(async move {
            match delivery.run().await {
                // What its lane gives as the reason, the lane tells.
                Ok(()) | Err(Broken::Given(_) | Broken::Stopping) => {}
                Err(broken) => {
                    let (session, error) = (session::display(id).to_string(), broken.to_string());
                    // A full queue means that the log is behind already; the counters have it.
                    let _ = notices.try_send(Notice::SessionFailed { stream, session, error });
                }
            }
            drop(place);
        });
    }

    /// Runs a delivery, for which [`Deliveries::wait`] waits.
    fn spawn(&self, delivery: impl Future<Output = ()> + Send + 'static) {
        let live = Arc::clone(&self.live);
        live.fetch_add(1, AcqRel);
        self.runtime.spawn(async move {
            delivery.await;
            live.fetch_sub(1, AcqRel);
        });
    }

    /// Waits, for a bounded time, until everything handed over has been delivered.
    pub fn wait(&self) {
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.live.load(Acquire) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

struct Delivery {
    rules: TcpRules,
    slot: u16,
    id: SessionId,
    client: Option<SocketAddr>,
    peer: Arc<Peer>,
    way: WayEnd,
    reporter: Option<Reporter>,
    /// Where the destination's answers go, on a stream that carries them.
    returns: Option<FeedSender>,
    clock: Clock,
}

impl Delivery {
    async fn run(mut self) -> Result<(), Broken> {
        let outcome = self.deliver().await;
        if outcome.is_err() {
            // The lane takes nothing more for it.
            self.peer.fail(Failure::Socket);
        }
        self.tell(if outcome.is_ok() { Standing::Closed } else { Standing::Failed }).await;
        outcome
    }

    async fn tell(&self, standing: Standing) {
        if let Some(reporter) = &self.reporter {
            reporter.tell(standing).await;
        }
    }

    async fn deliver(&mut self) -> Result<(), Broken> {
        let mut connection = self.connect().await?;
        keep_alive(&connection, self.rules.keepalive);
        self.tell(Standing::Good).await;
        let header = impersonate::header(self.rules.impersonate, self.client, self.rules.destination);
        connection.write_all(&header).await?;
        self.exchange(&mut connection).await?;
        end_in_order(&connection);
        Ok(())
    }

    async fn connect(&self) -> Result<TcpStream, Broken> {
        let connecting = impersonate::connect(self.rules.impersonate, self.client, self.rules.destination);
        tokio::select! {
            connected = timeout(self.rules.connect_timeout, connecting) => {
                connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(Broken::Connect)
            }
            why = self.peer.failed() => Err(Broken::Given(why)),
        }
    }

    async fn exchange(&mut self, connection: &mut TcpStream) -> Result<(), Broken> {
        let activity = Activity::new(self.clock);
        let (mut reads, mut writes) = connection.split();
        let writing = write_out(&mut writes, &mut self.way, &activity, self.reporter.as_ref());
        let exchanging = async {
            let Some(returns) = &self.returns else {
                return one_way(writing, &mut reads, self.reporter.as_ref()).await;
            };
            let session = (self.slot, self.id);
            // Answers have no rate but the link's.
            let pace = Pace { rate: None, clock: self.clock, in_force: || true };
            let (ended, all_read) = oneshot::channel();
            let reading = async {
                let sent_bytes = read_in(&mut reads, returns, session, &self.peer, &activity, &pace).await?;
                // Nobody waits for it once the session is over.
                let _ = ended.send(());
                Err(fails_after_end(reads.as_ref(), &self.peer, sent_bytes).await)
            };
            let writing = async {
                writing.await?;
                // What broke reading is the session's end before this is asked.
                let _ = all_read.await;
                Ok(())
            };
            tokio::select! {
                biased;
                broken = reading => broken,
                done = writing => done,
            }
        };
        tokio::select! {
            biased;
            why = self.peer.failed() => Err(Broken::Given(why)),
            done = exchanging => done,
            _ = activity.ceases(self.rules.idle) => Err(Broken::Idle),
        }
    }
}

/// Writes everything, while what the destination answers is read, so that it is not held up, and dropped: nothing goes back.
async fn one_way(
    writing: impl Future<Output = Result<(), Broken>>,
    reads: &mut ReadHalf<'_>,
    reporter: Option<&Reporter>,
) -> Result<(), Broken> {
    let discarding = pin!(discard(reads, reporter));
    match select(pin!(writing), discarding).await {
        Either::Left((written, discarding)) => {
            written?;
            // Until the destination has closed too, or its time is over.
            let linger = if reporter.is_some() { LINGER_REPORTED } else { LINGER };
            timeout(linger, discarding).await.unwrap_or(Ok(()))
        }
        Either::Right((discarded, writing)) => {
            discarded?;
            writing.await
        }
    }
}

async fn discard(answers: &mut ReadHalf<'_>, reporter: Option<&Reporter>) -> Result<(), Broken> {
    let mut buffer = [0; 4096];
    while answers.read(&mut buffer).await? > 0 {}
    if let Some(reporter) = reporter {
        reporter.tell(Standing::HalfClosed).await;
    }
    Ok(())
}
