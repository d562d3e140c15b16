//! Whether somebody has a file open for writing: the kernel gives a read lease only if nobody has.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Is the file, which is open here for reading, open for writing anywhere? Where the kernel may not tell (another user's
/// file without `CAP_LEASE`, a file system without leases), the answer is no: the settling time decides alone.
pub(super) fn is_being_written(file: &File) -> io::Result<bool> {
    match set_lease(file, libc::F_RDLCK) {
        Ok(()) => {
            set_lease(file, libc::F_UNLCK)?;
            Ok(false)
        }
        // fcntl(2), leases: "F_RDLCK can be placed only on a file descriptor ... opened read-only" of a file that nobody writes.
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(true),
        Err(_) => Ok(false),
    }
}

fn set_lease(file: &File, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: F_SETLEASE takes an integer and no pointer; the descriptor is open for as long as `file` is borrowed.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
