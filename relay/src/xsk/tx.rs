//! The sending half: TX ring, completion ring, and the socket that has just these.
//!
//! Owns: which frames are on their way out. Never builds a packet, never allocates after opening.
//!
//! ```text
//!   take() --> Frame --> bytes() --> submit() --> TX ring --kick()--> kernel
//!     ^          '--> release() --.                                     |
//!     '------- free list <--------+---- reap() <--- completion ring <---'
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::errors::XskError;
use super::plan::{Layout, ZeroCopy};
use super::ring::{Consumer, Descriptor, Producer};
use super::socket::{self, Mode, Socket, Statistics};
use super::sys;
use super::umem::{Back, CHUNK_MAX, Frame, Umem};

/// Bytes of an Ethernet header: nothing shorter is a packet (`ETH_HLEN`), and some drivers do not check.
pub const PACKET_MIN: u32 = 14;

/// Packets that one `sendto` takes at least in copy mode (`TX_BATCH_SIZE`, net/xdp/xsk.c).
const KERNEL_BATCH: u32 = 32;

/// How to open a [`TxSocket`].
#[derive(Clone, Debug)]
pub struct TxConfig {
    /// Interface name, in the calling thread's network namespace.
    pub interface: String,
    /// TX queue, from 0.
    pub queue: u32,
    /// Slots of the TX ring: a power of two from 64 to 32,768.
    pub ring_size: u32,
    /// Frames to send from: 1 to 1,048,576.
    pub frame_count: u32,
    /// Bytes of a frame, and so of the longest packet: 2,048 or 4,096, or a multiple of that up to 16,384, for which the
    /// kernel must take packets in several pieces (Linux 6.6 or later).
    pub frame_size: u32,
    /// Whether to ask for zero-copy first.
    pub zero_copy: ZeroCopy,
    /// Whether to try huge pages.
    pub huge_pages: bool,
    /// Extra frames lent to the driver for good. A driver in zero-copy mode takes over the RX queue of the same
    /// number too: without frames, the kernel itself receives nothing on it (ARP, TCP). 0 where nothing needs to be
    /// received.
    pub receive_frames: u32,
}

impl TxConfig {
    /// The usual settings: 4,096 frames of 2,048 bytes (8 MiB), a ring of 2,048, zero-copy and huge pages where there
    /// are any, no frames for the kernel to receive with.
    pub fn new(interface: impl Into<String>, queue: u32) -> Self {
        Self {
            interface: interface.into(),
            queue,
            ring_size: 2048,
            frame_count: 4096,
            frame_size: 2048,
            zero_copy: ZeroCopy::Prefer,
            huge_pages: true,
            receive_frames: 0,
        }
    }
}

/// What a [`TxSocket`] has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxCounters {
    /// Packets put into the TX ring.
    pub submitted: u64,
    /// Packets that the kernel has finished with. That is not proof of delivery.
    pub completed: u64,
    /// Submissions refused because the TX ring was full.
    pub ring_full: u64,
    /// Submissions refused because the length was under [`PACKET_MIN`] or over the frame.
    pub bad_length: u64,
    /// Frames of another socket that were handed in here. Not 0 is a mistake of the caller.
    pub foreign_frames: u64,
    /// `sendto` calls.
    pub kicks: u64,
    /// Of these, the ones answered EAGAIN: the kernel wants to be called again.
    pub kicks_again: u64,
    /// Of these, the ones answered EBUSY: the interface's queue dropped a packet.
    pub kicks_busy: u64,
    /// Of these, the ones answered ENOBUFS or ENOMEM: the kernel had no buffer.
    pub kicks_no_buffer: u64,
    /// Of these, the ones answered ENETDOWN: the interface was down.
    pub kicks_down: u64,
    /// Completions that could not be true (outside the umem or of a frame that the kernel did not have), and ring
    /// cursors that could not. Not 0 means a broken driver.
    pub kernel_faults: u64,
}

/// TX and completion rings over a umem, without a socket: the kernel's side may be a test.
pub(super) struct TxPath {
    tx: Producer<Descriptor>,
    completion: Consumer<u64>,
    counters: TxCounters,
}

