//! SMB 2 and 3: a folder on a Windows file share.
//!
//! ```text
//! Endpoint: smb -> download (reads under way), the client's own writer (writes under way) -> client (one session)
//!               -> tree (folders)
//!               -> path (which names there are)
//! ```
//!
//! Logs in by NTLM. Names that Windows reserves are refused, not mapped to others. What the server signs is verified, and a
//! guest's session in place of the user's is refused.

mod download;
mod path;
mod tree;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use smb2::types::status::NtStatus;
use smb2::{ClientConfig, Error, ErrorKind, FileTimes, FileWriter, SmbClient, Tree};
use tokio::time::timeout;

use super::{Attributes, Endpoint, EndpointError, Found, Trouble, Writers};
use crate::config::Place;
use crate::files::name::FileName;
use download::{Download, Outcome};

/// Three tries of TCP's (0, 1 and 3 s) and an answer that is slow; more often, nobody is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that has been silent on a request for so long will not answer it: disks that sleep wake up within some twenty
/// seconds, and a server that needs longer for something says so meanwhile.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Connecting, negotiating, logging in (a domain controller may have to be asked) and opening the share.
const LOGIN_TIMEOUT: Duration = Duration::from_mins(1);
/// What a server reads at a time that did not say more (MS-SMB2 3.3.5.4).
const READ_BYTES_MIN: u32 = 64 * 1024;

/// A quota is used up (MS-ERREF 2.3.1).
const QUOTA_EXCEEDED: NtStatus = NtStatus(0xC000_0044);
/// The disk can only be read.
const MEDIA_WRITE_PROTECTED: NtStatus = NtStatus(0xC000_00A2);
/// The file is read-only.
const CANNOT_DELETE: NtStatus = NtStatus(0xC000_0121);

/// A place on an SMB share.
pub struct SmbEndpoint {
    client: SmbClient,
    share: Tree,
    /// The place's folder in the share.
    base: String,
    /// For errors: "on 10.0.0.1:445 by SMB".
    at: String,
    open: Open,
}

/// The file that is open. Taken out while something is done with it: who is interrupted at that has no file open, rather
/// than one with a hole.
enum Open {
    Nothing,
    Download(FileName, Download),
    /// With the bytes that were given to be written.
    Upload(FileName, Box<FileWriter>, u64),
}

impl SmbEndpoint {
    /// Connects, logs in, opens the share and looks for the place's folder. `DOMAIN\user` names a user of a domain.
    ///
    /// # Errors
    /// [`Trouble::Missing`] if there is no such share or folder.
    pub async fn connect(place: &Place, password: Option<&str>) -> Result<Self, EndpointError> {
        let at = format!("on {}:{} by SMB", place.server, place.port);
        let what = format!("log in as {} {at}", place.user);
        let Some(password) = password else {
            return Err(EndpointError::new(Trouble::Login, what, "the site file has no password_file"));
        };
        let connecting = async {
            let mut client = SmbClient::connect(config(place, password))
                .await
                .map_err(|error| EndpointError::new(trouble(&error), &what, Words(&error)))?;
            let share = client.connect_share(&place.share).await.map_err(|error| {
                EndpointError::new(trouble(&error), format_args!("use the share {} {at}", place.share), Words(&error))
            })?;
            let mut endpoint =
                Self { client, share, base: path::base(&place.path), at: at.clone(), open: Open::Nothing };
            endpoint.look_for_base(place).await?;
            Ok(endpoint)
        };
        timeout(LOGIN_TIMEOUT, connecting).await.unwrap_or_else(|_| {
            let why = format!("it does not let us in within {} s", LOGIN_TIMEOUT.as_secs());
            Err(EndpointError::new(Trouble::Gone, &what, why))
        })
    }

    async fn look_for_base(&mut self, place: &Place) -> Result<(), EndpointError> {
        let what = format!("use the folder {} of the share {}", place.path, place.share);
        match self.client.stat(&mut self.share, &self.base).await {
            Ok(info) if info.is_directory => Ok(()),
            Ok(_) => Err(EndpointError::new(Trouble::Missing, format_args!("{what} {}", self.at), "it is a file")),
            Err(error) => Err(self.error(what, &error)),
        }
    }

    /// A name's path in the share; [`Trouble::Name`] if SMB cannot hold it.
    fn path(&self, name: &FileName, what: &str) -> Result<String, EndpointError> {
        path::path(&self.base, name)
            .map_err(|why| EndpointError::new(Trouble::Name, format_args!("{what} {name} {}", self.at), why))
    }

