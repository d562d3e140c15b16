//! Every file under a folder.

use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::files::endpoint::{Attributes, Found};
use crate::files::name::FileName;

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub found: Vec<Found>,
    /// Names that are no [`FileName`]: too long.
    pub unusable: Vec<String>,
}

pub(super) fn list(root: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        match std::fs::read_dir(root.join(&folder)) {
            Ok(entries) => add(&mut listing, &mut folders, &folder, entries)?,
            // A folder that vanished, or that others keep to themselves, hides only its own files.
            Err(_) if !folder.as_os_str().is_empty() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(listing)
}

fn add(listing: &mut Listing, folders: &mut Vec<PathBuf>, folder: &Path, entries: std::fs::ReadDir) -> io::Result<()> {
    for entry in entries {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        // Of the entry itself: links are neither followed nor taken.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            folders.push(path);
        } else if metadata.is_file() {
            match FileName::new(path.as_os_str().as_bytes()) {
                Ok(name) => listing.found.push(Found { name, attributes: attributes(&metadata) }),
                Err(fault) => {
                    let shown = path.into_os_string().into_vec().escape_ascii().to_string();
                    listing.unusable.push(format!("{shown}: {fault}"));
                }
            }
        }
    }
    Ok(())
}

pub(super) fn attributes(metadata: &Metadata) -> Attributes {
    Attributes {
        size_bytes: metadata.len(),
        modified: metadata.modified().ok(),
        mode: Some(metadata.permissions().mode() & 0o7777),
    }
}
