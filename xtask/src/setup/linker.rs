//! bpf-linker, built against the LLVM of the compiler whose output it links.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{paths, run};

/// The version that is known to work with aya-ebpf 0.2.
pub const VERSION: &str = "0.13.0";

/// LLVM versions that bpf-linker [`VERSION`] has a feature for.
const LLVM_SUPPORTED: [u32; 3] = [21, 22, 23];

/// Debian packages, with their reasons, that the build needs for an LLVM version.
pub fn packages(llvm: u32) -> [(String, &'static str); 2] {
    [
        (format!("llvm-{llvm}-dev"), "the LLVM that bpf-linker is built with: the same as rustc's"),
        (format!("libpolly-{llvm}-dev"), "a library that llvm-config of that LLVM names for linking"),
    ]
}

/// Whether the linker of our version for this LLVM is installed and runs.
pub fn is_installed(llvm: u32) -> Result<bool> {
    let linker = paths::tools()?.join("bin/bpf-linker");
    let version = run::output(Command::new(linker).arg("--version")).unwrap_or_default();
    if !version.contains(VERSION) {
        return Ok(false);
    }
    // cargo's own record of the features that it installed the tool with.
    let record = fs::read_to_string(paths::tools()?.join(".crates2.json")).unwrap_or_default();
    Ok(record.contains(&format!("\"{}\"", feature(llvm))))
}

/// Builds the linker into the tools directory.
pub fn install(llvm: u32) -> Result<()> {
    if !LLVM_SUPPORTED.contains(&llvm) {
        bail!(
            "bpf-linker {VERSION} knows LLVM {LLVM_SUPPORTED:?}, and this rustc has LLVM {llvm}; \
             use another toolchain, for example: cargo xtask setup --toolchain debian"
        );
    }
    let mut cargo = run::cargo();
    cargo
        .args(["install", "bpf-linker", "--locked", "--force", "--no-default-features"])
        .args(["--version", &format!("={VERSION}")])
        .args(["--features", &feature(llvm), "--root"])
        .arg(paths::tools()?)
        // bpf-linker looks at the first, its llvm-sys (22.1) at LLVM_SYS_221_PREFIX.
        .env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}"))
        .env(format!("LLVM_SYS_{llvm}1_PREFIX"), format!("/usr/lib/llvm-{llvm}"))
        // A compiler chosen for something else, and flags of the host's, are not meant for this.
        .env_remove("RUSTC")
        .env_remove("RUSTFLAGS");
    run::show(&mut cargo).context("bpf-linker does not build; the compiler's message is above")
}

fn feature(llvm: u32) -> String {
    format!("llvm-{llvm}")
}
