//! One small wrapper per system call, and nothing else.
//!
//! Owns: memory mappings and the file descriptors that it hands out. Never retries, never logs, never decides: an
//! error comes back as the kernel's errno, and the caller knows what it was trying to do.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::time::Duration;

use libc::{c_int, c_void};

/// The option number of `XDP_MAX_TX_SKB_BUDGET` (`if_xdp.h`, since Linux 6.17; not yet in the libc crate).
pub(super) const XDP_MAX_TX_SKB_BUDGET: c_int = 9;
/// `ETHTOOL_GCHANNELS` (`ethtool.h`): how many queues of each kind are in use.
const ETHTOOL_GCHANNELS: u32 = 0x3c;
/// Most descriptors that one [`poll_readable`] waits for: more than a lane ever has, and small enough for the stack.
pub(super) const POLL_MAX: usize = 8;

/// A span of memory mapped into this process, unmapped when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is an address range of the process, not of a thread; it has no interior state.
unsafe impl Send for Mapping {}
// SAFETY: a shared `Mapping` only tells its address and length; who may touch the bytes is the owner's business.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// First byte; page-aligned.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: start and len are what mmap returned, and nothing outlives the owner of the mapping.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Turns the "-1 and errno" convention into a `Result`.
fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A `MAP_FAILED` result becomes the errno, anything else a [`Mapping`].
fn mapping(start: *mut c_void, len: usize) -> io::Result<Mapping> {
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::EFAULT))?;
    Ok(Mapping { start, len })
}

/// Maps `len` zeroed bytes of anonymous memory; `flags` may add `MAP_HUGETLB`.
pub(super) fn map_anonymous(len: usize, flags: c_int) -> io::Result<Mapping> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no existing memory.
    let start = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
    mapping(start, len)
}

/// Maps `len` bytes of a ring of the socket `fd`; `offset` is one of the `XDP_*_PGOFF_*` values.
pub(super) fn map_ring(fd: BorrowedFd<'_>, len: usize, offset: i64) -> io::Result<Mapping> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
    // SAFETY: a new mapping at an address of the kernel's choice; the kernel refuses what is not a ring of `fd`.
    let start = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, fd.as_raw_fd(), offset) };
    mapping(start, len)
}

/// Asks for transparent huge pages behind a mapping; true when the kernel took the advice.
pub(super) fn advise_huge(area: &Mapping) -> bool {
    // SAFETY: the range is a live mapping of ours, and this advice changes no content.
    unsafe { libc::madvise(area.start.as_ptr().cast(), area.len, libc::MADV_HUGEPAGE) == 0 }
}

/// Raises this process's limit of locked memory as far as it may. Refusal is no error: with `CAP_IPC_LOCK` the limit
/// does not count, and otherwise the registration of the umem tells.
pub(super) fn raise_memlock() {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the calls only read or fill the local `limit`.
    unsafe {
        if libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) == 0
            || libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) != 0
        {
            return;
        }
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit);
    }
}

/// Opens a socket of the family, closed on exec.
pub(super) fn socket(family: c_int, kind: c_int) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor is new and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets a `SOL_XDP` option. `T` must be the plain C struct (or integer) that the option takes.
pub(super) fn set_option<T: Copy>(fd: BorrowedFd<'_>, option: c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of `value`, which lives through the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, ptr::from_ref(value).cast(), len) })?;
    Ok(())
}

/// Marks the plain C structs that [`get_option`] may fill.
///
/// # Safety
/// Every bit pattern, all zeroes included, must be a valid value.
pub(super) unsafe trait Plain: Copy {}

// SAFETY: integers only.
unsafe impl Plain for libc::xdp_mmap_offsets {}
// SAFETY: integers only.
unsafe impl Plain for libc::xdp_statistics {}
// SAFETY: integers only.
unsafe impl Plain for libc::xdp_options {}

/// Reads a `SOL_XDP` option. Bytes that an older kernel does not know stay zero; `EPROTO` if it fills less than
/// `len_min` bytes.
pub(super) fn get_option<T: Plain>(fd: BorrowedFd<'_>, option: c_int, len_min: usize) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    let target = value.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `len` bytes, the size of `value`.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, target, &raw mut len) })?;
    if (len as usize) < len_min {
        return Err(io::Error::from_raw_os_error(libc::EPROTO));
    }
    // SAFETY: zeroed at first, then filled by the kernel; every bit pattern is valid (`Plain`).
    Ok(unsafe { value.assume_init() })
}

