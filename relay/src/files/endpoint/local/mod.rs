//! A folder of this host.
//!
//! Every file is opened from the place's folder downwards without following a link (openat2(2), `RESOLVE_BENEATH`): whoever
//! may write into the place cannot lead the relay out of it.

mod folder;
mod lease;
mod listing;
mod watch;

use std::fs::{File, FileTimes, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Attributes, Endpoint, EndpointError, Found, Trouble, Writers};
use crate::files::name::FileName;
use folder::Root;
use watch::Watch;

/// A folder of this host as a place of files.
#[derive(Debug)]
pub struct LocalEndpoint {
    root: Arc<Root>,
    reading: Option<(FileName, File)>,
    writing: Option<(FileName, File)>,
    /// Made with the first question: only who watches has one.
    watch: Option<Watch>,
}

impl LocalEndpoint {
    /// The folder `path`, which must be there.
    ///
    /// # Errors
    /// It is not there, is no folder, or may not be entered.
    pub async fn open_place(path: &str) -> Result<Self, EndpointError> {
        let path = PathBuf::from(path);
        let shown = format!("enter folder {}", path.display());
        let root = blocking(move || Root::open(path)).await.map_err(|error| failed(shown, &error))?;
        Ok(Self { root: Arc::new(root), reading: None, writing: None, watch: None })
    }

    /// Does `work` with the place's folder, away from the runtime's threads.
    async fn with_root<T: Send + 'static>(
        &self,
        verb: &str,
        name: &FileName,
        work: impl FnOnce(&Root, &FileName) -> io::Result<T> + Send + 'static,
    ) -> Result<T, EndpointError> {
        let (root, owned) = (Arc::clone(&self.root), name.clone());
        let done = blocking(move || work(&root, &owned)).await;
        done.map_err(|error| self.failed(verb, name, &error))
    }

    fn failed(&self, verb: &str, name: &FileName, error: &io::Error) -> EndpointError {
        failed(format!("{verb} {name} in {}", self.root.path().display()), error)
    }
}

#[async_trait]
impl Endpoint for LocalEndpoint {
    async fn list(&mut self, unusable: &mut (dyn FnMut(String) + Send)) -> Result<Vec<Found>, EndpointError> {
        if !self.is_current().await {
            let what = format!("list {}", self.root.path().display());
            return Err(EndpointError::new(Trouble::Gone, what, "the folder is gone, or is another one now"));
        }
        let root = Arc::clone(&self.root);
        let listing = blocking(move || listing::list(root.path())).await;
        let listing = listing.map_err(|error| failed(format!("list {}", self.root.path().display()), &error))?;
        listing.unusable.into_iter().for_each(unusable);
        Ok(listing.found)
    }

    async fn stat(&mut self, name: &FileName) -> Result<Option<Attributes>, EndpointError> {
        let found = self.with_root("look at", name, Root::metadata).await;
        match found {
            Ok(metadata) => Ok(metadata.is_file().then(|| listing::attributes(&metadata))),
            Err(error) if error.trouble == Trouble::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn writers(&mut self, name: &FileName) -> Result<Writers, EndpointError> {
        self.with_root("look at", name, |root, name| lease::writers(&root.read(name)?)).await
    }

    async fn is_current(&mut self) -> bool {
        let root = Arc::clone(&self.root);
        blocking(move || root.is_current()).await.unwrap_or(false)
    }

    async fn folder_mark(&mut self, name: &FileName) -> Result<Option<String>, EndpointError> {
        self.with_root("look at the folder of", name, Root::folder_mark).await.map(Some)
    }

    async fn changed(&mut self, patience: Duration) {
        if self.watch.is_none() {
            self.watch = Watch::start(self.root.path());
        }
        match &self.watch {
            Some(watch) => watch.changed(patience).await,
            None => tokio::time::sleep(patience).await,
        }
    }

    async fn open(&mut self, name: &FileName, offset_bytes: u64) -> Result<(), EndpointError> {
        (self.reading, self.writing) = (None, None);
        let open = move |root: &Root, name: &FileName| {
            let mut file = root.read(name)?;
            file.seek(SeekFrom::Start(offset_bytes))?;
            Ok(file)
        };
        self.reading = Some((name.clone(), self.with_root("read", name, open).await?));
        Ok(())
    }

    async fn read(&mut self, bytes_max: usize) -> Result<Bytes, EndpointError> {
        let Some((name, mut file)) = self.reading.take() else { return Ok(Bytes::new()) };
        let read = blocking(move || {
            let mut bytes = Vec::with_capacity(bytes_max);
            (&mut file).take(bytes_max as u64).read_to_end(&mut bytes)?;
            Ok((bytes, file))
        });
        let (bytes, file) = read.await.map_err(|error| self.failed("read", &name, &error))?;
        if !bytes.is_empty() {
            self.reading = Some((name, file));
        }
        Ok(bytes.into())
    }

    async fn create(&mut self, name: &FileName) -> Result<(), EndpointError> {
        (self.reading, self.writing) = (None, None);
        self.writing = Some((name.clone(), self.with_root("create", name, Root::create).await?));
        Ok(())
    }

    async fn append(&mut self, bytes: Bytes) -> Result<(), EndpointError> {
        let Some((name, mut file)) = self.writing.take() else { return Err(nothing_created()) };
        let written = blocking(move || {
            file.write_all(&bytes)?;
            Ok(file)
        });
        self.writing = match written.await {
            Ok(file) => Some((name, file)),
            Err(error) => return Err(self.failed("write", &name, &error)),
        };
        Ok(())
    }

    async fn sync(&mut self, attributes: &Attributes) -> Result<(), EndpointError> {
        let Some((name, file)) = self.writing.take() else { return Err(nothing_created()) };
        let attributes = *attributes;
        let synced = self.with_root("bring to disk", &name, move |root, name| {
            if let Some(mode) = attributes.mode {
                // Not every file system has modes; the content is what counts.
                let _ = file.set_permissions(Permissions::from_mode(mode));
            }
            if let Some(modified) = attributes.modified {
                let _ = file.set_times(FileTimes::new().set_modified(modified));
            }
            file.sync_all()?;
            root.sync_folder(name)
        });
        synced.await
    }

    async fn commit(&mut self, from: &FileName, to: &FileName) -> Result<(), EndpointError> {
        let target = to.clone();
        self.with_root("give its name to", to, {
            let from = from.clone();
            move |root, _| root.rename(&from, &target)
        })
        .await
    }

    async fn delete(&mut self, name: &FileName) -> Result<(), EndpointError> {
        let deleted = self.with_root("delete", name, Root::delete).await;
        deleted.or_else(|error| if error.trouble == Trouble::Missing { Ok(()) } else { Err(error) })
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(io::Error::other("the relay stops")))
}

fn nothing_created() -> EndpointError {
    EndpointError::new(Trouble::Other, "write", "no file was created")
}

fn failed(what: String, error: &io::Error) -> EndpointError {
    use io::ErrorKind as Kind;
    let trouble = match error.kind() {
        Kind::NotFound => Trouble::Missing,
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => Trouble::Denied,
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => Trouble::Full,
        Kind::AlreadyExists => Trouble::Exists,
        Kind::InvalidFilename => Trouble::Name,
        _ => Trouble::Other,
    };
    EndpointError::new(trouble, what, error)
}

#[cfg(test)]
mod tests;
