//! Accepts clients: who may, and how many.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::answers::{AnswersSender, Expected};
use super::connection::{Connection, Outcome};
use crate::blue::notice::Notice;
use crate::blue::table::{Entry, Table};
use crate::config::StreamKind;
use crate::host::{Clock, TcpRuntime};
use crate::session::{self, SessionId, new_id};
use crate::tcp::{
    FeedSender, Inflow, Memory, Peer, Reporter, Windows, end_in_order, keep_alive, reset_when_dropped, way,
};
use crate::telemetry::reasons::SendRefused;

/// Connections that may wait to be accepted: a second of a storm of 4,000 a second.
const BACKLOG: i32 = 4096;
/// After a failed accept (no file descriptor left, say) before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What listeners and connections have in common.
pub struct Clients {
    /// The table in force.
    pub table: RwLock<Arc<Table>>,
    /// To the lanes, over which sessions are spread.
    pub lanes: Vec<FeedSender>,
    /// To the return lane, if there is a return link.
    pub answers: Option<AnswersSender>,
    /// Where what waits for clients counts.
    pub memory: Arc<Memory>,
    /// What RED may send ahead.
    pub windows: Arc<Windows>,
    /// To the control thread.
    pub notices: crossbeam_channel::Sender<Notice>,
    /// The process's clock.
    pub clock: Clock,
}

impl Clients {
    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A new session of a client, and what the return lane knows of it while that is kept.
    fn connection(self: &Arc<Self>, entry: &Entry, slot: u16, source: SocketAddr) -> (Connection, Option<Expected>) {
        let id = new_id();
        let feed = self.lanes[usize::from(id[15]) % self.lanes.len()].clone();
        let peer = Arc::new(if self.answers.is_some() { Peer::unheard() } else { Peer::unhearable() });
        let room_bytes = entry.tcp.room_bytes;
        let (inflow, answers) = if entry.kind == StreamKind::TcpBilateral {
            let (way, end) = way(&self.memory);
            let reporter = Reporter::new(feed.clone(), slot, id, self.windows.open(room_bytes));
            (Some(Inflow::new(way, room_bytes)), Some((end, reporter)))
        } else {
            (None, None)
        };
        let expected = self.answers.as_ref().map(|lane| lane.expect(id, slot, Arc::clone(&peer), inflow));
        let connection = Connection {
            slot,
            id,
            feed,
            peer,
            origin: entry.tcp.shows_client.then_some(source),
            open_timeout: expected.is_some().then_some(entry.tcp.open_timeout),
            answers,
            rate: entry.rate.clone(),
            idle: Duration::from_nanos(entry.idle_ns),
            clock: self.clock,
            in_force: {
                let common = Arc::clone(self);
                Box::new(move || common.table().get(slot).is_some())
            },
        };
        (connection, expected)
    }

    fn refuse(&self, entry: &Entry, slot: u16, source: SocketAddr, reason: SendRefused) {
        entry.clients.refuse(reason);
        // A full queue means that the log is behind already; the counter has it.
        let _ = self.notices.try_send(Notice::Refused { slot, source, reason });
    }

    /// Counts and tells how a session went.
    fn conclude(&self, entry: &Entry, slot: u16, source: SocketAddr, id: SessionId, outcome: &Outcome) {
        match outcome {
            Outcome::Ended => {}
            Outcome::OpenFailed => self.refuse(entry, slot, source, SendRefused::OpenFailed),
            Outcome::OpenTimeout => self.refuse(entry, slot, source, SendRefused::OpenTimeout),
            Outcome::Broken(broken) => {
                entry.clients.abort();
                let (session, reason) = (session::display(id).to_string(), broken.to_string());
                let stream = entry.name.clone();
                let _ = self.notices.try_send(Notice::SessionBroken { stream, source, session, reason });
            }
        }
    }
}

