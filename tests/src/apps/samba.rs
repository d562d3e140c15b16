//! Samba's smbd, alone: no names by `NetBIOS`, no domain.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::enclosed::{Enclosed, PASSWORD, names, place};
use crate::Host;

/// A running smbd, whose user is [`super::enclosed::USER`].
#[derive(Debug)]
pub struct Samba {
    server: Enclosed,
    folder: PathBuf,
}

impl Samba {
    /// Serves the folders of [`super::enclosed`] as shares `place`, `locked` and `small` on `port`, and a folder `later` of
    /// the first as share `later`, which is not there before that folder; all that it writes is in `folder`.
    pub fn start(host: &Host, folder: &Path, port: u16) -> Result<Self> {
        let state = folder.join("state");
        fs::create_dir(&state).context("cannot make a folder")?;
        fs::write(folder.join("smb.conf"), configuration(&state, port)).context("cannot write smb.conf")?;
        let users = names().collect::<Vec<_>>().join(" ");
        let start = format!(
            "for user in {users}; do\n\
             printf '%s\\n%s\\n' '{PASSWORD}' '{PASSWORD}' | smbpasswd -c \"$1/smb.conf\" -s -a $user\n\
             done\n\
             exec /usr/sbin/smbd --foreground --no-process-group --debug-stdout -s \"$1/smb.conf\"\n"
        );
        let server = Enclosed::start(host, "smbd", folder, &start, port)?;
        Ok(Self { server, folder: folder.to_owned() })
    }

    /// Where this process sees the share `place`.
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

/// Links are not followed, and sockets not shown: a client of SMB cannot tell either from files.
fn configuration(state: &Path, port: u16) -> String {
    let folders: String =
        ["private dir", "lock directory", "state directory", "cache directory", "pid directory", "ncalrpc dir"]
            .map(|kind| format!("{kind} = {}\n", state.display()))
            .concat();
    let shares = [
        ("place", "place", "no"),
        ("locked", "locked", "yes"),
        ("small", "small", "no"),
        ("later", "place/later", "no"),
    ];
    let shares: String = shares
        .map(|(name, path, read_only)| format!("[{name}]\npath = /mnt/{path}\nread only = {read_only}\n"))
        .concat();
    format!(
        "[global]\n\
         server role = standalone server\n\
         smb ports = {port}\n\
         disable netbios = yes\n\
         disable spoolss = yes\n\
         load printers = no\n\
         {folders}\
         log file = {state}/log\n\
         passdb backend = tdbsam:{state}/passdb.tdb\n\
         server min protocol = SMB2\n\
         map to guest = never\n\
         follow symlinks = no\n\
         hide special files = yes\n\
         create mask = 0644\n\
         {shares}",
        state = state.display()
    )
}
