//! The cursors of the four rings that a program shares with the kernel.
//!
//! Owns: this side's cursor of a ring and the order of memory accesses. Never interprets what a slot says.
//!
//! ```text
//!   producer ----------------.            (fill, TX: we produce; RX, completion: the kernel does)
//!   consumer ----.           |
//!                v           v
//!   slots  . . . C x x x x x P . . . .    size is a power of two, index = cursor & (size - 1)
//! ```
//!
//! Cursors are `u32` that only grow and wrap (`net/xdp/xsk_queue.h`). The producer writes slots, then stores its
//! cursor with release; the consumer loads it with acquire, reads slots, then stores its own with release. Each side
//! keeps a copy of the other's cursor and looks again only when the copy says that there is nothing to do: a cache
//! line that the other core writes is then touched once a batch.
//!
//! A cursor that claims more than the ring holds is not believed: it is counted as a fault and the last good one
//! stays. Every index is masked, so that no cursor, however wrong, leads out of the ring.

use std::any::Any;
use std::marker::PhantomData;
use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use super::sys::Mapping;

/// A packet in the umem, as the RX and TX rings hold it (`struct xdp_desc`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// Offset of the first byte from the start of the umem.
    pub(super) addr: u64,
    /// Bytes.
    pub(super) len: u32,
    /// `XDP_PKT_CONTD`: the packet goes on in the next descriptor.
    pub(super) options: u32,
}

/// What a ring may hold.
///
/// # Safety
/// Every bit pattern must be a valid value: the kernel writes them.
pub(super) unsafe trait Slot: Copy {}

// SAFETY: an integer.
unsafe impl Slot for u64 {}
// SAFETY: three integers without padding.
unsafe impl Slot for Descriptor {}

/// Where a ring lies in memory: two cursors, a flag word, the slots.
pub(super) struct RingMemory<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<T>,
    size: u32,
    /// Keeps the memory behind the pointers alive.
    _keeper: Arc<dyn Any + Send + Sync>,
    _slots: PhantomData<T>,
}

// SAFETY: the pointers lead into memory that `_keeper` holds and that is not tied to a thread; slots are plain data.
unsafe impl<T: Slot> Send for RingMemory<T> {}

impl<T: Slot> RingMemory<T> {
    /// Bytes to map for a ring of `size` slots.
    pub(super) fn mapped_len(offsets: &libc::xdp_ring_offset, size: u32) -> usize {
        (offsets.desc as usize).saturating_add(size as usize * size_of::<T>())
    }

    /// The ring in a mapping of the kernel's. None if the offsets do not fit the mapping or are not aligned, or
    /// if `size` is not a power of two.
    pub(super) fn mapped(mapping: Mapping, offsets: &libc::xdp_ring_offset, size: u32) -> Option<Self> {
        let start = mapping.start();
        let cursor = |offset: u64| {
            let end = usize::try_from(offset).ok()?.checked_add(size_of::<AtomicU32>())?;
            let fits = end <= mapping.len() && offset.is_multiple_of(size_of::<AtomicU32>() as u64);
            // SAFETY: the four bytes at `offset` lie inside the mapping.
            fits.then(|| unsafe { start.add(offset as usize) }.cast::<AtomicU32>())
        };
        let (producer, consumer) = (cursor(offsets.producer)?, cursor(offsets.consumer)?);
        let flags = cursor(offsets.flags)?;
        let fits = Self::mapped_len(offsets, size) <= mapping.len() && offsets.desc.is_multiple_of(8);
        if !fits || !size.is_power_of_two() {
            return None;
        }
        // SAFETY: `size` slots from `desc` lie inside the mapping, as was just checked.
        let slots = unsafe { start.add(offsets.desc as usize) }.cast();
        let keeper = Arc::new(mapping);
        Some(Self { producer, consumer, flags, slots, size, _keeper: keeper, _slots: PhantomData })
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: points into memory that `_keeper` keeps; both sides access it atomically.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.flags.as_ref() }
    }

    /// Reads the slot of a cursor, once: what the other side writes later cannot change the copy.
    fn read(&self, cursor: u32) -> T {
        let index = (cursor & (self.size - 1)) as usize;
        // SAFETY: the mask keeps the index below `size`; every bit pattern is a valid `T` (`Slot`).
        unsafe { self.slots.add(index).read_volatile() }
    }

    /// Writes the slot of a cursor.
    fn write(&mut self, cursor: u32, value: T) {
        let index = (cursor & (self.size - 1)) as usize;
        // SAFETY: the mask keeps the index below `size`; the slot is ours until the cursor is published.
        unsafe { self.slots.add(index).write_volatile(value) }
    }
}

/// The side that fills a ring: fill and TX.
pub(super) struct Producer<T> {
    memory: RingMemory<T>,
    /// Our cursor, ahead of the shared one by what is pushed and not yet published.
    next: u32,
    /// The other side's cursor when last looked at.
    consumed: u32,
    faults: u64,
}

impl<T: Slot> Producer<T> {
    /// Takes over a ring where its cursors stand.
    pub(super) fn new(memory: RingMemory<T>) -> Self {
        let next = memory.producer().load(Ordering::Relaxed);
        let consumed = memory.consumer().load(Ordering::Acquire);
        let mut ring = Self { memory, next, consumed: next, faults: 0 };
        ring.believe(consumed);
        ring
    }

    /// Slots of the ring.
    pub(super) fn size(&self) -> u32 {
        self.memory.size
    }

    /// Takes the other side's cursor unless it claims to be ahead of ours or further behind than the ring is long.
    fn believe(&mut self, consumed: u32) {
        if self.next.wrapping_sub(consumed) <= self.memory.size {
            self.consumed = consumed;
        } else {
            self.faults += 1;
        }
    }

