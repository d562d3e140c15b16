//! BLUE: ingress into the link.

use std::path::Path;

use crate::config::Loaded;

/// Runs the BLUE host until it is told to stop.
pub fn run(path: &Path, _loaded: Loaded) -> anyhow::Result<()> {
    anyhow::bail!("BLUE cannot run yet with {}", path.display())
}
