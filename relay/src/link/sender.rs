//! The sending end of the link: records in, frames out.

use std::io;
use std::sync::Arc;

use super::emitter::Emitter;
use super::outgoing::{Outgoing, Placement};
use super::pacer::{Pacer, Rate};
use super::{Nanos, SenderCounters, TxPort};
use crate::fec::{Encoder, RepairTable, Scheme};
use crate::wire::{
    Direction, HEARTBEAT_LEN_MAX, Heartbeat, HeartbeatEntry, Kind, LinkKey, Position, RECORD_LEN, RecordHead,
    STREAM_ENTRIES_MAX, Sealer, table_digest,
};

/// What is due but finds no room in the port is tried again after this long: a few frames' time at 1 Gbit/s.
const RETRY_NS: Nanos = 20_000;

/// One channel's blocks.
#[derive(Clone, Debug)]
pub struct SenderChannel {
    /// Identifies the stream on the wire.
    pub channel: u16,
    /// The stream's type, as its wire number, for the receiver's comparison.
    pub stream_type: u8,
    /// The code.
    pub scheme: Scheme,
    /// Most source symbols of a block.
    pub block_symbols: u16,
    /// A partly filled symbol leaves this long after its first byte.
    pub flush_ns: Nanos,
    /// A partly filled block closes this long after its first byte.
    pub deadline_ns: Nanos,
    /// Repair symbols by K, for at least `block_symbols`.
    pub repair: Arc<RepairTable>,
}

/// One sending lane.
#[derive(Clone, Debug)]
pub struct SenderConfig {
    /// The lane's number on the wire.
    pub lane: u16,
    /// This start of the sender.
    pub epoch: u32,
    /// Which way the link goes.
    pub direction: Direction,
    /// The link's key.
    pub key: LinkKey,
    /// Largest symbol, bytes, even (see [`crate::wire::symbol_size`]).
    pub symbol_bytes: u16,
    /// Heartbeat period.
    pub heartbeat_ns: Nanos,
    /// Pacing of a link that has this lane only; for lanes that share one see [`Sender::share_rate`].
    pub rate: Option<Rate>,
}

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// No room in the port now: poll, and try again.
    #[error("the link is busy")]
    Busy,
    /// The record fits no block of its channel, or the channel was removed.
    #[error("record larger than a block, or its channel was removed")]
    Oversize,
}

/// A place in what a [`Sender`] sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waypoint {
    /// In a block that was still open.
    Block {
        /// Of the channel in this slot.
        slot: usize,
        /// The block's number.
        block: u32,
    },
    /// Before the frame with this packet number.
    Frame(u64),
}

/// The sending end of one lane.
///
/// No record that was taken is lost for lack of room in the port: at any time at least one frame is free for every open
/// symbol. A port needs four frames more than that, and twice the repair symbols of the largest block; with less, every
/// push is [`PushError::Busy`].
pub struct Sender<P: TxPort> {
    config: SenderConfig,
    emitter: Emitter<P>,
    encoder: Encoder,
    channels: Vec<Outgoing>,
    digest: u64,
    /// Slots with a block open.
    open: Vec<usize>,
    /// Frames that two blocks' repair symbols may need at once, of the channel that needs most. The same for every
    /// channel, so that a channel with little protection leaves room for one with much.
    repair_frames: usize,
    heartbeat_at: Nanos,
    stopping: bool,
    /// No heartbeat has announced the stop yet and counted every block.
    unannounced: bool,
}

impl<P: TxPort> Sender<P> {
    /// A sender over `port` with no channels yet.
    pub fn new(config: SenderConfig, port: P) -> Self {
        let sealer = Sealer::new(&config.key, config.direction, config.epoch);
        let emitter = Emitter::new(port, sealer, config.lane, config.rate);
        Self {
            config,
            emitter,
            encoder: Encoder::new(&[]),
            channels: Vec::new(),
            digest: 0,
            open: Vec::new(),
            repair_frames: 0,
            heartbeat_at: 0,
            stopping: false,
            unannounced: false,
        }
    }

