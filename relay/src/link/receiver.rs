//! The receiving end of the link: frames in, records out.

use super::claim::{Claim, Claimed};
use super::incoming::{Context, Incoming, Since};
use super::lane::Lane;
use super::pool::Pool;
use super::{LANES_MAX, LinkLoss, Nanos, ReceiverCounters};
use crate::fec::{Code, Decoder, Geometry};
use crate::wire::{
    Direction, FRAME_OVERHEAD, HEADER_LEN, Header, Heartbeat, Kind, LinkKey, OpenError, Opener, RecordHead, TAG_LEN,
    Verdict, table_digest,
};

/// A lane is silent when nothing came for so many heartbeat periods: two may be lost, three in a row hardly.
const SILENT_HEARTBEATS: u64 = 3;

/// One stream as this side knows it. Its place in the table is its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiverChannel {
    /// Identifies the stream on the wire.
    pub channel: u16,
    /// The stream's type, as its wire number.
    pub stream_type: u8,
    /// Are records delivered in order, or as they come?
    pub ordered: bool,
}

/// A receiver's settings.
#[derive(Debug)]
pub struct ReceiverConfig {
    /// The link's key.
    pub key: LinkKey,
    /// Which way the link goes.
    pub direction: Direction,
    /// No older epoch is accepted.
    pub epoch_min: u32,
    /// What a restart remembers of epoch `epoch_min`: lanes, and the packet number below which all was seen.
    pub packet_floors: Vec<(u16, u64)>,
    /// This receiver's part in what all receivers of the link share.
    pub claim: Claim,
    /// Largest symbol, bytes (see [`crate::wire::symbol_size`]).
    pub symbol_bytes: u16,
    /// How long stragglers are awaited after a block is known to be over.
    pub hold_ns: Nanos,
    /// The sender's heartbeat period until one was heard, which says it: the one in this host's own site file.
    pub heartbeat_ns: Nanos,
    /// Most memory for symbols, bytes.
    pub pool_bytes: usize,
}

/// Whether a record comes in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// After everything before it in its channel and lane, as far as that came.
    InOrder,
    /// Ahead of records that are still missing; comes again, as [`Turn::AfterEarly`], in its turn.
    Early,
    /// Was delivered early: for the accounts only.
    AfterEarly,
}

/// A record that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The lane that it came on. A session keeps to one lane.
    pub lane: u16,
    /// The stream's place in the receiver's table.
    pub slot: usize,
    /// The record.
    pub head: RecordHead,
    /// Its payload.
    pub payload: &'a [u8],
    /// It would be lost without FEC.
    pub recovered: bool,
    /// Whether it comes in its turn.
    pub turn: Turn,
    /// The lane was heard from the sender's start on, so that a session's first record must be its number 0.
    pub from_start: bool,
}

/// The account of one channel and lane of this epoch, after everything that it covers was delivered or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The lane.
    pub lane: u16,
    /// The stream's place in the receiver's table.
    pub slot: usize,
    /// Payload records that the sender sent, since its start.
    pub sent_records: u64,
    /// Those of them that never came, since this side listens.
    pub missing_records: u64,
    /// Their payload bytes.
    pub missing_bytes: u64,
    /// Those that were sent before this side listened, or lost while it joined.
    pub before_join_records: u64,
}

