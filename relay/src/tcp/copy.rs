//! Bytes between a session's socket and the link, one function for each way.

use std::io;

use bytes::{BufMut as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::activity::Activity;
use super::failure::Failure;
use super::feed::{FeedSender, Piece};
use super::inflow::{Arrived, WayEnd};
use super::pace::Pace;
use super::peer::Peer;
use super::reporter::Reporter;
use super::socket::lost;
use crate::session::SessionId;

/// Asked for at once of a session that says little: an idle one costs no more.
const READ_BYTES_MIN: usize = 8 << 10;
/// ... and of one that always has more: a quarter less of the processor per byte than 64 KiB at a time.
const READ_BYTES_MAX: usize = 256 << 10;

/// Why a session was broken off.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// Its destination did not take the connection.
    #[error("cannot connect to the destination: {0}")]
    Connect(io::Error),
    /// Its socket.
    #[error("the connection broke: {0}")]
    Socket(#[from] io::Error),
    /// The other host, or this host's lane.
    #[error("{0}")]
    Given(Failure),
    /// This host stops.
    #[error("the relay stops")]
    Stopping,
    /// Nothing came for the stream's `idle`.
    #[error("idle for too long")]
    Idle,
}

/// Reads everything that a session's socket has into the link, until its end, which is told as a close. Gives how many bytes
/// that was. Within its stream's rate it is not idle: nothing else holds it up.
pub async fn read_in(
    socket: &mut ReadHalf<'_>,
    feed: &FeedSender,
    (slot, id): (u16, SessionId),
    peer: &Peer,
    activity: &Activity,
    pace: &Pace<impl Fn() -> bool>,
) -> Result<u64, Broken> {
    let mut buffer = BytesMut::new();
    let (mut sent_bytes, mut wanted_bytes) = (0, READ_BYTES_MIN);
    // At work until the other end has confirmed its end: that is not known here.
    activity.begin();
    loop {
        let room_bytes = tokio::select! {
            biased;
            room_bytes = peer.room(sent_bytes) => usize::try_from(room_bytes).unwrap_or(usize::MAX),
            // While nothing is read, only this tells that nobody is there any more.
            error = lost(socket.as_ref()) => return Err(error.into()),
        };
        activity.rest();
        // Before there is a buffer, and each goes with its bytes: idle sessions have none.
        socket.readable().await?;
        activity.begin();
        wanted_bytes = wanted_bytes.min(feed.piece_bytes_max()).min(pace.piece_bytes_max());
        buffer.reserve(wanted_bytes);
        let bytes = socket.read_buf(&mut (&mut buffer).limit(room_bytes.min(wanted_bytes))).await?;
        wanted_bytes = next_read(wanted_bytes, bytes);
        activity.touch();
        let piece = if bytes == 0 { Piece::Close } else { Piece::Data(std::mem::take(&mut buffer).freeze()) };
        pace.pass(bytes, || activity.touch()).await?;
        if !feed.send(slot, id, piece).await {
            return Err(Broken::Stopping);
        }
        if bytes == 0 {
            return Ok(sent_bytes);
        }
        sent_bytes += bytes as u64;
    }
}

/// Waits until a peer that has ended its side after `sent_bytes` has failed. Before the other end has taken all of them, that
/// does not matter: they are whole, and are delivered.
pub async fn fails_after_end(socket: &TcpStream, peer: &Peer, sent_bytes: u64) -> Broken {
    peer.took(sent_bytes).await;
    lost(socket).await.into()
}

/// How much to ask for after `bytes` came of `wanted_bytes`: more while there is always more, less once there is little.
fn next_read(wanted_bytes: usize, bytes: usize) -> usize {
    let next = match bytes {
        _ if bytes >= wanted_bytes => wanted_bytes * 2,
        _ if bytes < wanted_bytes / 4 => wanted_bytes / 2,
        _ => wanted_bytes,
    };
    next.clamp(READ_BYTES_MIN, READ_BYTES_MAX)
}

/// Writes what came over the link to a session's socket, until its end, which closes the socket's sending side.
pub async fn write_out(
    socket: &mut WriteHalf<'_>,
    arrived: &mut WayEnd,
    activity: &Activity,
    reporter: Option<&Reporter>,
) -> Result<(), Broken> {
    loop {
        // The lane has dropped the session. If that has a reason, the peer knows it, and that it is over is noticed there.
        match arrived.next().await.ok_or(Broken::Stopping)? {
            Arrived::Data(bytes) => {
                activity.begin();
                socket.write_all(&bytes).await?;
                activity.rest();
                activity.touch();
                arrived.taken(bytes.len());
                if let Some(reporter) = reporter {
                    reporter.consumed(bytes.len() as u64).await;
                }
            }
            // No session of TCP notes gaps: one ends it.
            Arrived::Close | Arrived::Incomplete(_) => {
                socket.shutdown().await?;
                if let Some(reporter) = reporter {
                    reporter.consumed_all().await;
                }
                return Ok(());
            }
        }
    }
}
