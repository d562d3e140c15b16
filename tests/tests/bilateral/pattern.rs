//! Seeded bytes over a TCP connection: sent, and checked where they arrive.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

/// Bytes written or read at once.
const CHUNK: usize = 64 << 10;
/// The pattern repeats after so many bytes: a prime, so that no size of a block, symbol or buffer divides it.
const PERIOD: usize = 65_521;

/// An endless run of bytes; every seed has another.
pub struct Pattern(Vec<u8>);

/// How a connection's incoming side ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Closed,
    /// Broken off.
    Reset,
}

impl Pattern {
    pub fn new(seed: u32) -> Self {
        // Marsaglia's xorshift, which must not start at 0.
        let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 11) as u8
        };
        let mut bytes: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
        bytes.extend_from_within(..);
        bytes.extend_from_within(..CHUNK);
        Self(bytes)
    }

    /// The bytes from place `from` on, at most a chunk.
    pub fn at(&self, from: u64, len: usize) -> &[u8] {
        let start = (from % PERIOD as u64) as usize;
        &self.0[start..start + len.min(CHUNK)]
    }

    /// Sends `bytes` of it, from place `from` on.
    pub fn send(&self, mut to: &TcpStream, from: u64, bytes: u64) -> io::Result<()> {
        let mut sent = 0;
        while sent < bytes {
            let chunk = self.at(from + sent, (bytes - sent).min(CHUNK as u64) as usize);
            to.write_all(chunk)?;
            sent += chunk.len() as u64;
        }
        Ok(())
    }

    /// Reads until the end; every byte must be right. Gives how many there were.
    pub fn read_to_end(&self, from: &TcpStream) -> (u64, End) {
        self.read(from, 0, u64::MAX).unwrap_or_else(|(bytes, error)| match error.kind() {
            io::ErrorKind::ConnectionReset => (bytes, End::Reset),
            _ => panic!("neither an end nor a reset after {bytes} bytes: {error}"),
        })
    }

    /// Reads `bytes` of it, which must be right, from place `start` on.
    pub fn expect(&self, from: &TcpStream, start: u64, bytes: u64) {
        let (read, _) = self.read(from, start, bytes).unwrap_or_else(|(read, error)| panic!("after {read}: {error}"));
        assert_eq!(read, bytes, "ended too early");
    }

    fn read(&self, mut from: &TcpStream, start: u64, bytes: u64) -> Result<(u64, End), (u64, io::Error)> {
        let mut buffer = vec![0; CHUNK];
        let mut read = 0;
        while read < bytes {
            let room = (bytes - read).min(CHUNK as u64) as usize;
            match from.read(&mut buffer[..room]) {
                Ok(0) => break,
                Ok(len) => {
                    let expected = self.at(start + read, len);
                    let wrong = buffer[..len].iter().zip(expected).position(|(got, wanted)| got != wanted);
                    assert_eq!(wrong, None, "a wrong byte so far behind place {}", start + read);
                    read += len as u64;
                }
                Err(error) => return Err((read, error)),
            }
        }
        Ok((read, End::Closed))
    }
}
