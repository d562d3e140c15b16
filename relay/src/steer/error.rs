//! What can go wrong with the XDP programs, and what to do about it.

use std::{fs, io, net::IpAddr};

use aya::{
    EbpfError,
    maps::MapError,
    programs::{ProgramError, xdp::XdpError},
    sys::SyscallError,
};
use relay_ebpf::{QUEUES_MAX, SOURCES_PER_FAMILY_MAX, STREAMS_MAX};
use thiserror::Error;

/// An XDP program could not be loaded, attached or fed.
#[derive(Debug, Error)]
pub enum SteerError {
    /// The process may not load BPF programs or attach them.
    #[error(
        "XDP on {interface} is not permitted: {missing}; start the relay as root, or give its service \
         AmbientCapabilities=CAP_BPF CAP_PERFMON CAP_NET_ADMIN CAP_NET_RAW, or set driver = \"socket\" in the site file"
    )]
    Privilege {
        /// Interface that the program was meant for.
        interface: String,
        /// The capabilities that are missing, as text.
        missing: String,
    },
    /// No such interface in this network namespace.
    #[error("interface {interface} does not exist; `ip link` lists those that do")]
    NoInterface {
        /// Name that was looked for.
        interface: String,
    },
    /// Another XDP program is there already.
    #[error(
        "{interface} has another XDP program; stop the process that it belongs to, or remove it with \
         `ip link set dev {interface} xdp off`"
    )]
    Occupied {
        /// Interface that is taken.
        interface: String,
    },
    /// Neither the driver nor the generic hook takes the program.
    #[error(
        "{interface} does not take an XDP program, neither in its driver ({native}) nor in the generic hook \
         ({generic}); use another interface, or set driver = \"socket\" in the site file"
    )]
    NoXdp {
        /// Interface that was tried.
        interface: String,
        /// Answer of the native attempt.
        native: Box<ProgramError>,
        /// Answer of the generic attempt.
        generic: Box<ProgramError>,
    },
    /// The kernel does not accept the object or the program.
    #[error(
        "the kernel refuses the XDP program {program}: {source}; Linux 5.18 or newer is needed, or set \
         driver = \"socket\" in the site file"
    )]
    Refused {
        /// Name of the program.
        program: &'static str,
        /// The kernel's or the loader's answer.
        source: Box<EbpfError>,
    },
    /// A map of the loaded programs could not be read or written.
    #[error("cannot {action} the XDP map {map}: {source}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// What was tried.
        action: &'static str,
        /// The kernel's answer.
        source: MapError,
    },
    /// The embedded object lacks a program or map: it was built from other sources.
    #[error("the embedded XDP object has no {name}; run: cargo xtask build-ebpf, then build again")]
    NotInObject {
        /// What is lacking.
        name: &'static str,
    },
    /// A rule's slot has no counters.
    #[error("stream slot {slot} is out of range: slots are 0 to {}", STREAMS_MAX - 1)]
    SlotOutOfRange {
        /// The slot asked for.
        slot: u32,
    },
    /// More rules than the stream table holds.
    #[error("{count} streams are too many: one host can have {STREAMS_MAX}")]
    TooManyStreams {
        /// How many were given.
        count: usize,
    },
    /// More source prefixes than the tries are made for.
    #[error("{count} source prefixes of one address family are too many: the limit is {SOURCES_PER_FAMILY_MAX}")]
    TooManySources {
        /// How many were given.
        count: usize,
    },
    /// Two rules claim the same port.
    #[error("port {port}/{protocol} belongs to two streams; give each its own")]
    DuplicatePort {
        /// "udp" or "tcp".
        protocol: &'static str,
        /// The port.
        port: u16,
    },
    /// A prefix length that the address family does not have.
    #[error("{address}/{prefix_len} is no prefix: the length is too large")]
    PrefixTooLong {
        /// Address part.
        address: IpAddr,
        /// Length in bits.
        prefix_len: u8,
    },
    /// A queue number that the socket map has no place for.
    #[error("receive queue {queue} is out of range: queues are 0 to {}", QUEUES_MAX - 1)]
    QueueOutOfRange {
        /// The queue asked for.
        queue: u32,
    },
}

impl SteerError {
    /// An error of loading `program` for `interface`.
    pub(super) fn load(interface: &str, program: &'static str, error: EbpfError) -> Self {
        if is_permission(os_error(&error)) {
            Self::privilege(interface)
        } else {
            Self::Refused { program, source: Box::new(error) }
        }
    }

