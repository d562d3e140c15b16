//! A server with users, folders and disks of its own, none of which the machine has.
//!
//! Runs in a mount and a PID namespace: what it mounts nobody else sees, and whatever it starts ends with it.
//!
//! ```text
//! /mnt/place    a folder of the caller's        /mnt/small   a disk with room for 1 MiB
//! /mnt/locked   another, read-only              /etc/passwd  root and one user
//! ```

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::Daemon;
use crate::{Host, Log, sys};

/// The user that the server knows.
pub const USER: &str = "relay";
/// Other names of the same user, with the same password: those of the ready site files.
pub const ALIASES: [&str; 2] = ["blueuser", "reduser"];
/// The user's number and group: outside of those that distributions give away.
pub const USER_ID: u32 = 47_011;
/// The user's password, whatever name is used.
pub const PASSWORD: &str = "correct horse";
/// A server that was killed has ended long before.
const END_MAX: Duration = Duration::from_secs(10);
/// Between two looks whether it has.
const LOOK_PERIOD: Duration = Duration::from_millis(1);

/// What every such server sees first. `$1` is the folder with what is below.
const MOUNTS: &str = r#"set -e
mount --make-rprivate /
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/group" /etc/group
mount --bind "$1/shadow" /etc/shadow
mount -t tmpfs tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /run/sshd /mnt/place /mnt/locked /mnt/small
mount --bind "$1/place" /mnt/place
mount --bind "$1/locked" /mnt/locked
mount -o remount,bind,ro /mnt/locked
mount -t tmpfs -o size=1m,uid=47011,gid=47011 tmpfs /mnt/small
"#;

/// A server that is enclosed. Dropping it ends it and all that it started.
#[derive(Debug)]
pub struct Enclosed {
    launch: Launch,
    daemon: Daemon,
}

/// How to start it.
#[derive(Debug)]
struct Launch {
    host: Host,
    name: String,
    folder: PathBuf,
    script: String,
    port: u16,
}

impl Launch {
    fn start(&self) -> Result<Daemon> {
        let mut server = Command::new("unshare");
        server.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
        server.args(["sh", "-c", &format!("{MOUNTS}{}", self.script), "sh"]).arg(&self.folder);
        Daemon::start_listening(&self.host, &self.name, server, self.port)
    }
}

impl Enclosed {
    /// Starts what `script` (of sh) ends in, which has to stay in the foreground, and waits until it listens. `folder` holds
    /// all that it writes, and is `$1` of the script.
    pub fn start(host: &Host, name: &str, folder: &Path, script: &str, port: u16) -> Result<Self> {
        prepare(host, folder).with_context(|| format!("cannot prepare {}", folder.display()))?;
        let (name, script) = (name.to_owned(), script.to_owned());
        let launch = Launch { host: host.clone(), name, folder: folder.to_owned(), script, port };
        Ok(Self { daemon: launch.start()?, launch })
    }

    /// Starts it once more, after [`Enclosed::end_at_once`], with what it had written in its folder.
    pub fn start_again(&mut self) -> Result<()> {
        self.daemon = self.launch.start()?;
        Ok(())
    }

    /// Ends the server and all that it started at once, as a power failure would, and waits for that.
    pub fn end_at_once(&self) -> Result<()> {
        let outer = self.daemon.child().id();
        let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).context("its processes")?;
        let init: i32 = children.trim().parse().with_context(|| format!("one process expected: {children}"))?;
        // The kernel ends all of the namespace with its first process, and that one last.
        sys::kill(init, libc::SIGKILL).context("cannot kill it")?;
        let deadline = Instant::now() + END_MAX;
        while self.daemon.child().is_running() {
            if Instant::now() > deadline {
                bail!("it still runs after {END_MAX:?}");
            }
            thread::sleep(LOOK_PERIOD);
        }
        Ok(())
    }

    /// What it wrote so far.
    pub fn log(&self) -> &Log {
        self.daemon.log()
    }
}

/// The caller's side of `/mnt/place`.
pub fn place(folder: &Path) -> PathBuf {
    folder.join("place")
}

/// All names of the user.
pub fn names() -> impl Iterator<Item = &'static str> {
    [USER].into_iter().chain(ALIASES)
}

/// Users, and folders that belong to the one.
fn prepare(host: &Host, folder: &Path) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.args(["passwd", "-6", "-stdin"]);
    let hash = host.output(openssl, &format!("{PASSWORD}\n"))?;
    let lines = |line: &dyn Fn(&str) -> String| names().map(line).collect::<String>();
    let users = lines(&|name| format!("{name}:x:{USER_ID}:{USER_ID}::/mnt:/bin/sh\n"));
    let others = "root:x:0:0::/root:/bin/sh\nsshd:x:102:65534::/run/sshd:/usr/sbin/nologin\n\
                  nobody:x:65534:65534::/:/usr/sbin/nologin\n";
    fs::write(folder.join("passwd"), format!("{others}{users}"))?;
    fs::write(folder.join("group"), format!("root:x:0:\nnogroup:x:65534:\n{USER}:x:{USER_ID}:\n"))?;
    let hashes = lines(&|name| format!("{name}:{}:19000::::::\n", hash.trim()));
    fs::write(folder.join("shadow"), format!("root:*:19000::::::\n{hashes}"))?;
    for place in ["place", "locked"] {
        let place = folder.join(place);
        // A test may have put a disk of its own there.
        fs::create_dir_all(&place)?;
        chown(&place, Some(USER_ID), Some(USER_ID))?;
    }
    let locked = folder.join("locked/locked.txt");
    fs::write(&locked, "locked")?;
    chown(&locked, Some(USER_ID), Some(USER_ID))?;
    Ok(())
}
