//! A path with one TCP stream, a server that checks what comes, and clients that send it.

use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use lab::path::{Ground, Path5};
pub use lab::traffic::send_bytes as send;
use lab::traffic::{Arrived, receive_bytes};
use lab::{Host, Loss, Options, Site, Stream, address};

/// The stream's port, on BLUE and on the server.
pub const PORT: u16 = 5140;
/// A bound for what takes milliseconds.
pub const SOON: Duration = Duration::from_secs(20);

/// A path whose one stream is TCP, with `lines` of its own.
pub fn start(driver: &str, loss: Loss, protection: (&str, &str, u32), lines: &[&str]) -> Path5 {
    let (share, residual, burst) = protection;
    let stream = Stream::new(1, "bytes", "tcp-unilateral", PORT, SocketAddr::from((address::SERVER, PORT)));
    let stream = lines.iter().fold(stream, |stream, line| stream.line(line));
    // No faster than RED can take it, also when it was built without optimisation and has little of the processor.
    let site = Site::new(driver).link("rate = \"200Mbit/s\"").protect(share, residual, burst).stream(stream);
    Ground::sealed(&Options { loss, ..Options::default() }, &site).start()
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
                std::thread::spawn(move || {
                    // Nobody listens in tests that do not care.
                    let _ = tell.send(receive_bytes(&mut &connection, || {
                        let _ = tell_begun.send(());
                    }));
                });
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

/// Connects to BLUE's port from the client host.
pub fn connect(path: &Path5) -> io::Result<TcpStream> {
    path.ground.lab.client.run(|| TcpStream::connect_timeout(&(address::BLUE, PORT).into(), SOON)).unwrap()
}

/// Sends `bytes` of the seed's stream over a connection of its own and ends it in order.
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
