//! `cargo xtask bench`: builds and runs the crate `bench`, released.

use anyhow::Result;

use crate::{build_ebpf, run};

/// Runs the benchmarks. The XDP programs come first, since `relay` does not build without them.
pub fn run(options: &build_ebpf::Options) -> Result<()> {
    build_ebpf::run(options)?;
    run::show(run::cargo().args(["run", "--quiet", "--release", "--package", "bench"]))
}
