//! A path with one TCP stream, connections over it, and the accounts of both its links.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use lab::path::{Ground, Path5};
use lab::{Host, Loss, Options, RelayProcess, Site, Stream, address};
use relay::telemetry::report::{Line, Occasion};

/// The stream's port, on BLUE and on the server.
pub const PORT: u16 = 5140;
/// A bound for what takes milliseconds.
pub const SOON: Duration = Duration::from_secs(30);
/// Between two looks at what cannot be waited for.
pub const LOOK_PERIOD: Duration = Duration::from_millis(20);
/// Between two looks at the accounts, which every heartbeat brings up to date.
const ACCOUNT_PERIOD: Duration = Duration::from_millis(100);

/// Loss of every link, and what protects from it.
pub type Weather = (Loss, (&'static str, &'static str, u32));
pub const CLEAR: Weather = (Loss::None, ("0.1%", "1e-9", 4));
pub const RANDOM: Weather = (Loss::Random { per_million: 10_000 }, ("1%", "1e-9", 0));
pub const BURSTS: Weather = (Loss::Bursts { burst: 12, period: 900 }, ("0.01%", "1e-9", 12));

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing.
    Alone,
    /// Status.
    Status,
    /// Status and answers.
    Both,
}

/// A path to be built.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    pub driver: &'static str,
    pub way: Way,
    pub weather: Weather,
    /// Where RED delivers.
    pub destination: IpAddr,
    /// Of the stream.
    pub lines: &'a [&'a str],
    /// Of `[link]`.
    pub link: &'a [&'a str],
    pub sealed: bool,
}

impl Plan<'_> {
    pub fn new(way: Way) -> Self {
        let destination = address::SERVER.into();
        // No faster than RED can take it, also when it was built without optimisation and has little of the processor.
        let link = &["rate = \"200Mbit/s\""];
        Self { driver: "xdp", way, weather: CLEAR, destination, lines: &[], link, sealed: true }
    }

    /// The hosts and their site file.
    pub fn ground(&self) -> Ground {
        let (loss, (share, residual, burst)) = self.weather;
        let kind = if self.way == Way::Both { "tcp-bilateral" } else { "tcp-unilateral" };
        let stream = Stream::new(1, "bytes", kind, PORT, SocketAddr::new(self.destination, PORT));
        let stream = self.lines.iter().fold(stream, |stream, line| stream.line(line));
        let site = self.link.iter().fold(Site::new(self.driver), |site, line| site.link(line));
        let site = site.protect(share, residual, burst).stream(stream);
        let (site, return_loss) = match self.way {
            Way::Alone => (site, None),
            Way::Status => (site.return_link("status"), Some(loss)),
            Way::Both => (site.return_link("full"), Some(loss)),
        };
        let options = Options { loss, return_loss, ..Options::default() };
        if self.sealed { Ground::sealed(&options, &site) } else { Ground::plain(&options, &site) }
    }

    pub fn start(&self) -> Path5 {
        self.ground().start()
    }
}

/// The server's listener; accepts for as long as the path stands.
pub struct Door(Receiver<TcpStream>);

impl Door {
    pub fn open(path: &Path5) -> Self {
        Self::open_at(path, address::SERVER.into())
    }

    pub fn open_at(path: &Path5, ip: IpAddr) -> Self {
        let listener = path.ground.lab.server.run(|| TcpListener::bind((ip, PORT))).unwrap().unwrap();
        let (tell, accepted) = channel();
        std::thread::spawn(move || {
            let mut connections = listener.incoming().map_while(Result::ok).map(patient);
            // Until nobody listens any more.
            while connections.next().is_some_and(|connection| tell.send(connection).is_ok()) {}
        });
        Self(accepted)
    }

    /// The next connection.
    pub fn next(&self) -> TcpStream {
        self.0.recv_timeout(SOON).expect("RED connects")
    }
}

/// Whatever it waits for must come within [`SOON`].
fn patient(connection: TcpStream) -> TcpStream {
    connection.set_read_timeout(Some(SOON)).unwrap();
    connection.set_write_timeout(Some(SOON)).unwrap();
    connection
}

/// Connects to BLUE's port from the client host.
pub fn connect(path: &Path5) -> TcpStream {
    connect_to(path, address::BLUE.into())
}

pub fn connect_to(path: &Path5, blue: IpAddr) -> TcpStream {
    let connected = path.ground.lab.client.run(|| TcpStream::connect_timeout(&(blue, PORT).into(), SOON));
    patient(connected.unwrap().expect("BLUE accepts"))
}

