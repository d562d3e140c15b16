//! The receiving half: RX ring, fill ring, and the socket that has just these.
//!
//! Owns: which frames wait in the fill ring and the packet being gathered. Never parses a packet, never allocates
//! after opening.
//!
//! ```text
//!   fill ring --> kernel --> RX ring --> receive(f): f(&mut packet), in place
//!      ^                                     |
//!      '---------- same frame ---------------'        at the end of each batch
//! ```

use std::os::fd::{AsFd, BorrowedFd};

use super::errors::XskError;
use super::plan::{Layout, ZeroCopy};
use super::ring::{Consumer, Descriptor, Producer};
use super::socket::{self, Mode, Socket, Statistics};
use super::sys;
use super::umem::{Frame, Umem};

/// Bytes of the longest packet gathered from several frames. Far above the 9,000-byte MTUs of jumbo links; longer
/// packets are dropped and counted.
pub const GATHERED_MAX: usize = 64 << 10;

/// Slots of all rings of an interface together, as far as single rings may differ.
const RING_SLOTS: u32 = 16_384;

/// How to open an [`RxSocket`].
#[derive(Clone, Debug)]
pub struct RxConfig {
    /// Interface name, in the calling thread's network namespace.
    pub interface: String,
    /// RX queue, from 0.
    pub queue: u32,
    /// Slots of the RX ring: a power of two from 64 to 32,768. Packets that find it full are dropped by the kernel
    /// and counted (`rx_ring_full`).
    pub ring_size: u32,
    /// Frames of the umem: 1 to 1,048,576. Should be at least `ring_size`, so that the RX ring can fill while as
    /// many wait.
    pub frame_count: u32,
    /// Bytes of a frame: 2,048 or 4,096. A packet may have 256 less (see [`packet_max`](super::rx_packet_max)).
    pub frame_size: u32,
    /// Whether to ask for zero-copy first.
    pub zero_copy: ZeroCopy,
    /// Whether to accept packets that span frames (Linux 6.6 or later; the XDP program must be `xdp.frags`).
    pub multi_buffer: bool,
    /// Whether to try huge pages.
    pub huge_pages: bool,
}

impl RxConfig {
    /// The usual settings: 4,096 frames of 2,048 bytes (8 MiB), a ring of 2,048 (5 ms at 400,000 packets/s),
    /// zero-copy and huge pages where there are any, packets over several frames accepted.
    pub fn new(interface: impl Into<String>, queue: u32) -> Self {
        Self {
            interface: interface.into(),
            queue,
            ring_size: 2048,
            frame_count: 4096,
            frame_size: 2048,
            zero_copy: ZeroCopy::Prefer,
            multi_buffer: true,
            huge_pages: true,
        }
    }

    /// For one of `queues` queues of an interface that are all received from. The fewer there are, the deeper their
    /// rings, up to 8,192: a receiver that the system does not let run for 20 ms at 400,000 packets/s then loses
    /// nothing. All together take about 40 MiB, or 5 MiB a queue where there are more than eight.
    pub fn one_of(interface: impl Into<String>, queue: u32, queues: u32) -> Self {
        let ring_size = (RING_SLOTS / queues.max(1)).next_power_of_two().clamp(2048, 8192);
        // A quarter more than the ring, for what is being looked at while the ring is full.
        Self { ring_size, frame_count: ring_size + ring_size / 4, ..Self::new(interface, queue) }
    }
}

/// What an [`RxSocket`] has seen since it was opened. Packets unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxCounters {
    /// Given to the caller, gathered ones included.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Gathered from several frames.
    pub gathered: u64,
    /// Dropped because they were longer than [`GATHERED_MAX`].
    pub too_long: u64,
    /// Descriptors that could not be true (outside the umem, over a frame's end, or of a frame that the kernel did
    /// not have), and ring cursors that could not. Not 0 means a broken driver.
    pub kernel_faults: u64,
    /// Times the driver asked to be woken for the fill ring.
    pub wakeups: u64,
    /// Of these, the ones that failed.
    pub wakeups_failed: u64,
}

