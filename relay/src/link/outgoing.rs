//! The open block of one channel on the sending side.

use super::Nanos;
use super::sender::SenderChannel;
use crate::fec::SourceBlock;
use crate::wire::{RECORD_LEN, RecordHead};

/// A record may be split over two symbols only if at least this share of a symbol is left: below it the room is worth
/// less than what a split costs, namely a second frame that the record depends on.
const SPLIT_ROOM_SHARE: usize = 4;

/// A removed channel stays in so many heartbeats, so that the receiver learns how its last block ends: two may be lost,
/// three in a row hardly.
const FAREWELLS: u8 = 3;

/// Payload records and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// How a record goes into the open block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// Into the open symbol, and on into the next ones if it is longer than the room there.
    Here,
    /// Into a new symbol.
    NextSymbol,
    /// Into a new block.
    NextBlock,
    /// It fits no block of this channel, or the channel was removed.
    Never,
}

#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) config: SenderChannel,
    pub(super) active: bool,
    /// Heartbeats that still speak of it although it was removed.
    farewells: u8,
    /// Is it in the sender's list of open blocks?
    pub(super) queued: bool,
    symbol_bytes: usize,
    data: Box<[u8]>,
    lens: Box<[u16]>,
    pub(super) block: u32,
    pub(super) previous_k: Option<u16>,
    /// Complete symbols of the open block.
    pub(super) symbols: u16,
    /// Bytes in the open symbol.
    pub(super) open_len: usize,
    pub(super) first_record: Option<u16>,
    pub(super) block_opened: Nanos,
    pub(super) symbol_opened: Nanos,
    pub(super) totals: Totals,
    /// Totals when the last block was closed.
    pub(super) closed: Totals,
}

impl Outgoing {
    pub(super) fn new(config: SenderChannel, symbol_bytes: u16) -> Self {
        let symbols = usize::from(config.block_symbols);
        let symbol_bytes = usize::from(symbol_bytes);
        Self {
            config,
            active: true,
            farewells: 0,
            queued: false,
            symbol_bytes,
            data: vec![0; symbols * symbol_bytes].into(),
            lens: vec![0; symbols].into(),
            block: 0,
            previous_k: None,
            symbols: 0,
            open_len: 0,
            first_record: None,
            block_opened: 0,
            symbol_opened: 0,
            totals: Totals::default(),
            closed: Totals::default(),
        }
    }

    /// Takes a new configuration; the open block must be closed.
    pub(super) fn reconfigure(&mut self, config: SenderChannel) {
        if config.block_symbols != self.config.block_symbols {
            let symbols = usize::from(config.block_symbols);
            self.data = vec![0; symbols * self.symbol_bytes].into();
            self.lens = vec![0; symbols].into();
        }
        self.config = config;
        self.active = true;
        self.farewells = 0;
    }

    /// Takes the channel out of use; the open block must be closed.
    pub(super) fn remove(&mut self) {
        if std::mem::take(&mut self.active) {
            self.farewells = FAREWELLS;
        }
        self.queued = false;
    }

    /// Do heartbeats speak of it?
    pub(super) fn is_announced(&self) -> bool {
        self.active || self.farewells > 0
    }

    /// A heartbeat has left.
    pub(super) fn announced(&mut self) {
        self.farewells = self.farewells.saturating_sub(1);
    }

    /// Frames that closing the open block takes: its open symbol, and its repair symbols.
    pub(super) fn closing_frames(&self) -> usize {
        let open = u16::from(self.open_len > 0);
        usize::from(open) + usize::from(self.config.repair.repair(self.symbols + open))
    }

    /// Is there nothing in the open block?
    pub(super) fn is_empty(&self) -> bool {
        self.symbols == 0 && self.open_len == 0
    }

    /// Has the open block all its symbols?
    pub(super) fn is_full(&self) -> bool {
        self.symbols == self.config.block_symbols
    }

    /// Room left in the open symbol.
    fn room(&self) -> usize {
        self.symbol_bytes - self.open_len
    }

    /// Has the open symbol no room for another record?
    pub(super) fn symbol_is_full(&self) -> bool {
        self.room() < RECORD_LEN
    }

