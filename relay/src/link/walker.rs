//! Walks the records of a block, symbol after symbol.

use crate::wire::{RECORD_LEN, RecordHead};

/// A record whose payload continues in the next symbol.
#[derive(Debug)]
struct Partial {
    head: RecordHead,
    payload_bytes: usize,
    recovered: bool,
}

/// Takes the symbols of one block after another, in order, and gives whole records.
#[derive(Debug, Default)]
pub(super) struct Walker {
    partial: Option<Partial>,
    assembled: Vec<u8>,
    /// The last symbol is missing: the next one's first bytes may continue a record whose beginning is not known.
    lost: bool,
    /// Records whose rest never came, or whose bytes made no sense.
    pub(super) broken: u64,
}

/// A whole record, as the walker found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walked<'a> {
    pub(super) head: RecordHead,
    pub(super) payload: &'a [u8],
    /// At least one of its symbols came from FEC.
    pub(super) recovered: bool,
    /// It lies whole within the symbol that was walked.
    pub(super) within_symbol: bool,
}

impl Walker {
    /// Gives the records that end in `symbol` to `each`; after a gap, those that begin in it as well. `first_record`:
    /// where the first of them does. `recovered`: the symbol came from FEC.
    pub(super) fn symbol(
        &mut self,
        symbol: &[u8],
        first_record: Option<u16>,
        recovered: bool,
        mut each: impl FnMut(Walked<'_>),
    ) {
        let mut rest = symbol;
        if self.lost {
            let Some(first_record) = first_record else { return };
            rest = symbol.get(usize::from(first_record)..).unwrap_or_default();
            self.lost = false;
        }
        if let Some(partial) = &mut self.partial {
            partial.recovered |= recovered;
            let (here, after) = rest.split_at(rest.len().min(partial.payload_bytes - self.assembled.len()));
            self.assembled.extend_from_slice(here);
            rest = after;
            if self.assembled.len() < partial.payload_bytes {
                return;
            }
            let (head, recovered) = (partial.head, partial.recovered);
            self.partial = None;
            each(Walked { head, payload: &self.assembled, recovered, within_symbol: false });
        }
        while let Some((head, payload_bytes)) = RecordHead::read(rest) {
            let payload = &rest[RECORD_LEN..];
            if payload.len() < payload_bytes {
                self.assembled.clear();
                self.assembled.extend_from_slice(payload);
                self.partial = Some(Partial { head, payload_bytes, recovered });
                return;
            }
            each(Walked { head, payload: &payload[..payload_bytes], recovered, within_symbol: true });
            rest = &payload[payload_bytes..];
        }
        // What is left is padding, or not records at all.
        if rest.len() >= RECORD_LEN && rest[0] != 0 {
            self.broken += 1;
        }
    }

    /// The next symbol does not follow the last: drops the record that was being put together.
    pub(super) fn gap(&mut self) {
        self.end_block();
        self.lost = true;
    }

    /// The next symbol is the first of a block, which always begins with a record.
    pub(super) fn end_block(&mut self) {
        if self.partial.take().is_some() {
            self.broken += 1;
        }
        self.lost = false;
    }

    /// The records that lie whole in `symbol`, whose first record begins at `first_record`: for delivery out of order.
    pub(super) fn whole_records(symbol: &[u8], first_record: u16, mut each: impl FnMut(Walked<'_>)) {
        let mut rest = symbol.get(usize::from(first_record)..).unwrap_or_default();
        while let Some((head, payload_bytes)) = RecordHead::read(rest) {
            let Some(payload) = rest.get(RECORD_LEN..RECORD_LEN + payload_bytes) else { return };
            each(Walked { head, payload, recovered: false, within_symbol: true });
            rest = &rest[RECORD_LEN + payload_bytes..];
        }
    }
}
