//! A host: a network namespace that lives as long as its handle.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, bail};

use crate::child::{self, Child};
use crate::sys;

/// One host of the laboratory. Clones are the same host.
///
/// The namespace has no name on the machine: it ends with the last handle, thread and process in it. To look inside
/// while it runs, see [`Host::enter_command`].
#[derive(Clone, Debug)]
pub struct Host {
    name: Arc<str>,
    netns: Arc<OwnedFd>,
}

impl Host {
    /// Makes a host with nothing but its loopback interface, which is up.
    ///
    /// Needs `CAP_SYS_ADMIN`, as root or in a user namespace.
    pub fn new(name: &str) -> Result<Self> {
        let netns = thread::scope(|scope| scope.spawn(sys::unshare_network).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .with_context(|| format!("host {name}: cannot make a network namespace; run as root"))?;
        let host = Self { name: name.into(), netns: Arc::new(netns) };
        host.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        host.ip("link set lo up")?;
        Ok(host)
    }

    /// The name given to [`Host::new`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace as a path that `ip` and `nsenter` take while this process lives.
    pub fn netns_path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.netns.as_raw_fd())
    }

    /// The command by which a person looks into this host while it exists.
    pub fn enter_command(&self) -> String {
        format!("nsenter --net={}", self.netns_path())
    }

    /// Runs `work` in a thread on this host and gives its result; a panic in it is passed on.
    ///
    /// Sockets that it opens stay on this host wherever they are used later.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let result = thread::scope(|scope| {
            let worker = scope.spawn(|| sys::enter_network(self.netns.as_fd()).map(|()| work()));
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        result.with_context(|| format!("host {}: cannot enter its network namespace", self.name))
    }

    /// Starts a program on this host, its output captured line by line. It is killed, with its group, when the
    /// handle is dropped or this process ends.
    pub fn spawn(&self, name: &str, command: Command) -> Result<Child> {
        Child::spawn(&format!("{}/{name}", self.name), self.prepare(command))
    }

    /// As [`Host::spawn`], and gives the program's standard input.
    pub fn converse(&self, name: &str, command: Command) -> Result<(Child, ChildStdin)> {
        Child::converse(&format!("{}/{name}", self.name), self.prepare(command))
    }

    /// Runs a program on this host to its end with `input` on its standard input; gives what it wrote.
    ///
    /// The error of a failed program holds its command line and its error output.
    pub fn output(&self, command: Command, input: &str) -> Result<String> {
        let line = format!("{command:?}").replace('"', "");
        let output = self.run_to_end(command, input).with_context(|| format!("host {}: {line}", self.name))?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("host {}: {line} <<< {input:?} ended with {}: {}", self.name, output.status, error.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn run_to_end(&self, mut command: Command, input: &str) -> Result<Output> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child::start(self.prepare(command))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read its input is no error; its exit status tells.
            let _ = stdin.write_all(input.as_bytes());
        }
        Ok(child.wait_with_output()?)
    }

    /// Runs `ip` with these arguments, separated by blanks.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        self.ip_batch(arguments)
    }

    /// Runs several `ip` commands, one per line, in one process; stops at the first that fails.
    pub fn ip_batch(&self, lines: &str) -> Result<String> {
        let mut command = Command::new("ip");
        command.args(["-batch", "-"]);
        self.output(command, &format!("{}\n", lines.trim()))
    }

    /// Feeds a script to `nft -f -`: one transaction, all or nothing.
    pub fn nft(&self, script: &str) -> Result<String> {
        let mut command = Command::new("nft");
        command.args(["-f", "-"]);
        self.output(command, script)
    }

    /// Writes a setting under `/proc/sys`, for example `net/ipv4/ip_forward`.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{path}");
        self.run(|| std::fs::write(&path, value))?
            .with_context(|| format!("host {}: cannot write {value} to {path}", self.name))
    }

    /// Has a kernel thread poll the interface instead of the sender's core: on a veth twice the rate.
    ///
    /// Takes effect after an XDP program is attached, or after [`crate::Lab::gro_on_link`].
    pub fn threaded_napi(&self, interface: &str) -> Result<()> {
        let mut command = Command::new("tee");
        command.arg(format!("/sys/class/net/{interface}/threaded"));
        self.output(command, "1").map(drop)
    }

    /// Arranges that `command` will run on this host, in a process group of its own, and not outlive this process.
    fn prepare(&self, mut command: Command) -> Command {
        let netns = Arc::clone(&self.netns);
        let parent = std::process::id();
        command.process_group(0);
        // SAFETY: the closure makes system calls only; it neither allocates nor takes locks after the fork.
        unsafe {
            command.pre_exec(move || {
                sys::unblock_signals();
                sys::die_with(parent)?;
                sys::enter_network(netns.as_fd())?;
                sys::mount_own_sysfs();
                Ok(())
            });
        }
        command
    }
}