/// Binds an `AF_XDP` socket to one queue of an interface. `flags` are the `XDP_*` bind flags.
pub(super) fn bind_xdp(fd: BorrowedFd<'_>, interface_index: u32, queue: u32, flags: u16) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: interface_index,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    let len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of `address`, which lives through the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(())
}

/// Tells the kernel that descriptors wait in the TX ring. Never blocks, never allocates.
pub(super) fn wake_tx(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an empty message: no memory is passed.
    let sent = unsafe { libc::sendto(fd.as_raw_fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Tells the driver that the fill ring has frames again. Never blocks, never allocates. `ENETDOWN` while the
/// interface is down, `ENXIO` once it is gone (`xsk_check_common`, `net/xdp/xsk.c`).
pub(super) fn wake_rx(fd: BorrowedFd<'_>) -> io::Result<()> {
    let (none, flags) = (ptr::null_mut(), libc::MSG_DONTWAIT);
    // SAFETY: an empty buffer: no memory is passed.
    let received = unsafe { libc::recvfrom(fd.as_raw_fd(), none, 0, flags, ptr::null_mut(), ptr::null_mut()) };
    if received < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits until a descriptor is readable or in error (true) or the time is over (false). Looks at the first
/// [`POLL_MAX`] only.
pub(super) fn poll_readable(fds: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<bool> {
    let mut set = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; POLL_MAX];
    for (entry, fd) in set.iter_mut().zip(fds) {
        entry.fd = fd.as_raw_fd();
    }
    let seconds = timeout.as_secs().min(i32::MAX as u64) as libc::time_t;
    let limit = libc::timespec { tv_sec: seconds, tv_nsec: timeout.subsec_nanos().into() };
    // SAFETY: `set` and `limit` live through the call; entries with fd -1 are skipped by the kernel.
    let ready =
        check(unsafe { libc::ppoll(set.as_mut_ptr(), POLL_MAX as libc::nfds_t, &raw const limit, ptr::null()) })?;
    Ok(ready > 0)
}

/// An interface request with its name filled in. `EINVAL` if the name is empty, too long, or has a NUL.
fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: `ifreq` is plain C data; all zeroes is an empty request.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// Runs one `SIOC*` request on a fresh copy of the interface's request.
fn interface_ioctl(fd: BorrowedFd<'_>, name: &str, call: libc::Ioctl) -> io::Result<libc::ifreq> {
    let mut request = interface_request(name)?;
    // SAFETY: these requests read the name and write the union of `request`, which lives through the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), call, &raw mut request) })?;
    Ok(request)
}

/// Index of an interface (`SIOCGIFINDEX`).
pub(super) fn interface_index(fd: BorrowedFd<'_>, name: &str) -> io::Result<u32> {
    let request = interface_ioctl(fd, name, libc::SIOCGIFINDEX as libc::Ioctl)?;
    // SAFETY: the kernel has just written this member.
    Ok(unsafe { request.ifr_ifru.ifru_ifindex } as u32)
}

/// IP MTU of an interface in bytes (`SIOCGIFMTU`).
pub(super) fn interface_mtu(fd: BorrowedFd<'_>, name: &str) -> io::Result<u32> {
    let request = interface_ioctl(fd, name, libc::SIOCGIFMTU as libc::Ioctl)?;
    // SAFETY: the kernel has just written this member.
    Ok(unsafe { request.ifr_ifru.ifru_mtu } as u32)
}

/// Hardware address of an interface (`SIOCGIFHWADDR`): the first six bytes.
pub(super) fn interface_mac(fd: BorrowedFd<'_>, name: &str) -> io::Result<[u8; 6]> {
    let request = interface_ioctl(fd, name, libc::SIOCGIFHWADDR as libc::Ioctl)?;
    // SAFETY: the kernel has just written this member.
    let data = unsafe { request.ifr_ifru.ifru_hwaddr }.sa_data;
    let mut mac = [0; 6];
    for (to, from) in mac.iter_mut().zip(data) {
        *to = from as u8;
    }
    Ok(mac)
}

/// `struct ethtool_channels` (`ethtool.h`).
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    rx_max: u32,
    tx_max: u32,
    other_max: u32,
    combined_max: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// RX and TX queues in use (`ETHTOOL_GCHANNELS`); many single-queue drivers answer `EOPNOTSUPP`.
pub(super) fn interface_channels(fd: BorrowedFd<'_>, name: &str) -> io::Result<(u32, u32)> {
    let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    // SAFETY: the kernel fills `channels` through the pointer in `request`; both live through the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCETHTOOL as libc::Ioctl, &raw mut request) })?;
    Ok((channels.rx.saturating_add(channels.combined), channels.tx.saturating_add(channels.combined)))
}
