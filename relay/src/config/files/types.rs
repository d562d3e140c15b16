//! A `[[files]]` table, read.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::site::{Fec, Impersonate, Stream, StreamKind};

/// Files that cross from a place on BLUE's side to one on RED's.
#[derive(Clone, Debug, PartialEq)]
pub struct Files {
    /// Identifies them on the wire, 1..=65535; no stream has the same.
    pub channel: u16,
    /// Short name for logs and counters; unique among streams and files.
    pub name: String,
    /// For people.
    pub description: String,
    /// Off: BLUE does not look for files; RED still stores what comes.
    pub enabled: bool,
    /// BLUE looks for files this often.
    pub poll: Duration,
    /// A file is taken once it has not changed for this long.
    pub settle: Duration,
    /// Files on their way at the same time, 1..=64.
    pub parallel: u32,
    /// With a return link: a file that RED reports failed is sent so often in all, 1..=200.
    pub attempts: u32,
    /// Without a return link: a file is sent so many times more, 0..=100.
    pub repeat: u32,
    /// BLUE tells RED this often which files it has sent.
    pub manifest: Duration,
    /// BLUE remembers what it sent for so long, and keeps files that it moved: they can be sent again.
    pub retain: Duration,
    /// Most bits per second of content.
    pub rate_bps: Option<u64>,
    /// Forward error correction.
    pub fec: Fec,
    /// Most bytes of one file that wait on RED to be written.
    pub buffer_bytes: u32,
    /// BLUE's end.
    pub blue: FilesSource,
    /// RED's end.
    pub red: FilesTarget,
}

/// Where BLUE reads files, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct FilesSource {
    /// The place.
    pub place: Place,
    /// Patterns of names that may cross, as [`crate::files::checks`] reads them; empty: all. Others are blocked.
    pub include: Vec<String>,
    /// Patterns of names that are blocked, whatever `include` says.
    pub exclude: Vec<String>,
    /// Take files with names that are usual for files in the making, too.
    pub temporary: bool,
    /// Larger files are blocked, bytes.
    pub max_bytes: u64,
    /// Block files whose content is not what their extension says.
    pub magic: bool,
    /// Blocked files are moved to this folder of the place; without it they stay, and are not looked at again until they
    /// change.
    pub quarantine: Option<String>,
    /// What becomes of a file that was sent.
    pub after: After,
}

/// What becomes of a file that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// It is deleted.
    Delete,
    /// It is moved to this folder of the place.
    Move(String),
    /// It stays, and is not sent again until it changes.
    Keep,
}

/// Where RED stores files.
#[derive(Clone, Debug, PartialEq)]
pub struct FilesTarget {
    /// The place.
    pub place: Place,
    /// Larger files are refused, whatever BLUE lets pass, bytes.
    pub max_bytes: u64,
}

/// A folder on a server, or of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What kind of server.
    pub kind: PlaceKind,
    /// Its name or address; empty for a folder of this host.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// Who logs in there.
    pub user: String,
    /// Holds the password on its first line.
    pub password_file: Option<PathBuf>,
    /// Holds the private key (OpenSSH format), for SFTP.
    pub key_file: Option<PathBuf>,
    /// The fingerprint of the server's key as `ssh-keygen -l` shows it ("SHA256:..."), for SFTP.
    pub host_key: Option<String>,
    /// The SMB share.
    pub share: String,
    /// The folder on the server or in the share, empty for where the login ends; absolute for a folder of this host.
    pub path: String,
    /// FTPS: the certificates to trust (PEM) instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// FTPS: whether the server's certificate is verified.
    pub verify: bool,
}

/// Kinds of places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceKind {
    /// A folder of this host.
    Dir,
    /// FTP, in the clear (RFC 959).
    Ftp,
    /// FTP over TLS, explicit (RFC 4217).
    Ftps,
    /// SMB 2 or 3: a Windows file share.
    Smb,
    /// SFTP, over SSH.
    Sftp,
}

impl Place {
    /// The folder `path` of this host.
    pub fn folder(path: &str) -> Self {
        Self {
            kind: PlaceKind::Dir,
            server: String::new(),
            port: 0,
            user: String::new(),
            password_file: None,
            key_file: None,
            host_key: None,
            share: String::new(),
            path: path.to_owned(),
            ca_file: None,
            verify: true,
        }
    }
}

impl PlaceKind {
    /// The word for it in the site file and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dir => "dir",
            Self::Ftp => "ftp",
            Self::Ftps => "ftps",
            Self::Smb => "smb",
            Self::Sftp => "sftp",
        }
    }

    /// The usual port (IANA); 0 for a folder.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Dir => 0,
            Self::Ftp | Self::Ftps => 21,
            Self::Smb => 445,
            Self::Sftp => 22,
        }
    }
}

impl Files {
    /// The same as the link sees it: a stream of sessions of bytes, one for each file, without ports of its own.
    pub fn stream(&self) -> Stream {
        Stream {
            channel: self.channel,
            name: self.name.clone(),
            kind: StreamKind::Files,
            sources: Vec::new(),
            source_port: 0,
            destination: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            // One more for the manifest.
            max_sessions: self.parallel + 1,
            description: self.description.clone(),
            rate_bps: self.rate_bps,
            fec: self.fec.clone(),
            idle: IDLE,
            ordered: true,
            connect_timeout: ANSWER_TIMEOUT,
            keepalive: IDLE,
            buffer_bytes: self.buffer_bytes,
            impersonate: Impersonate::Off,
        }
    }
}

/// A file whose bytes have stopped for so long has lost its sender.
const IDLE: Duration = Duration::from_hours(1);
/// RED answers as soon as it has looked whether it has the file.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
