//! One small wrapper per system call: the crate's only `unsafe` besides the child's way into its namespace.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Words of a request to [`ethtool`]: a header and 256 names of features.
pub(crate) const ETHTOOL_WORDS: usize = 3 + 256 * 8;

/// `CLOCK_MONOTONIC` in nanoseconds: one clock for every namespace of a kernel, and for every process.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call, which only writes it; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Processor time of the calling thread, to the nanosecond: what the kernel did in its context for others, too.
pub(crate) fn thread_cpu_time() -> Duration {
    // The clock always exists.
    clock(libc::CLOCK_THREAD_CPUTIME_ID).unwrap_or_default()
}

/// Processor time of a process, all threads together, to the nanosecond. Kernel threads are processes as well.
pub(crate) fn process_cpu_time(process: u32) -> io::Result<Duration> {
    let mut id = 0;
    // SAFETY: the call only writes `id`, which outlives it.
    let error = unsafe { libc::clock_getcpuclockid(process as i32, &raw mut id) };
    if error == 0 { clock(id) } else { Err(io::Error::from_raw_os_error(error)) }
}

fn clock(id: libc::clockid_t) -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call, which only writes it.
    check(unsafe { libc::clock_gettime(id, &raw mut time) })?;
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Sleeps until `CLOCK_MONOTONIC` reads `deadline_ns`. A signal may end it early.
pub(crate) fn sleep_until(deadline_ns: u64) {
    let time = libc::timespec {
        tv_sec: (deadline_ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (deadline_ns % 1_000_000_000) as libc::c_long,
    };
    // SAFETY: `time` is valid for the call; no remaining time is asked for with an absolute deadline.
    unsafe {
        libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const time, std::ptr::null_mut());
    }
}

/// Lets this thread's timers fire on time instead of up to 50 us late (`PR_SET_TIMERSLACK`).
pub(crate) fn precise_timers() {
    // SAFETY: changes a property of the calling thread only.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
}

/// Opens a packet socket on an interface of the calling thread's namespace. It hears every frame if `listens`, else none;
/// it sends in both cases.
pub(crate) fn packet_socket(interface: &CStr, listens: bool) -> io::Result<OwnedFd> {
    let protocol = if listens { (libc::ETH_P_ALL as u16).to_be() } else { 0 };
    // SAFETY: plain numbers in, a new descriptor out.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(protocol)) };
    check(fd)?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zeroes is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    // SAFETY: a C string that outlives the call.
    address.sll_ifindex = unsafe { libc::if_nametoindex(interface.as_ptr()) } as i32;
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address outlives the call and its size is given.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(socket)
}

/// Sends one packet.
pub(crate) fn send(socket: impl AsFd, packet: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel only reads the slice, whose size is given.
    let sent = unsafe { libc::send(socket.as_fd().as_raw_fd(), packet.as_ptr().cast(), packet.len(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes one packet without waiting; gives its length, `None` when there is none.
pub(crate) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most the slice's size.
    let len = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
    if len >= 0 {
        return Ok(Some(len as usize));
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) }
}

/// Gives the calling thread a new network namespace and returns its handle. The thread stays in it.
pub(crate) fn unshare_network() -> io::Result<OwnedFd> {
    // SAFETY: changes the calling thread's namespace only, no memory.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

/// Moves the calling thread into a network namespace. Safe between fork and exec: a plain system call.
pub(crate) fn enter_network(netns: BorrowedFd) -> io::Result<()> {
    // SAFETY: changes the calling thread's namespace only, no memory.
    check(unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Between fork and exec: the kernel kills this process when `parent` ends, however it ends.
///
/// The signal follows the *thread* that forked, which must therefore live as long as its process.
pub(crate) fn die_with(parent: u32) -> io::Result<()> {
    // SAFETY: both calls touch no memory.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) })?;
    // SAFETY: as above. It may have ended before the request was in force.
    if unsafe { libc::getppid() } as u32 == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
}

/// Between fork and exec: mounts a `/sys` that shows this network namespace's interfaces, for this process alone.
///
/// Best effort: without the right to mount, programs only miss `/sys/class/net`.
pub(crate) fn mount_own_sysfs() {
    let none = std::ptr::null();
    // SAFETY: constant C strings; the mount namespace is private to this process before anything is mounted.
    unsafe {
        if libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), none, libc::MS_SLAVE | libc::MS_REC, none.cast()) == 0
        {
            libc::mount(c"sysfs".as_ptr(), c"/sys".as_ptr(), c"sysfs".as_ptr(), 0, none.cast());
        }
    }
}

/// Sends `signal` to a process, or to its whole group when `pid` is negative.
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::kill(pid, signal) })
}