/// Takes what the link delivers.
pub trait Sink {
    /// A whole record, once (but see [`Turn::AfterEarly`]).
    fn record(&mut self, delivery: &Delivery<'_>);
    /// The account of a channel and lane is complete up to some moment.
    fn settled(&mut self, settled: &Settled);
    /// The sender has started anew: all sessions of older epochs are over. What was held back of them came just before.
    fn new_epoch(&mut self, epoch: u32);
    /// The sender has a stream that this side has not, or has as another type (its wire numbers).
    fn stream_mismatch(&mut self, channel: u16, theirs: u8, ours: Option<u8>);
    /// The sender's table of streams is not ours; `digest` stands for the sender's. Told with every heartbeat.
    fn tables_differ(&mut self, digest: u64);
    /// The sender says that it stops.
    fn stopping(&mut self);
}

/// Where the symbol of a genuine frame is.
#[derive(Clone, Copy)]
enum Opened {
    /// In the frame: a heartbeat, or a symbol longer than this receiver takes.
    InPlace,
    /// In the pool's landing, so many bytes.
    Landed(u16),
}

/// The receiving end of all lanes that arrive at one place.
#[derive(Debug)]
pub struct Receiver {
    config: ReceiverConfig,
    opener: Opener,
    /// Epoch of the lanes' state; `None` before the first genuine frame.
    epoch: Option<u32>,
    channels: Vec<ReceiverChannel>,
    active: Vec<bool>,
    /// Stands for the active channels.
    digest: u64,
    /// Slot of every channel number there can be.
    slots: Box<[Option<u16>]>,
    lanes: Vec<Lane>,
    pool: Pool,
    decoder: Decoder,
    /// Lanes' indices and slots that hold something back.
    attention: Vec<(usize, usize)>,
    heartbeat_ns: Nanos,
    /// Runs of missing frames since the last look.
    runs: LinkLoss,
    /// Expected and accepted frames at the last look.
    looked_at: (u64, u64),
    counters: ReceiverCounters,
}

impl Receiver {
    /// A receiver with no channels yet.
    pub fn new(config: ReceiverConfig) -> Self {
        Self {
            heartbeat_ns: config.heartbeat_ns,
            opener: Opener::new(config.key.clone(), config.direction, config.epoch_min),
            pool: Pool::new(usize::from(config.symbol_bytes), config.pool_bytes),
            config,
            epoch: None,
            channels: Vec::new(),
            active: Vec::new(),
            digest: table_digest(std::iter::empty()),
            slots: vec![None; usize::from(u16::MAX) + 1].into(),
            lanes: Vec::new(),
            decoder: Decoder::default(),
            attention: Vec::new(),
            runs: LinkLoss::default(),
            looked_at: (0, 0),
            counters: ReceiverCounters::default(),
        }
    }

    /// Replaces the table of channels. A channel keeps its slot for as long as this receiver lives. What a channel that
    /// is gone still holds is given up at the next poll.
    pub fn set_channels(&mut self, channels: &[ReceiverChannel]) {
        self.digest = table_digest(channels.iter().map(|channel| (channel.channel, channel.stream_type)));
        self.active.fill(false);
        for channel in channels {
            let slot = self.slot(channel.channel).unwrap_or_else(|| self.add_channel(*channel));
            self.channels[slot] = *channel;
            self.active[slot] = true;
            for incoming in self.lanes.iter_mut().filter_map(|lane| lane.channels.get_mut(slot)?.as_mut()) {
                incoming.set_ordered(channel.ordered);
            }
        }
    }

    /// A slot for a channel that was not known until now.
    fn add_channel(&mut self, channel: ReceiverChannel) -> usize {
        let slot = self.channels.len();
        self.channels.push(channel);
        self.active.push(false);
        self.slots[usize::from(channel.channel)] = Some(slot as u16);
        for lane in &mut self.lanes {
            let incoming = Box::new(Incoming::new(slot, channel.ordered, Since::Known));
            lane.channels.resize_with(slot, || None);
            lane.channels.push(Some(incoming));
        }
        slot
    }

    /// The slot of `channel`.
    pub fn slot(&self, channel: u16) -> Option<usize> {
        self.slots[usize::from(channel)].map(usize::from)
    }

