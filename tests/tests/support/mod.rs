//! Two hosts on one veth cable, and the smallest XDP program that redirects to `AF_XDP`, loaded by bpf(2).
//!
//! ```text
//!   namespace xsk-a-PID-N                 namespace xsk-b-PID-N
//!     veth "a"  ==========================  veth "b" + XDP: redirect to XSKMAP[rx queue], else pass
//! ```

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// Runs a command, panics with its output if it fails.
pub fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().expect("sh starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{command}` failed: {text}");
    text
}

/// True if the tests may run. Without root they are skipped with a visible reason, which is a failure under CI=true.
pub fn may_run(test: &str) -> bool {
    // SAFETY: no memory is passed.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{test}: needs root, and CI=true forbids skipping");
        eprintln!("SKIPPED {test}: needs root for network namespaces and XDP");
    }
    root
}

/// Two namespaces joined by a veth pair; gone when dropped.
pub struct Cable {
    a: String,
    b: String,
}

impl Cable {
    /// `queues` RX and TX queues on each end, without IPv6 and ARP so that only the test's packets cross.
    pub fn new(mtu: u32, queues: u32) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |end: &str| format!("xsk-{end}-{}-{number}", std::process::id());
        let cable = Self { a: name("a"), b: name("b") };
        let (a, b) = (&cable.a, &cable.b);
        run(&format!("ip netns add {a} && ip netns add {b}"));
        for end in [a, b] {
            run(&format!("ip netns exec {end} sysctl -qw net.ipv6.conf.default.disable_ipv6=1"));
        }
        let ends = format!("numrxqueues {queues} numtxqueues {queues} mtu {mtu}");
        run(&format!("ip -n {a} link add name a {ends} type veth peer name b netns {b} {ends}"));
        run(&format!("ip -n {a} link set dev a arp off up && ip -n {b} link set dev b arp off up"));
        cable
    }

    /// Runs a shell command at the sending end.
    pub fn at_a(&self, command: &str) -> String {
        run(&format!("ip netns exec {} sh -c '{command}'", self.a))
    }

    /// Runs a shell command at the receiving end.
    pub fn at_b(&self, command: &str) -> String {
        run(&format!("ip netns exec {} sh -c '{command}'", self.b))
    }

    /// Calls `f` in the sending end's namespace.
    pub fn in_a<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        inside(&self.a, f)
    }

    /// Calls `f` in the receiving end's namespace.
    pub fn in_b<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        inside(&self.b, f)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for end in [&self.a, &self.b] {
            let _gone = Command::new("ip").args(["netns", "del", end]).status();
        }
    }
}

/// Calls `f` on a thread of its own inside a namespace, so that the caller's thread never leaves its own.
fn inside<T: Send>(namespace: &str, f: impl FnOnce() -> T + Send) -> T {
    let file = File::open(format!("/run/netns/{namespace}")).expect("the namespace exists");
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            // SAFETY: no memory is passed; only this thread moves.
            let moved = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(moved, 0, "setns: {}", io::Error::last_os_error());
            f()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

// From linux/bpf.h.
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
const BPF_PSEUDO_MAP_FD: u8 = 1;
const BPF_FUNC_REDIRECT_MAP: i32 = 51;
const XDP_PASS: i32 = 2;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// bpf(2) with a zero-padded attribute; a negative result panics.
fn bpf<T>(command: libc::c_int, attribute: &T) -> libc::c_int {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `attribute` and what it points to, all alive through the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attribute, size_of::<T>()) };
    assert!(result >= 0, "bpf({command}): {}", io::Error::last_os_error());
    result as libc::c_int
}

fn bpf_fd<T>(command: libc::c_int, attribute: &T) -> OwnedFd {
    let fd = bpf(command, attribute);
    // SAFETY: the command returns a new descriptor, ours alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// One instruction (`struct bpf_insn`).
fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    let registers = source << 4 | destination;
    u64::from(code) | u64::from(registers) << 8 | u64::from(offset as u16) << 16 | u64::from(immediate as u32) << 32
}

/// An attached program and its XSKMAP; detached when dropped.
pub struct Redirect {
    map: OwnedFd,
    _program: OwnedFd,
    _link: OwnedFd,
}

impl Redirect {
    /// Attaches to the interface of this index in the calling thread's namespace, in driver mode.
    pub fn attach(interface_index: u32) -> Self {
        let map = bpf_fd(BPF_MAP_CREATE, &[BPF_MAP_TYPE_XSKMAP, 4, 4, 64, 0]);
        let code = [
            instruction(0x61, 2, 1, 16, 0),                              // r2 = ctx->rx_queue_index
            instruction(0x18, 1, BPF_PSEUDO_MAP_FD, 0, map.as_raw_fd()), // r1 = map
            instruction(0, 0, 0, 0, 0),                                  //      (second half)
            instruction(0xb7, 3, 0, 0, XDP_PASS),                        // r3 = XDP_PASS
            instruction(0x85, 0, 0, 0, BPF_FUNC_REDIRECT_MAP),           // r0 = bpf_redirect_map(r1, r2, r3)
            instruction(0x95, 0, 0, 0, 0),                               // return r0
        ];
        let program = load(&code);
        let link = bpf_fd(BPF_LINK_CREATE, &[program.as_raw_fd() as u32, interface_index, BPF_XDP, XDP_FLAGS_DRV_MODE]);
        Self { map, _program: program, _link: link }
    }

    /// Sends the packets of a queue to a socket.
    pub fn set(&self, queue: u32, socket: BorrowedFd<'_>) {
        #[repr(C)]
        struct Update {
            map: u32,
            _pad: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let value = socket.as_raw_fd() as u32;
        let (key, value) = ((&raw const queue) as u64, (&raw const value) as u64);
        bpf(BPF_MAP_UPDATE_ELEM, &Update { map: self.map.as_raw_fd() as u32, _pad: 0, key, value, flags: 0 });
    }
}

/// Loads an `xdp.frags` program.
fn load(code: &[u64]) -> OwnedFd {
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        code: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
        name: [u8; 16],
        interface_index: u32,
        attach_type: u32,
    }
    let load = Load {
        kind: BPF_PROG_TYPE_XDP,
        count: code.len() as u32,
        code: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: BPF_F_XDP_HAS_FRAGS,
        name: *b"xsk_test\0\0\0\0\0\0\0\0",
        interface_index: 0,
        attach_type: BPF_XDP,
    };
    bpf_fd(BPF_PROG_LOAD, &load)
}
