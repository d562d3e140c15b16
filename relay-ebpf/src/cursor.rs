//! Reading a packet front to back, in the way that the verifier can follow.
//!
//! Owns every access to packet memory. Every read is preceded by a comparison with the packet's end on the
//! very address that is read; sums are plain integers, so that the compiler cannot turn the comparison
//! into a subtraction of packet pointers, which the verifier forbids without `CAP_PERFMON`.

use aya_ebpf::{EbpfContext as _, helpers::generated::bpf_xdp_get_buff_len, programs::XdpContext};

/// Why a header could not be read.
#[derive(Clone, Copy)]
pub enum Cut {
    /// The frame ends inside the header.
    Truncated,
    /// The frame goes on, but not in the part that a program can read directly.
    OutOfReach,
}

/// A type without alignment whose every bit pattern is valid: a header made of bytes.
///
/// # Safety
/// `repr(C)` with `u8` and `[u8; N]` fields only.
pub unsafe trait Bytes {}

// SAFETY: bytes only.
unsafe impl<const N: usize> Bytes for [u8; N] {}

/// A position in the packet.
pub struct Cursor {
    at: usize,
    end: usize,
    /// Bytes before `at`.
    offset: u32,
    /// Bytes of the whole frame, fragments of a multi-buffer frame included.
    frame_len: u32,
}

impl Cursor {
    /// Starts at the Ethernet header.
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> Self {
        // SAFETY: the helper only reads the context that the kernel gave to this program.
        let frame_len = unsafe { bpf_xdp_get_buff_len(ctx.as_ptr().cast()) } as u32;
        Self { at: ctx.data(), end: ctx.data_end(), offset: 0, frame_len }
    }

    /// Bytes of the whole frame.
    #[inline(always)]
    pub fn frame_len(&self) -> u32 {
        self.frame_len
    }

    /// Bytes of the frame from here to its end, readable or not.
    #[inline(always)]
    pub fn remaining(&self) -> u32 {
        self.frame_len.saturating_sub(self.offset)
    }

    /// Reads a header and moves behind it.
    #[inline(always)]
    pub fn take<'a, T: Bytes>(&mut self) -> Result<&'a T, Cut> {
        let at = self.at;
        let next = at + size_of::<T>();
        if next > self.end {
            return Err(if size_of::<T>() as u32 > self.remaining() { Cut::Truncated } else { Cut::OutOfReach });
        }
        self.at = next;
        self.offset += size_of::<T>() as u32;
        // SAFETY: `at..next` lies within the packet, which outlives the program's run; `T` is bytes.
        Ok(unsafe { &*(at as *const T) })
    }

    /// Moves forward without reading. The next `take` notices if that was past the end.
    #[inline(always)]
    pub fn skip(&mut self, bytes: u32) {
        // The verifier wants to see a bound: more than the longest extension header, 8 * 256.
        let bytes = bytes & 0xfff;
        self.at += bytes as usize;
        self.offset += bytes;
    }
}
