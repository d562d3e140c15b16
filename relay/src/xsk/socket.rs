//! Opening an `AF_XDP` socket: umem registration, rings, bind, and what came of it.
//!
//! Owns: the descriptor and the record of what was obtained. Never touches a packet.
//!
//! ```text
//!   socket -> XDP_UMEM_REG -> rings (setsockopt, mmap) -> fill ring filled -> bind(queue, flags)
//!                                                                               | refused
//!      ^------------- fresh socket, next plan: zero-copy, then copy ------------'
//! ```
//!
//! Each plan gets a fresh socket, because a refused bind leaves its flags on the umem (`XDP_USE_SG`). The fill ring
//! is filled before bind, because several drivers need that for zero-copy. `XDP_USE_NEED_WAKEUP` is always asked
//! for: every kernel whose ring offsets include the flag word (5.4) knows it.

use std::fmt;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use super::errors::XskError;
use super::interface::{self, InterfaceInfo};
use super::plan::{Layout, Plan, check, check_mtu, plans};
use super::ring::{Consumer, Descriptor, Producer, RingMemory, Slot};
use super::sys;
use super::umem::{Pages, Umem};

/// Slots of a ring that the kernel demands and nobody uses; small, a power of two.
const UNUSED_RING: u32 = 64;
/// Packets that one `sendto` may take in copy mode, instead of 32: a few batches, so that one call stays under 1 ms.
const TX_BUDGET: u32 = 256;
/// How long a queue (or locked memory) may stay busy after its socket was closed: the kernel frees it from a work
/// queue, in milliseconds on an idle machine. Longer means that somebody uses it.
const BUSY_WAIT: Duration = Duration::from_secs(1);
/// Pause between two tries for a busy queue.
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// What a socket obtained. Its `Display` is one word, `copy` or `zero-copy`, for counter lines; `{:#}` tells everything,
/// for a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// True in zero-copy mode, false in copy mode (as the kernel reports it, `XDP_OPTIONS`).
    pub zero_copy: bool,
    /// The errno with which zero-copy was refused, if it was asked for and refused.
    pub zero_copy_refused: Option<i32>,
    /// True if packets over several frames are received, or packets of several chunks sent.
    pub multi_buffer: bool,
    /// The kind of memory behind the frames.
    pub pages: Pages,
    /// Packets per `sendto` in copy mode, where the kernel lets it be set (TX only, Linux 6.17 or later).
    pub tx_budget: Option<u32>,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.zero_copy { "zero-copy" } else { "copy" })?;
        if !f.alternate() {
            return Ok(());
        }
        if let Some(errno) = self.zero_copy_refused {
            write!(f, " (zero-copy refused: {})", io::Error::from_raw_os_error(errno))?;
        }
        f.write_str(match self.pages {
            Pages::Huge => ", huge pages",
            Pages::Transparent => ", transparent huge pages",
            Pages::Plain => ", plain pages",
        })?;
        if self.multi_buffer {
            f.write_str(", multi-buffer")?;
        }
        if let Some(budget) = self.tx_budget {
            write!(f, ", {budget} packets per call")?;
        }
        Ok(())
    }
}

/// What the kernel counts for one socket (`XDP_STATISTICS`), since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets dropped because no frame was free or because they did not fit.
    pub rx_dropped: u64,
    /// Addresses in the fill ring that the kernel refused. Not 0 is a mistake of this module.
    pub rx_invalid_descriptors: u64,
    /// Descriptors in the TX ring that the kernel refused. Not 0 is a mistake of this module.
    pub tx_invalid_descriptors: u64,
    /// Packets dropped because the RX ring was full: nobody received fast enough.
    pub rx_ring_full: u64,
    /// Times that the kernel found the fill ring empty. Where that lost a packet, `rx_dropped` counts it.
    pub rx_fill_ring_empty: u64,
    /// Times that the kernel found the TX ring empty. Harmless.
    pub tx_ring_empty: u64,
}

/// The rings of a receiving socket.
pub(super) struct RxRings {
    pub(super) rx: Consumer<Descriptor>,
    pub(super) fill: Producer<u64>,
}

/// The rings of a sending socket.
pub(super) struct TxRings {
    pub(super) tx: Producer<Descriptor>,
    pub(super) completion: Consumer<u64>,
}