    /// True when a slot is free; looks at the shared cursor only when the copy says no.
    pub(super) fn has_room(&mut self) -> bool {
        self.has_room_for(1)
    }

    /// The same for so many at once.
    pub(super) fn has_room_for(&mut self, count: u32) -> bool {
        if self.room() < count {
            let consumed = self.memory.consumer().load(Ordering::Acquire);
            self.believe(consumed);
        }
        self.room() >= count
    }

    /// Free slots, as far as is known.
    fn room(&self) -> u32 {
        self.memory.size.saturating_sub(self.next.wrapping_sub(self.consumed))
    }

    /// Puts a value into the ring, unseen by the other side until [`Self::publish`]. False if the ring is full.
    #[must_use]
    pub(super) fn push(&mut self, value: T) -> bool {
        let room = self.has_room();
        if room {
            self.memory.write(self.next, value);
            self.next = self.next.wrapping_add(1);
        }
        room
    }

    /// Shows everything pushed to the other side. Writes nothing if there is nothing new, so that an idle loop does
    /// not take the cache line from the other core.
    pub(super) fn publish(&mut self) {
        let cursor = self.memory.producer();
        if cursor.load(Ordering::Relaxed) != self.next {
            cursor.store(self.next, Ordering::Release);
        }
    }

    /// Values that the other side has not consumed yet, as of now: published ones and pushed ones.
    pub(super) fn waiting(&mut self) -> u32 {
        let consumed = self.memory.consumer().load(Ordering::Acquire);
        self.believe(consumed);
        self.next.wrapping_sub(self.consumed)
    }

    /// True when the kernel sleeps and wants a system call before it looks at this ring again.
    pub(super) fn needs_wakeup(&self) -> bool {
        // The flag must be read after our cursor is visible, or both sides could wait for each other; only a full
        // fence orders a store before a later load.
        fence(Ordering::SeqCst);
        self.memory.flags().load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    /// How often the other side's cursor was impossible.
    pub(super) fn faults(&self) -> u64 {
        self.faults
    }
}

/// The side that empties a ring: RX and completion.
pub(super) struct Consumer<T> {
    memory: RingMemory<T>,
    /// Our cursor, ahead of the shared one by what is popped and not yet released.
    next: u32,
    /// The other side's cursor when last looked at.
    produced: u32,
    faults: u64,
}

impl<T: Slot> Consumer<T> {
    /// Takes over a ring where its cursors stand.
    pub(super) fn new(memory: RingMemory<T>) -> Self {
        let next = memory.consumer().load(Ordering::Relaxed);
        Self { memory, next, produced: next, faults: 0 }
    }

    /// Slots of the ring.
    pub(super) fn size(&self) -> u32 {
        self.memory.size
    }

    /// Takes the next value; looks at the shared cursor only when the copy is used up.
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.next == self.produced {
            let produced = self.memory.producer().load(Ordering::Acquire);
            if produced.wrapping_sub(self.next) > self.memory.size {
                self.faults += 1;
            } else {
                self.produced = produced;
            }
        }
        if self.next == self.produced {
            return None;
        }
        let value = self.memory.read(self.next);
        self.next = self.next.wrapping_add(1);
        Some(value)
    }

    /// Gives the slots of everything popped back to the other side. Writes nothing if there is nothing new.
    pub(super) fn release(&mut self) {
        let cursor = self.memory.consumer();
        if cursor.load(Ordering::Relaxed) != self.next {
            cursor.store(self.next, Ordering::Release);
        }
    }

    /// True when nothing can be popped. One load, no system call.
    pub(super) fn is_empty(&self) -> bool {
        self.memory.producer().load(Ordering::Relaxed) == self.next
    }

    /// How often the other side's cursor was impossible.
    pub(super) fn faults(&self) -> u64 {
        self.faults
    }
}

/// Rings in plain memory, so that tests can be the kernel.
#[cfg(test)]
pub(super) mod memory {
    use super::*;
    use std::cell::UnsafeCell;

    /// The shared words and slots of a ring.
    pub(in super::super) struct Plain<T> {
        pub(in super::super) producer: AtomicU32,
        pub(in super::super) consumer: AtomicU32,
        pub(in super::super) flags: AtomicU32,
        slots: Box<[UnsafeCell<T>]>,
    }

    // SAFETY: the cursors order every access to the slots, as they do between processes.
    unsafe impl<T: Send> Sync for Plain<T> {}

    impl<T: Slot + Default + Send + 'static> Plain<T> {
        /// A ring whose two cursors both start at `cursor`.
        pub(in super::super) fn new(size: u32, cursor: u32) -> Arc<Self> {
            assert!(size.is_power_of_two());
            let slots = (0..size).map(|_| UnsafeCell::new(T::default())).collect();
            let (producer, consumer) = (AtomicU32::new(cursor), AtomicU32::new(cursor));
            Arc::new(Self { producer, consumer, flags: AtomicU32::new(0), slots })
        }

        fn view(self: &Arc<Self>) -> RingMemory<T> {
            RingMemory {
                producer: NonNull::from(&self.producer),
                consumer: NonNull::from(&self.consumer),
                flags: NonNull::from(&self.flags),
                slots: NonNull::new(UnsafeCell::raw_get(self.slots.as_ptr())).unwrap(),
                size: self.slots.len() as u32,
                _keeper: Arc::clone(self) as _,
                _slots: PhantomData,
            }
        }

        pub(in super::super) fn as_producer(self: &Arc<Self>) -> Producer<T> {
            Producer::new(self.view())
        }

        pub(in super::super) fn as_consumer(self: &Arc<Self>) -> Consumer<T> {
            Consumer::new(self.view())
        }
    }
}
