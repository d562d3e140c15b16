//! Opening, renaming and deleting under one folder, and never outside of it.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use crate::files::name::FileName;

/// Stored files: for the owner and its group, before the sender's mode is set.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
/// Made folders: readable as the usual umask leaves them.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o755);
/// `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`: no name leads out, through `..`, a link, or a magic link.
const STAY_INSIDE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// The place's folder.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    handle: OwnedFd,
}

impl Root {
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Self { path, handle })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does the path still lead to this folder?
    pub fn is_current(&self) -> io::Result<bool> {
        let (ours, now) = (rustix::fs::fstat(&self.handle)?, rustix::fs::stat(&self.path)?);
        Ok((ours.st_dev, ours.st_ino) == (now.st_dev, now.st_ino))
    }

    /// Device and inode of a name's folder.
    pub fn folder_mark(&self, name: &FileName) -> io::Result<String> {
        let stat = rustix::fs::fstat(self.folder_of(name)?)?;
        Ok(format!("{}:{}", stat.st_dev, stat.st_ino))
    }

    fn open_inside(&self, name: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat2(&self.handle, name, flags | OFlags::CLOEXEC, mode, STAY_INSIDE)?)
    }

    /// A file to be read. Never waits, not even for a pipe.
    pub fn read(&self, name: &FileName) -> io::Result<File> {
        let file = File::from(self.open_inside(name.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    pub fn metadata(&self, name: &FileName) -> io::Result<Metadata> {
        File::from(self.open_inside(name.as_bytes(), OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?).metadata()
    }

    /// An empty file to be written, and its folders.
    pub fn create(&self, name: &FileName) -> io::Result<File> {
        self.make_folders(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
        Ok(self.open_inside(name.as_bytes(), flags, FILE_MODE)?.into())
    }

    /// Gives a file another name and brings both folders to disk.
    pub fn rename(&self, from: &FileName, to: &FileName) -> io::Result<()> {
        self.make_folders(to)?;
        let (old, new) = (self.folder_of(from)?, self.folder_of(to)?);
        match rustix::fs::renameat_with(&old, from.last(), &new, to.last(), RenameFlags::NOREPLACE) {
            // A file system without that flag (renameat2(2)): a second name, which is never one that is there, then not the first.
            Err(Errno::INVAL) => {
                rustix::fs::linkat(&old, from.last(), &new, to.last(), AtFlags::empty())?;
                rustix::fs::unlinkat(&old, from.last(), AtFlags::empty())?;
            }
            renamed => renamed?,
        }
        rustix::fs::fsync(&new)?;
        if from.folder() != to.folder() {
            rustix::fs::fsync(&old)?;
        }
        Ok(())
    }

    /// Brings the folder of a name to disk: a file that is only itself there may have no name after a crash.
    pub fn sync_folder(&self, name: &FileName) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.folder_of(name)?)?)
    }

    pub fn delete(&self, name: &FileName) -> io::Result<()> {
        let folder = self.folder_of(name)?;
        Ok(rustix::fs::unlinkat(&folder, name.last(), AtFlags::empty())?)
    }

    fn folder_of(&self, name: &FileName) -> io::Result<OwnedFd> {
        let folder = name.folder();
        let path = folder.as_ref().map_or(&b"."[..], FileName::as_bytes);
        self.open_inside(path, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty())
    }

    /// Makes the folders of `name` that are not there, outermost first; the folder above each new one goes to disk.
    fn make_folders(&self, name: &FileName) -> io::Result<()> {
        let Some(folder) = name.folder() else { return Ok(()) };
        match self.folder_of(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found.map(drop),
        }
        self.make_folders(&folder)?;
        let above = self.folder_of(&folder)?;
        match rustix::fs::mkdirat(&above, folder.last(), FOLDER_MODE) {
            // Another file's task was faster.
            Err(Errno::EXIST) => Ok(()),
            made => {
                made?;
                Ok(rustix::fs::fsync(&above)?)
            }
        }
    }
}
