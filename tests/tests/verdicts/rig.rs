//! Runs packets through the programs in the kernel, without a network.
//!
//! ```text
//! test --BPF_PROG_TEST_RUN--> program as attached by `relay::steer` to one end of a veth pair
//!                                 |-> verdict, counters, events
//! ```
//!
//! The pair lives in a network namespace of the test's own thread and vanishes with it.

use std::{
    ffi::c_void,
    io::{self, Write as _},
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
    process::Command,
    thread,
};

use aya::programs::{ProgramFd, loaded_programs};

/// The end that programs are attached to.
pub const INTERFACE: &str = "xdp0";

/// What a program decided (include/uapi/linux/bpf.h, enum `xdp_action`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Drop = 1,
    Pass = 2,
    Redirect = 4,
}

/// Whether the test may run: it needs root. Without, it says so; under `CI=true` that is a failure.
pub fn is_root_or_skip(test: &str) -> bool {
    // SAFETY: `geteuid` has no preconditions and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        return true;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} needs root, and may not be skipped under CI=true");
    // Past the harness's capture, so that it is seen.
    let _ = writeln!(io::stderr(), "SKIPPED {test}: needs root, for network namespaces and XDP");
    false
}

/// Runs `test` in a thread with a network namespace and a veth pair of its own.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(|| {
        // SAFETY: moves only this thread into a new namespace.
        let moved = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(moved, 0, "unshare: {}", io::Error::last_os_error());
        ip("link set lo up");
        ip(&format!("link add {INTERFACE} type veth peer name {INTERFACE}p"));
        ip(&format!("link set {INTERFACE} up"));
        ip(&format!("link set {INTERFACE}p up"));
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` in this thread's namespace.
pub fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip starts");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The id of the program on an interface, if there is one.
pub fn program_id(interface: &str) -> Option<u32> {
    let shown = ip(&format!("-details link show dev {interface}"));
    let (_, id) = shown.split_once("prog/xdp id ")?;
    id.split_whitespace().next()?.parse().ok()
}

/// A program as the kernel runs it on [`INTERFACE`].
pub struct Program(ProgramFd);

/// Arguments of `BPF_PROG_TEST_RUN` (include/uapi/linux/bpf.h, union `bpf_attr`, `test`). By hand, since aya's
/// own cannot be had for a program that is attached already.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// Command number of `BPF_PROG_TEST_RUN`.
const BPF_PROG_TEST_RUN: libc::c_int = 10;

impl Program {
    pub fn attached() -> Self {
        let id = program_id(INTERFACE).expect("a program is attached");
        let info = loaded_programs()
            .filter_map(Result::ok)
            .find(|info| info.id() == id)
            .expect("the attached program is loaded");
        Self(info.fd().expect("it can be opened"))
    }

    /// Runs one frame through it, as if received on queue 0.
    pub fn run(&self, frame: &[u8]) -> Verdict {
        match self.repeat(frame, 1) {
            1 => Verdict::Drop,
            2 => Verdict::Pass,
            4 => Verdict::Redirect,
            other => panic!("unexpected verdict {other}"),
        }
    }

    /// Runs one frame many times; gives the last verdict.
    pub fn repeat(&self, frame: &[u8], times: u32) -> u32 {
        let mut arguments = TestRun {
            prog_fd: self.0.as_fd().as_raw_fd().unsigned_abs(),
            data_size_in: frame.len() as u32,
            data_in: frame.as_ptr() as u64,
            repeat: times,
            ..TestRun::default()
        };
        // SAFETY: the arguments and the frame that they point to live through the call; nothing else is written.
        let done = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut arguments, size_of::<TestRun>()) };
        assert_eq!(done, 0, "BPF_PROG_TEST_RUN of {} bytes: {}", frame.len(), io::Error::last_os_error());
        arguments.retval
    }
}

/// A real `AF_XDP` socket with as little as the kernel asks for before it lets a program redirect to it: an
/// RX ring. It is bound to nothing, since `BPF_PROG_TEST_RUN` stops at the verdict.
pub fn xdp_socket() -> OwnedFd {
    let entries: u32 = 64;
    // SAFETY: no pointers; the descriptor is owned from here on.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0, "socket(AF_XDP): {}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: the value is four bytes that live through the call.
    let set = unsafe {
        let value: *const c_void = (&raw const entries).cast();
        libc::setsockopt(socket.as_fd().as_raw_fd(), libc::SOL_XDP, libc::XDP_RX_RING, value, 4)
    };
    assert_eq!(set, 0, "setsockopt(XDP_RX_RING): {}", io::Error::last_os_error());
    socket
}
