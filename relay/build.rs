//! Finds the XDP programs' object and puts it where `steer` embeds it from.
//!
//! The object is `$RELAY_BPF_OBJECT`, or `bpf/relay.o` in the target directory, where
//! `cargo xtask build-ebpf` leaves it. This script never builds it: that takes another compiler.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Names an object elsewhere, for builds that get it from a package or a cache.
const OBJECT_ENV: &str = "RELAY_BPF_OBJECT";

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed={OBJECT_ENV}");
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run cargo build")?);
    let object = match env::var_os(OBJECT_ENV) {
        Some(path) => PathBuf::from(path),
        None => target_dir(&out)?.join("bpf/relay.o"),
    };
    println!("cargo::rerun-if-changed={}", object.display());
    fs::copy(&object, out.join("relay.o")).map_err(|error| {
        format!(
            "the XDP programs are not built: cannot read {} ({error}); run: cargo xtask build-ebpf",
            object.display()
        )
    })?;
    Ok(())
}

/// `OUT_DIR` is `<target>[/<triple>]/<profile>/build/<package>/out`: the target directory is above the
/// profile, and above the triple where there is one.
fn target_dir(out: &Path) -> Result<PathBuf, String> {
    let mut above = out.ancestors().skip(4);
    let nearest = above.next().ok_or_else(|| format!("{}: not in a target directory", out.display()))?;
    let triple = env::var("TARGET").unwrap_or_default();
    let is_triple = nearest.file_name().is_some_and(|name| name == triple.as_str());
    Ok(match above.next() {
        Some(target) if is_triple => target.to_owned(),
        _ => nearest.to_owned(),
    })
}
