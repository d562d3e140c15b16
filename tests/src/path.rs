//! The five-namespace path with a relay on it, for tests: whatever goes wrong here panics with all that the relays said.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::traffic::{Load, Received, Receiver, Sender, Sent};
use crate::{Counters, Lab, Line, Options, RelayProcess, Role, Site, Stopped, Stream, TempDir, address};

/// Nothing arrives for this long: the path is empty. Longer than RED waits for a lost block, and than two heartbeats.
pub const QUIET: Duration = Duration::from_millis(800);
/// The port of the path's one stream, on BLUE and on the server.
pub const PORT: u16 = 5000;

/// The `relay` command, built once for this test run in the tests' own profile.
pub fn relay() -> &'static Path {
    static RELAY: OnceLock<PathBuf> = OnceLock::new();
    RELAY.get_or_init(|| {
        if let Some(binary) = std::env::var_os("RELAY_BINARY") {
            return binary.into();
        }
        let me = std::env::current_exe().expect("a test has a path");
        let profile = me.ancestors().nth(2).expect("target/<profile>/deps/<test>");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--package", "relay"]);
        if profile.file_name().is_some_and(|name| name == "release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo runs").success(), "relay does not build");
        profile.join("relay")
    })
}

/// The full durations of the requirements instead of ones that only find faults (environment `RELAY_SOAK`).
pub fn is_soak() -> bool {
    std::env::var_os("RELAY_SOAK").is_some()
}

/// A laboratory and a site, with no relay on it yet.
pub struct Ground {
    /// The hosts.
    pub lab: Lab,
    /// Holds everything that the relays keep in files.
    pub folder: TempDir,
    /// The site file of both.
    pub site_file: PathBuf,
    /// Paths stand one at a time: what one needs of the machine must not look like a loss of another.
    _alone: MutexGuard<'static, ()>,
}

/// A ground with both relays at work.
pub struct Path5 {
    /// Where they work.
    pub ground: Ground,
    /// BLUE at work.
    pub blue: RelayProcess,
    /// RED at work.
    pub red: RelayProcess,
}

/// What one run did, from end to end.
pub struct Outcome {
    /// What the client sent.
    pub sent: Sent,
    /// What the server got.
    pub received: Received,
    /// What the diode saw.
    pub diode: Counters,
    /// BLUE's last words.
    pub blue: Stopped,
    /// RED's last words.
    pub red: Stopped,
}

/// The path's one stream, from the client to the server.
pub fn stream() -> Stream {
    Stream::udp(1, "numbers", PORT, (address::SERVER, PORT)).line("max_sessions = 64")
}

/// A `relay keygen` file named `name` in `folder`.
pub fn key_file(folder: &Path, name: &str) -> PathBuf {
    let key = folder.join(name);
    let made = Command::new(relay()).arg("keygen").arg(&key).output().expect("relay runs");
    assert!(made.status.success(), "{made:?}");
    key
}

impl Ground {
    /// With a link sealed by a key of its own.
    pub fn sealed(options: &Options, site: &Site) -> Self {
        Self::new(options, |folder| site.clone().key_file(&key_file(folder, "link.key")))
    }

    /// With the site as it is: unsealed, unless it names a key file.
    pub fn plain(options: &Options, site: &Site) -> Self {
        Self::new(options, |_| site.clone())
    }

    fn new(options: &Options, site: impl FnOnce(&Path) -> Site) -> Self {
        let lab = Lab::new(options).expect("a laboratory");
        let folder = TempDir::new().expect("a folder");
        let site_file = site(folder.path()).write(folder.path()).expect("a site file");
        Self::of(lab, folder, site_file)
    }

    /// Of what is there already.
    pub fn of(lab: Lab, folder: TempDir, site_file: PathBuf) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Self { lab, folder, site_file, _alone: alone }
    }

    /// Starts a relay and waits until it is ready.
    pub fn relay(&self, role: Role) -> RelayProcess {
        let host = if role == Role::Blue { &self.lab.blue } else { &self.lab.red };
        RelayProcess::start(relay(), role, host, &self.site_file).expect("a relay")
    }

    /// RED first, then BLUE.
    pub fn start(self) -> Path5 {
        let red = self.relay(Role::Red);
        let blue = self.relay(Role::Blue);
        Path5 { ground: self, blue, red }
    }

    /// A receiver on the server.
    pub fn receiver(&self, port: u16, seed: u64) -> Receiver {
        Receiver::start(&self.lab.server, (address::SERVER, port), seed).expect("a receiver")
    }
}

