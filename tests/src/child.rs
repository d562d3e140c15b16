//! Child processes that never outlive their parent, with their output captured.

use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::sys;

type Job = Box<dyn FnOnce() + Send>;

/// Starts a child from a thread that lives as long as the process.
///
/// The kernel kills children on the death of the *thread* that forked them (`PR_SET_PDEATHSIG`), and a test's thread
/// ends before the handles that it passes on.
pub(crate) fn start(mut command: Command) -> io::Result<std::process::Child> {
    static STARTER: OnceLock<SyncSender<Job>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (jobs, inbox) = mpsc::sync_channel::<Job>(0);
        thread::spawn(move || inbox.into_iter().for_each(|job| job()));
        jobs
    });
    let (answer, result) = mpsc::sync_channel(1);
    let gone = || io::Error::other("the thread that starts children has ended");
    let job = Box::new(move || drop(answer.send(command.spawn())));
    starter.send(job).map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}

/// A running program. Dropping it kills the program and its process group.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    pidfd: OwnedFd,
    log: Log,
}

impl Child {
    /// Starts `command`, which must have been put into a process group of its own.
    pub(crate) fn spawn(name: &str, command: Command) -> Result<Self> {
        Self::spawn_reading(name, command, Stdio::null())
    }

    /// As [`Child::spawn`]; gives what the program's standard input reads from, too.
    pub(crate) fn converse(name: &str, command: Command) -> Result<(Self, ChildStdin)> {
        let mut child = Self::spawn_reading(name, command, Stdio::piped())?;
        let input = child.process.stdin.take().with_context(|| format!("{name}: no standard input"))?;
        Ok((child, input))
    }

    fn spawn_reading(name: &str, mut command: Command, input: Stdio) -> Result<Self> {
        let line = format!("{command:?}").replace('"', "");
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = start(command).with_context(|| format!("{name}: cannot start {line}"))?;
        let pidfd = sys::pidfd(process.id()).with_context(|| format!("{name}: pidfd_open"))?;
        let log = Log::default();
        if let Some(stdout) = process.stdout.take() {
            log.follow(stdout);
        }
        if let Some(stderr) = process.stderr.take() {
            log.follow(stderr);
        }
        Ok(Self { name: name.to_owned(), process, pidfd, log })
    }

    /// What it wrote so far.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal, for example `libc::SIGHUP`, to the program alone.
    pub fn signal(&self, signal: i32) -> Result<()> {
        sys::kill(self.process.id() as i32, signal).with_context(|| format!("{}: signal {signal}", self.name))
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        !sys::wait_readable(&self.pidfd, Duration::ZERO)
    }

    /// Waits for its end, and until all that it wrote has been captured; an error with its log when it does not come
    /// in time.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        if !sys::wait_readable(&self.pidfd, timeout) {
            bail!("{} still runs after {timeout:?}; it wrote:\n{}", self.name, self.log.text());
        }
        let status = self.process.wait().with_context(|| format!("{}: wait", self.name))?;
        self.log.wait_for_end(timeout);
        Ok(status)
    }

    /// Waits for a line that `wanted` accepts among the lines from number `from` on; gives it.
    ///
    /// An error with the whole log when the program ends or `timeout` passes first.
    pub fn wait_for_line(&self, from: usize, timeout: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        self.log.wait_for_line(from, timeout, wanted).with_context(|| {
            let open = !self.log.wait_for_end(Duration::ZERO);
            let state = if open { "still runs" } else { "has ended" };
            format!("{} {state} without the awaited line; it wrote:\n{}", self.name, self.log.text())
        })
    }

    /// Kills the program at once (SIGKILL to its group) and waits for its end.
    pub fn kill(&mut self) {
        // It may have ended already; there is nothing else to do about it.
        let _ = sys::kill(-(self.process.id() as i32), libc::SIGKILL);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // After a wait the number may belong to another process.
        if !matches!(self.process.try_wait(), Ok(Some(_))) {
            self.kill();
        }
    }
}

/// Lines captured from a program's standard output and error, in the order of their arrival.
#[derive(Clone, Debug, Default)]
pub struct Log {
    shared: Arc<(Mutex<Captured>, Condvar)>,
}

#[derive(Debug, Default)]
struct Captured {
    lines: Vec<String>,
    open: usize,
}

impl Log {
    /// Every line so far.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// Every line so far as one text.
    pub fn text(&self) -> String {
        self.lock().lines.join("\n")
    }

    /// Number of lines so far: where to look from for what comes next.
    pub fn len(&self) -> usize {
        self.lock().lines.len()
    }

    /// Whether nothing has been written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Captured> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(&self, stream: impl Read + Send + 'static) {
        self.lock().open += 1;
        let log = self.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                log.lock().lines.push(text);
                log.shared.1.notify_all();
                line.clear();
            }
            log.lock().open -= 1;
            log.shared.1.notify_all();
        });
    }

    fn wait_for_line(&self, from: usize, timeout: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let mut seen = from;
        self.wait_until(timeout, |captured| {
            let found = captured.lines.iter().skip(seen).find(|line| wanted(line)).cloned();
            seen = captured.lines.len().max(from);
            found.map(Some).or((captured.open == 0).then_some(None))
        })
        .flatten()
    }

    /// Waits until the program and all that it started have closed their outputs; false when `timeout` passes first.
    pub fn wait_for_end(&self, timeout: Duration) -> bool {
        self.wait_until(timeout, |captured| (captured.open == 0).then_some(())).is_some()
    }

    fn wait_until<T>(&self, timeout: Duration, mut test: impl FnMut(&Captured) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + timeout;
        let mut captured = self.lock();
        loop {
            if let Some(found) = test(&captured) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            captured = self.shared.1.wait_timeout(captured, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
