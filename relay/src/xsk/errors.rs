//! What can go wrong with an `AF_XDP` socket, in words that say what to do.
//!
//! Owns: the mapping from (system call, errno) to a cause and a remedy. Never used on the hot path: making one
//! allocates.

use std::fmt;
use std::io;

/// A system call that failed: which, with what, and the kernel's answer.
#[derive(Debug)]
pub struct Call {
    /// For example `bind`.
    pub name: &'static str,
    /// Its arguments that matter: interface, queue, ring, flags.
    pub arguments: String,
    /// The errno.
    pub error: io::Error,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}): {}", self.name, self.arguments, self.error)
    }
}

/// Why a socket could not be opened, or stopped working.
#[derive(Debug, thiserror::Error)]
pub enum XskError {
    /// EPERM, EACCES.
    #[error(
        "{0}. AF_XDP sockets need CAP_NET_RAW (and attaching the XDP programs CAP_NET_ADMIN and CAP_BPF): start as \
         root, give the service these capabilities, or set driver = \"socket\" in the site file"
    )]
    Permission(Call),
    /// The umem could not be pinned: ENOMEM, or ENOBUFS where `RLIMIT_MEMLOCK` is the reason.
    #[error(
        "{0}. The packet memory counts as locked memory: give the service CAP_IPC_LOCK or LimitMEMLOCK=infinity \
         (ulimit -l), or configure fewer frames"
    )]
    Memory(Call),
    /// EBUSY, and still so after the time that a closing socket may take.
    #[error(
        "{call}. Another AF_XDP socket holds this queue (waited {waited_ms} ms for it): stop the other program (another \
         relay?), or use another queue"
    )]
    Busy {
        /// The `bind`.
        call: Call,
        /// How long it was retried, in milliseconds.
        waited_ms: u64,
    },
    /// The kernel or the driver cannot do it: EOPNOTSUPP, EAFNOSUPPORT, EPROTO.
    #[error(
        "{0}. This kernel or driver lacks AF_XDP or the part of it that is used here (Linux 5.4 or later with \
         CONFIG_XDP_SOCKETS=y): update it, or set driver = \"socket\" in the site file"
    )]
    Unsupported(Call),
    /// ENODEV, ENXIO: no such interface here, or it went away.
    #[error(
        "{0}. There is no such interface in this network namespace (any more): check its name in the site file \
         against `ip link`"
    )]
    NoInterface(Call),
    /// ENETDOWN: the interface is there, but down.
    #[error("{0}. The interface is down: bring it up (`ip link set dev NAME up`)")]
    Down(Call),
    /// Any other errno.
    #[error("{0}")]
    System(Call),
    /// The configuration asks for what cannot be.
    #[error("{what}: {remedy}")]
    Config {
        /// What is wrong, with the value.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// Packets of the interface's MTU do not fit a frame, and packets over several frames are off or unavailable.
    #[error(
        "interface {interface} has an MTU of {mtu}, so packets of up to {needed} bytes, but one frame takes \
         {packet_max} bytes and packets over several frames (multi-buffer) are {multi_buffer}: lower the MTU to \
         {mtu_max} (`ip link set dev {interface} mtu {mtu_max}`){alternative}"
    )]
    Mtu {
        /// The interface.
        interface: String,
        /// Its IP MTU in bytes.
        mtu: u32,
        /// Bytes of its longest Ethernet frame.
        needed: u32,
        /// Bytes that one frame of the umem takes.
        packet_max: u32,
        /// The largest MTU that fits.
        mtu_max: u32,
        /// "off" or "refused by the kernel".
        multi_buffer: &'static str,
        /// Another remedy, or nothing.
        alternative: &'static str,
    },
}

impl XskError {
    /// Names the cause of a failed system call by its errno.
    pub(super) fn system(name: &'static str, arguments: impl Into<String>, error: io::Error) -> Self {
        let errno = error.raw_os_error().unwrap_or(0);
        let call = Call { name, arguments: arguments.into(), error };
        match errno {
            libc::EPERM | libc::EACCES => Self::Permission(call),
            libc::ENOMEM | libc::ENOBUFS => Self::Memory(call),
            libc::EBUSY => Self::Busy { call, waited_ms: 0 },
            libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTO => Self::Unsupported(call),
            libc::ENODEV | libc::ENXIO => Self::NoInterface(call),
            libc::ENETDOWN => Self::Down(call),
            _ => Self::System(call),
        }
    }

    /// Names the cause of a failed system call on a packet socket by its errno.
    pub(crate) fn packet_socket(name: &'static str, interface: &str, error: io::Error) -> Self {
        match Self::system(name, format!("packet socket, interface {interface}"), error) {
            // What these advise is about AF_XDP.
            Self::Memory(call) | Self::Busy { call, .. } | Self::Unsupported(call) => Self::System(call),
            named => named,
        }
    }

    /// A setting that cannot work.
    pub(super) fn config(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Config { what: what.into(), remedy: remedy.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(errno: i32) -> String {
        let error = io::Error::from_raw_os_error(errno);
        XskError::system("bind", "interface blu1, queue 0", error).to_string()
    }

    #[test]
    fn each_cause_names_the_call_and_its_remedy() {
        let expected = [
            (libc::EPERM, "CAP_NET_RAW"),
            (libc::EPERM, "driver = \"socket\""),
            (libc::ENOMEM, "CAP_IPC_LOCK"),
            (libc::ENOBUFS, "LimitMEMLOCK=infinity"),
            (libc::EBUSY, "Another AF_XDP socket"),
            (libc::EOPNOTSUPP, "driver = \"socket\""),
            (libc::EAFNOSUPPORT, "CONFIG_XDP_SOCKETS"),
            (libc::ENODEV, "ip link"),
            (libc::ENETDOWN, "is down"),
            (libc::EINVAL, "Invalid argument"),
        ];
        for (errno, part) in expected {
            let text = text(errno);
            assert!(text.starts_with("bind(interface blu1, queue 0): "), "{text}");
            assert!(text.contains(part), "errno {errno}: {text}");
        }
    }
}