    fn error(&self, what: impl fmt::Display, error: &Error) -> EndpointError {
        let trouble = if self.client.is_disconnected() { Trouble::Gone } else { trouble(error) };
        EndpointError::new(trouble, format_args!("{what} {}", self.at), Words(error))
    }

    fn none_open(&self, what: &str) -> EndpointError {
        EndpointError::new(Trouble::Other, format_args!("{what} {}", self.at), "no file is open for that")
    }

    /// Closes what is open: a file that was being written keeps what it has.
    async fn close(&mut self) {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            // Closed after its last read, in whatever order the server does them.
            Open::Nothing | Open::Download(..) => {}
            Open::Upload(name, writer, _) => {
                if let Err(error) = writer.abort().await {
                    tracing::debug!(%name, %error, "a file that was given up could not be closed");
                }
            }
        }
    }
}

fn config(place: &Place, password: &str) -> ClientConfig {
    let (domain, user) = place.user.split_once('\\').unwrap_or(("", &place.user));
    let server = if place.server.contains(':') { format!("[{}]", place.server) } else { place.server.clone() };
    ClientConfig {
        addr: format!("{server}:{}", place.port),
        timeout: CONNECT_TIMEOUT,
        username: user.to_owned(),
        password: password.to_owned(),
        domain: domain.to_owned(),
        // It costs more time than it saves on a local network.
        compression: false,
        response_timeout: Some(ANSWER_TIMEOUT),
        ..ClientConfig::default()
    }
}

/// What kind of trouble an error is.
fn trouble(error: &Error) -> Trouble {
    match error.kind() {
        ErrorKind::AuthRequired | ErrorKind::SigningRequired | ErrorKind::GuestSessionRefused => Trouble::Login,
        ErrorKind::AccessDenied => Trouble::Denied,
        ErrorKind::NotFound | ErrorKind::NotADirectory => Trouble::Missing,
        ErrorKind::AlreadyExists => Trouble::Exists,
        ErrorKind::DiskFull => Trouble::Full,
        ErrorKind::InvalidName => Trouble::Name,
        ErrorKind::ConnectionLost
        | ErrorKind::TimedOut
        | ErrorKind::Cancelled
        | ErrorKind::SessionExpired
        | ErrorKind::SignatureInvalid
        | ErrorKind::Io => Trouble::Gone,
        _ => match error.status() {
            Some(QUOTA_EXCEEDED) => Trouble::Full,
            Some(MEDIA_WRITE_PROTECTED | CANNOT_DELETE) => Trouble::Denied,
            _ => Trouble::Other,
        },
    }
}

/// An error in words for an operator, where the code alone does not say it.
struct Words<'a>(&'a Error);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind() {
            ErrorKind::SharingViolation => write!(f, "somebody else has it open: {}", self.0),
            ErrorKind::GuestSessionRefused => write!(f, "the server knows only guests: {}", self.0),
            _ => self.0.fmt(f),
        }
    }
}

#[async_trait]
impl Endpoint for SmbEndpoint {
    async fn list(&mut self, unusable: &mut (dyn FnMut(String) + Send)) -> Result<Vec<Found>, EndpointError> {
        self.walk(unusable).await
    }

    async fn stat(&mut self, name: &FileName) -> Result<Option<Attributes>, EndpointError> {
        let path = self.path(name, "look at")?;
        match self.client.stat(&mut self.share, &path).await {
            Ok(info) if info.is_directory || info.is_link() => Ok(None),
            Ok(info) => {
                Ok(Some(Attributes { size_bytes: info.size, modified: info.modified.to_system_time(), mode: None }))
            }
            Err(error) if trouble(&error) == Trouble::Missing => Ok(None),
            Err(error) => Err(self.error(format_args!("look at {name}"), &error)),
        }
    }

    /// Windows programs that write usually let nobody read meanwhile.
    async fn writers(&mut self, name: &FileName) -> Result<Writers, EndpointError> {
        let path = self.path(name, "open")?;
        match self.client.open_file_reader(&self.share, &path).await {
            Ok(_) => Ok(Writers::Nobody),
            Err(error) if error.kind() == ErrorKind::SharingViolation => Ok(Writers::Somebody),
            Err(error) => Err(self.error(format_args!("open {name}"), &error)),
        }
    }

