//! Places where files are: one narrow trait, an implementation for each kind of server.
//!
//! An [`Endpoint`] is one connection, which has one file open at a time; who wants several at a time connects several times.

mod connect;
mod ftp;
mod local;
mod sftp;
mod smb;
mod time;

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::name::FileName;

pub use connect::connect;
pub use local::LocalEndpoint;

/// What a place knows of a file besides its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Its size, bytes.
    pub size_bytes: u64,
    /// When it was last written, as exactly as the place knows. `None`: the place does not say.
    #[serde(with = "time")]
    pub modified: Option<SystemTime>,
    /// Permission bits (the lowest 12 of chmod(2)). `None`: the place has none.
    pub mode: Option<u32>,
}

impl Attributes {
    /// Is the content, by size and time of writing, still the one that had `before`?
    pub fn is_same_content(&self, before: &Self) -> bool {
        (self.size_bytes, self.modified) == (before.size_bytes, before.modified)
    }
}

/// A file in a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: FileName,
    /// What is known of it.
    pub attributes: Attributes,
}

/// What a place knows of those who are writing a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writers {
    /// There are none, as far as the place can know.
    Nobody,
    /// Somebody is.
    Somebody,
    /// The place could know, and does not tell us: why, for people.
    Untold(String),
}

/// One connection to a place.
///
/// Names are relative to the place. An error of kind [`Trouble::Gone`] means that the connection is of no more use; after
/// any other it can be used further. Dropping it closes whatever was open.
#[async_trait]
pub trait Endpoint: Send {
    /// All files of the place, also those in its folders; neither links nor devices. Names that are no [`FileName`] are
    /// left out and told to `unusable`, as the place shows them.
    async fn list(&mut self, unusable: &mut (dyn FnMut(String) + Send)) -> Result<Vec<Found>, EndpointError>;

    /// What is known of a file; `None` if there is none.
    async fn stat(&mut self, name: &FileName) -> Result<Option<Attributes>, EndpointError>;

    /// Is somebody writing the file?
    async fn writers(&mut self, _name: &FileName) -> Result<Writers, EndpointError> {
        Ok(Writers::Nobody)
    }

    /// Does its path still lead to this place? A folder that was replaced, or mounted over, is another place.
    async fn is_current(&mut self) -> bool {
        true
    }

    /// Tells the folder of `name` from any other that had, or gets, its path. `None`: the place cannot tell.
    async fn folder_mark(&mut self, _name: &FileName) -> Result<Option<String>, EndpointError> {
        Ok(None)
    }

    /// Waits until something may have changed, `patience` at most. A place that cannot know waits for all of it.
    async fn changed(&mut self, patience: Duration) {
        tokio::time::sleep(patience).await;
    }

    /// Opens a file to be read from `offset_bytes` on, instead of what was open.
    async fn open(&mut self, name: &FileName, offset_bytes: u64) -> Result<(), EndpointError>;

    /// Some more bytes of the open file, at most `bytes_max`; none: the end, and the file is closed.
    async fn read(&mut self, bytes_max: usize) -> Result<Bytes, EndpointError>;

    /// Makes an empty file to be written, instead of what was open; one of this name is emptied, missing folders are made.
    async fn create(&mut self, name: &FileName) -> Result<(), EndpointError>;

    /// Writes more bytes to the file that was created.
    async fn append(&mut self, bytes: Bytes) -> Result<(), EndpointError>;

    /// Ends the writing: gives the file `attributes` as far as the place can hold them, and brings it to disk where the place
    /// can do that. An error also where fewer bytes have arrived than were written.
    async fn sync(&mut self, attributes: &Attributes) -> Result<(), EndpointError>;

    /// Gives a file another name, in the same place; missing folders are made. Never replaces: [`Trouble::Exists`].
    async fn commit(&mut self, from: &FileName, to: &FileName) -> Result<(), EndpointError>;

    /// Deletes a file; none of this name is no error.
    async fn delete(&mut self, name: &FileName) -> Result<(), EndpointError>;
}

/// What kind of trouble there is with a place: what to do next depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The server cannot be reached, or the connection broke.
    Gone,
    /// The server does not let us in: user, password, key, certificate.
    Login,
    /// The share, folder, or file is not there.
    Missing,
    /// Not allowed, or read-only.
    Denied,
    /// No room left.
    Full,
    /// A file of this name is there.
    Exists,
    /// The place cannot hold a file of this name.
    Name,
    /// Anything else.
    Other,
}

/// Trouble with a place. Its text says what was tried and what the place answered; it never holds a password.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct EndpointError {
    /// What kind.
    pub trouble: Trouble,
    text: String,
}

impl EndpointError {
    /// Trouble while doing `what` ("read a.txt on 10.0.0.1:21 by FTP"), and the place's own words.
    pub fn new(trouble: Trouble, what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self { trouble, text: format!("cannot {what}: {why}") }
    }

    /// Would trying again later be of no use, whatever the operator does to the server?
    pub fn is_final(&self) -> bool {
        self.trouble == Trouble::Name
    }
}
