//! One channel of one lane on the receiving side: its blocks in order, and what of them is still awaited.
//!
//! Source symbols are delivered as soon as all before them were. A gap waits for repair symbols. A block is given up
//! only when it is known to be over at the sender (a later block or a heartbeat said so) and `hold` has passed since
//! then for stragglers, so that a sender or receiver that was held up for a while loses nothing.

use std::collections::VecDeque;

use super::Nanos;
use super::ReceiverCounters;
use super::block::{Block, Stored};
use super::outgoing::Totals;
use super::pool::Pool;
use super::receiver::{Delivery, Settled, Sink, Turn};
use super::walker::{Walked, Walker};
use crate::fec::{Decoder, Geometry};
use crate::wire::{HeartbeatEntry, Position};

/// Blocks of one channel that may be open at once. At 64 the oldest is given up: with blocks of the default 5 ms that
/// is far beyond every hold, with full blocks at line rate still a millisecond.
const WINDOW: i32 = 64;

/// What the receiver lends to a channel while it works.
pub(super) struct Context<'a, S> {
    pub(super) now: Nanos,
    pub(super) lane: u16,
    pub(super) pool: &'a mut Pool,
    pub(super) decoder: &'a mut Decoder,
    pub(super) counters: &'a mut ReceiverCounters,
    pub(super) sink: &'a mut S,
}

#[derive(Debug, Default)]
struct Pending {
    block: Block,
    /// When the block was first known to be over at the sender.
    over_at: Option<Nanos>,
    recovered: bool,
}

/// Since when a channel is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// From its beginning, so that everything missing is a loss.
    Start,
    /// The lane was running before: of the block that is open now, this side's last run may have delivered the part
    /// before the first symbol heard, so that part must not be recovered and delivered again.
    MidLane,
    /// This side did not know the channel before: what it sent until now is not missed.
    Known,
}

/// How far a channel has got with joining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Join {
    /// Nothing was heard.
    Waiting,
    /// The next block is the first one, and nothing of it came.
    Ready,
    /// Within the first block.
    Within,
    /// The first block is finished.
    Done,
}

#[derive(Debug)]
pub(super) struct Incoming {
    slot: usize,
    ordered: bool,
    since: Since,
    join: Join,
    next_block: u32,
    /// Blocks from `next_block` on.
    window: VecDeque<Pending>,
    spare: Vec<Block>,
    walker: Walker,
    delivered: Totals,
    /// What was delivered of all blocks before `next_block`.
    resolved: Totals,
    heard: Option<HeartbeatEntry>,
    before_join: Option<Totals>,
    /// Is it in the receiver's list of channels to look after?
    pub(super) attended: bool,
}

impl Incoming {
    pub(super) fn new(slot: usize, ordered: bool, since: Since) -> Self {
        Self {
            slot,
            ordered,
            since,
            join: Join::Waiting,
            next_block: 0,
            window: VecDeque::new(),
            spare: Vec::new(),
            walker: Walker::default(),
            delivered: Totals::default(),
            resolved: Totals::default(),
            heard: None,
            before_join: None,
            attended: false,
        }
    }

    pub(super) fn set_ordered(&mut self, ordered: bool) {
        self.ordered = ordered;
    }

    /// Takes the source symbol that has landed in the pool with `len` bytes.
    pub(super) fn source(
        &mut self,
        context: &mut Context<'_, impl Sink>,
        position: Position,
        first_record: Option<u16>,
        previous_k: Option<u16>,
        len: u16,
    ) {
        let stored = self.store_source(context, position, first_record, previous_k, len);
        note(context.counters, stored);
        self.advance(context);
    }

    fn store_source(
        &mut self,
        context: &mut Context<'_, impl Sink>,
        position: Position,
        first_record: Option<u16>,
        previous_k: Option<u16>,
        len: u16,
    ) -> Stored {
        let Some(index) = self.locate(context, position.block) else { return Stored::Unneeded };
        self.over_before(context.now, index);
        if index == 0 && self.join == Join::Ready {
            self.join_within(position.symbol);
        }
        if let Some(k) = previous_k
            && index > 0
        {
            self.window[index - 1].block.learn_k(k);
        }
        let block = &mut self.window[index].block;
        let stored = block.store_source(context.pool, position.symbol, len, first_record);
        let out_of_turn = index > 0 || position.symbol > block.walked;
        if stored == Stored::Kept && out_of_turn && !self.ordered {
            self.deliver_early(context, index, position.symbol);
        }
        stored
    }

    /// Takes the repair symbol that has landed in the pool.
    pub(super) fn repair(&mut self, context: &mut Context<'_, impl Sink>, position: Position, geometry: Geometry) {
        let Some(index) = self.locate(context, position.block) else {
            return note(context.counters, Stored::Unneeded);
        };
        self.over_before(context.now, index);
        if index == 0 && self.join == Join::Ready && self.since == Since::MidLane {
            // All source symbols of this block were sent before the first frame heard.
            self.resolve(context);
            note(context.counters, Stored::Unneeded);
        } else {
            let stored = self.window[index].block.store_repair(context.pool, position.symbol, geometry);
            note(context.counters, stored);
        }
        self.advance(context);
    }