    /// Replaces the table of channels; `encoder` must know their schemes and block sizes. Channels that stay keep their counts and slots, and so do those that come back.
    pub fn set_channels(&mut self, now: Nanos, channels: Vec<SenderChannel>, encoder: Encoder) {
        for slot in 0..self.channels.len() {
            self.close_block(now, slot);
            self.channels[slot].remove();
        }
        self.open.clear();
        self.digest = table_digest(channels.iter().map(|config| (config.channel, config.stream_type)));
        let repair_max = channels.iter().map(|config| config.repair.max()).max().unwrap_or(0);
        self.repair_frames = 2 * usize::from(repair_max);
        for config in channels {
            match self.slot(config.channel) {
                Some(slot) => self.channels[slot].reconfigure(config),
                None => self.channels.push(Outgoing::new(config, self.config.symbol_bytes)),
            }
        }
        self.open.reserve(self.channels.len());
        self.encoder = encoder;
    }

    /// Where `channel` stands in this sender, for [`Sender::push`].
    pub fn slot(&self, channel: u16) -> Option<usize> {
        self.channels.iter().position(|outgoing| outgoing.config.channel == channel)
    }

    /// Is there room for a record of `payload_bytes` bytes, whatever it makes open blocks do?
    pub fn has_room(&mut self, payload_bytes: usize) -> bool {
        let symbols = (RECORD_LEN + payload_bytes) / usize::from(self.config.symbol_bytes) + 3;
        // At worst the open block closes before the record and again with it.
        self.has_frames(symbols)
    }

    /// Are `wanted` frames free, and as many more as flushing every symbol and closing any two blocks may need? Not while a
    /// paced link is behind.
    pub fn has_frames(&mut self, wanted: usize) -> bool {
        !self.emitter.is_behind() && self.emitter.port.has_free(wanted + self.repair_frames + self.open.len())
    }

    /// Takes one record. It may leave at once or later: see [`Sender::poll`].
    pub fn push(&mut self, now: Nanos, slot: usize, head: &RecordHead, payload: &[u8]) -> Result<(), PushError> {
        let payload_bytes = u16::try_from(payload.len()).map_err(|_| PushError::Oversize)?;
        let placement = self.channels[slot].placement(RECORD_LEN + payload.len());
        if placement == Placement::Never {
            return Err(PushError::Oversize);
        }
        if !self.has_room(payload.len()) {
            return Err(PushError::Busy);
        }
        match placement {
            Placement::NextSymbol => self.close_symbol(now, slot),
            Placement::NextBlock => self.close_block(now, slot),
            Placement::Here | Placement::Never => {}
        }
        if !std::mem::replace(&mut self.channels[slot].queued, true) {
            self.open.push(slot);
        }
        self.channels[slot].begin_record(now, head, payload_bytes);
        let mut rest = payload;
        loop {
            rest = self.channels[slot].append(now, rest);
            if rest.is_empty() {
                break;
            }
            self.close_symbol(now, slot);
        }
        if self.channels[slot].symbol_is_full() {
            self.close_symbol(now, slot);
        }
        if self.channels[slot].is_full() {
            self.close_block(now, slot);
        }
        Ok(())
    }

    /// Takes a record with as much of `payload` as fits one symbol well, and returns how many bytes that is, at least one.
    /// For streams of bytes, which may be cut anywhere: no record of theirs depends on two frames.
    pub fn push_part(
        &mut self,
        now: Nanos,
        slot: usize,
        head: &RecordHead,
        payload: &[u8],
    ) -> Result<usize, PushError> {
        let room = self.channels[slot].part_room();
        let part = &payload[..payload.len().min(room)];
        self.push(now, slot, head, part).map(|()| part.len())
    }

