//! The `relay` command as a process on a host.

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::{Child, Host, Log, Summary};

/// Start-up makes coding plans and attaches XDP programs: well under a second alone, and tests run several at once.
const READY_MAX: Duration = Duration::from_secs(20);
/// The contract is 2 s; the rest is for a machine with more to do. [`Stopped::took`] has the real time.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Which side of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes streams and sends them over the link.
    Blue,
    /// Receives from the link and delivers.
    Red,
}

impl Role {
    /// The subcommand.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Red => "red",
        }
    }
}

/// A running relay. Dropping it kills it; [`RelayProcess::stop`] ends it in order.
#[derive(Debug)]
pub struct RelayProcess {
    child: Child,
}

/// How a relay ended.
#[derive(Debug)]
pub struct Stopped {
    /// Exit status.
    pub status: ExitStatus,
    /// From the signal to the end.
    pub took: Duration,
    /// Its final account.
    pub summary: Summary,
    /// Everything that it wrote.
    pub log: Log,
}

impl Drop for RelayProcess {
    /// A test that fails shows what its relays said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Where nobody watches standard error this is shown with the test's own output.
            print!("{}", self.child.log().text());
        }
    }
}

impl RelayProcess {
    /// Starts `binary` in this role with this site file and waits until it prints `ready`.
    ///
    /// The error of one that does not get there holds all that it wrote.
    pub fn start(binary: &Path, role: Role, host: &Host, site_file: &Path) -> Result<Self> {
        let relay = Self::launch(binary, role, host, site_file)?;
        relay.wait_ready()?;
        Ok(relay)
    }

    /// Starts it without waiting.
    pub fn launch(binary: &Path, role: Role, host: &Host, site_file: &Path) -> Result<Self> {
        let mut command = Command::new(binary);
        command.arg(role.name()).arg("--config").arg(site_file);
        let name = format!("relay {}", role.name());
        Ok(Self { child: host.spawn(&name, command)? })
    }

    /// Waits until it prints `ready`.
    pub fn wait_ready(&self) -> Result<()> {
        self.child.wait_for_line(0, READY_MAX, |line| line.trim() == "ready").map(drop).context("not ready")
    }

    /// Waits for a line from number `from` on ([`Log::len`] of an earlier moment) that `wanted` accepts.
    pub fn wait_for_line(&self, from: usize, timeout: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        self.child.wait_for_line(from, timeout, wanted)
    }

    /// Sends a signal: `libc::SIGHUP` reloads, `libc::SIGUSR1` logs the counters.
    pub fn signal(&self, signal: i32) -> Result<()> {
        self.child.signal(signal)
    }

    /// What it wrote so far.
    pub fn log(&self) -> &Log {
        self.child.log()
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Memory that it has now (resident), KiB.
    pub fn resident_kib(&self) -> Result<u64> {
        self.memory_kib("VmRSS:")
    }

    /// The most that it ever had, KiB.
    pub fn resident_peak_kib(&self) -> Result<u64> {
        self.memory_kib("VmHWM:")
    }

    /// A line of `proc_pid_status(5)`.
    fn memory_kib(&self, name: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).context("it does not run")?;
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
        value.and_then(|value| value.parse().ok()).with_context(|| format!("no {name} in {status}"))
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        self.child.is_running()
    }

    /// Kills it without warning (SIGKILL) and waits for its end.
    pub fn kill(mut self) {
        self.child.kill();
    }

    /// Ends it with SIGTERM and gives its final account. An exit status other than 0 is for the caller to judge.
    pub fn stop(mut self) -> Result<Stopped> {
        let started = Instant::now();
        self.child.signal(libc::SIGTERM)?;
        self.wait_end(started)
    }

    /// Waits for it to end by itself.
    pub fn wait(mut self) -> Result<Stopped> {
        self.wait_end(Instant::now())
    }

    fn wait_end(&mut self, started: Instant) -> Result<Stopped> {
        let status = self.child.wait(STOP_MAX)?;
        let took = started.elapsed();
        let log = self.child.log().clone();
        let lines = log.lines();
        Ok(Stopped { status, took, summary: Summary::parse(lines.iter().map(String::as_str)), log })
    }
}
