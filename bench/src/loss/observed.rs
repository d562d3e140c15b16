//! A link in memory that knows which frames of which block it lost, and so what an ideal code would have made of the rest.

use std::io;

use relay::link::memory::{Faults, MemoryLink};
use relay::link::{RxPort, TxPort};
use relay::wire::{Header, Kind};
use rustc_hash::FxHashMap;

use crate::pipeline::Lossy;

/// What left and what arrived of a block.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    source: u32,
    source_arrived: u32,
    repair_arrived: u32,
}

impl Block {
    /// Source symbols that an ideal code has at the end: all, if any K symbols came, and else those that came.
    fn restorable(self) -> u32 {
        if self.source_arrived + self.repair_arrived >= self.source { self.source } else { self.source_arrived }
    }
}

/// A [`MemoryLink`] under observation.
pub struct Observed {
    link: MemoryLink,
    blocks: FxHashMap<u32, Block>,
}

impl Observed {
    /// Observes `link`.
    pub fn new(link: MemoryLink) -> Self {
        Self { link, blocks: FxHashMap::default() }
    }

    /// Share of the source symbols sent so far that an ideal code has.
    pub fn restorable(&self) -> f64 {
        let sum =
            |count: fn(Block) -> u32| self.blocks.values().map(|block| u64::from(count(*block))).sum::<u64>() as f64;
        sum(Block::restorable) / sum(|block| block.source)
    }
}

impl Lossy for Observed {
    fn heal(&mut self) {
        self.link.set_faults(Faults::default());
    }
}

impl TxPort for Observed {
    type Frame = Vec<u8>;

    fn take(&mut self) -> Option<Vec<u8>> {
        self.link.take()
    }

    fn has_free(&mut self, wanted: usize) -> bool {
        self.link.has_free(wanted)
    }

    fn frames(&self) -> usize {
        self.link.frames()
    }

    fn bytes<'a>(&'a mut self, frame: &'a mut Vec<u8>) -> &'a mut [u8] {
        self.link.bytes(frame)
    }

    fn submit(&mut self, frame: Vec<u8>, len: usize) -> Result<(), Vec<u8>> {
        let header = Header::read(&frame[..len]);
        let lost_before = self.link.counts.lost;
        self.link.submit(frame, len)?;
        let arrived = u32::from(self.link.counts.lost == lost_before);
        if let Ok(header) = header {
            let block = || header.position.block;
            match header.kind {
                Kind::Source { .. } => {
                    let block = self.blocks.entry(block()).or_default();
                    block.source += 1;
                    block.source_arrived += arrived;
                }
                Kind::Repair { .. } => self.blocks.entry(block()).or_default().repair_arrived += arrived,
                Kind::Heartbeat => {}
            }
        }
        Ok(())
    }

    fn kick(&mut self) -> io::Result<bool> {
        self.link.kick()
    }

    fn waiting(&self) -> usize {
        self.link.waiting()
    }

    fn overhead_bytes(&self) -> usize {
        self.link.overhead_bytes()
    }
}

impl RxPort for Observed {
    fn receive(&mut self, max: usize, each: &mut dyn FnMut(&mut [u8])) -> io::Result<usize> {
        self.link.receive(max, each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ideal_code_restores_all_or_has_what_came() {
        let block = |source_arrived, repair_arrived| Block { source: 10, source_arrived, repair_arrived }.restorable();
        assert_eq!([block(10, 0), block(8, 2), block(8, 1), block(0, 10)], [10, 10, 8, 10]);
    }
}