    /// Runs the clocks: flushes symbols, closes blocks, lets paced frames leave. Returns when to call again at the
    /// latest; heartbeats are the caller's to send, when [`Sender::heartbeat_due`] says so.
    pub fn poll(&mut self, now: Nanos) -> io::Result<Nanos> {
        let mut next = Nanos::MAX;
        let mut index = 0;
        while index < self.open.len() {
            let slot = self.open[index];
            self.run_clocks(now, slot);
            let outgoing = &self.channels[slot];
            if outgoing.is_empty() {
                self.channels[slot].queued = false;
                self.open.swap_remove(index);
                continue;
            }
            let full = outgoing.is_full().then_some(now);
            next = [outgoing.flush_at(), outgoing.deadline_at(), full].into_iter().flatten().fold(next, Nanos::min);
            index += 1;
        }
        if self.unannounced && self.open.is_empty() {
            self.heartbeat(now);
        }
        next = next.min(self.heartbeat_at);
        if let Some(at) = self.emitter.release(now) {
            next = next.min(at);
        }
        if self.emitter.kick()? {
            next = next.min(now + RETRY_NS);
        }
        Ok(if next <= now { now + RETRY_NS } else { next })
    }

    /// Is it time for marks and a heartbeat?
    pub fn heartbeat_due(&self, now: Nanos) -> bool {
        now >= self.heartbeat_at
    }

    /// Sends a heartbeat and sets the time of the next; a little later if the port has no room for it now.
    pub fn heartbeat(&mut self, now: Nanos) {
        let frames = self.channels.len() / STREAM_ENTRIES_MAX + 1;
        if !self.emitter.port.has_free(frames + self.open.len()) {
            self.heartbeat_at = now + RETRY_NS;
            return;
        }
        self.heartbeat_at = now + self.config.heartbeat_ns;
        let period_ms = (self.config.heartbeat_ns / 1_000_000).clamp(1, u64::from(u16::MAX)) as u16;
        let mut entries = [HeartbeatEntry::default(); STREAM_ENTRIES_MAX];
        let mut body = [0; HEARTBEAT_LEN_MAX];
        let mut active = self.channels.iter().filter(|outgoing| outgoing.is_announced());
        loop {
            let mut count = 0;
            for (entry, outgoing) in entries.iter_mut().zip(active.by_ref()) {
                *entry = entry_of(outgoing);
                count += 1;
            }
            let (stopping, digest) = (self.stopping, self.digest);
            let len = Heartbeat::write(period_ms, stopping, digest, &entries[..count], &mut body);
            self.emitter.emit(now, Position::default(), Kind::Heartbeat, &body[..len]);
            if count < STREAM_ENTRIES_MAX {
                break;
            }
        }
        self.channels.iter_mut().for_each(Outgoing::announced);
        self.unannounced &= !self.open.is_empty();
    }

    /// Closes every open block and announces the end in this and every later heartbeat. Blocks that the port has no
    /// room for are closed by [`Sender::poll`] as room comes, with a heartbeat after the last: poll until
    /// [`Sender::is_drained`].
    pub fn stop(&mut self, now: Nanos) {
        self.stopping = true;
        let mut index = 0;
        while index < self.open.len() {
            let slot = self.open[index];
            if self.may_close(slot) {
                self.close_block(now, slot);
                self.channels[slot].queued = false;
                self.open.swap_remove(index);
            } else {
                index += 1;
            }
        }
        self.unannounced = true;
        self.heartbeat(now);
    }

    /// Paces what leaves from now on at `rate`, beginning with a full burst.
    pub fn set_rate(&mut self, rate: Option<Rate>) {
        self.emitter.set_pacer(rate.map(Pacer::new));
    }

    /// Paces what leaves from now on by a bucket that other lanes draw from as well.
    pub fn share_rate(&mut self, pacer: Pacer) {
        self.emitter.set_pacer(Some(pacer));
    }

    /// Frames that wait for the link's rate.
    pub fn waiting_frames(&self) -> usize {
        self.emitter.waiting_frames()
    }

    /// Frames that have not left, whatever they wait for.
    pub fn unsent_frames(&self) -> usize {
        self.emitter.unsent_frames()
    }

    /// Has every frame left that was made? Open blocks may still wait for their time.
    pub fn is_empty(&self) -> bool {
        self.emitter.is_empty()
    }

    /// Has everything left?
    pub fn is_drained(&self) -> bool {
        self.open.is_empty() && self.is_empty() && !self.unannounced
    }