/// A client and its connection at the server.
pub fn pair(path: &Path5, door: &Door) -> (TcpStream, TcpStream) {
    let client = connect(path);
    (client, door.next())
}

/// The end of this connection becomes a reset.
pub fn reset(connection: TcpStream) {
    socket2::SockRef::from(&connection).set_linger(Some(Duration::ZERO)).unwrap();
    drop(connection);
}

/// Runs many connections' tasks on one host, in one thread.
pub fn run<F: Future<Output: Send>>(host: &Host, work: impl FnOnce() -> F + Send) -> F::Output {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    host.run(|| runtime().block_on(work())).unwrap()
}

/// The server's listener for crowds, made in [`run`]. With room for all at once: a full one resets connections, which is not
/// the relay's doing.
pub fn listen() -> tokio::net::TcpListener {
    const BACKLOG: u32 = 4096;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind((address::SERVER, PORT).into()).unwrap();
    socket.listen(BACKLOG).unwrap()
}

/// Looks until `found` is there.
pub fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(LOOK_PERIOD);
    }
}

/// Counters of the stream on one link, as a relay tells them now.
pub fn counts(relay: &RelayProcess, link: &str) -> Counts {
    Counts(told(relay, |line| line.text("link").unwrap_or("forward") == link && line.fields.contains_key("stream")))
}

/// A counter of a link itself.
pub fn link_count(relay: &RelayProcess, link: &str, key: &str) -> u64 {
    told(relay, |line| line.text("link") == Some(link) && !line.fields.contains_key("stream")).count(key)
}

/// A counter line that a relay tells now.
fn told(relay: &RelayProcess, wanted: impl Fn(&Line) -> bool) -> Line {
    let from = relay.log().len();
    relay.signal(libc::SIGUSR1).unwrap();
    let found = |text: &str| Line::parse(text).filter(|line| line.occasion == Occasion::Stats && wanted(line));
    let text = relay.wait_for_line(from, SOON, |text| found(text).is_some()).unwrap();
    found(&text).expect("as it was found")
}

/// A stream's counters.
pub struct Counts(Line);

impl Counts {
    /// One, or all with this prefix and a dot together.
    pub fn sum(&self, key: &str) -> u64 {
        let belongs = |name: &str| name.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let counts = self.0.fields.iter().filter(|(name, _)| belongs(name));
        counts.filter_map(|(_, count)| count.parse::<u64>().ok()).sum()
    }
}

/// What a relay holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub files: usize,
    /// Resident.
    pub memory_kib: u64,
}

pub fn held(relay: &RelayProcess) -> Held {
    let proc = format!("/proc/{}", relay.id());
    let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it runs");
    let memory_kib = line.trim().trim_end_matches(" kB").parse().expect("a number");
    Held { files: std::fs::read_dir(format!("{proc}/fd")).unwrap().count(), memory_kib }
}

/// Waits until everything that was sent is accounted for: sent = delivered + lost + refused, on both links.
pub fn settle(path: &Path5) {
    for (link, sender, receiver) in [("forward", &path.blue, &path.red), ("return", &path.red, &path.blue)] {
        if link == "return" && path.ground.lab.back.is_none() {
            continue;
        }
        let mut last = String::new();
        let deadline = Instant::now() + SOON;
        loop {
            let (sent, arrived) = (counts(sender, link), counts(receiver, link));
            let known: u64 = ["delivered", "lost", "refused"].iter().map(|key| arrived.sum(key)).sum();
            if sent.sum("sent") == known {
                break;
            }
            assert!(Instant::now() < deadline, "{link}: the account does not add up: {last}");
            last = format!("{:?} {:?}", sent.0.fields, arrived.0.fields);
            std::thread::sleep(ACCOUNT_PERIOD);
        }
    }
}

/// Settles, stops both relays, and gives BLUE's and RED's forward lines and all that they said.
pub fn stop(path: Path5) -> (lab::Line, lab::Line, String) {
    settle(&path);
    let (blue, red, diode) = path.end();
    let log = format!("{}\n{}", blue.log.text(), red.log.text());
    assert!(blue.status.success() && red.status.success(), "{log}");
    assert_eq!(diode.came_back, 0, "{log}");
    let line = |stopped: &lab::Stopped| stopped.summary.channel(1).expect("counted").clone();
    (line(&blue), line(&red), log)
}
