//! A zone's host with a server for each kind of place.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use lab::Host;
use lab::apps::enclosed::{Enclosed, PASSWORD, USER, USER_ID};
use lab::apps::ftpd::Program;
use lab::apps::{Ftpd, Samba, Sshd};

use super::rig::{self, Mount, Tree};

/// Kinds of places, as a site file calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder of the relay's host.
    Dir,
    /// On vsftpd.
    Ftp,
    /// On pure-ftpd.
    Ftps,
    /// On Samba.
    Smb,
    /// On `OpenSSH`'s server.
    Sftp,
}

/// All of them.
pub const KINDS: [Kind; 5] = [Kind::Dir, Kind::Ftp, Kind::Ftps, Kind::Smb, Kind::Sftp];
/// Those that have a server.
pub const SERVERS: [Kind; 4] = [Kind::Ftp, Kind::Ftps, Kind::Smb, Kind::Sftp];

impl Kind {
    /// As a site file has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dir => "dir",
            Self::Ftp => "ftp",
            Self::Ftps => "ftps",
            Self::Smb => "smb",
            Self::Sftp => "sftp",
        }
    }

    /// Its server's port. FTPS has one of its own beside FTP.
    pub const fn port(self) -> u16 {
        match self {
            Self::Dir => 0,
            Self::Ftp => 21,
            Self::Ftps => 2121,
            Self::Smb => 445,
            Self::Sftp => 22,
        }
    }
}

/// What serves one kind.
enum Server {
    None,
    Ftp(Ftpd),
    Smb(Samba),
    Sftp(Sshd),
}

impl Server {
    fn start(kind: Kind, host: &Host, address: Ipv4Addr, folder: &Path) -> Self {
        let at = (address, kind.port());
        let started = match kind {
            Kind::Dir => fs::create_dir_all(folder.join("place")).map(|()| Self::None).map_err(Into::into),
            Kind::Ftp => Ftpd::start(host, folder, Program::Vsftpd, false, at).map(Self::Ftp),
            Kind::Ftps => Ftpd::start(host, folder, Program::PureFtpd, true, at).map(Self::Ftp),
            Kind::Smb => Samba::start(host, folder, at.1).map(Self::Smb),
            Kind::Sftp => Sshd::start(host, folder, at.1).map(Self::Sftp),
        };
        started.unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn enclosed(&mut self) -> Option<&mut Enclosed> {
        match self {
            Self::None => None,
            Self::Ftp(server) => Some(server.server_mut()),
            Self::Smb(server) => Some(server.server_mut()),
            Self::Sftp(server) => Some(server.server_mut()),
        }
    }
}

/// One kind's part of a zone.
struct Part {
    kind: Kind,
    // Ends before its disk goes.
    server: Server,
    disk: Option<Mount>,
}

/// Places of several kinds in one zone. They end with it.
pub struct Zone {
    address: Ipv4Addr,
    folder: PathBuf,
    parts: Vec<Part>,
}

impl Zone {
    /// Places of these kinds at a host's address, all in `folder`; with `room_kib` on disks of that size each.
    pub fn start(host: &Host, address: Ipv4Addr, folder: &Path, kinds: &[Kind], room_kib: Option<u32>) -> Self {
        fs::create_dir(folder).expect("a folder");
        write_password(folder, PASSWORD);
        let part = |kind: Kind| {
            let own = folder.join(kind.name());
            fs::create_dir_all(own.join("place")).expect("a folder");
            let disk = room_kib.map(|kib| Mount::memory(&own.join("place"), kib));
            Part { kind, server: Server::start(kind, host, address, &own), disk }
        };
        Self { address, folder: folder.to_owned(), parts: kinds.iter().map(|kind| part(*kind)).collect() }
    }

    fn part(&self, kind: Kind) -> &Part {
        self.parts.iter().find(|part| part.kind == kind).expect("a kind of this zone")
    }

    fn server(&mut self, kind: Kind) -> &mut Enclosed {
        let part = self.parts.iter_mut().find(|part| part.kind == kind).expect("a kind of this zone");
        part.server.enclosed().expect("a kind with a server")
    }

    /// Where this process sees what a kind's server shows.
    pub fn root(&self, kind: Kind) -> PathBuf {
        self.folder.join(kind.name()).join("place")
    }

    /// A kind's disk gets room for so many KiB.
    pub fn resize(&self, kind: Kind, kib: u32) {
        self.part(kind).disk.as_ref().expect("a disk").resize(kib);
    }

    /// Changes the password that the relay logs in with.
    pub fn set_password(&self, password: &str) {
        write_password(&self.folder, password);
    }

    /// Ends a kind's server at once.
    pub fn kill(&mut self, kind: Kind) {
        self.server(kind).end_at_once().expect("it ends");
    }

    /// Starts a kind's server once more.
    pub fn start_again(&mut self, kind: Kind) {
        self.server(kind).start_again().unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// The lines of a `[files.blue]` or `[files.red]` table for a folder of the place.
    pub fn lines(&self, kind: Kind, folder: &str) -> String {
        let own = match &self.part(kind).server {
            Server::None => format!("path = \"{}\"\n", self.root(kind).join(folder).display()),
            Server::Ftp(_) if kind == Kind::Ftp => format!("path = \"/mnt/place/{folder}\"\n"),
            Server::Ftp(server) => {
                let certificate = server.certificate();
                format!("path = \"place/{folder}\"\ntls = {{ ca_file = \"{}\" }}\n", certificate.display())
            }
            Server::Smb(_) => format!("share = \"place\"\npath = \"{folder}\"\n"),
            Server::Sftp(server) => {
                format!("path = \"/mnt/place/{folder}\"\nhost_key = \"{}\"\n", server.fingerprint())
            }
        };
        let login = format!(
            "server = \"{}\"\nport = {}\nuser = \"{USER}\"\npassword_file = \"{}\"\n",
            self.address,
            kind.port(),
            self.folder.join("password").display(),
        );
        let login = if kind == Kind::Dir { "" } else { &login };
        format!("kind = \"{}\"\n{login}{own}", kind.name())
    }
}

fn write_password(folder: &Path, password: &str) {
    let path = folder.join("password");
    fs::write(&path, format!("{password}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("possible");
}

/// Makes a folder that belongs to the servers' user.
pub fn make_folder(path: &Path) {
    fs::create_dir(path).expect("a folder");
    own(path);
}

fn own(path: &Path) {
    chown(path, Some(USER_ID), Some(USER_ID)).expect("possible");
    if path.is_dir() {
        fs::read_dir(path).expect("readable").for_each(|entry| own(&entry.expect("readable").path()));
    }
}

/// Places files that belong to the servers' user in a folder, each whole at once.
pub fn place(folder: &Path, files: &Tree) {
    let staging = folder.with_extension("staging");
    rig::place(&staging, files);
    own(&staging);
    for entry in fs::read_dir(&staging).expect("readable") {
        let entry = entry.expect("readable");
        fs::rename(entry.path(), folder.join(entry.file_name())).expect("placed");
    }
    fs::remove_dir(staging).expect("empty");
}
