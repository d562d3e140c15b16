//! Servers for the tests that are not installed: their packages exclude each other, and every other FTP server that the
//! machine may have. They are unpacked into the tools directory, where nothing starts them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::apt::{Apt, Package};
use crate::{paths, run};

/// The servers.
pub const SERVERS: [Package; 2] = [
    Package { name: "vsftpd", why: "the tests read and store files on it by FTP and FTPS (unpacked, not installed)" },
    Package { name: "pure-ftpd", why: "another, with other extensions (unpacked, not installed)" },
];

/// What they need that a small Debian may not have.
pub const LIBRARIES: [Package; 2] = [
    Package { name: "libwrap0", why: "vsftpd is linked with it" },
    Package { name: "libsodium23", why: "pure-ftpd is linked with it" },
];

/// Whether a server is there.
pub fn is_present(server: &Package) -> Result<bool> {
    Ok(folder()?.join("usr/sbin").join(server.name).exists())
}

/// Fetches packages and unpacks them.
pub fn unpack(apt: &mut Apt, names: &[&str]) -> Result<()> {
    let folder = folder()?;
    let fetched = folder.join("fetched");
    fs::create_dir_all(&fetched).with_context(|| format!("cannot make {}", fetched.display()))?;
    apt.download(names, &fetched)?;
    for entry in fs::read_dir(&fetched)? {
        run::show(Command::new("dpkg-deb").arg("--extract").arg(entry?.path()).arg(&folder))?;
    }
    fs::remove_dir_all(&fetched).with_context(|| format!("cannot remove {}", fetched.display()))?;
    for name in names {
        if !folder.join("usr/sbin").join(name).exists() {
            bail!("the package {name} has no usr/sbin/{name} any more");
        }
    }
    Ok(())
}

/// Where they are. The tests look for it beside their own programs.
fn folder() -> Result<PathBuf> {
    Ok(paths::tools()?.join("servers"))
}
