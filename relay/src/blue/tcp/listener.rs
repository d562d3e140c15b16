//! Accepts clients: who may, and how many.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::connection::Connection;
use super::feed::FeedSender;
use crate::blue::notice::Notice;
use crate::blue::table::Table;
use crate::host::{Clock, TcpRuntime};
use crate::session::{StreamRules as _, new_id};
use crate::telemetry::reasons::SendRefused;

/// Connections that may wait to be accepted: a second of a storm of 4,000 a second.
const BACKLOG: i32 = 4096;
/// A dead client is noticed after this long without a sign of life, and three unanswered questions 10 s apart.
const KEEPALIVE: Duration = Duration::from_mins(1);
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMES: u32 = 3;
/// After a failed accept (no file descriptor left, say) before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What listeners and connections have in common.
struct Common {
    /// The table in force.
    table: RwLock<Arc<Table>>,
    lanes: Vec<FeedSender>,
    notices: crossbeam_channel::Sender<Notice>,
    clock: Clock,
}

impl Common {
    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One listener per TCP stream.
pub struct Listeners {
    interface: String,
    common: Arc<Common>,
    tasks: HashMap<u16, JoinHandle<()>>,
    runtime: TcpRuntime,
}

impl Listeners {
    /// Listeners on `interface`; none before [`Listeners::set_table`]. Sessions are spread over `lanes`.
    pub fn new(
        interface: &str,
        table: Arc<Table>,
        lanes: Vec<FeedSender>,
        notices: crossbeam_channel::Sender<Notice>,
        clock: Clock,
    ) -> io::Result<Self> {
        let runtime = TcpRuntime::start()?;
        let common = Arc::new(Common { table: RwLock::new(table), lanes, notices, clock });
        Ok(Self { interface: interface.to_owned(), common, tasks: HashMap::new(), runtime })
    }

    /// Listens where the table says, and nowhere else; connections that exist go on.
    pub fn set_table(&mut self, table: &Arc<Table>) -> io::Result<()> {
        *self.common.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(table);
        let wanted = |port: u16| table.tcp().any(|(_, entry)| entry.port == port);
        self.tasks.retain(|port, task| {
            let keep = wanted(*port);
            if !keep {
                task.abort();
            }
            keep
        });
        for (slot, entry) in table.tcp() {
            if self.tasks.contains_key(&entry.port) {
                continue;
            }
            let _inside = self.runtime.handle().enter();
            let listener = listen(&self.interface, entry.port)?;
            let task = accept(listener, slot, Arc::clone(&self.common));
            self.tasks.insert(entry.port, self.runtime.handle().spawn(task));
        }
        Ok(())
    }
}

async fn accept(listener: TcpListener, slot: u16, common: Arc<Common>) {
    loop {
        match listener.accept().await {
            Ok((client, source)) => admit(client, source, slot, &common),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; raise the limit of open files if it lasts");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Lets a client in, or drops its connection.
fn admit(client: TcpStream, source: SocketAddr, slot: u16, common: &Arc<Common>) {
    let source = SocketAddr::new(source.ip().to_canonical(), source.port());
    let table = common.table();
    let Some(entry) = table.get(slot) else { return };
    let refused = if !entry.allows(source.ip()) {
        Some(SendRefused::Source)
    } else if !entry.limit.enter() {
        Some(SendRefused::SessionLimit)
    } else {
        None
    };
    if let Some(reason) = refused {
        entry.count_refused_client(reason);
        // A full queue means that the log is behind already; the counter has it.
        let _ = common.notices.try_send(Notice::Refused { slot, source, reason });
        return;
    }
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_AGAIN).with_retries(KEEPALIVE_TIMES);
    // Without it a dead client is only noticed by its idle time.
    let _ = socket2::SockRef::from(&client).set_tcp_keepalive(&keepalive);
    let id = new_id();
    let lane = usize::from(id[15]) % common.lanes.len();
    let connection = Connection {
        slot,
        id,
        feed: common.lanes[lane].clone(),
        rate: entry.rate.clone(),
        idle: Duration::from_nanos(entry.idle_ns),
        clock: common.clock,
        in_force: {
            let common = Arc::clone(common);
            Box::new(move || common.table().get(slot).is_some())
        },
    };
    let common = Arc::clone(common);
    tokio::spawn(async move {
        connection.carry(client).await;
        if let Some(limit) = common.table().limit(slot) {
            limit.leave();
        }
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
