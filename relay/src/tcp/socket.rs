//! Settings of a session's socket.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// After a first question that was not answered: more of them, this far apart.
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMES: u32 = 3;

/// Asks a peer that has said nothing for so long whether it still lives, and sends small writes at once.
pub fn keep_alive(stream: &TcpStream, after: Duration) {
    let keepalive = TcpKeepalive::new().with_time(after).with_interval(KEEPALIVE_AGAIN).with_retries(KEEPALIVE_TIMES);
    // Without it a dead peer is only noticed by the session's idle time, and small writes may be late.
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    let _ = stream.set_nodelay(true);
}

/// From now on the end of the connection is a reset, also if this process dies: no peer takes that for an end in order.
pub fn reset_when_dropped(socket: &impl AsFd) {
    // Without it the peer sees an ordinary end; there is nothing more that could be done.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// Everything has come and gone: the connection ends in order when it is dropped.
pub fn end_in_order(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(None);
}

/// Waits until the connection has failed, because its peer has reset it or does not answer any more. For whoever does not
/// read it at the moment.
pub async fn lost(stream: &TcpStream) -> io::Error {
    loop {
        match stream.ready(Interest::ERROR).await {
            Err(error) => return error,
            Ok(ready) if ready.is_error() => {
                let why = stream.take_error().ok().flatten();
                return why.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
            }
            Ok(_) => {}
        }
    }
}