    pub(super) fn placement(&self, record_bytes: usize) -> Placement {
        let symbols_free = usize::from(self.config.block_symbols - self.symbols);
        let fits = |bytes: usize, symbols: usize| bytes <= symbols * self.symbol_bytes;
        if !self.active || !fits(record_bytes, usize::from(self.config.block_symbols)) {
            return Placement::Never;
        }
        if self.open_len == 0 {
            return if fits(record_bytes, symbols_free) { Placement::Here } else { Placement::NextBlock };
        }
        let room = self.room();
        let may_split = room * SPLIT_ROOM_SHARE >= self.symbol_bytes || record_bytes > self.symbol_bytes;
        if record_bytes <= room || (may_split && fits(record_bytes - room, symbols_free - 1)) {
            Placement::Here
        } else if fits(record_bytes, symbols_free - 1) {
            Placement::NextSymbol
        } else {
            Placement::NextBlock
        }
    }

    /// Payload bytes of a record that fits the open symbol, or the next one if little is left.
    pub(super) fn part_room(&self) -> usize {
        let room = self.room().saturating_sub(RECORD_LEN);
        if room * SPLIT_ROOM_SHARE >= self.symbol_bytes { room } else { self.symbol_bytes - RECORD_LEN }
    }

    /// Begins a record in the open symbol, which must have room for its header.
    pub(super) fn begin_record(&mut self, now: Nanos, head: &RecordHead, payload_bytes: u16) {
        if self.is_empty() {
            self.block_opened = now;
        }
        if self.open_len == 0 {
            self.symbol_opened = now;
        }
        self.first_record.get_or_insert(self.open_len as u16);
        let at = self.at() + self.open_len;
        head.write(payload_bytes, &mut self.data[at..at + RECORD_LEN]);
        self.open_len += RECORD_LEN;
        if head.kind.is_payload() {
            self.totals.records += 1;
            self.totals.bytes += u64::from(payload_bytes);
        }
    }

    /// Appends as much of `payload` as the open symbol holds, and returns the rest.
    pub(super) fn append<'a>(&mut self, now: Nanos, payload: &'a [u8]) -> &'a [u8] {
        if self.open_len == 0 {
            self.symbol_opened = now;
        }
        let (here, rest) = payload.split_at(payload.len().min(self.room()));
        let at = self.at() + self.open_len;
        self.data[at..at + here.len()].copy_from_slice(here);
        self.open_len += here.len();
        rest
    }

    /// The open symbol's bytes.
    pub(super) fn open_symbol(&self) -> &[u8] {
        &self.data[self.at()..self.at() + self.open_len]
    }

    /// Ends the open symbol.
    pub(super) fn next_symbol(&mut self) {
        self.lens[usize::from(self.symbols)] = self.open_len as u16;
        self.symbols += 1;
        self.open_len = 0;
        self.first_record = None;
    }

    /// The whole block as the encoder wants it: every symbol zero from its end up to T.
    pub(super) fn source_block(&mut self) -> SourceBlock<'_> {
        let k = usize::from(self.symbols);
        let longest = self.lens[..k].iter().copied().max().unwrap_or(0);
        let symbol_bytes = longest.next_multiple_of(2);
        for (symbol, len) in self.data.chunks_exact_mut(self.symbol_bytes).zip(&self.lens[..k]) {
            symbol[usize::from(*len)..usize::from(symbol_bytes)].fill(0);
        }
        SourceBlock { data: &self.data, stride: self.symbol_bytes, k: self.symbols, symbol_bytes }
    }

    /// Begins the next block.
    pub(super) fn next_block(&mut self) {
        self.previous_k = Some(self.symbols);
        self.block = self.block.wrapping_add(1);
        self.symbols = 0;
        self.closed = self.totals;
    }

    /// When the open symbol must leave, if it holds anything.
    pub(super) fn flush_at(&self) -> Option<Nanos> {
        (self.open_len > 0).then(|| self.symbol_opened + self.config.flush_ns)
    }

    /// When the open block must close, if it holds anything.
    pub(super) fn deadline_at(&self) -> Option<Nanos> {
        (!self.is_empty()).then(|| self.block_opened + self.config.deadline_ns)
    }

    fn at(&self) -> usize {
        usize::from(self.symbols) * self.symbol_bytes
    }
}
