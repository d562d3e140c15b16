//! A path with one TCP stream, a server that checks a seeded pattern, and clients that send it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use lab::path::{Ground, Path5};
use lab::{Host, Loss, Options, Site, Stream, address};

/// The stream's port, on BLUE and on the server.
pub const PORT: u16 = 5140;
/// A bound for what takes milliseconds.
pub const SOON: Duration = Duration::from_secs(20);
/// Bytes written at once.
const CHUNK: usize = 64 * 1024;

/// The `n`th byte of every client's pattern. 251 is prime, so that no block or buffer size repeats it.
fn pattern(seed: u8, from: u64, to: &mut [u8]) {
    for (at, byte) in (from..).zip(to) {
        *byte = (at % 251) as u8 ^ (at >> 16) as u8 ^ seed;
    }
}

/// A path whose one stream is TCP, with `lines` of its own.
pub fn start(driver: &str, loss: Loss, protection: (&str, &str, u32), lines: &[&str]) -> Path5 {
    let (share, residual, burst) = protection;
    let stream = Stream::new(1, "bytes", "tcp-unilateral", PORT, SocketAddr::from((address::SERVER, PORT)));
    let stream = lines.iter().fold(stream, |stream, line| stream.line(line));
    // No faster than RED can take it, also when it was built without optimisation and has little of the processor.
    let site = Site::new(driver).link("rate = \"200Mbit/s\"").protect(share, residual, burst).stream(stream);
    Ground::sealed(&Options { loss, ..Options::default() }, &site).start()
}

/// How a connection ended at the server, and what came over it.
#[derive(Debug)]
pub struct Arrived {
    /// Bytes that came, in order and right.
    pub bytes: u64,
    /// The first byte, which names the client.
    pub seed: Option<u8>,
    /// An end in order, and not a reset.
    pub whole: bool,
    /// A byte was not what it should be.
    pub wrong: bool,
}

/// Accepts connections for as long as the path stands; every one that ends is told.
pub struct Server {
    begun: Receiver<()>,
    arrived: Receiver<Arrived>,
    _accepts: JoinHandle<()>,
}

impl Server {
    pub fn start(host: &Host) -> Self {
        let listener = host.run(|| TcpListener::bind((address::SERVER, PORT))).unwrap().unwrap();
        let (tell_begun, begun) = channel();
        let (tell, arrived) = channel();
        let accepts = std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (tell_begun, tell) = (tell_begun.clone(), tell.clone());
                std::thread::spawn(move || drop(tell.send(read_all(connection, &tell_begun))));
            }
        });
        Self { begun, arrived, _accepts: accepts }
    }

    /// Waits for the first bytes of the next connection.
    pub fn wait_begun(&self) {
        self.begun.recv_timeout(SOON).expect("a connection begins");
    }

    /// The next connection that ends.
    pub fn next(&self) -> Arrived {
        self.arrived.recv_timeout(SOON).expect("a connection ends")
    }
}

fn read_all(mut connection: TcpStream, begun: &std::sync::mpsc::Sender<()>) -> Arrived {
    let mut arrived = Arrived { bytes: 0, seed: None, whole: false, wrong: false };
    let (mut buffer, mut expected) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        match connection.read(&mut buffer) {
            Ok(0) => return Arrived { whole: true, ..arrived },
            Err(_) => return arrived,
            Ok(len) => {
                if arrived.seed.is_none() {
                    // Nobody listens in tests that do not care.
                    let _ = begun.send(());
                }
                let seed = *arrived.seed.get_or_insert(buffer[0]);
                pattern(seed, arrived.bytes, &mut expected[..len]);
                arrived.wrong |= buffer[..len] != expected[..len];
                arrived.bytes += len as u64;
            }
        }
    }
}

/// Connects to BLUE's port from the client host.
pub fn connect(path: &Path5) -> io::Result<TcpStream> {
    path.ground.lab.client.run(|| TcpStream::connect_timeout(&(address::BLUE, PORT).into(), SOON)).unwrap()
}

/// Sends `bytes` of the pattern.
pub fn send(connection: &mut TcpStream, seed: u8, bytes: u64) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut sent = 0;
    while sent < bytes {
        let len = CHUNK.min((bytes - sent) as usize);
        pattern(seed, sent, &mut chunk[..len]);
        connection.write_all(&chunk[..len])?;
        sent += len as u64;
    }
    Ok(())
}

/// Sends `bytes` of the pattern over a connection of its own and ends it in order.
pub fn send_whole(path: &Path5, seed: u8, bytes: u64) {
    let mut connection = connect(path).expect("BLUE accepts");
    send(&mut connection, seed, bytes).expect("BLUE reads");
    connection.shutdown(Shutdown::Write).expect("still connected");
    // BLUE closes once it has taken everything.
    let _ = connection.read(&mut [0]);
}

/// Stops both relays and gives their counters of the stream.
pub fn stop(path: Path5) -> (lab::Line, lab::Line, String) {
    let (blue, red, diode) = path.end();
    let log = format!("{}\n{}", blue.log.text(), red.log.text());
    assert!(blue.status.success() && red.status.success(), "{log}");
    assert_eq!(diode.came_back, 0, "{log}");
    let line = |stopped: &lab::Stopped| stopped.summary.channel(1).expect("counted").clone();
    (line(&blue), line(&red), log)
}
