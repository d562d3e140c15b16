//! One connection to a destination.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::red::notice::Notice;
use crate::session::{self, SessionId};

/// A destination that does not answer by then is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After the end the destination gets this long to close its side too.
const LINGER: Duration = Duration::from_secs(30);
/// Once RED stops, sessions that have ended get this long to be delivered whole.
const STOP_TIMEOUT: Duration = Duration::from_millis(700);

/// What happens to a session.
#[derive(Debug)]
pub enum Piece {
    /// It goes on with these bytes.
    Data(Bytes),
    /// It ends in order.
    Close,
    /// It is broken off.
    Abort,
}

/// What lane and delivery share of a session.
#[derive(Debug, Default)]
pub struct Shared {
    /// Bytes handed over and not yet taken by the destination.
    pub waiting_bytes: AtomicUsize,
    /// The destination is gone.
    pub failed: AtomicBool,
}

/// A session's way to its destination.
#[derive(Debug)]
pub struct Way {
    /// What is to be delivered; bounded by the lane, which counts `waiting_bytes`.
    pub pieces: UnboundedSender<Piece>,
    /// What both know.
    pub shared: Arc<Shared>,
}

/// Starts deliveries.
#[derive(Clone)]
pub struct Deliveries {
    runtime: tokio::runtime::Handle,
    notices: crossbeam_channel::Sender<Notice>,
    live: Arc<AtomicUsize>,
}

impl Deliveries {
    /// Deliveries on this runtime.
    pub fn new(runtime: tokio::runtime::Handle, notices: crossbeam_channel::Sender<Notice>) -> Self {
        Self { runtime, notices, live: Arc::default() }
    }

    /// Begins to deliver a session; connects at once.
    pub fn begin(&self, stream: &str, id: SessionId, destination: SocketAddr) -> Way {
        let (pieces, received) = unbounded_channel();
        let shared = Arc::new(Shared::default());
        let delivery = Delivery { destination, pieces: received, shared: Arc::clone(&shared) };
        let (notices, stream, live) = (self.notices.clone(), stream.to_owned(), Arc::clone(&self.live));
        live.fetch_add(1, AcqRel);
        self.runtime.spawn(async move {
            if let Err(error) = delivery.run().await {
                let session = session::display(id).to_string();
                // A full queue means that the log is behind already; the counters have it.
                let _ = notices.try_send(Notice::SessionFailed { stream, session, error });
            }
            live.fetch_sub(1, AcqRel);
        });
        Way { pieces, shared }
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
    destination: SocketAddr,
    pieces: UnboundedReceiver<Piece>,
    shared: Arc<Shared>,
}

impl Delivery {
    async fn run(mut self) -> io::Result<()> {
        let outcome = self.deliver().await;
        if outcome.is_err() {
            self.shared.failed.store(true, Release);
        }
        outcome
    }

    async fn deliver(&mut self) -> io::Result<()> {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(self.destination)).await;
        let connection = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        let (answers, mut way) = connection.into_split();
        let answers = tokio::spawn(discard(answers));
        let ended = self.carry(&mut way).await;
        match ended {
            Ok(true) => {
                way.shutdown().await?;
                // Until the destination has closed too, or its time is over; what it still answers is discarded.
                let _ = timeout(LINGER, answers).await;
                Ok(())
            }
            broken => {
                reset(way);
                answers.abort();
                broken.map(|_| ())
            }
        }
    }

    /// Carries pieces until the session ends: true in order, false broken off.
    async fn carry(&mut self, way: &mut OwnedWriteHalf) -> io::Result<bool> {
        // A lane that is gone has broken off all its sessions.
        while let Some(piece) = self.pieces.recv().await {
            match piece {
                Piece::Data(bytes) => {
                    way.write_all(&bytes).await?;
                    self.shared.waiting_bytes.fetch_sub(bytes.len(), AcqRel);
                }
                Piece::Close => return Ok(true),
                Piece::Abort => return Ok(false),
            }
        }
        Ok(false)
    }
}

/// Nothing goes back over a diode: what the destination answers is read, so that it is not held up, and dropped.
async fn discard(mut answers: OwnedReadHalf) {
    let mut buffer = vec![0; 16 * 1024];
    while answers.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
}

/// Makes the end of the connection, which comes when its other half goes, a reset: no destination takes that for an end
/// in order.
fn reset(way: OwnedWriteHalf) {
    let stream: &TcpStream = way.as_ref();
    // Without it the destination sees an ordinary end; there is nothing more that could be done.
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    // Dropping it would end the connection in order first.
    way.forget();
}
