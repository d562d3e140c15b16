//! Whether somebody has a file open for writing: the kernel gives a read lease only if nobody has.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use crate::files::endpoint::Writers;

/// Who has the file, which is open here for reading, open for writing? The kernel tells of other users' files only with
/// `CAP_LEASE`, and of no file of a file system without leases.
pub(super) fn writers(file: &File) -> io::Result<Writers> {
    match set_lease(file, libc::F_RDLCK) {
        Ok(()) => {
            set_lease(file, libc::F_UNLCK)?;
            Ok(Writers::Nobody)
        }
        // fcntl(2), leases: "F_RDLCK can be placed only on a file descriptor ... opened read-only" of a file that nobody writes.
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(Writers::Somebody),
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            Ok(Writers::Untold(format!("{error}: it is another user's, and the relay has no CAP_LEASE")))
        }
        Err(error) => Ok(Writers::Untold(error.to_string())),
    }
}

fn set_lease(file: &File, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: F_SETLEASE takes an integer and no pointer; the descriptor is open for as long as `file` is borrowed.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
