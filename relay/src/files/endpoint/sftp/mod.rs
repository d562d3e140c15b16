//! SFTP: a folder on an SSH server.
//!
//! ```text
//! Endpoint: sftp -> transfer (pieces under way) -> requests (ids, time limits) -> wire (bytes) -> ssh (key, login, channel)
//!                -> tree (folders)
//! ```
//!
//! Names are bytes, as on most servers. A name is given with RENAME of version 3, which does not replace;
//! `posix-rename@openssh.com` would.

mod requests;
mod ssh;
mod transfer;
mod tree;
mod wire;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Attributes, Endpoint, EndpointError, Found, Trouble};
use crate::config::Place;
use crate::files::name::FileName;
use requests::{Fault, Requests};
use transfer::{Download, Upload};
use wire::{Reply, Request, Stat, open_flags, status};

/// File types of `st_mode` (stat(2)).
const TYPE_MASK: u32 = 0o170_000;
const TYPE_FOLDER: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
/// What chmod(2) sets.
const MODE_MASK: u32 = 0o7777;

/// A place on an SSH server.
pub struct SftpEndpoint {
    requests: Requests,
    _session: ssh::Session,
    /// The place's folder on the server.
    base: Vec<u8>,
    /// For errors: "on 10.0.0.1:22 by SFTP".
    at: String,
    open: Open,
}

/// The file that is open. Taken out while something is done with it: who is interrupted at that has no file open, rather
/// than one with a hole.
enum Open {
    Nothing,
    Download(FileName, Download),
    Upload(FileName, Upload),
}

impl SftpEndpoint {
    /// Connects, checks the server's key, logs in with the key in `key_file` (which `password` decrypts) or with
    /// `password`, and looks for the place's folder.
    ///
    /// # Errors
    /// [`Trouble::Login`] also for a server whose key is unknown or another; [`Trouble::Missing`] if there is no such folder.
    pub async fn connect(place: &Place, password: Option<&str>) -> Result<Self, EndpointError> {
        let at = format!("on {}:{} by SFTP", place.server, place.port);
        let (session, channel) = ssh::connect(place, password).await?;
        let mut requests = Requests::start(channel)
            .await
            .map_err(|fault| EndpointError::new(fault.trouble(), format_args!("start {at}"), fault))?;
        let base = if place.path.is_empty() { b".".to_vec() } else { place.path.clone().into_bytes() };
        let what = format!("use the folder {} {at}", place.path);
        match requests.stat(&Request::Stat { path: &base }).await {
            Ok(stat) if is_file(&stat) => Err(EndpointError::new(Trouble::Missing, what, "it is a file")),
            Ok(_) => Ok(Self { requests, _session: session, base, at, open: Open::Nothing }),
            Err(fault) => Err(EndpointError::new(fault.trouble(), what, fault)),
        }
    }

    fn path(&self, name: &FileName) -> Vec<u8> {
        [&self.base, &b"/"[..], name.as_bytes()].concat()
    }

    /// The error for a request that failed. OpenSSH says only "failure" of a full or read-only disk: that is asked for.
    async fn error(&mut self, what: String, fault: Fault) -> EndpointError {
        let mut trouble = fault.trouble();
        if fault.is(status::FAILURE) && self.requests.has("statvfs@openssh.com") {
            let statvfs = Request::Extended { name: "statvfs@openssh.com", argument: Some(&self.base) };
            if let Ok(Reply::Extended(answer)) = self.requests.ask(&statvfs).await {
                match wire::FileSystem::parse(&answer) {
                    Some(file_system) if file_system.read_only => trouble = Trouble::Denied,
                    Some(file_system) if file_system.full => trouble = Trouble::Full,
                    _ => {}
                }
            }
        }
        let why = match trouble {
            Trouble::Full => format!("no room is left there: {fault}"),
            Trouble::Denied if fault.is(status::FAILURE) => format!("the file system is read-only: {fault}"),
            _ => fault.to_string(),
        };
        EndpointError::new(trouble, format_args!("{what} {}", self.at), why)
    }

    fn none_open(&self, what: &str) -> EndpointError {
        EndpointError::new(Trouble::Other, format_args!("{what} {}", self.at), "no file is open for that")
    }

    /// Closes what is open.
    async fn close(&mut self) -> Result<(), EndpointError> {
        let closed = match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => Ok(()),
            Open::Download(_, download) => download.close(&mut self.requests).await,
            Open::Upload(_, upload) => upload.close(&mut self.requests).await,
        };
        match closed {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.error("close a file".to_owned(), fault).await),
        }
    }

    /// Opens a file to be written; the outer error is final, the inner one is for who could make its folder.
    async fn open_empty(&mut self, path: &[u8]) -> Result<Bytes, Fault> {
        let flags = open_flags::WRITE | open_flags::CREATE | open_flags::TRUNCATE;
        self.requests.handle(&Request::Open { path, flags }).await
    }
}

fn is_file(stat: &Stat) -> bool {
    stat.mode.is_none_or(|mode| mode & TYPE_MASK == TYPE_FILE)
}

fn is_folder(stat: &Stat) -> bool {
    stat.mode.is_some_and(|mode| mode & TYPE_MASK == TYPE_FOLDER)
}

fn attributes(stat: &Stat) -> Attributes {
    Attributes {
        size_bytes: stat.size_bytes.unwrap_or_default(),
        modified: stat.modified_s.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into())),
        mode: stat.mode.map(|mode| mode & MODE_MASK),
    }
}

