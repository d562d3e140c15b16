//! `cargo xtask build-ebpf`: the XDP programs, from source to `target/bpf/relay.o`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    paths, run,
    toolchain::{self, BPF_TARGET, Choice, DEBIAN_RUSTC, Kind, Toolchain},
};

/// Environment of the build, with the reason of each.
const ENVIRONMENT: [(&str, &str); 3] = [
    // bpf-linker optimises the whole program; rustc's own link-time optimisation only gets in its way.
    ("CARGO_PROFILE_RELEASE_LTO", "false"),
    // One unit keeps the order of functions, and so the object, the same from build to build.
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    // aya's classic map definitions need no BTF, and so no debug information.
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
];

/// Inherited variables that would reach the BPF build and must not: the running cargo's own, and flags that
/// are meant for the host.
const NOT_INHERITED: [&str; 7] = [
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "RUSTC_BOOTSTRAP",
];

/// Options of `build-ebpf`.
#[derive(Args)]
pub struct Options {
    /// Toolchain to build with
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    pub toolchain: Choice,
}

/// Builds the object if it is not up to date.
pub fn run(options: &Options) -> Result<()> {
    let toolchain = toolchain::find(options.toolchain)?;
    let linker = paths::linker()?;
    if !run::succeeds(Command::new(&linker).arg("--version")) {
        bail!(
            "{} is missing or does not run; run: cargo xtask setup (or name one in {})",
            linker.display(),
            paths::LINKER_ENV
        );
    }
    let bpf = paths::target()?.join("bpf");
    build(&toolchain, &linker, &bpf.join("build")).with_context(|| {
        format!(
            "the XDP programs do not build with {} ({}, LLVM {}) and {}; try another \
             --toolchain, or run: cargo xtask setup",
            toolchain.kind,
            toolchain.version,
            toolchain.llvm,
            linker.display()
        )
    })?;
    let built = bpf.join("build").join(BPF_TARGET).join("release/relay-ebpf");
    let object = bpf.join("relay.o");
    if publish(&built, &object)? {
        println!("{}: built with {}", object.display(), toolchain.version);
    } else {
        println!("{}: up to date", object.display());
    }
    Ok(())
}

fn build(toolchain: &Toolchain, linker: &Path, target_dir: &Path) -> Result<()> {
    let mut command = match toolchain.kind {
        Kind::Debian => run::cargo(),
        Kind::Nightly => Command::new("rustup"),
    };
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    match toolchain.kind {
        Kind::Debian => {
            // aya-ebpf's inline assembly is the one unstable feature in use; it alone may have it.
            command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "aya_ebpf");
            command.arg("build");
        }
        Kind::Nightly => {
            command.args(["run", "nightly", "cargo", "build", "-Zbuild-std=core"]);
        }
    }
    command
        .current_dir(paths::root()?)
        .envs(ENVIRONMENT)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
        .args(["--release", "--package", "relay-ebpf", "--features", "programs"])
        .args(["--target", BPF_TARGET, "--target-dir"])
        .arg(target_dir);
    run::show(&mut command)
}

/// Copies the object if it differs; an untouched copy spares `relay` a rebuild. Tells whether it differed.
fn publish(built: &Path, object: &PathBuf) -> Result<bool> {
    let new = fs::read(built).with_context(|| format!("cannot read {}", built.display()))?;
    if fs::read(object).is_ok_and(|old| old == new) {
        return Ok(false);
    }
    // Written aside and renamed, so that a build running meanwhile sees the old object or the new one.
    let aside = object.with_extension("o.new");
    fs::write(&aside, new).with_context(|| format!("cannot write {}", aside.display()))?;
    fs::rename(&aside, object).with_context(|| format!("cannot write {}", object.display()))?;
    Ok(true)
}