/// A bound socket.
pub(super) struct Socket {
    fd: OwnedFd,
    /// "interface blu0, queue 0", for errors.
    label: String,
    mode: Mode,
}

impl Socket {
    pub(super) fn mode(&self) -> &Mode {
        &self.mode
    }

    /// The error of a failed system call on this socket.
    pub(super) fn failed(&self, call: &'static str, what: &str, error: io::Error) -> XskError {
        XskError::system(call, format!("{what}, {}", self.label), error)
    }

    pub(super) fn statistics(&self) -> Result<Statistics, XskError> {
        let len_min = size_of::<libc::xdp_statistics_v1>();
        let read = sys::get_option::<libc::xdp_statistics>(self.as_fd(), libc::XDP_STATISTICS, len_min);
        let counted = read.map_err(|error| self.failed("getsockopt", "XDP_STATISTICS", error))?;
        Ok(Statistics {
            rx_dropped: counted.rx_dropped,
            rx_invalid_descriptors: counted.rx_invalid_descs,
            tx_invalid_descriptors: counted.tx_invalid_descs,
            rx_ring_full: counted.rx_ring_full,
            rx_fill_ring_empty: counted.rx_fill_ring_empty_descs,
            tx_ring_empty: counted.tx_ring_empty_descs,
        })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// One of the four rings, as the kernel names it.
struct RingKind {
    name: &'static str,
    option: libc::c_int,
    page_offset: i64,
    offsets: fn(&libc::xdp_mmap_offsets) -> &libc::xdp_ring_offset,
}

const RX: RingKind = RingKind {
    name: "XDP_RX_RING",
    option: libc::XDP_RX_RING,
    page_offset: libc::XDP_PGOFF_RX_RING,
    offsets: |all| &all.rx,
};
const TX: RingKind = RingKind {
    name: "XDP_TX_RING",
    option: libc::XDP_TX_RING,
    page_offset: libc::XDP_PGOFF_TX_RING,
    offsets: |all| &all.tx,
};
const FILL: RingKind = RingKind {
    name: "XDP_UMEM_FILL_RING",
    option: libc::XDP_UMEM_FILL_RING,
    page_offset: libc::XDP_UMEM_PGOFF_FILL_RING as i64,
    offsets: |all| &all.fr,
};
const COMPLETION: RingKind = RingKind {
    name: "XDP_UMEM_COMPLETION_RING",
    option: libc::XDP_UMEM_COMPLETION_RING,
    page_offset: libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64,
    offsets: |all| &all.cr,
};

/// A socket that is not bound yet.
struct Unbound<'a> {
    fd: OwnedFd,
    label: &'a str,
}

impl Unbound<'_> {
    /// A socket with its umem registered. The memory of a socket just closed counts against the limit of locked
    /// memory for a moment longer, so that ENOBUFS is an error only when it stays.
    fn new<'a>(label: &'a str, umem: &Umem) -> Result<Unbound<'a>, XskError> {
        let fd = sys::socket(libc::AF_XDP, libc::SOCK_RAW);
        let fd = fd.map_err(|error| XskError::system("socket", format!("AF_XDP, {label}"), error))?;
        let region = libc::xdp_umem_reg {
            addr: umem.start(),
            len: umem.len(),
            chunk_size: umem.chunk_size(),
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        let register = || sys::set_option(fd.as_fd(), libc::XDP_UMEM_REG, &region);
        retry(libc::ENOBUFS, BUSY_WAIT, register).map_err(|error| {
            let arguments = format!("XDP_UMEM_REG, {} bytes, {label}", umem.len());
            XskError::system("setsockopt", arguments, error)
        })?;
        Ok(Unbound { fd, label })
    }

    /// Makes a ring of `size` slots in the kernel.
    fn make(&self, kind: &RingKind, size: u32) -> Result<(), XskError> {
        let made = sys::set_option(self.fd.as_fd(), kind.option, &size);
        made.map_err(|error| XskError::system("setsockopt", self.ring_label(kind, size), error))
    }

    /// Makes a ring and maps it.
    fn ring<T: Slot>(&self, kind: &RingKind, size: u32) -> Result<RingMemory<T>, XskError> {
        self.make(kind, size)?;
        // Shorter offsets (Linux before 5.4) lack the flag word.
        let len_min = size_of::<libc::xdp_mmap_offsets>();
        let all = sys::get_option::<libc::xdp_mmap_offsets>(self.fd.as_fd(), libc::XDP_MMAP_OFFSETS, len_min)
            .map_err(|error| XskError::system("getsockopt", format!("XDP_MMAP_OFFSETS, {}", self.label), error))?;
        let offsets = (kind.offsets)(&all);
        let failed = |error| XskError::system("mmap", self.ring_label(kind, size), error);
        let len = RingMemory::<T>::mapped_len(offsets, size);
        let mapping = sys::map_ring(self.fd.as_fd(), len, kind.page_offset).map_err(failed)?;
        RingMemory::mapped(mapping, offsets, size).ok_or_else(|| failed(io::Error::from_raw_os_error(libc::EPROTO)))
    }

    fn ring_label(&self, kind: &RingKind, size: u32) -> String {
        format!("{}, {size} slots, {}", kind.name, self.label)
    }
}

