//! Builds what the demo runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The repository's top folder.
pub(super) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Sets up what is missing, builds the XDP programs and the released relay; gives its path.
pub(super) fn relay() -> Result<PathBuf> {
    let xtask = std::env::current_exe().context("cannot tell where this program is")?;
    if !check_setup(&xtask) {
        step("setting up", Command::new(&xtask).args(["setup", "--build-only"]))?;
    }
    step("building the XDP programs", Command::new(&xtask).arg("build-ebpf"))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Cargo shows its progress: the first build takes minutes.
    step("building the relay", Command::new(cargo).args(["build", "--release", "--package", "relay"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(std::path::absolute(root().join(target))?.join("release/relay"))
}

/// Whether `setup --build-only --check` has nothing to say.
fn check_setup(xtask: &Path) -> bool {
    let mut check = Command::new(xtask);
    check.args(["setup", "--build-only", "--check"]).current_dir(root()).stdout(Stdio::null()).stderr(Stdio::null());
    check.status().is_ok_and(|status| status.success())
}

fn step(what: &str, command: &mut Command) -> Result<()> {
    println!("{what} ...");
    let status = command.current_dir(root()).status().with_context(|| format!("{what}: cannot start {command:?}"))?;
    ensure!(status.success(), "{what} failed: {command:?} ended with {status}");
    Ok(())
}