    /// Names the capabilities that this process lacks.
    pub(super) fn privilege(interface: &str) -> Self {
        Self::Privilege { interface: interface.to_owned(), missing: missing_capabilities(effective_capabilities()) }
    }
}

/// Whether an error number means a lack of privilege. EPERM does. EACCES is the verifier's answer to any
/// program that it does not accept, and it accepts less where `CAP_PERFMON` is missing.
pub(super) fn is_permission(number: Option<i32>) -> bool {
    match number {
        Some(libc::EPERM) => true,
        Some(libc::EACCES) => effective_capabilities().is_some_and(|held| !missing(held).is_empty()),
        _ => false,
    }
}

/// The error number of a program operation, if the kernel gave one.
pub(super) fn program_os_error(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::LoadError { io_error, .. } => io_error.raw_os_error(),
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::MapError(error) => map_os_error(error),
        ProgramError::XdpError(XdpError::NetlinkError(error)) => error.raw_os_error(),
        _ => None,
    }
}

fn os_error(error: &EbpfError) -> Option<i32> {
    match error {
        EbpfError::MapError(error) => map_os_error(error),
        EbpfError::ProgramError(error) => program_os_error(error),
        _ => None,
    }
}

fn map_os_error(error: &MapError) -> Option<i32> {
    match error {
        MapError::CreateError { io_error, .. }
        | MapError::IoError(io_error)
        | MapError::SyscallError(SyscallError { io_error, .. }) => io_error.raw_os_error(),
        _ => None,
    }
}

/// `CapEff` of this thread (proc(5)); none if it cannot be read.
fn effective_capabilities() -> Option<u64> {
    let status: io::Result<String> = fs::read_to_string("/proc/thread-self/status");
    let status = status.ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// What XDP needs, with the bit numbers of include/uapi/linux/capability.h. `CAP_PERFMON` is for reading packets
/// at offsets that the packet itself gives: the verifier takes that for a speculation risk otherwise.
const CAPABILITIES: [(&str, u64); 3] = [("CAP_BPF", 1 << 39), ("CAP_PERFMON", 1 << 38), ("CAP_NET_ADMIN", 1 << 12)];

/// Stands in for `CAP_BPF` and `CAP_PERFMON`, which were split off from it.
const CAP_SYS_ADMIN: u64 = 1 << 21;

/// The names of those that a capability set lacks.
fn missing(held: u64) -> Vec<&'static str> {
    let is_missing = |(name, bit): &(&'static str, u64)| {
        let stand_in = if *name == "CAP_NET_ADMIN" { 0 } else { CAP_SYS_ADMIN };
        (held & (bit | stand_in) == 0).then_some(*name)
    };
    CAPABILITIES.iter().filter_map(is_missing).collect()
}

fn missing_capabilities(held: Option<u64>) -> String {
    match held.map(missing).unwrap_or_default().as_slice() {
        // A user namespace's root has the bits, but not where the kernel looks for them.
        [] => format!("{} are needed, outside of any user namespace", CAPABILITIES.map(|(name, _)| name).join(", ")),
        [one] => format!("{one} is missing"),
        several => format!("{} are missing", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{SteerError, missing_capabilities};

    #[test]
    fn the_missing_capabilities_are_named() {
        let (bpf, perfmon, net_admin, sys_admin) = (1 << 39, 1 << 38, 1 << 12, 1 << 21);
        assert_eq!(missing_capabilities(Some(0)), "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN are missing");
        assert_eq!(missing_capabilities(Some(bpf | net_admin)), "CAP_PERFMON is missing");
        assert_eq!(missing_capabilities(Some(bpf | perfmon)), "CAP_NET_ADMIN is missing");
        assert_eq!(missing_capabilities(Some(sys_admin)), "CAP_NET_ADMIN is missing");
        assert!(missing_capabilities(Some(sys_admin | net_admin)).contains("user namespace"));
        assert!(missing_capabilities(None).contains("CAP_BPF"));
    }

    #[test]
    fn a_lack_of_privilege_names_the_alternative() {
        let text = SteerError::privilege("eth0").to_string();
        assert!(text.contains("eth0"), "{text}");
        assert!(text.contains("CAP_BPF"), "{text}");
        assert!(text.contains("driver = \"socket\""), "{text}");
    }
}
