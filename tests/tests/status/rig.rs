//! A path with a return link for status, and what its tests look at.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use lab::path::{Ground, Path5};
use lab::traffic::tcp::{self, Destination, End, SOON};
use lab::{Host, Line, Loss, Options, RelayProcess, Site, Stopped, Stream, Syslog, address};

/// The first stream's port, on BLUE and on the server.
pub const PORT: u16 = 5140;
/// Between two looks at what cannot be waited for.
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// A stream to the same port of the server.
pub fn stream(channel: u16, port: u16) -> Stream {
    let destination = SocketAddr::from((address::SERVER, port));
    Stream::new(channel, &format!("stream{channel}"), "tcp-unilateral", port, destination)
}

/// A site with a return link for status and syslog; streams are to be added.
pub fn site(driver: &str) -> Site {
    let syslog = format!("syslog = \"{}\"", Syslog::TARGET);
    Site::new(driver).return_link("status").blue(&syslog).red(&syslog)
}

/// Hosts and both links for it, which lose nothing.
pub fn ground(site: &Site) -> Ground {
    Ground::sealed(&Options { return_loss: Some(Loss::None), ..Options::default() }, site)
}

/// The same with both relays at work, and one stream on [`PORT`] for several clients.
pub fn start(driver: &str) -> Path5 {
    ground(&site(driver).stream(stream(1, PORT).line("max_sessions = 64"))).start()
}

/// Connects to BLUE's port from the client host.
pub fn connect(ground: &Ground, port: u16) -> TcpStream {
    tcp::connect(&ground.lab.client, (address::BLUE, port)).expect("BLUE accepts")
}

/// The server's end of the first stream.
pub fn destination(ground: &Ground) -> Destination {
    Destination::open(&ground.lab.server, (address::SERVER, PORT))
}

/// How a client's connection ends; a panic with both logs when it does not.
pub fn end_of(path: &Path5, client: &TcpStream) -> End {
    tcp::end_of(client).unwrap_or_else(|error| panic!("{error:#}\n{}", logs(path)))
}

/// Both logs.
pub fn logs(path: &Path5) -> String {
    format!("BLUE:\n{}\nRED:\n{}", path.blue.log().text(), path.red.log().text())
}

/// Waits until `look` is content; a panic that says `what` when it is not in time.
pub fn wait_until(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !look() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        std::thread::sleep(LOOK_PERIOD);
    }
}

/// Waits for a line of a relay's log that holds all of `words`.
pub fn wait_logged(relay: &RelayProcess, words: &[&str]) {
    let wanted = |line: &str| words.iter().all(|word| line.contains(word));
    relay.wait_for_line(0, SOON, wanted).unwrap_or_else(|error| panic!("{words:?}: {error:#}"));
}

/// Waits for a message to syslog that holds all of `words`.
pub fn wait_told(syslog: &Syslog, words: &[&str]) {
    let wanted = |message: &str| words.iter().all(|word| message.contains(word));
    syslog.until(SOON, wanted).unwrap_or_else(|all| panic!("{words:?} in none of {all:#?}"));
}

/// What a line of counters is about.
#[derive(Clone, Copy, Debug)]
pub enum About {
    /// The first stream.
    Stream,
    /// The first stream on the return link.
    Returned,
    /// The return link.
    ReturnLink,
}

impl About {
    fn is(self, line: &Line) -> bool {
        let (channel, link) = match self {
            Self::Stream => (Some("1"), None),
            Self::Returned => (Some("1"), Some("return")),
            Self::ReturnLink => (None, Some("return")),
        };
        line.get("channel") == channel && line.get("link") == link
    }
}

/// Has a relay count until `test` is content with its counters; gives them.
pub fn await_stats(relay: &RelayProcess, about: About, mut test: impl FnMut(&Line) -> bool) -> Line {
    let mut found = None;
    wait_until("such counters", || {
        found = Some(stats(relay, about)).filter(&mut test);
        found.is_some()
    });
    found.expect("just found")
}

/// A relay's counters as of now; what tasks count comes with the next tick.
fn stats(relay: &RelayProcess, about: About) -> Line {
    let from = relay.log().len();
    relay.signal(libc::SIGUSR1).expect("it runs");
    let is_wanted = |text: &str| Line::parse_stats(text).is_some_and(|line| about.is(&line));
    let line = relay.wait_for_line(from, SOON, is_wanted).expect("counters");
    Line::parse_stats(&line).expect("a line of counters")
}

/// Counters of both relays after their end.
pub struct Ended {
    pub blue: Stopped,
    pub red: Stopped,
    pub log: String,
}

/// Stops both relays, which must end well, with nothing having come back on either link.
pub fn stop(path: Path5) -> Ended {
    let (blue, red, diode) = path.end();
    let log = format!("BLUE:\n{}\nRED:\n{}", blue.log.text(), red.log.text());
    assert!(blue.status.success() && red.status.success(), "{log}");
    assert_eq!(diode.came_back, 0, "{log}");
    assert!(!log.contains("panicked"), "{log}");
    Ended { blue, red, log }
}

impl Ended {
    /// A count of BLUE's of the first stream; 0 where its line omits it.
    pub fn blue(&self, key: &str) -> u64 {
        self.blue.summary.channel(1).expect("counted").number(key).unwrap_or(0)
    }

    /// The same of RED.
    pub fn red(&self, key: &str) -> u64 {
        self.red.summary.channel(1).expect("counted").number(key).unwrap_or(0)
    }
}

/// A destination that does not answer: SYNs to its port are counted and dropped, until this is ended.
pub struct Silence<'a> {
    server: &'a Host,
}

impl<'a> Silence<'a> {
    pub fn begin(server: &'a Host, port: u16) -> Self {
        let rules = format!(
            "table ip silence {{
                counter unanswered {{ }}
                chain syns {{
                    type filter hook input priority 0;
                    tcp dport {port} tcp flags & (syn | ack) == syn counter name unanswered drop
                }}
            }}"
        );
        server.nft(&rules).expect("rules");
        Self { server }
    }

    /// Waits for somebody who tries to connect.
    pub fn wait_tried(&self) {
        wait_until("a SYN", || {
            !self.server.nft("list counters table ip silence\n").expect("counters").contains("packets 0 ")
        });
    }

    pub fn end(self) {
        self.server.nft("delete table ip silence\n").expect("its table");
    }
}