/// One listener per port of a TCP stream.
pub struct Listeners {
    interface: String,
    common: Arc<Clients>,
    tasks: HashMap<u16, JoinHandle<()>>,
    runtime: TcpRuntime,
}

/// Listening sockets that nobody accepts from yet, by port.
pub struct Opened(Vec<(u16, TcpListener)>);

impl Listeners {
    /// Listeners on `interface`; none before [`Listeners::set_table`].
    pub fn new(interface: &str, common: Clients) -> io::Result<Self> {
        let runtime = TcpRuntime::start()?;
        Ok(Self { interface: interface.to_owned(), common: Arc::new(common), tasks: HashMap::new(), runtime })
    }

    /// The runtime of all connections.
    pub fn runtime(&self) -> &TcpRuntime {
        &self.runtime
    }

    /// Opens what `table` has and the one in force has not; fails, and changes nothing, if one cannot be opened.
    pub fn open(&self, table: &Table) -> io::Result<Opened> {
        let _inside = self.runtime.handle().enter();
        let ports = table.tcp().map(|(_, entry)| entry.port).filter(|port| !self.tasks.contains_key(port));
        ports.map(|port| Ok((port, listen(&self.interface, port)?))).collect::<io::Result<_>>().map(Opened)
    }

    /// Listens where `table` says, for which `opened` was opened, and nowhere else; connections that exist go on.
    pub fn set_table(&mut self, table: &Arc<Table>, opened: Opened) {
        *self.common.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(table);
        self.tasks.retain(|port, task| {
            let keep = table.by_tcp_port(*port).is_some();
            if !keep {
                task.abort();
            }
            keep
        });
        for (port, listener) in opened.0 {
            let task = accept(listener, port, Arc::clone(&self.common));
            self.tasks.insert(port, self.runtime.handle().spawn(task));
        }
    }
}

async fn accept(listener: TcpListener, port: u16, common: Arc<Clients>) {
    loop {
        match listener.accept().await {
            Ok((client, source)) => admit(client, source, port, &common),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; raise the limit of open files if it lasts");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Lets a client in that came to `port`, or drops its connection.
fn admit(client: TcpStream, source: SocketAddr, port: u16, common: &Arc<Clients>) {
    let source = SocketAddr::new(source.ip().to_canonical(), source.port());
    // However this process ends, no client takes that for an end in order.
    reset_when_dropped(&client);
    let table = common.table();
    // Looked up for every client: a reload may give the port to another stream.
    let Some((slot, entry)) = table.by_tcp_port(port) else { return };
    if !entry.allows(source.ip()) {
        return common.refuse(entry, slot, source, SendRefused::Source);
    }
    let Some(place) = entry.limit.enter() else {
        return common.refuse(entry, slot, source, SendRefused::SessionLimit);
    };
    keep_alive(&client, entry.tcp.keepalive);
    let (connection, expected) = common.connection(entry, slot, source);
    let common = Arc::clone(common);
    tokio::spawn(async move {
        let mut client = client;
        // As it was when the client came: the stream may be gone by then.
        let Some(entry) = table.get(slot) else { return };
        let id = connection.id;
        entry.clients.begin();
        let outcome = connection.carry(&mut client).await;
        common.conclude(entry, slot, source, id, &outcome);
        if matches!(outcome, Outcome::Ended) {
            end_in_order(&client);
        }
        drop((client, expected, place));
    });
}

fn listen(interface: &str, port: u16) -> io::Result<TcpListener> {
    let listener = bound(Domain::IPV6, Ipv6Addr::UNSPECIFIED.into(), port, interface)
        .or_else(|_| bound(Domain::IPV4, Ipv4Addr::UNSPECIFIED.into(), port, interface));
    listener.map_err(|error| crate::blue::ingress::named(&error, "TCP", port, interface))
}

fn bound(domain: Domain, address: IpAddr, port: u16, interface: &str) -> io::Result<TcpListener> {
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.bind(&SocketAddr::new(address, port).into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
