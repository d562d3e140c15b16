//! The five-namespace path with a relay on it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use lab::traffic::{Load, Received, Receiver, Sender, Sent};
use lab::{Counters, Lab, Options, RelayProcess, Role, Site, Stopped, Stream, TempDir, address};

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

/// A laboratory, a site, and both relays at work.
pub struct Path5 {
    pub lab: Lab,
    pub folder: TempDir,
    pub site_file: PathBuf,
    pub blue: RelayProcess,
    pub red: RelayProcess,
}

/// What one run did, from end to end.
pub struct Outcome {
    pub sent: Sent,
    pub received: Received,
    pub diode: Counters,
    pub blue: Stopped,
    pub red: Stopped,
}

/// The path's one stream, from the client to the server.
pub fn stream() -> Stream {
    Stream::udp(1, "numbers", PORT, (address::SERVER, PORT)).line("max_sessions = 64")
}

impl Path5 {
    /// RED first, then BLUE, sealed.
    pub fn start(options: &Options, site: &Site) -> Self {
        let lab = Lab::new(options).expect("a laboratory");
        let folder = TempDir::new().expect("a folder");
        let key = folder.path().join("link.key");
        let made = Command::new(relay()).arg("keygen").arg(&key).output().expect("relay runs");
        assert!(made.status.success(), "{made:?}");
        let site_file = site.clone().key_file(&key).write(folder.path()).expect("a site file");
        let red = RelayProcess::start(relay(), Role::Red, &lab.red, &site_file).expect("RED starts");
        let blue = RelayProcess::start(relay(), Role::Blue, &lab.blue, &site_file).expect("BLUE starts");
        Self { lab, folder, site_file, blue, red }
    }

    /// Sends 20,000 datagrams a second, or whatever `load` makes of it, and waits for the end.
    pub fn send(&self, load: impl FnOnce(Load) -> Load) -> (Sent, Received) {
        self.send_at(20_000, load)
    }

    /// Sends a load of the client's through BLUE's port to the server and waits for the end.
    pub fn send_at(&self, rate: u64, load: impl FnOnce(Load) -> Load) -> (Sent, Received) {
        let load = load(Load::new((address::BLUE, PORT), rate));
        let receiver = Receiver::start(&self.lab.server, (address::SERVER, PORT), load.seed).expect("a receiver");
        let sent = Sender::start(&self.lab.client, load).expect("a sender").join().expect("sent");
        let received = receiver.finish(&sent, QUIET).expect("received");
        (sent, received)
    }

    /// Stops BLUE, then RED, and gives everybody's account.
    pub fn stop(self, sent: Sent, received: Received) -> Outcome {
        let blue = self.blue.stop().expect("BLUE stops");
        let red = self.red.stop().expect("RED stops");
        let diode = self.lab.diode.counters().expect("the diode counts");
        Outcome { sent, received, diode, blue, red }
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
        let number = |line: &lab::Line, key: &str| line.number(key).unwrap();
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
}
