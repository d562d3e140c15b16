//! What a receiver knows of one lane of the sender.

use super::Nanos;
use super::incoming::Incoming;
use super::pool::Pool;
use crate::wire::ReplayWindow;

/// A lane whose first frame seen has a packet number below this was heard from its beginning: so many frames may be
/// lost or overtaken at the start of an epoch. At 20,000 frames a second it is 50 ms.
const JOIN_SLACK_FRAMES: u64 = 1024;

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) number: u16,
    pub(super) replay: ReplayWindow,
    /// Was it heard from its beginning?
    pub(super) from_start: bool,
    /// Packet number of the first frame seen.
    first: u64,
    /// Genuine frames seen.
    accepted: u64,
    pub(super) last_frame_at: Nanos,
    /// By the receiver's slot.
    pub(super) channels: Vec<Option<Box<Incoming>>>,
    /// Was the lane's silence noticed since its last frame?
    pub(super) silent: bool,
}

impl Lane {
    /// A lane whose first frame, `packet_number`, has just come. `floor`: what a restart remembers to have seen.
    pub(super) fn new(number: u16, packet_number: u64, floor: u64, now: Nanos) -> Self {
        let from_start = floor == 0 && packet_number < JOIN_SLACK_FRAMES;
        Self {
            number,
            replay: ReplayWindow::starting_at(floor),
            from_start,
            first: if from_start { 0 } else { packet_number },
            accepted: 0,
            last_frame_at: now,
            channels: Vec::new(),
            silent: false,
        }
    }

    /// Notes a genuine frame. Returns how many packet numbers were skipped in front of it.
    pub(super) fn accept(&mut self, packet_number: u64, now: Nanos) -> u64 {
        let skipped = self.replay.accept(packet_number);
        let first_ever = self.accepted == 0;
        // An overtaken frame from before the first one seen.
        self.first = self.first.min(packet_number);
        self.accepted += 1;
        self.last_frame_at = now;
        self.silent = false;
        if first_ever && !self.from_start { 0 } else { skipped }
    }

    /// Frames sent and seen since the lane was first heard.
    pub(super) fn frames(&self) -> (u64, u64) {
        (self.replay.next().saturating_sub(self.first), self.accepted)
    }

    pub(super) fn clear(&mut self, pool: &mut Pool) {
        self.channels.iter_mut().flatten().for_each(|incoming| incoming.clear(pool));
    }
}
