//! Folders of a place on an SMB share: what is in them, and making them.

use std::collections::HashSet;

use smb2::{DirectoryEntry, ErrorKind, ListOptions};

use super::{SmbEndpoint, path};
use crate::files::endpoint::{Attributes, EndpointError, Found, Trouble};
use crate::files::name::FileName;

impl SmbEndpoint {
    /// All files, folder by folder; links are not followed.
    pub(super) async fn walk(
        &mut self,
        unusable: &mut (dyn FnMut(String) + Send),
    ) -> Result<Vec<Found>, EndpointError> {
        let mut found = Vec::new();
        let mut folders = vec![None];
        // A server may show a link as what it points to, even if that is the folder that the link is in.
        let mut visited = HashSet::new();
        while let Some(folder) = folders.pop() {
            let entries = match self.entries(folder.as_ref()).await {
                Ok(entries) => entries,
                // Deleted since its name was read.
                Err(error) if folder.is_some() && error.trouble == Trouble::Missing => continue,
                // One closed folder does not hide the others.
                Err(error) if folder.is_some() && error.trouble == Trouble::Denied => {
                    unusable(error.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            for entry in entries {
                if entry.name == "." || entry.name == ".." || entry.is_link() {
                    continue;
                }
                match self.name(folder.as_ref(), &entry.name) {
                    Err(shown) => unusable(shown),
                    Ok(name) if entry.is_directory => {
                        if entry.index_number.is_none_or(|number| visited.insert(number)) {
                            folders.push(Some(name));
                        }
                    }
                    Ok(name) => found.push(Found { name, attributes: attributes(&entry) }),
                }
            }
        }
        Ok(found)
    }

    async fn entries(&mut self, folder: Option<&FileName>) -> Result<Vec<DirectoryEntry>, EndpointError> {
        let (what, path) = match folder {
            Some(folder) => (format!("list the folder {folder}"), self.path(folder, "list the folder")?),
            None => ("list the place's folder".to_owned(), self.base.clone()),
        };
        let options = ListOptions::new().index_numbers(true);
        let listed = self.client.list_directory_with(&mut self.share, &path, options).await;
        listed.map_err(|error| self.error(what, &error))
    }

    /// The name of an entry of a folder, or how to show it if it is none that could be asked for.
    fn name(&self, folder: Option<&FileName>, part: &str) -> Result<FileName, String> {
        let whole = match folder {
            Some(folder) => [folder.as_bytes(), b"/", part.as_bytes()].concat(),
            None => part.as_bytes().to_vec(),
        };
        let shown = || whole.escape_ascii().to_string();
        if part.contains('/') {
            return Err(shown());
        }
        let name = FileName::new(whole.clone()).map_err(|_| shown())?;
        path::path(&self.base, &name).map_err(|_| shown())?;
        Ok(name)
    }

    /// Makes the folders that a name needs.
    pub(super) async fn make_folders(&mut self, name: &FileName) -> Result<(), EndpointError> {
        let mut missing = Vec::new();
        let mut folder = name.folder();
        while let Some(at) = folder {
            folder = at.folder();
            missing.push(at);
        }
        for folder in missing.iter().rev() {
            let what = format!("make the folder {folder}");
            let path = self.path(folder, "make the folder")?;
            match self.client.create_directory(&self.share, &path).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    // Who may not make it may still use it.
                    let there = self.client.stat(&mut self.share, &path).await;
                    if !there.is_ok_and(|info| info.is_directory) {
                        return Err(self.error(what, &error));
                    }
                }
            }
        }
        Ok(())
    }
}

fn attributes(entry: &DirectoryEntry) -> Attributes {
    Attributes { size_bytes: entry.size, modified: entry.modified.to_system_time(), mode: None }
}