    /// Takes the channel's entry of a heartbeat.
    pub(super) fn heartbeat(&mut self, context: &mut Context<'_, impl Sink>, entry: HeartbeatEntry) {
        if self.join == Join::Waiting {
            self.start(entry.next_block);
        }
        if (entry.next_block.wrapping_sub(self.next_block) as i32) > 0
            && let Some(last) = self.locate(context, entry.next_block.wrapping_sub(1))
        {
            self.over_before(context.now, last + 1);
            if let Some(k) = entry.last_k {
                self.window[last].block.learn_k(k);
            }
        }
        // A heartbeat that was overtaken says nothing new.
        if self.heard.is_none_or(|heard| (entry.next_block.wrapping_sub(heard.next_block) as i32) >= 0) {
            self.heard = Some(entry);
        }
        self.advance(context);
        self.settle(context);
    }

    /// Gives up what has been held long enough. Returns when to call again, if anything is still held.
    pub(super) fn poll(&mut self, context: &mut Context<'_, impl Sink>, hold_ns: Nanos) -> Option<Nanos> {
        while let Some(over_at) = self.window.front().and_then(|pending| pending.over_at) {
            if over_at + hold_ns > context.now {
                return Some(over_at + hold_ns);
            }
            self.abandon(context);
            self.advance(context);
        }
        None
    }

    /// What is still missing will not come: the lane has fallen silent, or the channel is gone.
    pub(super) fn give_up_all(&mut self, context: &mut Context<'_, impl Sink>) {
        while self.is_held() {
            self.abandon(context);
            self.advance(context);
        }
    }

    /// Does anything here wait for what may never come?
    pub(super) fn is_held(&self) -> bool {
        self.window.len() > 1 || self.window.front().is_some_and(|pending| pending.block.has_gap())
    }