    /// Takes one frame, which may be opened in place.
    pub fn frame(&mut self, now: Nanos, frame: &mut [u8], sink: &mut impl Sink) {
        let frame_bytes = frame.len() as u64;
        let Some((header, lane, opened)) = self.admit(now, frame, sink) else { return };
        self.counters.frames += 1;
        self.counters.frame_bytes += frame_bytes;
        let len = match opened {
            Opened::Landed(len) => len,
            Opened::InPlace if header.kind == Kind::Heartbeat => {
                let end = frame.len() - TAG_LEN;
                return self.heartbeat(now, lane, &frame[HEADER_LEN..end], sink);
            }
            Opened::InPlace => {
                self.counters.oversize += 1;
                return;
            }
        };
        let Some(slot) = self.slot(header.position.channel).filter(|&slot| self.active[slot]) else {
            self.counters.unknown_channel += 1;
            return;
        };
        if !self.pool.has_room() {
            self.make_room(now, sink);
        }
        self.with_incoming(now, lane, slot, sink, |incoming, context| match header.kind {
            Kind::Source { first_record, previous_k } => {
                incoming.source(context, header.position, first_record, previous_k, len);
            }
            Kind::Repair { k, symbol_bytes, repair, scheme } => {
                if let Some(code) = Code::from_wire(scheme) {
                    incoming.repair(context, header.position, Geometry { code, k, symbol_bytes, repair });
                }
            }
            Kind::Heartbeat => {}
        });
    }

    /// Gives up what was held long enough. Call when nothing more is waiting to be received, so that time spent not
    /// looking is not held against the sender. Returns when to call again at the latest.
    pub fn poll(&mut self, now: Nanos, sink: &mut impl Sink) -> Nanos {
        let silence_ns = self.heartbeat_ns * SILENT_HEARTBEATS;
        let mut next = now + silence_ns;
        for lane in 0..self.lanes.len() {
            let silent_at = self.lanes[lane].last_frame_at + silence_ns;
            if silent_at > now {
                next = next.min(silent_at);
            } else if !std::mem::replace(&mut self.lanes[lane].silent, true) {
                self.give_up_lane(now, lane, sink);
            }
        }
        let hold_ns = self.config.hold_ns;
        let mut index = 0;
        while index < self.attention.len() {
            let (lane, slot) = self.attention[index];
            let mut held_until = None;
            let active = self.active[slot];
            let held = self.with_incoming(now, lane, slot, sink, |incoming, context| {
                if !active {
                    incoming.give_up_all(context);
                }
                held_until = incoming.poll(context, hold_ns);
                incoming.attended = incoming.is_held();
                incoming.attended
            });
            if held {
                index += 1;
            } else {
                self.attention.swap_remove(index);
            }
            next = held_until.map_or(next, |at| next.min(at));
        }
        next
    }

    /// The newest genuine epoch, or the least acceptable one.
    pub fn epoch(&self) -> u32 {
        self.opener.epoch()
    }

    /// Another receiver of the same link has seen this epoch.
    pub fn raise_epoch(&mut self, epoch_min: u32) {
        self.opener.raise_epoch(epoch_min);
    }

    /// Lanes of [`Receiver::epoch`] and the packet number below which nothing is accepted any more after a restart that
    /// remembers this. What the last restart remembered of lanes that were not heard since is among it.
    pub fn packet_floors(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        let epoch = self.opener.epoch();
        // Another receiver may have seen a newer epoch than these lanes are of.
        let lanes = if self.epoch == Some(epoch) { &self.lanes[..] } else { &[] };
        let remembered = if self.config.epoch_min == epoch { &self.config.packet_floors[..] } else { &[] };
        let unheard = remembered.iter().filter(|(number, _)| lanes.iter().all(|lane| lane.number != *number));
        lanes.iter().map(|lane| (lane.number, lane.replay.next())).chain(unheard.copied())
    }

    /// When the last genuine frame came, if any did in this epoch.
    pub fn last_frame_at(&self) -> Option<Nanos> {
        self.lanes.iter().map(|lane| lane.last_frame_at).max()
    }

    /// The sender's heartbeat period.
    pub fn heartbeat_ns(&self) -> Nanos {
        self.heartbeat_ns
    }

    /// What was seen so far.
    pub fn counters(&self) -> ReceiverCounters {
        self.counters
    }