impl Path5 {
    /// RED first, then BLUE, sealed.
    pub fn start(options: &Options, site: &Site) -> Self {
        Ground::sealed(options, site).start()
    }

    /// Sends 20,000 datagrams a second, or whatever `load` makes of it, and waits for the end.
    pub fn send(&self, load: impl FnOnce(Load) -> Load) -> (Sent, Received) {
        self.send_at(20_000, load)
    }

    /// Sends a load of the client's through BLUE's port to the server and waits for the end.
    pub fn send_at(&self, rate: u64, load: impl FnOnce(Load) -> Load) -> (Sent, Received) {
        let load = load(Load::new((address::BLUE, PORT), rate));
        let receiver = self.ground.receiver(PORT, load.seed);
        let sent = Sender::start(&self.ground.lab.client, load).expect("a sender").join().expect("sent");
        let received = receiver.finish(&sent, QUIET).expect("received");
        (sent, received)
    }

    /// Stops BLUE, then RED, and gives everybody's account.
    pub fn stop(self, sent: Sent, received: Received) -> Outcome {
        let (blue, red, diode) = self.end();
        Outcome { sent, received, diode, blue, red }
    }

    /// Stops BLUE, then RED; gives what the forward diode saw.
    pub fn end(self) -> (Stopped, Stopped, Counters) {
        let blue = self.blue.stop().expect("BLUE stops");
        let red = self.red.stop().expect("RED stops");
        let diode = self.ground.lab.diode.counters().expect("the diode counts");
        if let Some(back) = &self.ground.lab.back {
            let came_back = back.counters().expect("the return diode counts").came_back;
            assert_eq!(came_back, 0, "BLUE sent on the return link\n{}", blue.log.text());
        }
        (blue, red, diode)
    }
}

impl Outcome {
    /// Nothing came back, both relays ended well and in time, and all accounts add up to what the server missed.
    pub fn check_accounts(&self) {
        let (blue, red) = (&self.blue.summary, &self.red.summary);
        let context = format!("{}\n{}\n{}", self.received, self.blue.log.text(), self.red.log.text());
        for stopped in [&self.blue, &self.red] {
            assert!(stopped.status.success(), "{context}");
            assert!(stopped.took < Duration::from_secs(2), "{:?}\n{context}", stopped.took);
        }
        assert_eq!(self.diode.came_back, 0, "{context}");
        let (blue, red) = (blue.stream("numbers").unwrap(), red.stream("numbers").unwrap());
        let number = |line: &Line, key: &str| line.number(key).unwrap();
        let missing = self.received.missing(&self.sent).len() as u64;
        assert_eq!((self.received.corrupt, self.received.foreign, self.received.duplicates()), (0, 0, 0), "{context}");
        assert_eq!(number(blue, "received"), self.sent.total(), "{context}");
        let refused_by_blue = blue.total("refused");
        assert_eq!(number(blue, "sent") + refused_by_blue, self.sent.total(), "{context}");
        let lost = red.total("lost");
        let refused_by_red = red.total("refused");
        assert_eq!(number(red, "delivered") + refused_by_red + lost, number(blue, "sent"), "{context}");
        assert_eq!(refused_by_blue + lost + refused_by_red + self.received.kernel_drops, missing, "{context}");
    }

    /// Every datagram came.
    pub fn check_complete(&self) {
        let context = format!("{}\n{}", self.blue.log.text(), self.red.log.text());
        self.received.check_complete(&self.sent).unwrap_or_else(|error| panic!("{error:#}\n{context}"));
        self.check_accounts();
    }

    /// A count of a side's line about the link.
    pub fn link(&self, role: Role, key: &str) -> u64 {
        let stopped = if role == Role::Blue { &self.blue } else { &self.red };
        stopped.summary.link("forward").and_then(|line| line.number(key)).expect("a link line")
    }

    /// One line for people: what was sent, delivered, recovered, and how long it took.
    pub fn report(&self, name: &str) {
        let red = self.red.summary.stream("numbers").unwrap();
        println!(
            "{name}: sent {} delivered {} recovered {} lost {} | frames lost {} of {} | p50 {:.0} us p99 {:.0} us",
            self.sent.total(),
            self.received.distinct(),
            red.number("recovered").unwrap(),
            red.total("lost"),
            self.diode.dropped,
            self.diode.dropped + self.diode.forwarded,
            self.received.latency_us(50.0),
            self.received.latency_us(99.0),
        );
    }
}
