//! Where frames leave and arrive.

use std::io;

/// Outgoing side: hands out empty frames, takes full ones. A frame is an owned token: what was taken is given back by
/// submitting it.
pub trait TxPort {
    /// An empty frame's token.
    type Frame;

    /// An empty frame, `None` while all are on their way.
    fn take(&mut self) -> Option<Self::Frame>;

    /// Would `take` give `wanted` frames now?
    fn has_free(&mut self, wanted: usize) -> bool;

    /// Frames that this port has in all.
    fn frames(&self) -> usize;

    /// The frame's memory, from the diode frame's first byte on; as long as the largest frame of the link.
    fn bytes<'a>(&'a mut self, frame: &'a mut Self::Frame) -> &'a mut [u8];

    /// Queues a frame of `len` bytes for sending; gives it back if there is no room now.
    fn submit(&mut self, frame: Self::Frame, len: usize) -> Result<(), Self::Frame>;

    /// Makes sure that what was submitted leaves. Call once a batch. True: something still waits, call again.
    fn kick(&mut self) -> io::Result<bool>;

    /// Frames that were submitted and that the system has not taken yet.
    fn waiting(&self) -> usize;

    /// Bytes that the port puts around every frame on the link, for pacing.
    fn overhead_bytes(&self) -> usize;
}

/// Incoming side.
pub trait RxPort {
    /// Calls `each` with up to `max` frames that have arrived, and returns how many there were. Never waits.
    fn receive(&mut self, max: usize, each: &mut dyn FnMut(&mut [u8])) -> io::Result<usize>;
}
