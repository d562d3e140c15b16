//! The packet memory shared with the kernel, and who owns which frame of it.
//!
//! ```text
//!   0        frame_size     2 x frame_size                         count x frame_size
//!   | frame 0    | frame 1      | frame 2      |   . . .               |
//!
//!            take                lend (fill or TX ring)
//!    free ----------> [Frame] ---------------------------> kernel
//!     ^  <----------     ^                                    |
//!          release       '------------ take_back -------------'
//!                               (RX or completion ring)
//! ```
//!
//! Owns: the mapping, the free list and the ledger of frames lent to the kernel. Never talks to the kernel.
//!
//! A [`Frame`] is the only right to a frame's bytes: it cannot be copied or made outside, so that a frame cannot be
//! released twice or written after it was given away; the compiler refuses both. A token that is dropped is a frame
//! that nobody uses any more, nothing worse. An address that comes back from the kernel becomes a token again only if
//! the ledger says that it was lent.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use super::sys::{self, Mapping};

/// Size of a huge page on x86-64 and arm64 with 4 KiB base pages; `MAP_HUGETLB` lengths must be a multiple.
const HUGE_PAGE: usize = 2 << 20;

/// The largest piece of memory that the kernel takes as one: a page (`xdp_umem_reg`, `net/xdp/xdp_umem.c`).
pub const CHUNK_MAX: u32 = 4096;

/// Tells umems apart, so that a token of one is not taken for another's.
static NEXT_ID: AtomicU32 = AtomicU32::new(0);

/// The right to one frame of one umem.
///
/// Dropping it loses the frame for as long as its socket lives: hand it back with `release` or `submit`.
#[derive(Debug)]
#[must_use = "a dropped frame is lost to its socket: submit or release it"]
pub struct Frame {
    index: u32,
    umem: u32,
}

/// The kind of pages behind a umem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Reserved huge pages (`MAP_HUGETLB`).
    Huge,
    /// Ordinary pages that the kernel may merge into huge ones (`MADV_HUGEPAGE` accepted).
    Transparent,
    /// Ordinary pages.
    Plain,
}

/// What an address that comes back from the kernel stands for.
#[derive(Debug)]
pub(super) enum Back {
    /// A frame, and the address's offset in it.
    Whole(Frame, u32),
    /// A part of a frame of which the kernel has others.
    Part,
    /// Nothing that was lent.
    Unknown,
}

/// Packet memory in frames of one size.
pub(super) struct Umem {
    area: Mapping,
    pages: Pages,
    frame_size: u32,
    id: u32,
    /// One entry per frame: how many of its chunks the kernel has.
    lent: Box<[u8]>,
    lent_count: u32,
    /// Frames that nobody uses, last in first out: the warmest is used next. Never longer than `lent`.
    free: Vec<Frame>,
}

impl Umem {
    /// Maps `count` frames of `frame_size` bytes, all free. `frame_size` is a power of two or several chunks (checked by the caller).
    pub(super) fn new(count: u32, frame_size: u32, huge_pages: bool) -> io::Result<Self> {
        let (area, pages) = map(count as usize * frame_size as usize, huge_pages)?;
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let free = (0..count).rev().map(|index| Frame { index, umem: id }).collect();
        let lent = vec![0; count as usize].into_boxed_slice();
        Ok(Self { area, pages, frame_size, id, lent, lent_count: 0, free })
    }

    /// Address of the first byte, for the kernel.
    pub(super) fn start(&self) -> u64 {
        self.area.start().as_ptr() as u64
    }

    /// Bytes of all frames together.
    pub(super) fn len(&self) -> u64 {
        self.lent.len() as u64 * u64::from(self.frame_size)
    }

    /// What the memory is made of.
    pub(super) fn pages(&self) -> Pages {
        self.pages
    }

    /// Bytes of a frame.
    pub(super) fn frame_size(&self) -> u32 {
        self.frame_size
    }

    /// Bytes of what the kernel takes as one: a whole frame, unless that is larger than [`CHUNK_MAX`].
    pub(super) fn chunk_size(&self) -> u32 {
        self.frame_size.min(CHUNK_MAX)
    }