/// What the packet in [`RxPath::scratch`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gathering {
    /// No packet is open.
    Idle,
    /// So many bytes so far; more fragments follow.
    Open(usize),
    /// The open packet is lost; its other fragments are dropped too.
    Discard,
}

/// RX and fill rings over a umem, without a socket: the kernel's side may be a test.
pub(super) struct RxPath {
    rx: Consumer<Descriptor>,
    fill: Producer<u64>,
    scratch: Box<[u8]>,
    gathering: Gathering,
    counters: RxCounters,
}

impl RxPath {
    pub(super) fn new(rx: Consumer<Descriptor>, fill: Producer<u64>) -> Self {
        let scratch = vec![0; GATHERED_MAX].into_boxed_slice();
        Self { rx, fill, scratch, gathering: Gathering::Idle, counters: RxCounters::default() }
    }

    /// Puts every free frame into the fill ring and shows them to the kernel.
    pub(super) fn refill(&mut self, umem: &mut Umem) {
        socket::fill(umem, &mut self.fill, u32::MAX);
    }

    /// Gives up to `max` packets to `f` and returns their frames to the fill ring.
    pub(super) fn receive(&mut self, umem: &mut Umem, max: usize, mut f: impl FnMut(&mut [u8])) -> usize {
        let mut packets = 0;
        // Fragments are not packets: the ring's size bounds a batch also if none of them ends one.
        for _ in 0..self.rx.size() {
            if packets == max {
                break;
            }
            let Some(descriptor) = self.rx.pop() else { break };
            packets += usize::from(self.accept(umem, descriptor, &mut f));
        }
        self.rx.release();
        self.refill(umem);
        packets
    }

    /// Handles one descriptor; true if it completed a packet.
    fn accept(&mut self, umem: &mut Umem, descriptor: Descriptor, f: &mut impl FnMut(&mut [u8])) -> bool {
        let more = descriptor.options & libc::XDP_PKT_CONTD != 0;
        let Some((mut frame, offset)) = umem.take_back(descriptor.addr) else {
            self.lose_packet(more);
            return false;
        };
        let range = offset as usize..offset as usize + descriptor.len as usize;
        let complete = match umem.bytes(&mut frame).get_mut(range) {
            None => {
                self.lose_packet(more);
                false
            }
            Some(bytes) if !more && self.gathering == Gathering::Idle => {
                self.deliver(bytes.len());
                f(bytes);
                true
            }
            Some(bytes) => self.gather(bytes, more, f),
        };
        give_back(umem, frame);
        complete
    }

    /// Counts an impossible descriptor and drops the packet that it was part of.
    fn lose_packet(&mut self, more: bool) {
        self.counters.kernel_faults += 1;
        self.gathering = if more { Gathering::Discard } else { Gathering::Idle };
    }

    /// Adds a fragment to the open packet; true if that completed it.
    fn gather(&mut self, fragment: &[u8], more: bool, f: &mut impl FnMut(&mut [u8])) -> bool {
        let start = match self.gathering {
            Gathering::Idle => Some(0),
            Gathering::Open(len) => Some(len),
            Gathering::Discard => None,
        };
        let space = start.and_then(|start| self.scratch.get_mut(start..start + fragment.len()));
        if let Some(space) = space {
            space.copy_from_slice(fragment);
            self.gathering = Gathering::Open(start.unwrap_or(0) + fragment.len());
        } else {
            self.counters.too_long += u64::from(self.gathering != Gathering::Discard);
            self.gathering = Gathering::Discard;
        }
        if more {
            return false;
        }
        let Gathering::Open(len) = std::mem::replace(&mut self.gathering, Gathering::Idle) else { return false };
        self.counters.gathered += 1;
        self.deliver(len);
        f(&mut self.scratch[..len]);
        true
    }

    /// Counts a packet.
    fn deliver(&mut self, len: usize) {
        self.counters.packets += 1;
        self.counters.bytes += len as u64;
    }

    /// True when there is nothing to receive.
    pub(super) fn is_empty(&self) -> bool {
        self.rx.is_empty()
    }

