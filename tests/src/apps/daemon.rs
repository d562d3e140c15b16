//! A server program: started, awaited and killed.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{Child, Host, Log};

/// A database takes seconds to start on a machine with more to do.
const READY_MAX: Duration = Duration::from_mins(1);
/// Between two looks at the listening sockets.
const LOOK_PERIOD: Duration = Duration::from_millis(10);
/// State of a listening socket in `/proc/net/tcp`: `TCP_LISTEN` of `linux/tcp_states.h`.
const LISTEN: &str = "0A";

/// A program on a host. Dropping it kills it, with all of its process group.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts a program that stays in the foreground.
    pub fn start(host: &Host, name: &str, command: Command) -> Result<Self> {
        let child = host.spawn(name, command).context("is it installed? cargo xtask setup does that")?;
        Ok(Self { child })
    }

    /// Starts a program and waits until it listens on a TCP port; the error of one that does not holds its log.
    pub fn start_listening(host: &Host, name: &str, command: Command, port: u16) -> Result<Self> {
        let daemon = Self::start(host, name, command)?;
        let deadline = Instant::now() + READY_MAX;
        while !listens(host, port)? {
            if !daemon.child.is_running() || Instant::now() > deadline {
                daemon.child.log().wait_for_end(LOOK_PERIOD);
                bail!("{name} does not listen on port {port}; it wrote:\n{}", daemon.log().text());
            }
            thread::sleep(LOOK_PERIOD);
        }
        Ok(daemon)
    }

    /// What it wrote so far.
    pub fn log(&self) -> &Log {
        self.child.log()
    }
}

/// Whether anything on `host` listens on this TCP port. No connection is made that the program would have to serve.
fn listens(host: &Host, port: u16) -> Result<bool> {
    let tables =
        host.run(|| ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/thread-self/net/{table}"))))?;
    // Without IPv6 the second is missing.
    Ok(tables.iter().flatten().any(|table| has_listener(table, port)))
}

/// Looks for a listening socket in a table as of `proc_pid_net(5)`: number, local address, remote address, state.
fn has_listener(table: &str, port: u16) -> bool {
    let local_end = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut columns = line.split_whitespace().skip(1);
        columns.next().is_some_and(|local| local.ends_with(&local_end)) && columns.nth(1) == Some(LISTEN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_told_from_connections() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n   \
                     0: 0A03470A:0202 00000000:0000 0A 00000000:00000000\n   \
                     1: 0A03470A:0CEA 0A01470A:9C40 01 00000000:00000000\n";
        assert!(has_listener(table, 514));
        assert!(!has_listener(table, 3306));
        assert!(!has_listener(table, 2));
    }
}
