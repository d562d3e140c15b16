//! Memory for the symbols that a receiver keeps: fixed slots, a fixed bound, grown in chunks and never given back.

/// Slots are allocated this many at a time: a quarter of a megabyte at 1500 bytes, so that idle links stay small.
const CHUNK_SLOTS: usize = 256;

/// Index of a slot. Whoever holds it owns the slot until it puts it back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SlotId(u32);

#[derive(Debug)]
pub(super) struct Pool {
    slot_bytes: usize,
    chunks: Vec<Box<[u8]>>,
    chunks_max: usize,
    free: Vec<SlotId>,
}

impl Pool {
    /// A pool of slots of `slot_bytes` that never takes more than about `bytes_max`.
    pub(super) fn new(slot_bytes: usize, bytes_max: usize) -> Self {
        let chunks_max = (bytes_max / (slot_bytes * CHUNK_SLOTS)).max(1);
        Self {
            slot_bytes,
            chunks: Vec::with_capacity(chunks_max),
            chunks_max,
            free: Vec::with_capacity(chunks_max * CHUNK_SLOTS),
        }
    }

    /// Largest symbol that a slot holds, bytes.
    pub(super) fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    /// Would [`Pool::store`] find a slot?
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty() || self.chunks.len() < self.chunks_max
    }

    /// A slot holding a copy of `bytes`, or `None` if the pool is at its bound.
    pub(super) fn store(&mut self, bytes: &[u8]) -> Option<SlotId> {
        if self.free.is_empty() {
            self.grow();
        }
        let slot = self.free.pop()?;
        self.slot_mut(&slot)[..bytes.len()].copy_from_slice(bytes);
        Some(slot)
    }

    /// The slot's memory; the caller knows how much of it is the symbol.
    pub(super) fn slot(&self, slot: &SlotId) -> &[u8] {
        let (chunk, at) = self.place(slot);
        &self.chunks[chunk][at..at + self.slot_bytes]
    }

    /// Takes the slot back.
    pub(super) fn put_back(&mut self, slot: SlotId) {
        self.free.push(slot);
    }

    fn slot_mut(&mut self, slot: &SlotId) -> &mut [u8] {
        let (chunk, at) = self.place(slot);
        &mut self.chunks[chunk][at..at + self.slot_bytes]
    }

    fn place(&self, slot: &SlotId) -> (usize, usize) {
        let index = slot.0 as usize;
        (index / CHUNK_SLOTS, index % CHUNK_SLOTS * self.slot_bytes)
    }

    fn grow(&mut self) {
        if self.chunks.len() < self.chunks_max {
            let first = self.chunks.len() * CHUNK_SLOTS;
            self.chunks.push(vec![0; CHUNK_SLOTS * self.slot_bytes].into());
            self.free.extend((first..first + CHUNK_SLOTS).rev().map(|index| SlotId(index as u32)));
        }
    }

    /// Slots handed out and not put back.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.chunks.len() * CHUNK_SLOTS - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_bounded_and_reuses() {
        let mut pool = Pool::new(100, 100 * CHUNK_SLOTS * 2);
        let mut held: Vec<SlotId> = (0..CHUNK_SLOTS * 2).map_while(|n| pool.store(&[n as u8; 100])).collect();
        assert_eq!(held.len(), CHUNK_SLOTS * 2);
        assert!(pool.store(&[0]).is_none());
        for (n, slot) in held.iter().enumerate() {
            assert_eq!(pool.slot(slot), [n as u8; 100]);
        }
        pool.put_back(held.pop().expect("held"));
        assert!(pool.store(&[1]).is_some());
    }
}
