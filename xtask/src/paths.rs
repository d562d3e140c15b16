//! Where things are.

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result};

/// Names a bpf-linker to use instead of the one that `setup` builds, for machines that have it packaged.
pub const LINKER_ENV: &str = "RELAY_BPF_LINKER";

/// The workspace's directory.
pub fn root() -> Result<PathBuf> {
    let manifest =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    Ok(manifest.parent().context("xtask's own directory has no parent: run it as `cargo xtask`")?.to_owned())
}

/// Cargo's target directory.
pub fn target() -> Result<PathBuf> {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => Ok(env::current_dir().context("the current directory is gone")?.join(dir)),
        None => Ok(root()?.join("target")),
    }
}

/// Where `setup` installs tools of our own.
pub fn tools() -> Result<PathBuf> {
    Ok(target()?.join("tools"))
}

/// The linker named by [`LINKER_ENV`], if any.
pub fn foreign_linker() -> Option<PathBuf> {
    env::var_os(LINKER_ENV).map(PathBuf::from)
}

/// The linker to use, whether it exists or not.
pub fn linker() -> Result<PathBuf> {
    match foreign_linker() {
        Some(linker) => Ok(linker),
        None => Ok(tools()?.join("bin/bpf-linker")),
    }
}