    /// Frames in the free list.
    pub(super) fn free(&self) -> u32 {
        self.free.len() as u32
    }

    /// Frames that the kernel has.
    pub(super) fn lent(&self) -> u32 {
        self.lent_count
    }

    /// True when the token is one of this umem.
    pub(super) fn owns(&self, frame: &Frame) -> bool {
        frame.umem == self.id
    }

    /// A free frame. Its bytes are what its last user left.
    pub(super) fn take(&mut self) -> Option<Frame> {
        self.free.pop()
    }

    /// Puts a frame back into the free list; a foreign one comes back.
    pub(super) fn release(&mut self, frame: Frame) -> Result<(), Frame> {
        if !self.owns(&frame) {
            return Err(frame);
        }
        self.free.push(frame);
        Ok(())
    }

    /// Gives a frame to the kernel: the token is gone, the address is for a ring. A foreign one comes back.
    pub(super) fn lend(&mut self, frame: Frame) -> Result<u64, Frame> {
        self.lend_chunks(frame, 1)
    }

    /// The same with the first `chunks` chunks of a frame, which come back one by one.
    pub(super) fn lend_chunks(&mut self, frame: Frame, chunks: u8) -> Result<u64, Frame> {
        if !self.owns(&frame) {
            return Err(frame);
        }
        self.lent[frame.index as usize] = chunks;
        self.lent_count += 1;
        Ok(u64::from(frame.index) * u64::from(self.frame_size))
    }

    /// Takes a frame back from the kernel by any address within it; also gives the offset of that address in the
    /// frame. None if the address is outside the umem or its frame was not lent.
    pub(super) fn take_back(&mut self, addr: u64) -> Option<(Frame, u32)> {
        match self.take_back_chunk(addr) {
            Back::Whole(frame, offset) => Some((frame, offset)),
            Back::Part | Back::Unknown => None,
        }
    }

    /// The same chunk by chunk.
    pub(super) fn take_back_chunk(&mut self, addr: u64) -> Back {
        let index = addr / u64::from(self.frame_size);
        let lent = usize::try_from(index).ok().and_then(|index| self.lent.get_mut(index)).filter(|lent| **lent > 0);
        let Some(lent) = lent else { return Back::Unknown };
        *lent -= 1;
        if *lent > 0 {
            return Back::Part;
        }
        self.lent_count -= 1;
        let offset = (addr % u64::from(self.frame_size)) as u32;
        Back::Whole(Frame { index: index as u32, umem: self.id }, offset)
    }

    /// Takes back everything that the kernel has. Only for when its socket is closed and nothing was ever bound.
    pub(super) fn take_back_all(&mut self) {
        for (index, lent) in self.lent.iter_mut().enumerate() {
            if std::mem::take(lent) > 0 {
                self.free.push(Frame { index: index as u32, umem: self.id });
            }
        }
        self.lent_count = 0;
    }

    /// All bytes of a frame; none of a foreign one.
    pub(super) fn bytes(&mut self, frame: &mut Frame) -> &mut [u8] {
        if !self.owns(frame) {
            return &mut [];
        }
        let start = frame.index as usize * self.frame_size as usize;
        // SAFETY: a token of this umem has an index below its count, so that the frame lies inside the mapping. The
        // token is unique and the kernel does not have the frame, so that nobody else touches it; `&mut self` keeps
        // any second slice of this umem from existing meanwhile.
        unsafe { std::slice::from_raw_parts_mut(self.area.start().add(start).as_ptr(), self.frame_size as usize) }
    }
}

/// Maps at least `len` bytes: huge pages if wanted and reserved, otherwise ordinary ones with advice.
fn map(len: usize, huge_pages: bool) -> io::Result<(Mapping, Pages)> {
    if huge_pages && let Ok(area) = sys::map_anonymous(len.next_multiple_of(HUGE_PAGE), libc::MAP_HUGETLB) {
        return Ok((area, Pages::Huge));
    }
    let area = sys::map_anonymous(len, 0)?;
    let pages = if huge_pages && sys::advise_huge(&area) { Pages::Transparent } else { Pages::Plain };
    Ok((area, pages))
}
