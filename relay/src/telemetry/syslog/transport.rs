//! The connection to a syslog server or socket.
//!
//! Owns the socket and the messages that wait for it. A call on a socket blocks the syslog thread for
//! [`PATIENCE`] at most (a local stream socket's connect alone has no limit), failures are tried again
//! with growing pauses, and the oldest messages go when too many wait.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::config;

/// Messages that wait for a target that is down: some minutes of a quiet system.
const MOST_WAITING: usize = 256;
/// Longest wait for a connection or a full socket; a stop must not take longer.
const PATIENCE: Duration = Duration::from_millis(400);
/// Pause after the first failure, doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause: a server that comes back is used within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// A connected socket.
#[derive(Debug)]
enum Socket {
    Datagram(UnixDatagram),
    Stream(UnixStream),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Socket {
    fn open(target: &config::Syslog) -> io::Result<Self> {
        match target {
            config::Syslog::Local(path) => Self::local(path),
            config::Syslog::Udp(server) => {
                let any = match server {
                    SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
                    SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
                };
                let socket = UdpSocket::bind((any, 0))?;
                socket.connect(server)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Udp(socket))
            }
            config::Syslog::Tcp(server) => {
                let socket = TcpStream::connect_timeout(server, PATIENCE)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Tcp(socket))
            }
        }
    }

    /// Daemons listen with datagram sockets as a rule, some with stream sockets.
    fn local(path: &Path) -> io::Result<Self> {
        let datagram = UnixDatagram::unbound()?;
        match datagram.connect(path) {
            Ok(()) => {
                datagram.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Datagram(datagram))
            }
            Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
                let stream = UnixStream::connect(path)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Stream(stream))
            }
            Err(error) => Err(error),
        }
    }

    fn send(&mut self, message: &str) -> io::Result<()> {
        match self {
            Self::Datagram(socket) => socket.send(message.as_bytes()).map(drop),
            Self::Udp(socket) => socket.send(message.as_bytes()).map(drop),
            // Local daemons end messages of a stream with a line feed.
            Self::Stream(socket) => socket.write_all(format!("{message}\n").as_bytes()),
            // Octet counting (RFC 6587, section 3.4.1): no text can end a message early.
            Self::Tcp(socket) => socket.write_all(format!("{} {message}", message.len()).as_bytes()),
        }
    }
}

/// What became of a flush.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Messages handed to the system.
    pub sent: u64,
    /// Messages given up.
    pub lost: u64,
    /// Failed attempts.
    pub failures: u64,
}

/// The messages on their way to one target.
#[derive(Debug)]
pub struct Transport {
    target: config::Syslog,
    socket: Option<Socket>,
    waiting: VecDeque<String>,
    pause: Duration,
    not_before: Option<Instant>,
    given_up: u64,
}

impl Transport {
    pub const fn new(target: config::Syslog) -> Self {
        Self { target, socket: None, waiting: VecDeque::new(), pause: FIRST_PAUSE, not_before: None, given_up: 0 }
    }

    /// Lets a message wait for the next flush; the oldest goes when too many wait.
    pub fn queue(&mut self, message: String) {
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.pop_front();
            self.given_up += 1;
        }
        self.waiting.push_back(message);
    }

    /// Sends what waits, unless a pause after a failure is still on at `now`.
    pub fn flush(&mut self, now: Instant) -> Outcome {
        let mut outcome = Outcome { lost: std::mem::take(&mut self.given_up), ..Outcome::default() };
        if self.not_before.is_some_and(|pause_ends| now < pause_ends) {
            return outcome;
        }
        // A socket from before may be dead: one fresh attempt before the pause.
        let attempts = if self.socket.is_some() { 2 } else { 1 };
        for _ in 0..attempts {
            if self.send_waiting(&mut outcome).is_ok() {
                self.pause = FIRST_PAUSE;
                self.not_before = None;
                return outcome;
            }
            outcome.failures += 1;
            self.socket = None;
        }
        self.not_before = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        outcome
    }

    fn send_waiting(&mut self, outcome: &mut Outcome) -> io::Result<()> {
        while let Some(message) = self.waiting.front() {
            let socket = match &mut self.socket {
                Some(socket) => socket,
                closed @ None => closed.insert(Socket::open(&self.target)?),
            };
            socket.send(message)?;
            outcome.sent += 1;
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Gives up what still waits; the number of messages lost.
    pub fn abandon(&mut self) -> u64 {
        let waiting = self.waiting.len() as u64;
        self.waiting.clear();
        waiting + std::mem::take(&mut self.given_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_target_that_is_down_costs_the_oldest_messages_and_is_tried_again() {
        let missing = config::Syslog::Local(PathBuf::from("/nonexistent/log"));
        let (mut transport, start) = (Transport::new(missing), Instant::now());
        for at in 0..MOST_WAITING + 3 {
            transport.queue(format!("message {at}"));
        }
        assert_eq!(transport.flush(start), Outcome { sent: 0, lost: 3, failures: 1 });
        assert_eq!(transport.flush(start), Outcome::default(), "pausing");
        assert_eq!(transport.flush(start + FIRST_PAUSE).failures, 1);
        assert_eq!(transport.flush(start + FIRST_PAUSE * 2), Outcome::default(), "a longer pause");
        assert_eq!(transport.waiting.front().map(String::as_str), Some("message 3"));
        assert_eq!(transport.abandon(), MOST_WAITING as u64);
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let missing = config::Syslog::Local(PathBuf::from("/nonexistent/log"));
        let (mut transport, mut now) = (Transport::new(missing), Instant::now());
        transport.queue(String::new());
        for _ in 0..12 {
            transport.flush(now);
            now += LONGEST_PAUSE;
        }
        assert_eq!(transport.pause, LONGEST_PAUSE);
    }
}