/// A handle on a process that becomes readable when the process ends.
pub(crate) fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers in, a new descriptor out.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    check(fd as i32)?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Waits until `fd` is readable; false when `timeout` passed (rounded up to milliseconds) or a signal came.
pub(crate) fn wait_readable(fd: impl AsFd, timeout: Duration) -> bool {
    let timeout_ms = timeout.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
    let mut poll = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd that outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, timeout_ms) == 1 }
}

/// Asks the driver of an interface of the calling thread's namespace (`SIOCETHTOOL`); the answer takes the request's place.
///
/// The request is a command of linux/ethtool.h about features, of which there is room for four times as many as Linux has: the
/// kernel writes all of them, whatever the room.
pub(crate) fn ethtool(interface: &str, request: &mut [u32; ETHTOOL_WORDS]) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0))?;
    // SAFETY: all zeroes is a valid ifreq.
    let mut asked: libc::ifreq = unsafe { std::mem::zeroed() };
    let last = asked.ifr_name.len() - 1;
    for (to, from) in asked.ifr_name[..last].iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    asked.ifr_ifru.ifru_data = request.as_mut_ptr().cast();
    // SAFETY: both structs outlive the call, and the request has room for whatever there is about features.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as libc::Ioctl, &raw mut asked) })
}

/// Sets an integer socket option of level `SOL_SOCKET`.
pub(crate) fn set_socket_option(socket: impl AsFd, option: i32, value: i32) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, option, value)
}

/// Sets an integer socket option of level `SOL_UDP`, see udp(7).
pub(crate) fn set_udp_option(socket: impl AsFd, option: i32, value: i32) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, option, value)
}

fn set_option(socket: impl AsFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the value outlives the call and its size is given.
    check(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    })
}

/// Has a TCP socket's close reset the connection: `SO_LINGER` of zero, see socket(7).
pub(crate) fn reset_when_closed(socket: impl AsFd) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the option's value is a `linger` that outlives the call, and its size is given.
    check(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    })
}

/// Datagrams that the kernel dropped at this socket, its buffer being full: the counter behind `SO_RXQ_OVFL`,
/// read through `SO_MEMINFO` because that also tells of drops after the last datagram that was received.
pub(crate) fn socket_drops(socket: impl AsFd) -> io::Result<u64> {
    // SK_MEMINFO_DROPS and SK_MEMINFO_VARS of linux/sock_diag.h.
    const DROPS: usize = 8;
    const VARS: usize = 9;
    let mut info = [0_u32; VARS];
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the buffer outlives the call, which writes at most `len` bytes.
    check(unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    })?;
    Ok(u64::from(info[DROPS]))
}

/// Sends each buffer as one datagram over a connected socket; gives how many were sent, at least one.
pub(crate) fn send_many<'a>(socket: impl AsFd, buffers: impl Iterator<Item = &'a [u8]>) -> io::Result<usize> {
    let mut parts: Vec<libc::iovec> = buffers
        .map(|buffer| libc::iovec { iov_base: buffer.as_ptr().cast_mut().cast(), iov_len: buffer.len() })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = parts.iter_mut().map(message).collect();
    // SAFETY: every header points to an iovec in `parts`, and that to a buffer borrowed for 'a; sending only reads.
    let sent =
        unsafe { libc::sendmmsg(socket.as_fd().as_raw_fd(), messages.as_mut_ptr(), messages.len() as libc::c_uint, 0) };
    check(sent)?;
    Ok(sent as usize)
}

