//! Memory for the symbols that a receiver keeps: slots of one size, a bound, made as they are needed and never given back.
//!
//! One slot more is the landing: frames are opened into it, and only then is it known whether the symbol is kept. So a
//! symbol is written once, by the cipher, and stays where it is until its block is done.

/// There may be at least so many slots, whatever the bound says: two full blocks of the default size.
const SLOTS_MIN: usize = 256;

/// Memory of one symbol. Whoever holds it owns it until it puts it back.
#[derive(Debug)]
pub(super) struct Slot(Box<[u8]>);

impl Slot {
    fn new(bytes: usize) -> Self {
        Self(vec![0; bytes].into())
    }

    /// The whole slot; the caller knows how much of it is the symbol.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[derive(Debug)]
pub(super) struct Pool {
    slot_bytes: usize,
    slots_max: usize,
    /// Slots made so far, without the landing.
    slots: usize,
    free: Vec<Slot>,
    landing: Slot,
}

impl Pool {
    /// A pool of slots of `slot_bytes` that never takes more than about `bytes_max`.
    pub(super) fn new(slot_bytes: usize, bytes_max: usize) -> Self {
        let slots_max = (bytes_max / slot_bytes).max(SLOTS_MIN);
        let free = Vec::with_capacity(slots_max);
        Self { slot_bytes, slots_max, slots: 0, free, landing: Slot::new(slot_bytes) }
    }

    /// Would [`Pool::store`] and [`Pool::keep_landed`] find a slot?
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty() || self.slots < self.slots_max
    }

    /// Where the next symbol of `len` bytes is opened into; `None` if no slot is that long.
    pub(super) fn landing(&mut self, len: usize) -> Option<&mut [u8]> {
        self.landing.0.get_mut(..len)
    }

    /// Keeps what was written into the landing, or `None` if the pool is at its bound.
    pub(super) fn keep_landed(&mut self) -> Option<Slot> {
        let next = self.take()?;
        Some(std::mem::replace(&mut self.landing, next))
    }

    /// A slot holding a copy of `bytes`, or `None` if the pool is at its bound.
    pub(super) fn store(&mut self, bytes: &[u8]) -> Option<Slot> {
        let mut slot = self.take()?;
        slot.0[..bytes.len()].copy_from_slice(bytes);
        Some(slot)
    }

    /// Takes the slot back.
    pub(super) fn put_back(&mut self, slot: Slot) {
        self.free.push(slot);
    }

    fn take(&mut self) -> Option<Slot> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        (self.slots < self.slots_max).then(|| {
            self.slots += 1;
            Slot::new(self.slot_bytes)
        })
    }

    /// Slots handed out and not put back.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.slots - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_bounded_and_reuses() {
        let slots = SLOTS_MIN * 2;
        let mut pool = Pool::new(100, 100 * slots);
        let mut held: Vec<Slot> = (0..slots).map_while(|n| pool.store(&[n as u8; 100])).collect();
        assert_eq!(held.len(), slots);
        assert!(pool.store(&[0]).is_none());
        for (n, slot) in held.iter().enumerate() {
            assert_eq!(slot.bytes(), [n as u8; 100]);
        }
        pool.put_back(held.pop().expect("held"));
        assert!(pool.store(&[1]).is_some());
    }

    #[test]
    fn what_landed_stays_where_it_is_when_kept() {
        let mut pool = Pool::new(100, 100 * SLOTS_MIN);
        assert!(pool.landing(101).is_none());
        let mut held = Vec::new();
        for n in 0..SLOTS_MIN {
            let landing = pool.landing(100).expect("long enough");
            landing.fill(n as u8);
            let at = landing.as_ptr();
            let kept = pool.keep_landed().expect("below the bound");
            assert_eq!((kept.bytes().as_ptr(), kept.bytes()), (at, &[n as u8; 100][..]));
            held.push(kept);
        }
        assert_eq!(pool.used(), SLOTS_MIN);
        pool.landing(2).expect("still there").fill(7);
        assert!(pool.keep_landed().is_none(), "at the bound");
        pool.put_back(held.pop().expect("held"));
        assert_eq!(pool.keep_landed().expect("a slot is free").bytes()[..2], [7, 7]);
    }
}
