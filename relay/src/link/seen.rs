//! What a receiver counts.

use crate::wire::{FrameError, OpenError};

/// What a receiver has seen since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after the reason it counts; the README's table explains them")]
pub struct ReceiverCounters {
    pub frames: u64,
    pub frame_bytes: u64,
    pub heartbeats: u64,
    pub malformed: u64,
    pub version: u64,
    pub unsealed: u64,
    pub sealed_without_key: u64,
    pub bad_tag: u64,
    pub replayed: u64,
    pub old_epoch: u64,
    pub unknown_channel: u64,
    pub foreign_lane: u64,
    pub oversize: u64,
    pub contradictions: u64,
    pub pool_full: u64,
    pub unneeded: u64,
    pub blocks_complete: u64,
    pub blocks_recovered: u64,
    pub blocks_abandoned: u64,
    pub symbols_recovered: u64,
    pub symbols_lost: u64,
    pub records_broken: u64,
}

impl ReceiverCounters {
    /// A frame was not opened.
    pub(super) fn note_refused(&mut self, error: OpenError) {
        *match error {
            OpenError::Frame(FrameError::Malformed) => &mut self.malformed,
            OpenError::Frame(FrameError::Version(_)) => &mut self.version,
            OpenError::Unsealed => &mut self.unsealed,
            OpenError::NoKey => &mut self.sealed_without_key,
            OpenError::OldEpoch => &mut self.old_epoch,
            OpenError::BadTag => &mut self.bad_tag,
        } += 1;
    }
}
