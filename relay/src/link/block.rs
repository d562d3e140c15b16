//! One block on the receiving side: which of its symbols came.

use super::pool::{Pool, Slot};
use crate::fec::{Decoder, Geometry};

/// A source symbol that is here.
#[derive(Debug)]
pub(super) struct Symbol {
    slot: Slot,
    len: u16,
    pub(super) first_record: Option<u16>,
    pub(super) recovered: bool,
    /// The records that lie whole in it were delivered before their turn.
    pub(super) early: bool,
}

impl Symbol {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.slot.bytes()[..usize::from(self.len)]
    }
}

/// What became of a symbol that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Kept,
    /// Already here, or no longer needed.
    Unneeded,
    /// Contradicts what is known of the block.
    Contradiction,
    PoolFull,
}

#[derive(Debug, Default)]
pub(super) struct Block {
    source: Vec<Option<Symbol>>,
    repair: Vec<(u16, Slot)>,
    geometry: Option<Geometry>,
    k: Option<u16>,
    /// Source symbols here.
    present: u16,
    /// Source symbols from the first on that are none of this side's business.
    skipped: u16,
    /// Source symbols given to the walker, in order.
    pub(super) walked: u16,
    /// Symbols here when decoding was last tried.
    tried: usize,
}

impl Block {
    /// Source symbols before `index` are none of this side's business. For a block of which nothing came yet.
    pub(super) fn skip_to(&mut self, index: u16) {
        if self.k.is_none_or(|k| index < k) {
            self.skipped = index;
            self.walked = index;
            self.source.resize_with(usize::from(index), || None);
        }
    }

    /// Notes K; the first word counts.
    pub(super) fn learn_k(&mut self, k: u16) {
        if self.source.len() <= usize::from(k) {
            self.k.get_or_insert(k);
        }
    }

    /// Have all symbols been walked?
    pub(super) fn is_done(&self) -> bool {
        self.k == Some(self.walked)
    }

    /// Is there a symbol that cannot be walked because an earlier one is missing, or one known to be missing?
    pub(super) fn has_gap(&self) -> bool {
        self.present + self.skipped > self.walked || !self.repair.is_empty() || self.k.is_some_and(|k| k > self.walked)
    }

    /// Source symbols that never came, of those known to exist.
    pub(super) fn missing(&self) -> u16 {
        self.len() - self.present - self.skipped
    }

    pub(super) fn symbol(&self, index: u16) -> Option<&Symbol> {
        self.source.get(usize::from(index))?.as_ref()
    }

    pub(super) fn symbol_mut(&mut self, index: u16) -> Option<&mut Symbol> {
        self.source.get_mut(usize::from(index))?.as_mut()
    }

    /// Index after the last symbol that is here or known to exist.
    pub(super) fn len(&self) -> u16 {
        self.k.unwrap_or(self.source.len() as u16)
    }

    /// Keeps the source symbol that has landed in the pool with `len` bytes.
    #[inline]
    pub(super) fn store_source(&mut self, pool: &mut Pool, index: u16, len: u16, first_record: Option<u16>) -> Stored {
        if self.k.is_some_and(|k| index >= k) {
            return Stored::Contradiction;
        }
        if index < self.walked || self.symbol(index).is_some() {
            return Stored::Unneeded;
        }
        let Some(slot) = pool.keep_landed() else { return Stored::PoolFull };
        self.insert(index, Symbol { slot, len, first_record, recovered: false, early: false });
        Stored::Kept
    }

    /// Keeps the repair symbol that has landed in the pool.
    pub(super) fn store_repair(&mut self, pool: &mut Pool, index: u16, geometry: Geometry) -> Stored {
        let fits_k = self.source.len() <= usize::from(geometry.k) && self.k.is_none_or(|k| k == geometry.k);
        if self.geometry.is_some_and(|known| known != geometry) || !fits_k {
            return Stored::Contradiction;
        }
        self.geometry = Some(geometry);
        self.k = Some(geometry.k);
        let enough = self.repair.len() >= usize::from(geometry.k);
        if enough || self.present == geometry.k || self.repair.iter().any(|(known, _)| *known == index) {
            return Stored::Unneeded;
        }
        let Some(slot) = pool.keep_landed() else { return Stored::PoolFull };
        self.repair.push((index, slot));
        Stored::Kept
    }

    /// Tries to restore what is missing, if that can be more successful than the last time. Returns how many symbols
    /// it restored.
    pub(super) fn recover(&mut self, pool: &mut Pool, decoder: &mut Decoder) -> u16 {
        let Some(geometry) = self.geometry else { return 0 };
        let here = usize::from(self.present) + self.repair.len();
        if self.present >= geometry.k || here < usize::from(geometry.k) || here == self.tried {
            return 0;
        }
        self.tried = here;
        let mut restored = Vec::new();
        let source =
            self.source.iter().zip(0_u16..).filter_map(|(symbol, index)| Some((index, symbol.as_ref()?.bytes())));
        let symbol_bytes = usize::from(geometry.symbol_bytes);
        let repair = self.repair.iter().map(|(index, slot)| (*index, &slot.bytes()[..symbol_bytes]));
        decoder.decode(geometry, source, repair, |index, bytes| restored.push((index, bytes.to_vec())));
        // The repair symbols' own slots make room for what they restored.
        self.drop_repair_if(pool, !restored.is_empty());
        let (before, skipped) = (self.present, self.skipped);
        for (index, bytes) in restored.into_iter().filter(|(index, _)| *index >= skipped) {
            let Some(slot) = pool.store(&bytes) else { break };
            self.insert(
                index,
                Symbol { slot, len: bytes.len() as u16, first_record: None, recovered: true, early: false },
            );
        }
        self.present - before
    }

    /// Gives all slots back and forgets everything, keeping the vectors' memory.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        self.source.drain(..).flatten().for_each(|symbol| pool.put_back(symbol.slot));
        self.drop_repair_if(pool, true);
        *self = Self {
            source: std::mem::take(&mut self.source),
            repair: std::mem::take(&mut self.repair),
            ..Self::default()
        };
    }

    fn drop_repair_if(&mut self, pool: &mut Pool, condition: bool) {
        if condition {
            self.repair.drain(..).for_each(|(_, slot)| pool.put_back(slot));
        }
    }

    #[inline]
    fn insert(&mut self, index: u16, symbol: Symbol) {
        let index = usize::from(index);
        if index == self.source.len() {
            self.source.push(Some(symbol));
        } else {
            if index > self.source.len() {
                self.source.resize_with(index + 1, || None);
            }
            self.source[index] = Some(symbol);
        }
        self.present += 1;
    }
}
