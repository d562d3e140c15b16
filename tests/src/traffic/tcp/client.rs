//! A client's end of a connection.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::SOON;
use crate::traffic::{ByteStream, CHUNK_BYTES};
use crate::{Host, sys};

/// How the other end of a connection ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It sends no more (FIN).
    InOrder,
    /// It broke off (RST).
    Reset,
}

/// Connects from `host`.
pub fn connect(host: &Host, to: impl Into<SocketAddr>) -> Result<TcpStream> {
    let to = to.into();
    let connection = host.run(|| TcpStream::connect_timeout(&to, SOON))?;
    connection.with_context(|| format!("cannot connect to {to}"))
}

/// Sends the first `bytes` of a seed's stream.
pub fn send(connection: &mut TcpStream, seed: u8, bytes: u64) -> io::Result<()> {
    send_on(connection, seed, 0, bytes, |_| ())
}

/// Sends `bytes` of a seed's stream from number `from` on; tells `taken` how many the kernel took, again and again.
pub fn send_on(
    connection: &mut TcpStream,
    seed: u8,
    from: u64,
    bytes: u64,
    mut taken: impl FnMut(u64),
) -> io::Result<()> {
    let mut stream = ByteStream::at(seed, from);
    let mut sent = 0;
    while sent < bytes {
        let chunk = stream.next_chunk(bytes - sent);
        connection.write_all(chunk)?;
        sent += chunk.len() as u64;
        taken(sent);
    }
    Ok(())
}

/// Sends a seed's stream for so long, as fast as it is taken; gives the bytes sent.
pub fn send_for(mut connection: &TcpStream, seed: u8, time: Duration) -> io::Result<u64> {
    let (mut stream, mut sent) = (ByteStream::new(seed), 0);
    let until = Instant::now() + time;
    while Instant::now() < until {
        connection.write_all(stream.next_chunk(CHUNK_BYTES as u64))?;
        sent += CHUNK_BYTES as u64;
    }
    Ok(sent)
}

/// Ends what this end sends, in order, and waits for so long at most until the other end has answered with its own end.
pub fn finish(mut connection: &TcpStream, timeout: Duration) -> io::Result<()> {
    connection.shutdown(Shutdown::Write)?;
    connection.set_read_timeout(Some(timeout))?;
    // How the other end ended it is for its receiver to tell.
    let _ = connection.read(&mut [0]);
    Ok(())
}

/// Waits for the end of what the other end sends; an error when it sends anything, or does not end within [`SOON`].
pub fn end_of(mut connection: &TcpStream) -> Result<End> {
    connection.set_read_timeout(Some(SOON))?;
    match connection.read(&mut [0; 64]) {
        Ok(0) => Ok(End::InOrder),
        Ok(len) => bail!("{len} bytes came instead of the end"),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(End::Reset),
        Err(error) => Err(error).context("no end"),
    }
}

/// Connects to somebody who resets the connection at once, perhaps before it can be used; an error when that does not come.
pub fn turned_away(host: &Host, to: impl Into<SocketAddr>) -> Result<()> {
    let to = to.into();
    match host.run(|| TcpStream::connect_timeout(&to, SOON))? {
        Ok(connection) => {
            let end = end_of(&connection)?;
            ensure!(end == End::Reset, "ended in order");
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error).context("no connection"),
    }
}

/// Whether the other end has neither sent anything nor ended the connection.
pub fn is_open(connection: &TcpStream) -> bool {
    let look = || {
        connection.set_nonblocking(true)?;
        let seen = connection.peek(&mut [0]);
        connection.set_nonblocking(false)?;
        seen
    };
    look().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Ends a connection with a reset.
pub fn reset(connection: TcpStream) -> io::Result<()> {
    sys::reset_when_closed(&connection)?;
    drop(connection);
    Ok(())
}