    /// Gives all memory back, delivering nothing more.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        self.window.iter_mut().for_each(|pending| pending.block.clear(pool));
        self.window.clear();
    }

    /// Gives the oldest block up, to make room in the pool.
    pub(super) fn give_up_oldest(&mut self, context: &mut Context<'_, impl Sink>) {
        self.abandon(context);
        self.advance(context);
    }

    /// Blocks that are open here.
    pub(super) fn open_blocks(&self) -> usize {
        self.window.len()
    }

    fn start(&mut self, block: u32) {
        if self.since == Since::Known && block == 0 {
            self.since = Since::Start;
        }
        (self.join, self.next_block) = if self.since == Since::Start { (Join::Done, 0) } else { (Join::Ready, block) };
    }

    /// The first symbol of the first block is `symbol`.
    fn join_within(&mut self, symbol: u16) {
        self.join = Join::Within;
        if self.since == Since::MidLane && symbol > 0 {
            self.window[0].block.skip_to(symbol);
            self.walker.gap();
        }
    }

    /// Where `block` stands in the window, making room for it; `None` if it is past.
    fn locate(&mut self, context: &mut Context<'_, impl Sink>, block: u32) -> Option<usize> {
        if self.join == Join::Waiting {
            self.start(block);
        }
        let mut ahead = block.wrapping_sub(self.next_block) as i32;
        if ahead < 0 {
            return None;
        }
        while ahead >= WINDOW && !self.window.is_empty() {
            self.abandon(context);
            ahead -= 1;
        }
        if ahead >= WINDOW {
            let skipped = (ahead - (WINDOW - 1)) as u32;
            context.counters.blocks_abandoned += u64::from(skipped);
            self.next_block = self.next_block.wrapping_add(skipped);
            self.join = Join::Done;
            ahead = WINDOW - 1;
        }
        let index = ahead as usize;
        while self.window.len() <= index {
            let block = self.spare.pop().unwrap_or_default();
            self.window.push_back(Pending { block, ..Pending::default() });
        }
        Some(index)
    }

    /// All blocks before the one at `index` are over at the sender.
    fn over_before(&mut self, now: Nanos, index: usize) {
        for pending in self.window.iter_mut().take(index).rev() {
            if pending.over_at.is_some() {
                break;
            }
            pending.over_at = Some(now);
        }
    }

    /// Delivers all that can be delivered in order, recovering what can be recovered.
    fn advance(&mut self, context: &mut Context<'_, impl Sink>) {
        loop {
            self.walk_front(context);
            let Some(front) = self.window.front_mut() else { return };
            if front.block.is_done() {
                context.counters.blocks_complete += 1;
                context.counters.blocks_recovered += u64::from(front.recovered);
                self.resolve(context);
                continue;
            }
            let restored = front.block.recover(context.pool, context.decoder);
            if restored == 0 {
                return;
            }
            front.recovered = true;
            context.counters.symbols_recovered += u64::from(restored);
        }
    }

    /// Walks the symbols of the front block that follow without a gap.
    fn walk_front(&mut self, context: &mut Context<'_, impl Sink>) {
        while let Some(front) = self.window.front() {
            let index = front.block.walked;
            if front.block.symbol(index).is_none() {
                return;
            }
            self.walk(context, index);
            self.window[0].block.walked += 1;
        }
    }

    /// Walks symbol `index` of the front block, or the gap where it should be.
    fn walk(&mut self, context: &mut Context<'_, impl Sink>, index: u16) {
        let Some(symbol) = self.window.front().and_then(|front| front.block.symbol(index)) else {
            return self.walker.gap();
        };
        let bytes = symbol.bytes();
        let early = symbol.early;
        let origin = Origin { lane: context.lane, slot: self.slot, from_start: self.since == Since::Start };
        let (delivered, sink) = (&mut self.delivered, &mut *context.sink);
        self.walker.symbol(bytes, symbol.first_record, symbol.recovered, |walked| {
            if walked.head.kind.is_payload() {
                delivered.records += 1;
                delivered.bytes += walked.payload.len() as u64;
            }
            let turn = if early && walked.within_symbol { Turn::AfterEarly } else { Turn::InOrder };
            sink.record(&origin.delivery(walked, turn));
        });
        context.counters.records_broken += std::mem::take(&mut self.walker.broken);
    }

    /// Delivers what lies whole in a symbol before its turn, on a channel that need not be in order.
    fn deliver_early(&mut self, context: &mut Context<'_, impl Sink>, index: usize, symbol_index: u16) {
        let Some(symbol) = self.window[index].block.symbol_mut(symbol_index) else { return };
        symbol.early = true;
        let Some(first_record) = symbol.first_record else { return };
        let origin = Origin { lane: context.lane, slot: self.slot, from_start: self.since == Since::Start };
        let sink = &mut *context.sink;
        Walker::whole_records(symbol.bytes(), first_record, |walked| {
            sink.record(&origin.delivery(walked, Turn::Early));
        });
    }

    /// Gives the front block up, delivering what of it came.
    fn abandon(&mut self, context: &mut Context<'_, impl Sink>) {
        self.walk_front(context);
        let Some(front) = self.window.front() else { return };
        context.counters.blocks_abandoned += 1;
        context.counters.symbols_lost += u64::from(front.block.missing());
        for index in front.block.walked..front.block.len() {
            self.walk(context, index);
        }
        self.resolve(context);
    }

    /// The front block is finished, one way or the other.
    fn resolve(&mut self, context: &mut Context<'_, impl Sink>) {
        self.walker.end_block();
        context.counters.records_broken += std::mem::take(&mut self.walker.broken);
        if let Some(mut front) = self.window.pop_front() {
            front.block.clear(context.pool);
            self.spare.push(front.block);
        }
        self.next_block = self.next_block.wrapping_add(1);
        self.join = Join::Done;
        self.resolved = self.delivered;
        self.settle(context);
    }

    /// Compares what the sender says it sent with what was delivered, if all of that is resolved.
    fn settle(&mut self, context: &mut Context<'_, impl Sink>) {
        let Some(entry) = self.heard.take_if(|entry| entry.next_block == self.next_block) else { return };
        let missing = Totals {
            records: entry.records.saturating_sub(self.resolved.records),
            bytes: entry.bytes.saturating_sub(self.resolved.bytes),
        };
        let before = match (self.since, self.join) {
            (Since::Start, _) => Totals::default(),
            (_, Join::Done) => *self.before_join.get_or_insert(missing),
            // Part of the first block may be from before, too.
            _ => missing,
        };
        context.sink.settled(&Settled {
            lane: context.lane,
            slot: self.slot,
            sent_records: entry.records,
            missing_records: missing.records.saturating_sub(before.records),
            missing_bytes: missing.bytes.saturating_sub(before.bytes),
            before_join_records: before.records,
        });
    }
}

/// Where a channel's records belong.
#[derive(Clone, Copy)]
struct Origin {
    lane: u16,
    slot: usize,
    from_start: bool,
}

impl Origin {
    fn delivery(self, walked: Walked<'_>, turn: Turn) -> Delivery<'_> {
        let Walked { head, payload, recovered, .. } = walked;
        Delivery { lane: self.lane, slot: self.slot, head, payload, recovered, turn, from_start: self.from_start }
    }
}

fn note(counters: &mut ReceiverCounters, stored: Stored) {
    match stored {
        Stored::Kept => {}
        Stored::Unneeded => counters.unneeded += 1,
        Stored::Contradiction => counters.contradictions += 1,
        Stored::PoolFull => counters.pool_full += 1,
    }
}
