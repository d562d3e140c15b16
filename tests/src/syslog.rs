//! A syslog server of our own.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use crate::Host;

/// Messages are read from its socket when asked for.
#[derive(Debug)]
pub struct Syslog {
    socket: UdpSocket,
}

impl Syslog {
    /// Where relays on the same host find it.
    pub const TARGET: &str = "udp://127.0.0.1:5514";

    /// On `host`, for relays there.
    pub fn start(host: &Host) -> Self {
        let socket = host.run(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 5514))).expect("the host").expect("the port");
        Self { socket }
    }

    /// Messages until one is accepted, that one last; what came so far when none is in time.
    pub fn until(&self, timeout: Duration, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, Vec<String>> {
        let deadline = Instant::now() + timeout;
        let mut messages = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(messages);
            }
            self.socket.set_read_timeout(Some(left)).expect("a timeout");
            let Ok(len) = self.socket.recv(&mut buffer) else { continue };
            let message = String::from_utf8(buffer[..len].to_vec()).expect("UTF-8");
            let found = wanted(&message);
            messages.push(message);
            if found {
                return Ok(messages);
            }
        }
    }
}