impl TxPath {
    pub(super) fn new(tx: Producer<Descriptor>, completion: Consumer<u64>) -> Self {
        Self { tx, completion, counters: TxCounters::default() }
    }

    /// A free frame, from the completion ring if the free list is empty.
    pub(super) fn take(&mut self, umem: &mut Umem) -> Option<Frame> {
        umem.take().or_else(|| {
            self.reap(umem);
            umem.take()
        })
    }

    /// Puts a packet into the TX ring; gives the frame back if that cannot be.
    pub(super) fn submit(&mut self, umem: &mut Umem, frame: Frame, len: u32) -> Result<(), Frame> {
        if !(PACKET_MIN..=umem.frame_size()).contains(&len) {
            self.counters.bad_length += 1;
            return Err(frame);
        }
        let chunk = umem.chunk_size();
        let chunks = len.div_ceil(chunk);
        if !self.tx.has_room_for(chunks) {
            self.counters.ring_full += 1;
            return Err(frame);
        }
        let addr = umem.lend_chunks(frame, chunks as u8).inspect_err(|_| self.counters.foreign_frames += 1)?;
        for at in (0..len).step_by(chunk as usize) {
            let options = if at + chunk < len { libc::XDP_PKT_CONTD } else { 0 };
            let descriptor = Descriptor { addr: addr + u64::from(at), len: chunk.min(len - at), options };
            let pushed = self.tx.push(descriptor);
            debug_assert!(pushed, "room was checked above, and nobody else pushes");
        }
        self.counters.submitted += 1;
        Ok(())
    }

    /// Puts a frame back unsent.
    pub(super) fn release(&mut self, umem: &mut Umem, frame: Frame) {
        self.counters.foreign_frames += u64::from(umem.release(frame).is_err());
    }

    /// Shows what was submitted to the kernel and calls it (`wake`) while that helps. Returns how many descriptors still
    /// wait in the ring. Errors that time heals are counted, others returned.
    pub(super) fn kick(&mut self, mut wake: impl FnMut() -> io::Result<()>) -> io::Result<u32> {
        self.tx.publish();
        let mut waiting = self.tx.waiting();
        // Each call but the last takes a batch: this many are enough for a full ring.
        for _ in 0..=self.tx.size() / KERNEL_BATCH {
            if waiting == 0 || !self.tx.needs_wakeup() {
                break;
            }
            self.counters.kicks += 1;
            wake().or_else(|error| self.tolerate(error))?;
            let before = std::mem::replace(&mut waiting, self.tx.waiting());
            if waiting >= before {
                break;
            }
        }
        Ok(waiting)
    }

    /// Counts an error of `sendto` that time heals; returns any other.
    fn tolerate(&mut self, error: io::Error) -> io::Result<()> {
        let counter = match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => &mut self.counters.kicks_again,
            Some(libc::EBUSY) => &mut self.counters.kicks_busy,
            Some(libc::ENOBUFS | libc::ENOMEM) => &mut self.counters.kicks_no_buffer,
            Some(libc::ENETDOWN) => &mut self.counters.kicks_down,
            _ => return Err(error),
        };
        *counter += 1;
        Ok(())
    }

    /// Moves finished frames to the free list; returns how many.
    pub(super) fn reap(&mut self, umem: &mut Umem) -> u32 {
        let mut reaped = 0;
        for _ in 0..self.completion.size() {
            let Some(addr) = self.completion.pop() else { break };
            match umem.take_back_chunk(addr) {
                Back::Whole(frame, _) => {
                    // Cannot be refused: the token came from this umem.
                    let _own = umem.release(frame);
                    reaped += 1;
                }
                Back::Part => {}
                Back::Unknown => self.counters.kernel_faults += 1,
            }
        }
        self.completion.release();
        self.counters.completed += u64::from(reaped);
        reaped
    }

    /// What was done so far.
    pub(super) fn counters(&self) -> TxCounters {
        let kernel_faults = self.counters.kernel_faults + self.tx.faults() + self.completion.faults();
        TxCounters { kernel_faults, ..self.counters }
    }
}

