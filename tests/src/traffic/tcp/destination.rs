//! The destination's end of connections.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::{CHUNK, SOON, pattern};
use crate::{Host, sys};

/// Listens, and hands over each connection as it is asked for.
#[derive(Debug)]
pub struct Destination {
    listener: TcpListener,
}

impl Destination {
    /// Listens at `at` on `host`.
    pub fn open(host: &Host, at: impl Into<SocketAddr>) -> Self {
        let at = at.into();
        let listener = host.run(|| TcpListener::bind(at)).expect("the host");
        Self { listener: listener.unwrap_or_else(|error| panic!("{at}: {error}")) }
    }

    /// The next connection, which must come within [`SOON`].
    pub fn accept(&self) -> TcpStream {
        assert!(sys::wait_readable(&self.listener, SOON), "no connection comes");
        self.listener.accept().expect("a connection").0
    }

    /// Whether no connection waits to be accepted.
    pub fn is_quiet(&self) -> bool {
        !sys::wait_readable(&self.listener, std::time::Duration::ZERO)
    }
}

/// How a connection ended at its destination, and what came over it.
#[derive(Debug)]
pub struct Arrived {
    /// Bytes that came.
    pub bytes: u64,
    /// The first byte, which names the client.
    pub seed: Option<u8>,
    /// An end in order, and not a reset.
    pub whole: bool,
    /// A byte was not what it should be.
    pub wrong: bool,
}

impl Arrived {
    /// Exactly the first `bytes` of a pattern came, and their end.
    pub fn is_whole(&self, bytes: u64) -> bool {
        self.whole && !self.wrong && self.bytes == bytes
    }
}

/// Reads a connection to its end.
pub fn read_all(connection: TcpStream) -> Arrived {
    read_telling(connection, || ())
}

/// The same; tells when the first bytes come.
fn read_telling(mut connection: TcpStream, begun: impl FnOnce()) -> Arrived {
    let mut arrived = Arrived { bytes: 0, seed: None, whole: false, wrong: false };
    let (mut buffer, mut expected) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut begun = Some(begun);
    loop {
        match connection.read(&mut buffer) {
            Ok(0) => return Arrived { whole: true, ..arrived },
            Err(_) => return arrived,
            Ok(len) => {
                if let Some(begun) = begun.take() {
                    begun();
                }
                let seed = *arrived.seed.get_or_insert(buffer[0]);
                pattern(seed, arrived.bytes, &mut expected[..len]);
                arrived.wrong |= buffer[..len] != expected[..len];
                arrived.bytes += len as u64;
            }
        }
    }
}

/// Accepts connections for as long as the process lives, and reads them; every one that ends is told.
#[derive(Debug)]
pub struct Server {
    begun: Receiver<()>,
    arrived: Receiver<Arrived>,
    _accepts: JoinHandle<()>,
}

impl Server {
    /// Listens at `at` on `host`.
    pub fn start(host: &Host, at: impl Into<SocketAddr>) -> Self {
        let Destination { listener } = Destination::open(host, at);
        let (tell_begun, begun) = channel();
        let (tell, arrived) = channel();
        let accepts = std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                serve(connection, tell_begun.clone(), tell.clone());
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

fn serve(connection: TcpStream, tell_begun: Sender<()>, tell: Sender<Arrived>) {
    std::thread::spawn(move || {
        let arrived = read_telling(connection, || {
            // Nobody listens in tests that do not care.
            let _ = tell_begun.send(());
        });
        // As above.
        let _ = tell.send(arrived);
    });
}