    /// What was seen so far.
    pub(super) fn counters(&self) -> RxCounters {
        let kernel_faults = self.counters.kernel_faults + self.rx.faults() + self.fill.faults();
        RxCounters { kernel_faults, ..self.counters }
    }
}

/// Puts a frame that was just taken back into its umem's free list.
fn give_back(umem: &mut Umem, frame: Frame) {
    // Cannot be refused: the token came from this umem.
    let _own = umem.release(frame);
}

/// An `AF_XDP` socket that receives from one queue of one interface.
///
/// The queue's packets come only after an XDP program redirects them here: put [`AsFd::as_fd`] into its XSKMAP at the
/// index of the queue. Dropping the socket gives the queue back; the kernel finishes that a moment later.
pub struct RxSocket {
    // Closed before the memory that the kernel uses is unmapped: fields drop in this order.
    socket: Socket,
    path: RxPath,
    umem: Umem,
    ring_size: u32,
}

impl RxSocket {
    /// Opens a socket on one queue. Fills the fill ring before binding, asks for zero-copy and multi-buffer as
    /// configured and takes what the kernel gives; [`Self::mode`] says what that was.
    ///
    /// # Errors
    /// Any [`XskError`]; each says what to do. Waits up to 1 s for a queue that another socket has just left.
    pub fn open(config: &RxConfig) -> Result<Self, XskError> {
        let layout = Layout {
            interface: &config.interface,
            queue: config.queue,
            ring_size: config.ring_size,
            frame_count: config.frame_count,
            frame_size: config.frame_size,
            zero_copy: config.zero_copy,
            multi_buffer: config.multi_buffer,
            huge_pages: config.huge_pages,
        };
        let (socket, rings, umem) = socket::open_rx(&layout)?;
        tracing::info!(interface = %config.interface, queue = config.queue, "AF_XDP receives: {:#}", socket.mode());
        Ok(Self { socket, path: RxPath::new(rings.rx, rings.fill), umem, ring_size: config.ring_size })
    }

    /// Calls `f` with each waiting packet, whole and in place, up to `max` of them, then returns their frames to the
    /// kernel. Packets that span frames come from a buffer of the socket's. Returns how many packets there were.
    ///
    /// Makes no system call, except one when the driver asks to be woken.
    pub fn receive(&mut self, max: usize, f: impl FnMut(&mut [u8])) -> usize {
        let packets = self.path.receive(&mut self.umem, max, f);
        if self.path.fill.needs_wakeup() {
            self.path.counters.wakeups += 1;
            self.path.counters.wakeups_failed += u64::from(sys::wake_rx(self.socket.as_fd()).is_err());
        }
        packets
    }

    /// True when [`Self::receive`] would find nothing. One memory access, no system call: made for busy-waiting.
    pub fn is_empty(&self) -> bool {
        self.path.is_empty()
    }

    /// Whether the interface is still there and up. One system call: for once a second or so, because neither
    /// [`Self::receive`] nor waiting notices that nothing can come any more.
    ///
    /// # Errors
    /// [`XskError::Down`] while the interface is down: it may come back. [`XskError::NoInterface`] once it is gone:
    /// the socket is of no use any more.
    pub fn check(&self) -> Result<(), XskError> {
        sys::wake_rx(self.socket.as_fd()).map_err(|error| self.socket.failed("recvfrom", "RX ring", error))
    }

    /// What was obtained.
    pub fn mode(&self) -> &Mode {
        self.socket.mode()
    }

    /// Slots of the RX ring: so many packets wait before one is lost.
    pub fn ring_size(&self) -> u32 {
        self.ring_size
    }

    /// What this socket has seen.
    pub fn counters(&self) -> RxCounters {
        self.path.counters()
    }

    /// What the kernel has counted for this socket. One system call.
    ///
    /// # Errors
    /// The failed `getsockopt`.
    pub fn statistics(&self) -> Result<Statistics, XskError> {
        self.socket.statistics()
    }
}

impl AsFd for RxSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
