//! Folders of a place on an SFTP server: what is in them, and making them.

use super::wire::{Entry, Reply, Request, status};
use super::{SftpEndpoint, attributes, is_file, is_folder};
use crate::files::endpoint::{EndpointError, Found, Trouble};
use crate::files::name::FileName;

impl SftpEndpoint {
    /// All files, folder by folder; links are not followed.
    pub(super) async fn walk(
        &mut self,
        unusable: &mut (dyn FnMut(String) + Send),
    ) -> Result<Vec<Found>, EndpointError> {
        let mut found = Vec::new();
        let mut folders = vec![None];
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
                if !is_file(&entry.stat) && !is_folder(&entry.stat) {
                    continue;
                }
                match name(folder.as_ref(), &entry.name) {
                    Err(shown) => unusable(shown),
                    Ok(name) if is_folder(&entry.stat) => folders.push(Some(name)),
                    Ok(name) => found.push(Found { name, attributes: attributes(&entry.stat) }),
                }
            }
        }
        Ok(found)
    }

    /// What is in a folder, without `.` and `..`.
    async fn entries(&mut self, folder: Option<&FileName>) -> Result<Vec<Entry>, EndpointError> {
        let what = match folder {
            Some(folder) => format!("list the folder {folder}"),
            None => "list the place's folder".to_owned(),
        };
        let path = folder.map_or_else(|| self.base.clone(), |folder| self.path(folder));
        let handle = match self.requests.handle(&Request::OpenDir { path: &path }).await {
            Ok(handle) => handle,
            Err(fault) => return Err(self.error(what, fault).await),
        };
        let mut entries = Vec::new();
        let end = loop {
            match self.requests.ask(&Request::ReadDir { handle: &handle }).await {
                Ok(Reply::Names(some)) => entries.extend(some),
                Ok(_) => {}
                Err(fault) => break fault,
            }
        };
        let closed = self.requests.close(&handle).await;
        if !end.is(status::EOF) {
            return Err(self.error(what, end).await);
        }
        if let Err(fault) = closed {
            return Err(self.error(what, fault).await);
        }
        entries.retain(|entry| entry.name != b"."[..] && entry.name != b".."[..]);
        Ok(entries)
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
            let path = self.path(folder);
            let there = Request::Stat { path: &path };
            if self.requests.stat(&there).await.is_ok_and(|stat| is_folder(&stat)) {
                continue;
            }
            let Err(fault) = self.requests.ask(&Request::MakeDir { path: &path }).await else { continue };
            // Somebody else may have made it.
            if !self.requests.stat(&there).await.is_ok_and(|stat| is_folder(&stat)) {
                return Err(self.error(format!("make the folder {folder}"), fault).await);
            }
        }
        Ok(())
    }

    /// [`Trouble::Exists`] if there is anything of this name. Asked for before a rename, too: not every server's keeps
    /// what is there.
    pub(super) async fn free(&mut self, name: &FileName, what: String) -> Result<(), EndpointError> {
        let path = self.path(name);
        match self.requests.stat(&Request::Lstat { path: &path }).await {
            Ok(_) => {
                let why = "there is a file of this name";
                Err(EndpointError::new(Trouble::Exists, format_args!("{what} {}", self.at), why))
            }
            Err(fault) if fault.is(status::NO_SUCH_FILE) => Ok(()),
            Err(fault) => Err(self.error(what, fault).await),
        }
    }
}

/// The name of an entry of a folder, or how to show it if it is none.
fn name(folder: Option<&FileName>, part: &[u8]) -> Result<FileName, String> {
    let path = match folder {
        Some(folder) => [folder.as_bytes(), b"/", part].concat(),
        None => part.to_vec(),
    };
    // A server that lists a part with a separator would lead elsewhere.
    if part.contains(&b'/') {
        return Err(path.escape_ascii().to_string());
    }
    FileName::new(path.clone()).map_err(|_| path.escape_ascii().to_string())
}