/// A message of one part and no address.
fn message(part: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all zeroes is a valid mmsghdr: null pointers with zero lengths.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_iov = part;
    message.msg_hdr.msg_iovlen = 1;
    message
}

/// Buffers for receiving many datagrams with one system call.
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    size: usize,
    addresses: Vec<libc::sockaddr_storage>,
    lengths: Vec<usize>,
}

impl Inbox {
    /// Datagrams taken by one call: enough to keep up at a million a second with wake-ups of 50 us.
    const COUNT: usize = 64;
    /// The longest datagram that UDP has.
    const SIZE: usize = 65_536;

    /// For datagrams of any length.
    pub(crate) fn new() -> Self {
        Self::for_size(Self::SIZE)
    }

    /// For datagrams of at most `size` bytes; longer ones are cut. Small buffers stay in the cache.
    pub(crate) fn for_size(size: usize) -> Self {
        // SAFETY: all zeroes is a valid sockaddr_storage (AF_UNSPEC).
        let address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        Self {
            bytes: vec![0; Self::COUNT * size],
            size,
            addresses: vec![address; Self::COUNT],
            lengths: Vec::with_capacity(Self::COUNT),
        }
    }

    /// Takes what is there without waiting; gives how many, 0 when there is nothing.
    pub(crate) fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        self.lengths.clear();
        let mut parts: Vec<libc::iovec> = self
            .bytes
            .chunks_exact_mut(self.size)
            .map(|chunk| libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: chunk.len() })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = parts.iter_mut().map(message).collect();
        for (message, address) in messages.iter_mut().zip(&mut self.addresses) {
            message.msg_hdr.msg_name = std::ptr::from_mut(address).cast();
            message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        }
        // SAFETY: every header points to an iovec in `parts` and an address of our own, and each iovec to its own
        // chunk of `bytes`; all outlive the call. No timeout is given.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        match check(count) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            other => other?,
        }
        let received = &messages[..count as usize];
        self.lengths.extend(received.iter().map(|message| message.msg_len as usize));
        Ok(received.len())
    }

    /// The datagrams of the last call with their senders.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (&[u8], Option<std::net::SocketAddr>)> {
        let chunks = self.bytes.chunks_exact(self.size);
        self.lengths
            .iter()
            .zip(chunks)
            .zip(&self.addresses)
            .map(|((len, chunk), address)| (&chunk[..*len], socket_address(address)))
    }
}

fn socket_address(storage: &libc::sockaddr_storage) -> Option<std::net::SocketAddr> {
    let pointer = std::ptr::from_ref(storage);
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage, which is large enough and aligned for any, holds this type.
            let address = unsafe { &*pointer.cast::<libc::sockaddr_in>() };
            let ip = std::net::Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Some((ip, u16::from_be(address.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let address = unsafe { &*pointer.cast::<libc::sockaddr_in6>() };
            let ip = std::net::Ipv6Addr::from(address.sin6_addr.s6_addr);
            Some((ip, u16::from_be(address.sin6_port)).into())
        }
        _ => None,
    }
}

/// Blocks `signals` in this thread and all that it starts from now on; gives the set to wait for.
pub(crate) fn block_signals(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: all zeroes is a valid set on Linux, and every pointer is to this local; signal numbers are constants.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        set
    }
}

/// Between fork and exec: takes every signal again, since a program inherits what its parent blocks.
pub(crate) fn unblock_signals() {
    // SAFETY: all zeroes is a valid set on Linux, and the pointer is to this local.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Waits for one of the blocked signals of `set`; gives its number.
pub(crate) fn wait_signal(set: &libc::sigset_t) -> i32 {
    let mut signal = 0;
    // SAFETY: both pointers are valid for the call.
    unsafe { libc::sigwait(set, &raw mut signal) };
    signal
}

/// Effective user id 0, inside or outside a user namespace.
pub(crate) fn is_root() -> bool {
    // SAFETY: always succeeds and touches no memory.
    unsafe { libc::geteuid() == 0 }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