/// What is set on a file, each by itself: a server that refuses one may take the other.
fn stats(attributes: &Attributes) -> Vec<Stat> {
    let mode = attributes.mode.map(|mode| Stat { mode: Some(mode & MODE_MASK), ..Stat::default() });
    let since_1970 = attributes.modified.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    // Version 3 has 32 bits for it, until 2106.
    let modified_s = since_1970.and_then(|duration| u32::try_from(duration.as_secs()).ok());
    let modified = modified_s.map(|seconds| Stat { modified_s: Some(seconds), ..Stat::default() });
    mode.into_iter().chain(modified).collect()
}

#[async_trait]
impl Endpoint for SftpEndpoint {
    async fn list(&mut self, unusable: &mut (dyn FnMut(String) + Send)) -> Result<Vec<Found>, EndpointError> {
        self.walk(unusable).await
    }

    async fn stat(&mut self, name: &FileName) -> Result<Option<Attributes>, EndpointError> {
        let path = self.path(name);
        match self.requests.stat(&Request::Lstat { path: &path }).await {
            Ok(stat) => Ok(is_file(&stat).then(|| attributes(&stat))),
            Err(fault) if fault.is(status::NO_SUCH_FILE) => Ok(None),
            Err(fault) => Err(self.error(format!("look at {name}"), fault).await),
        }
    }

    async fn open(&mut self, name: &FileName, offset_bytes: u64) -> Result<(), EndpointError> {
        self.close().await?;
        let path = self.path(name);
        match self.requests.handle(&Request::Open { path: &path, flags: open_flags::READ }).await {
            Ok(handle) => {
                self.open = Open::Download(name.clone(), Download::new(handle, offset_bytes));
                Ok(())
            }
            Err(fault) => Err(self.error(format!("open {name}"), fault).await),
        }
    }

    async fn read(&mut self, bytes_max: usize) -> Result<Bytes, EndpointError> {
        let Open::Download(name, mut download) = std::mem::replace(&mut self.open, Open::Nothing) else {
            return Err(self.none_open("read"));
        };
        match download.read(&mut self.requests, bytes_max).await {
            Ok(content) if content.is_empty() => match download.close(&mut self.requests).await {
                Ok(()) => Ok(content),
                Err(fault) => Err(self.error(format!("close {name}"), fault).await),
            },
            Ok(content) => {
                self.open = Open::Download(name, download);
                Ok(content)
            }
            Err(fault) => {
                self.open = Open::Download(name.clone(), download);
                let error = self.error(format!("read {name}"), fault).await;
                self.close().await.map_or_else(Err, |()| Err(error))
            }
        }
    }

    async fn create(&mut self, name: &FileName) -> Result<(), EndpointError> {
        self.close().await?;
        let path = self.path(name);
        let mut opened = self.open_empty(&path).await;
        if opened.as_ref().is_err_and(|fault| fault.is(status::NO_SUCH_FILE)) {
            self.make_folders(name).await?;
            opened = self.open_empty(&path).await;
        }
        match opened {
            Ok(handle) => {
                self.open = Open::Upload(name.clone(), Upload::new(handle));
                Ok(())
            }
            Err(fault) => Err(self.error(format!("make {name}"), fault).await),
        }
    }

    async fn append(&mut self, bytes: Bytes) -> Result<(), EndpointError> {
        let Open::Upload(name, mut upload) = std::mem::replace(&mut self.open, Open::Nothing) else {
            return Err(self.none_open("write"));
        };
        let appended = upload.append(&mut self.requests, &bytes).await;
        self.open = Open::Upload(name.clone(), upload);
        match appended {
            Ok(()) => Ok(()),
            Err(fault) => {
                let error = self.error(format!("write {name}"), fault).await;
                self.close().await.map_or_else(Err, |()| Err(error))
            }
        }
    }

    async fn sync(&mut self, attributes: &Attributes) -> Result<(), EndpointError> {
        let Open::Upload(name, mut upload) = std::mem::replace(&mut self.open, Open::Nothing) else {
            return Err(self.none_open("finish a file"));
        };
        let what = format!("finish {name}");
        match upload.finish(&mut self.requests, &stats(attributes)).await {
            Ok((written, Some(there))) if written != there => {
                let why = format!("{there} of {written} bytes have arrived");
                Err(EndpointError::new(Trouble::Other, format_args!("{what} {}", self.at), why))
            }
            Ok(_) => Ok(()),
            Err(fault) => {
                self.open = Open::Upload(name, upload);
                let error = self.error(what, fault).await;
                self.close().await.map_or_else(Err, |()| Err(error))
            }
        }
    }

    async fn commit(&mut self, from: &FileName, to: &FileName) -> Result<(), EndpointError> {
        let what = format!("give {from} the name {to}");
        self.free(to, what.clone()).await?;
        let (old, new) = (self.path(from), self.path(to));
        let rename = Request::Rename { from: &old, to: &new };
        let mut renamed = self.requests.ask(&rename).await;
        if renamed.as_ref().is_err_and(|fault| fault.is(status::NO_SUCH_FILE)) {
            self.make_folders(to).await?;
            renamed = self.requests.ask(&rename).await;
        }
        match renamed {
            Ok(_) => Ok(()),
            Err(fault) => {
                // It may have come there since.
                if fault.is(status::FAILURE) {
                    self.free(to, what.clone()).await?;
                }
                Err(self.error(what, fault).await)
            }
        }
    }

    async fn delete(&mut self, name: &FileName) -> Result<(), EndpointError> {
        let path = self.path(name);
        match self.requests.ask(&Request::Remove { path: &path }).await {
            Err(fault) if !fault.is(status::NO_SUCH_FILE) => Err(self.error(format!("delete {name}"), fault).await),
            _ => Ok(()),
        }
    }
}