/// Calls `f` again while it fails with `errno`, until `limit` is over.
fn retry<T>(errno: i32, limit: Duration, mut f: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let start = Instant::now();
    loop {
        match f() {
            Err(error) if error.raw_os_error() == Some(errno) && start.elapsed() < limit => thread::sleep(BUSY_PAUSE),
            result => return result,
        }
    }
}

/// Moves free frames into a fill ring, at most `max`, and shows them to the kernel.
pub(super) fn fill(umem: &mut Umem, ring: &mut Producer<u64>, max: u32) {
    for _ in 0..max.min(umem.free()) {
        if !ring.has_room() {
            break;
        }
        let Some(frame) = umem.take() else { break };
        let pushed = umem.lend(frame).is_ok_and(|addr| ring.push(addr));
        debug_assert!(pushed, "room was checked, and the frame is the umem's own");
    }
    ring.publish();
}

/// Opens a socket with RX and fill rings; every frame is in the fill ring.
pub(super) fn open_rx(layout: &Layout<'_>) -> Result<(Socket, RxRings, Umem), XskError> {
    let info = interface::info(layout.interface)?;
    check(&Layout { multi_buffer: false, ..*layout }, info.rx_queues, layout.frame_count)?;
    let must_span = check_mtu(layout, info.mtu, false)?;
    open(layout, info, must_span, layout.frame_count, |socket, umem| {
        socket.make(&COMPLETION, UNUSED_RING)?;
        let mut waiting = Producer::new(socket.ring(&FILL, layout.frame_count.next_power_of_two())?);
        let rx = Consumer::new(socket.ring(&RX, layout.ring_size)?);
        fill(umem, &mut waiting, u32::MAX);
        Ok(RxRings { rx, fill: waiting })
    })
}

/// Opens a socket with TX and completion rings; `receive_frames` more frames are in the fill ring for good.
pub(super) fn open_tx(layout: &Layout<'_>, receive_frames: u32) -> Result<(Socket, TxRings, Umem), XskError> {
    let info = interface::info(layout.interface)?;
    let frames = layout.frame_count.saturating_add(receive_frames);
    check(layout, info.tx_queues, frames)?;
    let (mut socket, rings, umem) = open(layout, info, layout.multi_buffer, frames, |socket, umem| {
        // The completion ring takes every chunk, so that it is never what stops the kernel from sending.
        let chunks = layout.frame_count * umem.frame_size().div_ceil(umem.chunk_size());
        let completion = Consumer::new(socket.ring(&COMPLETION, chunks.next_power_of_two())?);
        let tx = Producer::new(socket.ring(&TX, layout.ring_size)?);
        let reserve = receive_frames.max(UNUSED_RING).next_power_of_two();
        fill(umem, &mut Producer::new(socket.ring(&FILL, reserve)?), receive_frames);
        Ok(TxRings { tx, completion })
    })?;
    let budget = TX_BUDGET.min(layout.ring_size);
    let taken = sys::set_option(socket.as_fd(), sys::XDP_MAX_TX_SKB_BUDGET, &budget);
    socket.mode.tx_budget = taken.ok().map(|()| budget);
    Ok((socket, rings, umem))
}

