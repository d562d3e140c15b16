//! Files with passwords.

use std::path::{Path, PathBuf};

/// Writes a password to a file, with a second line that is none.
pub fn file(folder: &Path, name: &str, password: &str) -> PathBuf {
    let path = folder.join(format!("{name}.password"));
    std::fs::write(&path, format!("{password}\nnot this\n")).expect("a file for a password");
    path
}
