//! One loaded and attached program with its socket map: what all roles have in common.

use std::{
    ffi::CString,
    fmt,
    ops::AddAssign,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use aya::{
    Ebpf, EbpfLoader, Pod, include_bytes_aligned,
    maps::{Array, Map, MapData, MapError, PerCpuArray, XskMap},
    programs::{Program, ProgramError, Xdp, XdpMode, xdp::XdpLink},
};
use relay_ebpf::QUEUES_MAX;

use super::error::{SteerError, is_permission, program_os_error};

/// All programs and maps; each role loads its own copy. Aligned, as the ELF parser asks for.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/relay.o"));

/// Where the kernel runs the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel makes a socket buffer.
    Native,
    /// After that, at several times the cost: the driver has no XDP support.
    Generic,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// A program that has passed the verifier, and its maps.
pub(super) struct Loaded {
    ebpf: Ebpf,
    interface: String,
    if_index: u32,
    program: &'static str,
}

/// A program at work on an interface.
pub(super) struct Attached {
    /// Detaches the program when it is dropped, or closed by the kernel at the process's end.
    _link: XdpLink,
    /// Keeps the maps that nobody took.
    _ebpf: Ebpf,
    sockets: XskMap<MapData>,
    mode: Mode,
}

impl Loaded {
    /// Loads the object's `program` for `interface`; nothing is attached yet.
    pub(super) fn new(interface: &str, program: &'static str) -> Result<Self, SteerError> {
        let if_index =
            interface_index(interface).ok_or_else(|| SteerError::NoInterface { interface: interface.to_owned() })?;
        let ebpf = EbpfLoader::new().load(OBJECT).map_err(|error| SteerError::load(interface, program, error))?;
        let mut loaded = Self { ebpf, interface: interface.to_owned(), if_index, program };
        loaded.xdp()?.load().map_err(|error| SteerError::load(interface, program, error.into()))?;
        Ok(loaded)
    }

    /// Takes a map out of the object.
    pub(super) fn map<M>(&mut self, name: &'static str) -> Result<M, SteerError>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        let map = self.ebpf.take_map(name).ok_or(SteerError::NotInObject { name })?;
        M::try_from(map).map_err(|source| SteerError::Map { map: name, action: "use", source })
    }

    /// Writes a program's configuration, the only entry of its array.
    pub(super) fn configure<T: Pod>(&mut self, name: &'static str, config: T) -> Result<(), SteerError> {
        let mut array: Array<MapData, T> = self.map(name)?;
        array.set(0, config, 0).map_err(|source| SteerError::Map { map: name, action: "configure", source })
    }

    /// Attaches in the driver, or in the generic hook where that is not to be had.
    pub(super) fn attach(mut self) -> Result<Attached, SteerError> {
        let sockets = self.map("SOCKETS")?;
        let (link, mode) = match self.try_attach(XdpMode::Driver)? {
            Ok(link) => (link, Mode::Native),
            Err(native) => match self.try_attach(XdpMode::Skb)? {
                Ok(link) => (link, Mode::Generic),
                Err(generic) => {
                    return Err(SteerError::NoXdp {
                        interface: self.interface,
                        native: Box::new(native),
                        generic: Box::new(generic),
                    });
                }
            },
        };
        Ok(Attached { _link: link, _ebpf: self.ebpf, sockets, mode })
    }

    /// One attempt. The outer error is one that another mode would meet as well.
    fn try_attach(&mut self, mode: XdpMode) -> Result<Result<XdpLink, ProgramError>, SteerError> {
        let if_index = self.if_index;
        let xdp = self.xdp()?;
        let error = match xdp.attach_to_if_index(if_index, mode) {
            Ok(id) => match xdp.take_link(id) {
                Ok(link) => return Ok(Ok(link)),
                Err(error) => error,
            },
            Err(error) => error,
        };
        let interface = self.interface.clone();
        match program_os_error(&error) {
            // dev_xdp_attach() in net/core/dev.c: a program in this mode, or in the other one.
            Some(libc::EBUSY | libc::EEXIST) => Err(SteerError::Occupied { interface }),
            Some(libc::ENODEV) => Err(SteerError::NoInterface { interface }),
            number if is_permission(number) => Err(SteerError::privilege(&interface)),
            _ => Ok(Err(error)),
        }
    }

    fn xdp(&mut self) -> Result<&mut Xdp, SteerError> {
        match self.ebpf.program_mut(self.program) {
            Some(Program::Xdp(xdp)) => Ok(xdp),
            _ => Err(SteerError::NotInObject { name: self.program }),
        }
    }
}

impl Attached {
    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Gives a receive queue's packets to a bound `AF_XDP` socket.
    pub(super) fn register(&mut self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), SteerError> {
        if queue >= QUEUES_MAX {
            return Err(SteerError::QueueOutOfRange { queue });
        }
        self.sockets.set(queue, socket.as_raw_fd(), 0).map_err(|source| SteerError::Map {
            map: "SOCKETS",
            action: "register an AF_XDP socket in",
            source,
        })
    }
}

/// Reads entry `index` of a per-CPU array and adds up its CPUs.
pub(super) fn sum<T>(name: &'static str, array: &PerCpuArray<MapData, T>, index: u32) -> Result<T, SteerError>
where
    T: Pod + Default + for<'a> AddAssign<&'a T>,
{
    let values = array.get(&index, 0).map_err(|source| SteerError::Map { map: name, action: "read", source })?;
    let mut total = T::default();
    for value in values.iter() {
        total += value;
    }
    Ok(total)
}

fn interface_index(interface: &str) -> Option<u32> {
    let name = CString::new(interface).ok()?;
    // SAFETY: `name` is a C string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => None,
        index => Some(index),
    }
}
