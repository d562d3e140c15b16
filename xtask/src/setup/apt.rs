//! Debian and Ubuntu packages.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{paths, run};

/// A package and its reason.
#[derive(Clone, Copy)]
pub struct Package<'a> {
    /// Its name in Debian.
    pub name: &'a str,
    /// What for.
    pub why: &'a str,
}

impl Package<'_> {
    /// Whether dpkg has it, completely installed.
    pub fn is_installed(&self) -> bool {
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat", "${db:Status-Abbrev}", self.name]);
        run::output(&mut query).is_some_and(|status| status.starts_with("ii"))
    }
}

/// apt-get, with its lists brought up to date at most once.
#[derive(Default)]
pub struct Apt {
    updated: bool,
}

impl Apt {
    /// Installs packages; never removes one to make room.
    pub fn install(&mut self, names: &[&str]) -> Result<()> {
        self.update(names)?;
        let mut install = quiet("apt-get")?;
        install.args(["install", "--yes", "--no-install-recommends", "--no-remove"]);
        run::show(install.args(names)).with_context(|| failed(names))
    }

    /// Installs packages of servers, and sees to it that none of the systemd `units` that are new with them runs, now
    /// or after a start of the machine.
    pub fn install_idle(&mut self, names: &[&str], units: &[&str]) -> Result<()> {
        self.update(names)?;
        let script = paths::root()?.join("xtask/src/setup/install-idle.sh");
        let mut install = quiet("sh")?;
        install.arg(script).arg(units.join(" "));
        run::show(install.args(names)).with_context(|| failed(names))
    }

    /// Fetches packages into a folder and installs nothing.
    pub fn download(&mut self, names: &[&str], folder: &Path) -> Result<()> {
        self.update(names)?;
        let mut download = Command::new("apt-get");
        download.current_dir(folder).args(["download", "--quiet"]);
        run::show(download.args(names)).with_context(|| failed(names))
    }

    /// Whether the package sources have all of these.
    pub fn offers(&mut self, names: &[&str]) -> Result<bool> {
        if !run::succeeds(Command::new("apt-get").arg("--version")) {
            return Ok(false);
        }
        self.update(names)?;
        Ok(names.iter().all(|name| run::succeeds(Command::new("apt-cache").args(["show", name]))))
    }

    fn update(&mut self, wanted: &[&str]) -> Result<()> {
        if self.updated {
            return Ok(());
        }
        if !run::succeeds(Command::new("apt-get").arg("--version")) {
            bail!("there is no apt-get here; install what these Debian packages hold by hand: {}", wanted.join(" "));
        }
        run::show(quiet("apt-get")?.arg("update"))
            .context("apt-get cannot reach its package sources; check the network and try again")?;
        self.updated = true;
        Ok(())
    }
}

/// What to do about packages that did not get installed.
fn failed(names: &[&str]) -> String {
    format!(
        "apt-get cannot install {}; look at its message above: a package that is in the way \
         has to be removed by hand, an unknown one needs another package source",
        names.join(" ")
    )
}

/// A program as root under which packages ask nothing. sudo keeps no environment, hence `env`.
fn quiet(program: &str) -> Result<Command> {
    let mut command = run::elevated("env")?;
    command.args(["DEBIAN_FRONTEND=noninteractive", program]);
    Ok(command)
}
