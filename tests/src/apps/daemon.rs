//! A server program: started, awaited and killed.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::sockets;
use crate::{Child, Host, Log};

/// A database takes seconds to start on a machine with more to do.
const READY_MAX: Duration = Duration::from_mins(1);
/// Between two looks at the listening sockets.
const LOOK_PERIOD: Duration = Duration::from_millis(10);

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
        while !sockets::is_listening(host, port)? {
            if !daemon.child.is_running() || Instant::now() > deadline {
                daemon.child.log().wait_for_end(LOOK_PERIOD);
                bail!("{name} does not listen on port {port}; it wrote:\n{}", daemon.log().text());
            }
            thread::sleep(LOOK_PERIOD);
        }
        Ok(daemon)
    }

    /// The program itself.
    pub(super) fn child(&self) -> &Child {
        &self.child
    }

    /// What it wrote so far.
    pub fn log(&self) -> &Log {
        self.child.log()
    }
}