    /// Where a channel stands: behind every record that it was given so far.
    pub fn waypoint(&self, slot: usize) -> Waypoint {
        let outgoing = &self.channels[slot];
        if outgoing.is_empty() {
            Waypoint::Frame(self.emitter.packet_number())
        } else {
            Waypoint::Block { slot, block: outgoing.block }
        }
    }

    /// Has everything before `waypoint` left, repair symbols and all? To be asked from time to time.
    pub fn has_passed(&self, waypoint: &mut Waypoint) -> bool {
        if let Waypoint::Block { slot, block } = *waypoint {
            if self.channels[slot].block == block {
                return false;
            }
            *waypoint = Waypoint::Frame(self.emitter.packet_number());
        }
        matches!(waypoint, Waypoint::Frame(number) if self.emitter.has_left(*number))
    }

    /// What was sent so far.
    pub fn counters(&self) -> SenderCounters {
        self.emitter.counters
    }

    /// The port.
    pub fn port(&self) -> &P {
        &self.emitter.port
    }

    /// The port.
    pub fn port_mut(&mut self) -> &mut P {
        &mut self.emitter.port
    }

    /// Flushes the open symbol or closes the open block, if it is time and there is room.
    fn run_clocks(&mut self, now: Nanos, slot: usize) {
        let outgoing = &self.channels[slot];
        let closes = self.stopping || outgoing.deadline_at().is_some_and(|at| at <= now);
        let flushes = closes || outgoing.flush_at().is_some_and(|at| at <= now);
        if closes && self.may_close(slot) {
            self.close_block(now, slot);
        } else if flushes && self.emitter.port.has_free(1) {
            self.close_symbol(now, slot);
        }
        if self.channels[slot].is_full() && self.may_close(slot) {
            self.close_block(now, slot);
        }
    }

    /// Is there room for the end of the open block and its repair symbols, besides every other open symbol?
    fn may_close(&mut self, slot: usize) -> bool {
        let others = self.open.len().saturating_sub(1);
        self.emitter.port.has_free(self.channels[slot].closing_frames() + others)
    }

    fn close_symbol(&mut self, now: Nanos, slot: usize) {
        let outgoing = &mut self.channels[slot];
        if outgoing.open_len == 0 {
            return;
        }
        let position = Position { channel: outgoing.config.channel, block: outgoing.block, symbol: outgoing.symbols };
        let kind = Kind::Source { first_record: outgoing.first_record, previous_k: outgoing.previous_k };
        self.emitter.emit(now, position, kind, outgoing.open_symbol());
        outgoing.next_symbol();
    }

    /// Sends what is left of the open block, and its repair symbols if there is room for them.
    fn close_block(&mut self, now: Nanos, slot: usize) {
        self.close_symbol(now, slot);
        let outgoing = &mut self.channels[slot];
        let k = outgoing.symbols;
        if k == 0 {
            return;
        }
        let repair = outgoing.config.repair.repair(k);
        if !self.emitter.port.has_free(usize::from(repair)) {
            self.emitter.counters.tx_full += u64::from(repair);
        } else if let Some(code) = outgoing.config.scheme.code(k)
            && repair > 0
        {
            let (channel, block) = (outgoing.config.channel, outgoing.block);
            let source = outgoing.source_block();
            let kind = Kind::Repair { k, symbol_bytes: source.symbol_bytes, repair, scheme: code as u8 };
            self.encoder.encode(code, source, repair, |symbol, bytes| {
                self.emitter.emit(now, Position { channel, block, symbol }, kind, bytes);
            });
        }
        outgoing.next_block();
        self.emitter.counters.blocks += 1;
    }
}

fn entry_of(outgoing: &Outgoing) -> HeartbeatEntry {
    HeartbeatEntry {
        channel: outgoing.config.channel,
        stream_type: outgoing.config.stream_type,
        next_block: outgoing.block,
        last_k: outgoing.previous_k,
        records: outgoing.closed.records,
        bytes: outgoing.closed.bytes,
    }
}