    async fn open(&mut self, name: &FileName, offset_bytes: u64) -> Result<(), EndpointError> {
        self.close().await;
        let path = self.path(name, "open")?;
        match self.client.open_file_reader(&self.share, &path).await {
            Ok(file) => {
                let read_bytes_max = self.client.params().map_or(READ_BYTES_MIN, |params| params.max_read_size);
                self.open = Open::Download(name.clone(), Download::new(file, offset_bytes, read_bytes_max));
                Ok(())
            }
            Err(error) => Err(self.error(format_args!("open {name}"), &error)),
        }
    }

    async fn read(&mut self, bytes_max: usize) -> Result<Bytes, EndpointError> {
        let Open::Download(name, mut download) = std::mem::replace(&mut self.open, Open::Nothing) else {
            return Err(self.none_open("read"));
        };
        match download.read(bytes_max).await {
            Ok(Outcome::Bytes(content)) => {
                if !content.is_empty() {
                    self.open = Open::Download(name, download);
                }
                Ok(content)
            }
            Ok(Outcome::Shortened) => {
                let why = "it became shorter while it was read";
                Err(EndpointError::new(Trouble::Other, format_args!("read {name} {}", self.at), why))
            }
            Err(error) => Err(self.error(format_args!("read {name}"), &error)),
        }
    }

    async fn create(&mut self, name: &FileName) -> Result<(), EndpointError> {
        self.close().await;
        let path = self.path(name, "make")?;
        let mut made = self.client.create_file_writer(&self.share, &path).await;
        if made.as_ref().is_err_and(|error| trouble(error) == Trouble::Missing) {
            self.make_folders(name).await?;
            made = self.client.create_file_writer(&self.share, &path).await;
        }
        match made {
            Ok(writer) => {
                self.open = Open::Upload(name.clone(), Box::new(writer), 0);
                Ok(())
            }
            Err(error) => Err(self.error(format_args!("make {name}"), &error)),
        }
    }

    async fn append(&mut self, bytes: Bytes) -> Result<(), EndpointError> {
        let Open::Upload(name, mut writer, given) = std::mem::replace(&mut self.open, Open::Nothing) else {
            return Err(self.none_open("write"));
        };
        match writer.write_chunk(&bytes).await {
            Ok(()) => {
                self.open = Open::Upload(name, writer, given + bytes.len() as u64);
                Ok(())
            }
            Err(error) => Err(self.error(format_args!("write {name}"), &error)),
        }
    }

    async fn sync(&mut self, attributes: &Attributes) -> Result<(), EndpointError> {
        let Open::Upload(name, mut writer, given) = std::mem::replace(&mut self.open, Open::Nothing) else {
            return Err(self.none_open("finish a file"));
        };
        let what = format!("finish {name}");
        if let Some(modified) = attributes.modified {
            // Not every place can hold it. Whatever else is wrong shows again at the end.
            if let Err(error) = writer.set_times(FileTimes::new().set_modified(modified)).await {
                if trouble(&error) == Trouble::Full {
                    return Err(self.error(what, &error));
                }
                tracing::debug!(%name, %error, "the time of a file could not be set");
            }
        }
        match writer.finish().await {
            Ok(written) if written == given => Ok(()),
            Ok(written) => {
                let why = format!("{written} of {given} bytes have arrived");
                Err(EndpointError::new(Trouble::Other, format_args!("{what} {}", self.at), why))
            }
            Err(error) => Err(self.error(what, &error)),
        }
    }

    async fn commit(&mut self, from: &FileName, to: &FileName) -> Result<(), EndpointError> {
        let what = format!("give {from} the name {to}");
        let (old, new) = (self.path(from, "rename")?, self.path(to, "give a file the name")?);
        // The client leaves ReplaceIfExists (MS-FSCC 2.4.42.2) off.
        let mut renamed = self.client.rename(&self.share, &old, &new).await;
        if renamed.as_ref().is_err_and(|error| trouble(error) == Trouble::Missing) && self.stat(from).await?.is_some() {
            self.make_folders(to).await?;
            renamed = self.client.rename(&self.share, &old, &new).await;
        }
        match renamed {
            Ok(()) => Ok(()),
            Err(error) => {
                let there = self.client.stat(&mut self.share, &new).await.is_ok();
                let trouble = if there { Trouble::Exists } else { self.error("", &error).trouble };
                Err(EndpointError::new(trouble, format_args!("{what} {}", self.at), Words(&error)))
            }
        }
    }

    async fn delete(&mut self, name: &FileName) -> Result<(), EndpointError> {
        let path = self.path(name, "delete")?;
        match self.client.delete_file(&self.share, &path).await {
            Err(error) if trouble(&error) != Trouble::Missing => Err(self.error(format_args!("delete {name}"), &error)),
            _ => Ok(()),
        }
    }
}
