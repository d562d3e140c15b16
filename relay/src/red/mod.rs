//! RED: from the link into its own zone.

use std::path::Path;

use crate::config::Loaded;

pub mod neighbour;

/// Runs the RED host until it is told to stop.
pub fn run(path: &Path, _loaded: Loaded) -> anyhow::Result<()> {
    anyhow::bail!("RED cannot run yet with {}", path.display())
}
