//! Frames made by hand: genuine to the last bit, whatever they say.

use super::*;
use crate::wire::{HEADER_LEN, Header, Heartbeat, HeartbeatEntry, Kind, Position, RECORD_LEN, Sealer, TAG_LEN};

/// Seals what a hostile or very old sender would say.
pub(super) struct Forge {
    sealer: Sealer,
    pub(super) lane: u16,
    pub(super) packet_number: u64,
}

impl Forge {
    pub(super) fn new(plan: &Plan, epoch: u32, packet_number: u64) -> Self {
        Self { sealer: Sealer::new(&plan.key(), Direction::Forward, epoch), lane: 0, packet_number }
    }

    /// The next frame of the lane.
    pub(super) fn frame(&mut self, position: Position, kind: Kind, symbol: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; HEADER_LEN + symbol.len() + TAG_LEN];
        let packet_number = self.packet_number;
        self.packet_number += 1;
        let header = Header { sealed: false, epoch: 0, lane: self.lane, packet_number, position, kind };
        self.sealer.seal(&header, symbol, &mut frame);
        frame
    }

    /// A block of channel 1 that holds one record, in one symbol.
    pub(super) fn block(&mut self, block: u32, record: &[u8]) -> Vec<u8> {
        let kind = Kind::Source { first_record: Some(0), previous_k: Some(1) };
        self.frame(Position { channel: 1, block, symbol: 0 }, kind, record)
    }

    pub(super) fn heartbeat(&mut self, entries: &[HeartbeatEntry]) -> Vec<u8> {
        let mut body = [0; 500];
        let len = Heartbeat::write(250, false, 1, entries, &mut body);
        self.frame(Position::default(), Kind::Heartbeat, &body[..len])
    }
}

/// A session's record, as it stands in a symbol.
pub(super) fn record(plan: &Plan, session: u64, sequence: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    payload(plan, session, sequence, &mut bytes);
    let head = RecordHead { kind: RecordType::Datagram, flags: 0, session: session_id(session), sequence };
    let mut record = vec![0; RECORD_LEN];
    head.write(bytes.len() as u16, &mut record);
    record.extend_from_slice(&bytes);
    record
}

/// Lets everything in.
#[derive(Debug, Default)]
pub(super) struct Anything {
    pub(super) records: u64,
}

impl Sink for Anything {
    fn record(&mut self, delivery: &Delivery<'_>) {
        assert!(u16::try_from(delivery.payload.len()).is_ok());
        self.records += 1;
    }
    fn settled(&mut self, _: &Settled) {}
    fn new_epoch(&mut self, _: u32) {}
    fn stream_mismatch(&mut self, _: u16, _: u8, _: Option<u8>) {}
    fn tables_differ(&mut self, _: u64) {}
    fn stopping(&mut self) {}
}