    /// What the link lost since the last call.
    pub fn take_link_loss(&mut self) -> LinkLoss {
        let (expected, accepted) = self.lanes.iter().map(Lane::frames).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        let (expected_before, accepted_before) = std::mem::replace(&mut self.looked_at, (expected, accepted));
        let expected_frames = expected.saturating_sub(expected_before);
        LinkLoss {
            expected_frames,
            missing_frames: expected_frames.saturating_sub(accepted.saturating_sub(accepted_before)),
            ..std::mem::take(&mut self.runs)
        }
    }

    /// Checks and opens a frame. Returns its header, its lane's index and where its symbol is.
    fn admit(&mut self, now: Nanos, frame: &mut [u8], sink: &mut impl Sink) -> Option<(Header, usize, Opened)> {
        let header = self.opener.peek(frame).inspect_err(|error| self.counters.note_refused(*error)).ok()?;
        if self.is_replay(&header) {
            self.counters.replayed += 1;
            return None;
        }
        let opened = self.open(&header, frame).inspect_err(|error| self.counters.note_refused(*error)).ok()?;
        if header.lane >= LANES_MAX {
            self.counters.foreign_lane += 1;
            return None;
        }
        let claimed = self.config.claim.take(header.epoch, header.lane, header.packet_number);
        if claimed == Claimed::Refused {
            self.counters.replayed += 1;
            return None;
        }
        if self.epoch != Some(header.epoch) {
            self.begin_epoch(now, header.epoch, sink);
        }
        let lane = self.lane_of(&header, claimed, now);
        let skipped = self.lanes[lane].accept(header.packet_number, now);
        self.runs.note_run(skipped);
        Some((header, lane, opened))
    }

    /// Opens a symbol into the pool, where it may be kept, and what is none or is too long where it is.
    #[inline]
    fn open(&mut self, header: &Header, frame: &mut [u8]) -> Result<Opened, OpenError> {
        let len = frame.len() - FRAME_OVERHEAD;
        let landing = if header.kind == Kind::Heartbeat { None } else { self.pool.landing(len) };
        let Some(symbol) = landing else {
            return self.opener.open(header, frame).map(|_| Opened::InPlace);
        };
        self.opener.open_into(header, frame, symbol).map(|()| Opened::Landed(len as u16))
    }

    fn is_replay(&self, header: &Header) -> bool {
        if self.epoch != Some(header.epoch) {
            return header.packet_number < self.floor(header);
        }
        let known = self.lanes.iter().find(|lane| lane.number == header.lane);
        known.map_or(header.packet_number < self.floor(header), |lane| {
            lane.replay.check(header.packet_number) == Verdict::Replayed
        })
    }

    /// What a restart remembers of the frame's lane.
    fn floor(&self, header: &Header) -> u64 {
        if header.epoch != self.config.epoch_min {
            return 0;
        }
        let floors = self.config.packet_floors.iter();
        floors.filter(|(lane, _)| *lane == header.lane).map(|(_, floor)| *floor).max().unwrap_or(0)
    }

    /// Delivers what came of the old epoch and was held back, and forgets it.
    fn begin_epoch(&mut self, now: Nanos, epoch: u32, sink: &mut impl Sink) {
        self.epoch = Some(epoch);
        for lane in 0..self.lanes.len() {
            self.give_up_lane(now, lane, sink);
            self.lanes[lane].clear(&mut self.pool);
        }
        self.lanes.clear();
        self.attention.clear();
        self.looked_at = (0, 0);
        sink.new_epoch(epoch);
    }

    /// What a lane's channels still miss will not come.
    fn give_up_lane(&mut self, now: Nanos, lane: usize, sink: &mut impl Sink) {
        for slot in 0..self.lanes[lane].channels.len() {
            if self.lanes[lane].channels[slot].is_some() {
                self.with_incoming(now, lane, slot, sink, Incoming::give_up_all);
            }
        }
    }