/// An `AF_XDP` socket that sends through one queue of one interface.
///
/// Packets go to the driver as they are: no routing, no neighbour lookup, no qdisc.
pub struct TxSocket {
    // Closed before the memory that the kernel uses is unmapped: fields drop in this order.
    socket: Socket,
    path: TxPath,
    umem: Umem,
    /// Frames lent to the driver for good (`receive_frames`).
    receive_frames: u32,
}

impl TxSocket {
    /// Opens a socket on one queue. Asks for zero-copy as configured and takes what the kernel gives; [`Self::mode`]
    /// says what that was.
    ///
    /// # Errors
    /// Any [`XskError`]; each says what to do. Waits up to 1 s for a queue that another socket has just left.
    pub fn open(config: &TxConfig) -> Result<Self, XskError> {
        let layout = Layout {
            interface: &config.interface,
            queue: config.queue,
            ring_size: config.ring_size,
            frame_count: config.frame_count,
            frame_size: config.frame_size,
            zero_copy: config.zero_copy,
            multi_buffer: config.frame_size > CHUNK_MAX,
            huge_pages: config.huge_pages,
        };
        let (socket, rings, umem) = socket::open_tx(&layout, config.receive_frames)?;
        tracing::info!(interface = %config.interface, queue = config.queue, "AF_XDP sends: {:#}", socket.mode());
        let path = TxPath::new(rings.tx, rings.completion);
        Ok(Self { socket, path, umem, receive_frames: config.receive_frames })
    }

    /// A free frame, or None while all are on their way. Its bytes are what its last packet left.
    pub fn take(&mut self) -> Option<Frame> {
        self.path.take(&mut self.umem)
    }

    /// All bytes of a frame, to write a packet from the first on. Empty for a frame of another socket.
    pub fn bytes(&mut self, frame: &mut Frame) -> &mut [u8] {
        self.umem.bytes(frame)
    }

    /// Puts the first `len` bytes of a frame into the TX ring. They leave with the next [`Self::kick`].
    ///
    /// # Errors
    /// Gives the frame back if the ring is full (kick, then try again), if `len` is under [`PACKET_MIN`] or over the
    /// frame, or if the frame is another socket's; [`Self::counters`] tells these apart.
    pub fn submit(&mut self, frame: Frame, len: u32) -> Result<(), Frame> {
        self.path.submit(&mut self.umem, frame, len)
    }

    /// Puts a frame back unsent. One of another socket is dropped and counted.
    pub fn release(&mut self, frame: Frame) {
        self.path.release(&mut self.umem, frame);
    }

    /// Shows everything submitted to the kernel, and calls it as long as packets wait and it takes some. Call it
    /// after each batch, and again later while it returns more than 0, also if nothing new was submitted: nobody else
    /// empties the ring. Returns how many packets still wait.
    ///
    /// EAGAIN, EBUSY, ENOBUFS, ENOMEM and ENETDOWN are counted, not returned.
    ///
    /// # Errors
    /// [`XskError::NoInterface`] once the interface is gone: the socket is of no use any more. Otherwise the failed
    /// `sendto`.
    pub fn kick(&mut self) -> Result<u32, XskError> {
        let fd = self.socket.as_fd();
        let kicked = self.path.kick(|| sys::wake_tx(fd));
        kicked.map_err(|error| self.socket.failed("sendto", "TX ring", error))
    }

    /// Moves frames that the kernel has finished with to the free list; returns how many. [`Self::take`] does so by
    /// itself when it runs out.
    pub fn reap(&mut self) -> u32 {
        self.path.reap(&mut self.umem)
    }

    /// Frames that [`Self::take`] gives without looking at the completion ring.
    pub fn free_frames(&self) -> u32 {
        self.umem.free()
    }

    /// Frames submitted and not reaped yet.
    pub fn outstanding(&self) -> u32 {
        self.umem.lent().saturating_sub(self.receive_frames)
    }

    /// What was obtained.
    pub fn mode(&self) -> &Mode {
        self.socket.mode()
    }

    /// What this socket has done.
    pub fn counters(&self) -> TxCounters {
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

impl AsFd for TxSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
