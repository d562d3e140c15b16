//! rsyslog on both ends: one follows a file and forwards its lines by TCP, the other writes what comes into a file.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Daemon;
use crate::Host;

/// Debian's place for it.
const PROGRAM: &str = "/usr/sbin/rsyslogd";

/// A running rsyslog.
#[derive(Debug)]
pub struct Rsyslog {
    daemon: Daemon,
    file: PathBuf,
}

impl Rsyslog {
    /// Receives on `port` of all of the host's addresses and appends each message's text, one per line, to
    /// [`Rsyslog::file`].
    pub fn receiver(host: &Host, folder: &Path, port: u16) -> Result<Self> {
        let file = folder.join("received.log");
        let config = format!(
            r#"module(load="imtcp")
            input(type="imtcp" port="{port}")
            template(name="text" type="list") {{ property(name="msg" droplastlf="on") constant(value="\n") }}
            action(type="omfile" file="{}" template="text")
            "#,
            file.display()
        );
        let command = command(host, folder, "receiver", &config)?;
        Ok(Self { daemon: Daemon::start_listening(host, "rsyslogd", command, port)?, file })
    }

    /// Follows [`Rsyslog::file`], which may be there already, and sends each of its lines to `to`, as a site's log
    /// host does: it keeps what it cannot send and tries again for ever.
    pub fn sender(host: &Host, folder: &Path, to: SocketAddr) -> Result<Self> {
        let file = folder.join("sent.log");
        let config = format!(
            r#"module(load="imfile" mode="inotify")
            input(type="imfile" file="{}" tag="numbers:")
            action(type="omfwd" target="{}" port="{}" protocol="tcp" template="RSYSLOG_ForwardFormat"
                   action.resumeRetryCount="-1" action.resumeInterval="1")
            "#,
            file.display(),
            to.ip(),
            to.port()
        );
        Ok(Self { daemon: Daemon::start(host, "rsyslogd", command(host, folder, "sender", &config)?)?, file })
    }

    /// The file that a sender follows, or a receiver writes.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What rsyslog says about itself.
    pub fn log_text(&self) -> String {
        self.daemon.log().text()
    }
}

/// An rsyslog with this configuration and a working folder of its own, in the foreground.
fn command(host: &Host, folder: &Path, name: &str, config: &str) -> Result<Command> {
    let work = folder.join(name);
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let config_file = work.join("rsyslog.conf");
    let own_log = r#"if $syslogtag startswith "rsyslogd" then { action(type="omfile" file="/dev/stderr") stop }"#;
    // There is nobody to ask for names: it would wait 10 s for each new sender's.
    let global = format!("global(workDirectory=\"{}\" net.enableDNS=\"off\")", work.display());
    let config = format!("{global}\n{own_log}\n{config}");
    fs::write(&config_file, config).with_context(|| format!("cannot write {}", config_file.display()))?;
    // AppArmor, where it has a profile for rsyslogd, goes by the path and allows it nothing in our folder. Another
    // process copies it: a child forked here meanwhile would hold the copy open for writing, and it would not start.
    let program = work.join("rsyslogd");
    let mut copy = Command::new("cp");
    copy.arg(PROGRAM).arg(&program);
    host.output(copy, "").context("is it installed? cargo xtask setup does that")?;
    let mut command = Command::new(program);
    command.arg("-n").arg("-f").arg(config_file).arg("-i").arg(work.join("pid"));
    Ok(command)
}