/// Tries one plan after the other. `prepare` makes the rings of a fresh socket.
fn open<R>(
    layout: &Layout<'_>,
    info: InterfaceInfo,
    must_span: bool,
    frames: u32,
    prepare: impl Fn(&Unbound<'_>, &mut Umem) -> Result<R, XskError>,
) -> Result<(Socket, R, Umem), XskError> {
    let label = format!("interface {}, queue {}", layout.interface, layout.queue);
    sys::raise_memlock();
    let mut umem = Umem::new(frames, layout.frame_size, layout.huge_pages).map_err(|error| {
        XskError::system("mmap", format!("{frames} frames of {} bytes, {label}", layout.frame_size), error)
    })?;
    let mut refused = None;
    let mut last = None;
    for plan in plans(layout.zero_copy, layout.multi_buffer, must_span) {
        let unbound = Unbound::new(&label, &umem)?;
        let rings = prepare(&unbound, &mut umem)?;
        let bind = || sys::bind_xdp(unbound.fd.as_fd(), info.index, layout.queue, plan.flags());
        match retry(libc::EBUSY, BUSY_WAIT, bind) {
            Ok(()) => {
                let mode = mode(&unbound, plan, umem.pages(), refused)?;
                return Ok((Socket { fd: unbound.fd, label, mode }, rings, umem));
            }
            Err(error) => {
                refused = refused.or(if plan.zero_copy { error.raw_os_error() } else { None });
                last = Some(bind_error(layout, plan, info.mtu, &label, error)?);
            }
        }
        // The socket closes before its frames are taken back.
        drop((unbound, rings));
        umem.take_back_all();
    }
    Err(last.unwrap_or_else(|| XskError::config("no way to bind", "report this as a mistake of the program")))
}

/// Sorts the error of a bind: `Ok` if another plan may do better, `Err` if none can.
fn bind_error(layout: &Layout<'_>, plan: Plan, mtu: u32, label: &str, error: io::Error) -> Result<XskError, XskError> {
    let spanning_refused = plan.multi_buffer && matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP));
    let error = XskError::system("bind", format!("AF_XDP, {label}, {}", plan.flag_names()), error);
    match error {
        XskError::Busy { call, .. } => Err(XskError::Busy { call, waited_ms: BUSY_WAIT.as_millis() as u64 }),
        fatal @ (XskError::Permission(_) | XskError::NoInterface(_) | XskError::Down(_)) => Err(fatal),
        _ if spanning_refused && !plan.zero_copy => Ok(check_mtu(layout, mtu, true).err().unwrap_or(error)),
        _ => Ok(error),
    }
}

/// What a bound socket obtained.
fn mode(socket: &Unbound<'_>, plan: Plan, pages: Pages, refused: Option<i32>) -> Result<Mode, XskError> {
    let read =
        sys::get_option::<libc::xdp_options>(socket.fd.as_fd(), libc::XDP_OPTIONS, size_of::<libc::xdp_options>());
    let options =
        read.map_err(|error| XskError::system("getsockopt", format!("XDP_OPTIONS, {}", socket.label), error))?;
    let zero_copy = options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0;
    let zero_copy_refused = if zero_copy { None } else { refused };
    Ok(Mode { zero_copy, zero_copy_refused, multi_buffer: plan.multi_buffer, pages, tx_budget: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_queue_is_tried_again_but_not_for_ever() {
        let mut calls = 0;
        let third = retry(libc::EBUSY, BUSY_WAIT, || {
            calls += 1;
            if calls < 3 { Err(io::Error::from_raw_os_error(libc::EBUSY)) } else { Ok(calls) }
        });
        assert_eq!(third.unwrap(), 3);
        let never = retry(libc::EBUSY, Duration::ZERO, || Err::<(), _>(io::Error::from_raw_os_error(libc::EBUSY)));
        assert_eq!(never.unwrap_err().raw_os_error(), Some(libc::EBUSY));
        let other = retry(libc::EBUSY, BUSY_WAIT, || Err::<(), _>(io::Error::from_raw_os_error(libc::EINVAL)));
        assert_eq!(other.unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn a_mode_reads_well_in_a_log() {
        let refused = Some(libc::EOPNOTSUPP);
        let pages = Pages::Transparent;
        let mode =
            Mode { zero_copy: false, zero_copy_refused: refused, multi_buffer: true, pages, tx_budget: Some(256) };
        assert_eq!(mode.to_string(), "copy");
        assert_eq!(
            format!("{mode:#}"),
            "copy (zero-copy refused: Operation not supported (os error 95)), transparent huge pages, multi-buffer, \
             256 packets per call"
        );
    }
}