    fn lane_of(&mut self, header: &Header, claimed: Claimed, now: Nanos) -> usize {
        let seen_by_others = if let Claimed::Taken { floor } = claimed { floor } else { 0 };
        if let Some(known) = self.lanes.iter().position(|lane| lane.number == header.lane) {
            self.lanes[known].replay.raise_floor(seen_by_others);
            return known;
        }
        let floor = self.floor(header).max(seen_by_others);
        self.lanes.push(Lane::new(header.lane, header.packet_number, floor, now));
        self.lanes.len() - 1
    }

    fn heartbeat(&mut self, now: Nanos, lane: usize, body: &[u8], sink: &mut impl Sink) {
        let Some(heartbeat) = Heartbeat::read(body) else {
            self.counters.malformed += 1;
            return;
        };
        self.counters.heartbeats += 1;
        self.heartbeat_ns = u64::from(heartbeat.period_ms.max(1)) * 1_000_000;
        for entry in heartbeat.entries() {
            let slot = self.slot(entry.channel).filter(|&slot| self.active[slot]);
            let ours = slot.map(|slot| self.channels[slot].stream_type);
            if ours != Some(entry.stream_type) {
                sink.stream_mismatch(entry.channel, entry.stream_type, ours);
            }
            if let Some(slot) = slot {
                self.with_incoming(now, lane, slot, sink, |incoming, context| incoming.heartbeat(context, entry));
            }
        }
        if heartbeat.digest != self.digest {
            sink.tables_differ(heartbeat.digest);
        }
        if heartbeat.stopping {
            sink.stopping();
        }
    }

    /// Runs `action` on a channel of a lane, making the channel's state if there is none yet, and looks after it if
    /// it holds something back.
    fn with_incoming<S: Sink, R>(
        &mut self,
        now: Nanos,
        lane: usize,
        slot: usize,
        sink: &mut S,
        action: impl FnOnce(&mut Incoming, &mut Context<'_, S>) -> R,
    ) -> R {
        let state = &mut self.lanes[lane];
        if state.channels.len() <= slot {
            state.channels.resize_with(slot + 1, || None);
        }
        let ordered = self.channels[slot].ordered;
        let since = if state.from_start { Since::Start } else { Since::MidLane };
        let incoming = state.channels[slot].get_or_insert_with(|| Box::new(Incoming::new(slot, ordered, since)));
        let mut context = Context {
            now,
            lane: state.number,
            pool: &mut self.pool,
            decoder: &mut self.decoder,
            counters: &mut self.counters,
            sink,
        };
        let result = action(incoming, &mut context);
        if incoming.is_held() && !std::mem::replace(&mut incoming.attended, true) {
            self.attention.push((lane, slot));
        }
        result
    }

    /// The pool is full: gives up what is held longest, of the channel that holds most blocks back, until it is not.
    /// So a channel that loses much pays for it, and not one that loses nothing.
    fn make_room(&mut self, now: Nanos, sink: &mut impl Sink) {
        while !self.pool.has_room() {
            let held = |&&(lane, slot): &&(usize, usize)| {
                let incoming = self.lanes[lane].channels[slot].as_ref().filter(|incoming| incoming.is_held());
                incoming.map(|incoming| incoming.open_blocks())
            };
            let most = self.attention.iter().filter(|place| held(place).is_some()).max_by_key(held);
            let Some(&(lane, slot)) = most else { return };
            self.with_incoming(now, lane, slot, sink, Incoming::give_up_oldest);
        }
    }

    /// Most blocks that a channel has open.
    #[cfg(test)]
    pub(super) fn open_blocks_max(&self) -> usize {
        let incoming = self.lanes.iter().flat_map(|lane| lane.channels.iter().flatten());
        incoming.map(|incoming| incoming.open_blocks()).max().unwrap_or(0)
    }

    /// Pool slots in use.
    #[cfg(test)]
    pub(super) fn pool_used(&self) -> usize {
        self.pool.used()
    }
}
