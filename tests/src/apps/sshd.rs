//! `OpenSSH`'s server, with SFTP only.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::enclosed::{Enclosed, names, place};
use crate::Host;

/// `$1` is the folder.
const START: &str = r#"cp "$1/authorized" /mnt/authorized
exec /usr/sbin/sshd -D -e -f "$1/sshd_config"
"#;

/// A running sshd, whose user is [`super::enclosed::USER`].
#[derive(Debug)]
pub struct Sshd {
    server: Enclosed,
    folder: PathBuf,
    fingerprint: String,
}

impl Sshd {
    /// Serves the folders of [`super::enclosed`] on `port`; all that it writes is in `folder`.
    pub fn start(host: &Host, folder: &Path, port: u16) -> Result<Self> {
        make_key(host, &folder.join("host_key"), "")?;
        make_key(host, &folder.join("user_key"), "")?;
        make_key(host, &folder.join("locked_key"), "passphrase")?;
        fs::copy(folder.join("user_key.pub"), folder.join("authorized")).context("cannot copy the user's key")?;
        fs::write(folder.join("sshd_config"), configuration(folder, port)).context("cannot write sshd_config")?;
        let mut keygen = Command::new("ssh-keygen");
        keygen.arg("-lf").arg(folder.join("host_key.pub"));
        let shown = host.output(keygen, "")?;
        let fingerprint = shown.split(' ').nth(1).with_context(|| format!("no fingerprint in {shown}"))?.to_owned();
        let server = Enclosed::start(host, "sshd", folder, START, port)?;
        Ok(Self { server, folder: folder.to_owned(), fingerprint })
    }

    /// The host key's fingerprint, as `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// A key that the user may log in with.
    pub fn user_key(&self) -> PathBuf {
        self.folder.join("user_key")
    }

    /// A key that has a passphrase.
    pub fn locked_key(&self) -> PathBuf {
        self.folder.join("locked_key")
    }

    /// Where this process sees `/mnt/place`.
    pub fn place(&self) -> PathBuf {
        place(&self.folder)
    }

    /// The server itself.
    pub fn server(&self) -> &Enclosed {
        &self.server
    }

    /// The server itself, to be started again.
    pub fn server_mut(&mut self) -> &mut Enclosed {
        &mut self.server
    }
}

fn configuration(folder: &Path, port: u16) -> String {
    format!(
        "Port {port}\n\
         HostKey {}/host_key\n\
         AuthorizedKeysFile /mnt/authorized\n\
         AllowUsers {}\n\
         PasswordAuthentication yes\n\
         KbdInteractiveAuthentication no\n\
         UsePAM no\n\
         UseDNS no\n\
         StrictModes no\n\
         PidFile none\n\
         MaxStartups 100\n\
         Subsystem sftp internal-sftp\n\
         ForceCommand internal-sftp\n",
        folder.display(),
        names().collect::<Vec<_>>().join(" ")
    )
}

fn make_key(host: &Host, path: &Path, passphrase: &str) -> Result<()> {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", passphrase, "-f"]).arg(path);
    host.output(keygen, "")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).context("cannot protect a key")
}
