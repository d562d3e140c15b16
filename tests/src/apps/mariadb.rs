//! A `MariaDB` server with a database folder of its own, and clients that hold a connection.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Daemon;
use crate::{Child, Host};

/// Who may connect from anywhere, and its password.
const USER: &str = "lab";
const PASSWORD: &str = "through the diode";
/// The longest that one statement may take: 100,000 rows through lossy links on a machine with more to do.
const ANSWER_MAX: Duration = Duration::from_mins(2);
/// Smaller than every default, and without what a test database does not need: names, statistics, a binary log.
const SETTINGS: [&str; 9] = [
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-use-native-aio=0",
    "--performance-schema=0",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--key-buffer-size=1M",
    "--local-infile=1",
];

/// A running server.
#[derive(Debug)]
pub struct MariaDb {
    daemon: Daemon,
    host: Host,
    socket: PathBuf,
}

impl MariaDb {
    /// Makes an empty database in `folder` and serves it on `port` of all of the host's addresses.
    pub fn start(host: &Host, folder: &Path, port: u16) -> Result<Self> {
        let data = folder.join("mariadb");
        let mut install = Command::new("mariadb-install-db");
        install.args(["--no-defaults", "--user=root", "--skip-test-db", "--auth-root-authentication-method=normal"]);
        install.arg(format!("--datadir={}", data.display()));
        host.output(install, "").context("is it installed? cargo xtask setup does that")?;
        let init = folder.join("users.sql");
        let users = format!("CREATE USER {USER} IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON *.* TO {USER};\n");
        fs::write(&init, users).with_context(|| format!("cannot write {}", init.display()))?;
        let socket = folder.join("mariadb.sock");
        let mut server = Command::new("/usr/sbin/mariadbd");
        server.args(["--no-defaults", "--user=root", "--bind-address=*"]).args(SETTINGS);
        for (option, path) in [("datadir", &data), ("tmpdir", &data), ("socket", &socket), ("init-file", &init)] {
            server.arg(format!("--{option}={}", path.display()));
        }
        server.arg(format!("--port={port}")).arg(format!("--pid-file={}", folder.join("mariadb.pid").display()));
        let daemon = Daemon::start_listening(host, "mariadbd", server, port)?;
        Ok(Self { daemon, host: host.clone(), socket })
    }

    /// A session on the server itself, over its local socket.
    pub fn local(&self) -> Result<Session> {
        Session::start(&self.host, &["--protocol=socket", &format!("--socket={}", self.socket.display())])
    }

    /// What the server wrote.
    pub fn log_text(&self) -> String {
        self.daemon.log().text()
    }
}

/// A client with an open connection. Dropping it kills it.
#[derive(Debug)]
pub struct Session {
    client: Child,
    input: ChildStdin,
    answers: u32,
}

impl Session {
    /// Connects from `host` by TCP; an error with what the client said if that fails.
    pub fn connect(host: &Host, to: SocketAddr) -> Result<Self> {
        Self::start(host, &["--protocol=tcp", &format!("--host={}", to.ip()), &format!("--port={}", to.port())])
    }

    fn start(host: &Host, way: &[&str]) -> Result<Self> {
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "--batch", "--skip-column-names", "--unbuffered", "--local-infile=1"]);
        command.args(["--connect-timeout=20", &format!("--user={USER}")]).args(way).env("MYSQL_PWD", PASSWORD);
        let (client, input) = host.converse("mariadb", command)?;
        let mut session = Self { client, input, answers: 0 };
        session.query("SELECT 'connected'").context("no session")?;
        Ok(session)
    }

    /// Runs one statement and gives the rows of its answer, their columns separated by tabs.
    pub fn query(&mut self, statement: &str) -> Result<Vec<String>> {
        self.answers += 1;
        let end = format!("-- end of answer {}", self.answers);
        let from = self.client.log().len();
        // A client that has ended does not read; what it wrote tells more than the broken pipe.
        let _ = writeln!(self.input, "{statement};\nSELECT '{end}';").and_then(|()| self.input.flush());
        self.client.wait_for_line(from, ANSWER_MAX, |line| line == end)?;
        let mut rows = self.client.log().lines().split_off(from);
        rows.truncate(rows.iter().position(|row| *row == end).unwrap_or(rows.len()));
        Ok(rows)
    }
}
