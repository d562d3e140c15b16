//! The destination's end of connections.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::SOON;
use crate::traffic::bytes::{Arrived, ByteStream, CHUNK_BYTES, receive_bytes, receive_on};
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

/// Reads a connection to its end.
pub fn read_all(mut connection: TcpStream) -> Arrived {
    receive_bytes(&mut connection, || ())
}

/// Reads on to the end, where the first `bytes` of the seed's stream were read before ([`expect`]).
pub fn read_on(mut connection: TcpStream, seed: u8, bytes: u64) -> Arrived {
    let before = Arrived { bytes, seed: Some(seed), ..Arrived::default() };
    receive_on(&mut connection, before, || ())
}

/// Reads `bytes` of the seed's stream from number `from` on; an error when others come, or none within [`SOON`].
pub fn expect(mut connection: &TcpStream, seed: u8, from: u64, bytes: u64) -> Result<()> {
    connection.set_read_timeout(Some(SOON))?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut stream = ByteStream::at(seed, from);
    let mut read_bytes = 0;
    while read_bytes < bytes {
        let expected = stream.next_chunk(bytes - read_bytes);
        let came = &mut buffer[..expected.len()];
        connection.read_exact(came).with_context(|| format!("after {read_bytes} bytes"))?;
        ensure!(came == expected, "wrong bytes after {read_bytes}");
        read_bytes += came.len() as u64;
    }
    connection.set_read_timeout(None)?;
    Ok(())
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

    /// The next connection that ends within `timeout`.
    pub fn next_within(&self, timeout: Duration) -> Option<Arrived> {
        self.arrived.recv_timeout(timeout).ok()
    }

    /// The next connection that ends.
    pub fn next(&self) -> Arrived {
        self.arrived.recv_timeout(SOON).expect("a connection ends")
    }
}

fn serve(connection: TcpStream, tell_begun: Sender<()>, tell: Sender<Arrived>) {
    std::thread::spawn(move || {
        let arrived = receive_bytes(&mut &connection, || {
            // Nobody listens in tests that do not care.
            let _ = tell_begun.send(());
        });
        // As above.
        let _ = tell.send(arrived);
    });
}
