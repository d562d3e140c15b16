//! The destination's end of connections.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::{CHUNK, SOON, pattern};
use anyhow::{Context as _, Result, ensure};

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
#[derive(Debug, Default)]
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
    let nothing = Arrived::default();
    read(connection, nothing, || ())
}

/// Reads on to the end, where the first `bytes` of the pattern were read before ([`expect`]).
pub fn read_on(connection: TcpStream, seed: u8, bytes: u64) -> Arrived {
    let before = Arrived { bytes, seed: Some(seed), whole: false, wrong: false };
    read(connection, before, || ())
}

/// Reads `bytes` of the pattern from number `from` on; an error when others come, or none within [`SOON`].
pub fn expect(mut connection: &TcpStream, seed: u8, from: u64, bytes: u64) -> Result<()> {
    connection.set_read_timeout(Some(SOON))?;
    let (mut buffer, mut expected) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut read_bytes = 0;
    while read_bytes < bytes {
        let len = CHUNK.min((bytes - read_bytes) as usize);
        connection.read_exact(&mut buffer[..len]).with_context(|| format!("after {read_bytes} bytes"))?;
        pattern(seed, from + read_bytes, &mut expected[..len]);
        ensure!(buffer[..len] == expected[..len], "wrong bytes after {read_bytes}");
        read_bytes += len as u64;
    }
    connection.set_read_timeout(None)?;
    Ok(())
}

/// Reads to the end; tells when the first bytes come.
fn read(mut connection: TcpStream, mut arrived: Arrived, begun: impl FnOnce()) -> Arrived {
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
        let nothing = Arrived::default();
        let arrived = read(connection, nothing, || {
            // Nobody listens in tests that do not care.
            let _ = tell_begun.send(());
        });
        // As above.
        let _ = tell.send(arrived);
    });
}
