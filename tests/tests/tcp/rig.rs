//! A path with one TCP stream, a server that checks what comes, and clients that send it.

use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};

use lab::path::{Ground, Path5};
use lab::traffic::tcp;
use lab::{Host, Loss, Options, Site, Stream, Syslog, address};

pub use lab::traffic::tcp::{Destination, SOON, Server, send};

/// The stream's port, on BLUE and on the server.
pub const PORT: u16 = 5140;
/// With these a session begins ([`session`]).
pub const FIRST_BYTES: u64 = 1000;

/// A path whose one stream is TCP, with `lines` of its own.
pub fn start(driver: &str, loss: Loss, protection: (&str, &str, u32), lines: &[&str]) -> Path5 {
    let (share, residual, burst) = protection;
    let stream = Stream::new(1, "bytes", "tcp-unilateral", PORT, SocketAddr::from((address::SERVER, PORT)));
    let stream = lines.iter().fold(stream, |stream, line| stream.line(line));
    // No faster than RED can take it, also when it was built without optimisation and has little of the processor.
    let site = Site::new(driver).link("rate = \"200Mbit/s\"").protect(share, residual, burst).stream(stream);
    let syslog = format!("syslog = \"{}\"", Syslog::TARGET);
    let site = site.blue(&syslog).red(&syslog);
    Ground::sealed(&Options { loss, ..Options::default() }, &site).start()
}

/// A server for the stream.
pub fn serve(host: &Host) -> Server {
    Server::start(host, (address::SERVER, PORT))
}

/// Connects to BLUE's port from the client host.
pub fn connect(path: &Path5) -> io::Result<TcpStream> {
    tcp::connect(&path.ground.lab.client, (address::BLUE, PORT)).map_err(io::Error::other)
}

/// Sends `bytes` of the pattern over a connection of its own and ends it in order.
pub fn send_whole(path: &Path5, seed: u8, bytes: u64) {
    let mut connection = connect(path).expect("BLUE accepts");
    send(&mut connection, seed, bytes).expect("BLUE reads");
    connection.shutdown(Shutdown::Write).expect("still connected");
    // BLUE closes once it has taken everything.
    let _ = connection.read(&mut [0]);
}

/// A client and its connection at the destination, after the first [`FIRST_BYTES`] of its seed have come.
pub fn session(path: &Path5, destination: &Destination, seed: u8) -> (TcpStream, TcpStream) {
    let mut client = connect(path).expect("BLUE accepts");
    send(&mut client, seed, FIRST_BYTES).expect("BLUE reads");
    let connection = destination.accept();
    tcp::expect(&connection, seed, 0, FIRST_BYTES).expect("they come");
    (client, connection)
}

/// Waits for a message to syslog that holds all of `words`.
pub fn wait_told(syslog: &Syslog, words: &[&str]) {
    let wanted = |message: &str| words.iter().all(|word| message.contains(word));
    syslog.until(SOON, wanted).unwrap_or_else(|all| panic!("{words:?} in none of {all:#?}"));
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
