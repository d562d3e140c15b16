//! Small traffic: texts from a socket of the client's to a socket of the server's.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use lab::{Host, Lab, Options, RelayProcess, Role, Site, Stopped, Stream, TempDir, address};

use lab::path::{Ground, PORT, Path5, relay};

/// Whatever arrives, arrives within this time on a busy machine.
pub const ARRIVES: Duration = Duration::from_secs(5);

/// A laboratory with a key, before any relay runs.
pub struct Rig {
    pub lab: Lab,
    pub folder: TempDir,
}

impl Rig {
    pub fn new(options: &Options) -> Self {
        let rig = Self { lab: Lab::new(options).expect("a laboratory"), folder: TempDir::new().expect("a folder") };
        let made = Command::new(relay()).arg("keygen").arg(rig.key()).output().expect("relay runs");
        assert!(made.status.success(), "{made:?}");
        rig
    }

    pub fn key(&self) -> std::path::PathBuf {
        self.folder.path().join("link.key")
    }

    /// Starts both, sealed.
    pub fn start(self, site: &Site) -> Path5 {
        let site = site.clone().key_file(&self.key());
        self.start_unsealed(&site)
    }

    /// Starts both with the site as it is.
    pub fn start_unsealed(self, site: &Site) -> Path5 {
        let site_file = site.write(self.folder.path()).expect("a site file");
        let red = RelayProcess::start(relay(), Role::Red, &self.lab.red, &site_file).expect("RED starts");
        let blue = RelayProcess::start(relay(), Role::Blue, &self.lab.blue, &site_file).expect("BLUE starts");
        Path5 { ground: Ground::of(self.lab, self.folder, site_file), blue, red }
    }
}

/// The path with one stream to the server, which takes lines for it.
pub fn numbers() -> Stream {
    lab::path::stream()
}

/// Another stream, for as many flows as a test has.
pub fn stream(channel: u16, name: &str, port: u16, to: impl Into<SocketAddr>) -> Stream {
    Stream::udp(channel, name, port, to).line("max_sessions = 64")
}

/// A socket on `host`, bound to `at` (port 0: any), that waits for what arrives no longer than [`ARRIVES`].
pub fn socket(host: &Host, at: impl Into<SocketAddr>) -> UdpSocket {
    let at = at.into();
    let socket = host.run(|| UdpSocket::bind(at)).expect("the host").unwrap_or_else(|error| panic!("{at}: {error}"));
    socket.set_read_timeout(Some(ARRIVES)).expect("a timeout");
    socket
}

/// The server's socket at the stream's destination.
pub fn server(lab: &Lab) -> UdpSocket {
    socket(&lab.server, (address::SERVER, PORT))
}

/// A socket of the client's that sends to BLUE's `port`.
pub fn client(lab: &Lab, port: u16) -> UdpSocket {
    client_from(lab, address::CLIENT.into(), port)
}

/// The same from another address of the client's.
pub fn client_from(lab: &Lab, source: IpAddr, port: u16) -> UdpSocket {
    let socket = socket(&lab.client, (source, 0));
    let blue: IpAddr = if source.is_ipv4() { address::BLUE.into() } else { address::BLUE_V6.into() };
    socket.connect((blue, port)).expect("BLUE has an address");
    socket
}

/// The next datagram and who sent it; a panic with both logs when none comes.
pub fn next(path: &Path5, socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 1 << 16];
    let (len, source) = socket.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{error}\n{}", logs(path)));
    buffer.truncate(len);
    (buffer, source)
}

/// Sends `payload` and expects it, and nothing before it.
pub fn crosses(path: &Path5, from: &UdpSocket, to: &UdpSocket, payload: &[u8]) -> SocketAddr {
    from.send(payload).expect("the client sends");
    let (received, source) = next(path, to);
    assert!(received == payload, "{} bytes sent, {} other bytes came\n{}", payload.len(), received.len(), logs(path));
    source
}

/// Both logs.
pub fn logs(path: &Path5) -> String {
    format!("BLUE:\n{}\nRED:\n{}", path.blue.log().text(), path.red.log().text())
}

/// Stops both, in order and in time.
pub fn stop(path: Path5) -> (Stopped, Stopped) {
    let Path5 { ground: _ground, blue, red } = path;
    let blue = blue.stop().expect("BLUE stops");
    let red = red.stop().expect("RED stops");
    for stopped in [&blue, &red] {
        assert!(stopped.status.success(), "{}", stopped.log.text());
        assert!(stopped.took < Duration::from_secs(2), "{:?}", stopped.took);
    }
    (blue, red)
}

/// A count of a stream; 0 where the line omits it.
pub fn count(stopped: &Stopped, stream: &str, key: &str) -> u64 {
    stopped.summary.stream(stream).expect("a summary").number(key).unwrap_or(0)
}

/// A count of the link; 0 where the line omits it.
pub fn link_count(stopped: &Stopped, key: &str) -> u64 {
    stopped.summary.link("forward").expect("a summary").number(key).unwrap_or(0)
}

/// Has a relay log its counters until `test` accepts a line; gives that line.
pub fn await_stats(relay: &RelayProcess, test: impl Fn(&str) -> bool) -> String {
    let deadline = std::time::Instant::now() + ARRIVES;
    loop {
        let from = relay.log().len();
        relay.signal(libc::SIGUSR1).expect("it runs");
        // Counters of the kernel's are taken over every 100 ms, by the clock of the relay.
        if let Ok(line) =
            relay.wait_for_line(from, Duration::from_millis(150), |line| line.contains("stats ") && test(line))
        {
            return line;
        }
        assert!(std::time::Instant::now() < deadline, "no such counters:\n{}", relay.log().text());
    }
}

/// A number in a counter line; 0 where the line omits it.
pub fn value(line: &str, key: &str) -> u64 {
    let found = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    found.and_then(|value| value.parse().ok()).unwrap_or(0)
}
