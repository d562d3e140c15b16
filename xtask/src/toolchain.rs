//! The two ways to a core library for `bpfel-unknown-none`.
//!
//! Stable Rust has none prebuilt. Debian ships one with its own compiler (`rustc-web`), and a rustup nightly
//! can build one from its sources (`rust-src`). Debian's is preferred: it has a version that does not move.

use std::{fmt, path::Path, process::Command};

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::run;

/// Debian's compiler, by its full path: rustup's comes before it in `PATH`.
pub const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// The target of the XDP programs: BPF, little-endian as the hosts are.
pub const BPF_TARGET: &str = "bpfel-unknown-none";

/// Which toolchain to build the XDP programs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// Debian's if it is usable, else nightly
    Auto,
    /// Debian's rustc-web with its prebuilt core library
    Debian,
    /// rustup's nightly, building the core library from rust-src
    Nightly,
}

/// A way that works or could be made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `/usr/bin/rustc` with a prebuilt core library.
    Debian,
    /// rustup's nightly with `-Z build-std`.
    Nightly,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debian => "Debian's rustc-web",
            Self::Nightly => "rustup's nightly",
        })
    }
}

/// A toolchain that can build the XDP programs.
#[derive(Debug)]
pub struct Toolchain {
    /// Which of the two.
    pub kind: Kind,
    /// `rustc --version`.
    pub version: String,
    /// Major version of rustc's LLVM, which bpf-linker's must match.
    pub llvm: u32,
}

/// The toolchain to use, or why none is usable and what to do.
pub fn find(choice: Choice) -> Result<Toolchain> {
    let kinds: &[Kind] = match choice {
        Choice::Auto => &[Kind::Debian, Kind::Nightly],
        Choice::Debian => &[Kind::Debian],
        Choice::Nightly => &[Kind::Nightly],
    };
    let mut reasons = Vec::new();
    for kind in kinds {
        match probe(*kind) {
            Ok(toolchain) => return Ok(toolchain),
            Err(reason) => reasons.push(format!("  {kind}: {reason}")),
        }
    }
    bail!("no Rust toolchain here can build for {BPF_TARGET}:\n{}\nrun: cargo xtask setup", reasons.join("\n"))
}

/// Checks one toolchain; the error says what it lacks.
pub fn probe(kind: Kind) -> Result<Toolchain, String> {
    let verbose = run::output(rustc(kind).arg("-vV")).ok_or_else(|| match kind {
        Kind::Debian => format!("{DEBIAN_RUSTC} does not exist (package rustc-web)"),
        Kind::Nightly => "not installed (rustup toolchain install nightly)".to_owned(),
    })?;
    let sysroot = run::output(rustc(kind).args(["--print", "sysroot"])).ok_or("rustc does not name its sysroot")?;
    let rustlib = Path::new(&sysroot).join("lib/rustlib");
    match kind {
        Kind::Debian if !has_core(&rustlib) => {
            return Err(format!("no core library for {BPF_TARGET} (package libstd-rust-web-dev-bpf)"));
        }
        Kind::Nightly if !rustlib.join("src/rust/library/core/Cargo.toml").is_file() => {
            return Err("no rust-src (rustup component add rust-src --toolchain nightly)".to_owned());
        }
        _ => {}
    }
    Ok(Toolchain {
        kind,
        version: verbose.lines().next().unwrap_or("rustc").to_owned(),
        llvm: llvm_major(&verbose).ok_or("rustc -vV does not name its LLVM version")?,
    })
}

fn rustc(kind: Kind) -> Command {
    match kind {
        Kind::Debian => Command::new(DEBIAN_RUSTC),
        Kind::Nightly => {
            let mut command = Command::new("rustup");
            command.args(["run", "nightly", "rustc"]);
            command
        }
    }
}

fn has_core(rustlib: &Path) -> bool {
    let Ok(libraries) = rustlib.join(BPF_TARGET).join("lib").read_dir() else {
        return false;
    };
    libraries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}

fn llvm_major(verbose: &str) -> Option<u32> {
    let version = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::llvm_major;

    #[test]
    fn the_llvm_version_is_read_from_rustc() {
        let verbose = "rustc 1.96.0\nhost: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8";
        assert_eq!(llvm_major(verbose), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0"), None);
    }
}
