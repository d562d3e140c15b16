//! Seals symbols into frames and lets them leave, in order and no faster than the link's rate.

use std::collections::VecDeque;

use super::pacer::{Pacer, Rate};
use super::{Nanos, TxPort};
use crate::wire::{FRAME_OVERHEAD, Header, Kind, PACKET_NUMBER_MAX, Position, Sealer};

/// A paced link takes no more records while what waits for it needs longer than this: heartbeats wait as long, and RED
/// must not take BLUE for silent, and BLUE's last frames must leave while it stops.
const BACKLOG_NS: Nanos = 100_000_000;

/// What a sender has sent since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderCounters {
    /// Source symbols sent.
    pub source_frames: u64,
    /// Repair symbols sent.
    pub repair_frames: u64,
    /// Heartbeats sent.
    pub heartbeats: u64,
    /// Bytes of all frames, without the headers around them.
    pub frame_bytes: u64,
    /// Blocks closed.
    pub blocks: u64,
    /// Frames that found no free frame in the port: lost before they left. Repair symbols or heartbeats, never records.
    pub tx_full: u64,
}

/// One lane's way out.
pub(super) struct Emitter<P: TxPort> {
    pub(super) port: P,
    sealer: Sealer,
    lane: u16,
    packet_number: u64,
    pacer: Option<Pacer>,
    /// When the first of `staged` may leave, if that is settled already.
    turn_at: Option<Nanos>,
    /// Sealed frames that may not leave yet.
    staged: VecDeque<(P::Frame, usize)>,
    /// Their bytes, with the headers around them.
    staged_bytes: usize,
    /// The port was given frames that it has not sent yet.
    unkicked: bool,
    pub(super) counters: SenderCounters,
}

impl<P: TxPort> Emitter<P> {
    pub(super) fn new(port: P, sealer: Sealer, lane: u16, rate: Option<Rate>) -> Self {
        let staged = VecDeque::with_capacity(port.frames());
        Self {
            port,
            sealer,
            lane,
            packet_number: 0,
            pacer: rate.map(Pacer::new),
            turn_at: None,
            staged,
            staged_bytes: 0,
            unkicked: false,
            counters: SenderCounters::default(),
        }
    }

    /// Paces what leaves from now on.
    pub(super) fn set_pacer(&mut self, pacer: Option<Pacer>) {
        self.pacer = pacer;
        self.turn_at = None;
    }

    /// Seals a frame around `symbol` and lets it leave.
    pub(super) fn emit(&mut self, now: Nanos, position: Position, kind: Kind, symbol: &[u8]) {
        // A number used twice would be a nonce used twice: at the end of the numbers nothing more may leave.
        let frame = if self.packet_number > PACKET_NUMBER_MAX { None } else { self.port.take() };
        let Some(mut frame) = frame else {
            self.counters.tx_full += 1;
            return;
        };
        let len = FRAME_OVERHEAD + symbol.len();
        let bytes = &mut self.port.bytes(&mut frame)[..len];
        // Sealing and epoch are filled in by the sealer.
        let header =
            Header { sealed: false, epoch: 0, lane: self.lane, packet_number: self.packet_number, position, kind };
        self.packet_number += 1;
        self.sealer.seal(&header, symbol, bytes);
        match kind {
            Kind::Source { .. } => self.counters.source_frames += 1,
            Kind::Repair { .. } => self.counters.repair_frames += 1,
            Kind::Heartbeat => self.counters.heartbeats += 1,
        }
        self.counters.frame_bytes += len as u64;
        self.staged.push_back((frame, len));
        self.staged_bytes += len + self.port.overhead_bytes();
        if self.staged.len() == 1 {
            self.release(now);
        }
    }

    /// Hands to the port what may leave by now: frames that had to wait for the rate in small batches. Returns when to call
    /// again, if anything is still waiting.
    pub(super) fn release(&mut self, now: Nanos) -> Option<Nanos> {
        let overhead = self.port.overhead_bytes();
        if let Some(batch_at) = self.batch_at().filter(|at| *at > now) {
            return Some(batch_at);
        }
        while let Some((frame, len)) = self.staged.pop_front() {
            let turn_at = self.turn(now, len + overhead);
            if turn_at > now {
                self.staged.push_front((frame, len));
                self.turn_at = Some(turn_at);
                return self.batch_at();
            }
            if let Err(frame) = self.port.submit(frame, len) {
                self.staged.push_front((frame, len));
                self.turn_at = Some(turn_at);
                return Some(now);
            }
            self.unkicked = true;
            self.staged_bytes -= len + overhead;
        }
        None
    }

    /// When frames leave again that wait for the rate.
    fn batch_at(&self) -> Option<Nanos> {
        let (pacer, turn_at, (_, len)) = (self.pacer.as_ref()?, self.turn_at?, self.staged.front()?);
        let bytes = len + self.port.overhead_bytes();
        Some(turn_at.saturating_add(pacer.batch_ns(bytes, self.staged_bytes - bytes)))
    }

    /// When the next frame, of `bytes`, may leave.
    fn turn(&mut self, now: Nanos, bytes: usize) -> Nanos {
        let Some(pacer) = &self.pacer else { return now };
        let Some(turn_at) = self.turn_at.take() else { return pacer.reserve(now, bytes) };
        if turn_at <= now {
            pacer.leaves_late(now, bytes);
        }
        turn_at
    }

    /// Makes sure that the port sends what it was given. True: not all of it has left yet.
    pub(super) fn kick(&mut self) -> std::io::Result<bool> {
        if self.unkicked {
            self.unkicked = self.port.kick()?;
        }
        Ok(self.unkicked)
    }

    /// Does what waits need longer than [`BACKLOG_NS`] at the link's rate?
    pub(super) fn is_behind(&self) -> bool {
        self.pacer.as_ref().is_some_and(|pacer| pacer.takes_ns(self.staged_bytes) > BACKLOG_NS)
    }

    /// Number of the next frame.
    pub(super) fn packet_number(&self) -> u64 {
        self.packet_number
    }

    /// Has every frame with a number below `packet_number` left?
    pub(super) fn has_left(&self, packet_number: u64) -> bool {
        packet_number + self.unsent_frames() as u64 <= self.packet_number
    }

    /// Frames that have not left: those that may not yet, and those that the system has not taken.
    pub(super) fn unsent_frames(&self) -> usize {
        self.staged.len() + self.port.waiting()
    }

    /// Frames that may not leave yet.
    pub(super) fn waiting_frames(&self) -> usize {
        self.staged.len()
    }

    /// Has everything left?
    pub(super) fn is_empty(&self) -> bool {
        self.staged.is_empty() && !self.unkicked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::memory::{Faults, MemoryLink};
    use crate::wire::{Direction, LinkKey};

    #[test]
    fn a_nonce_is_never_used_twice() {
        let sealer = Sealer::new(&LinkKey::sealed([1; 32]), Direction::Forward, 1);
        let mut emitter = Emitter::new(MemoryLink::new(600, 10, Faults::default(), 1), sealer, 0, None);
        emitter.packet_number = PACKET_NUMBER_MAX;
        for _ in 0..3 {
            emitter.emit(0, Position::default(), Kind::Heartbeat, &[0; 16]);
        }
        assert_eq!(
            (emitter.counters.heartbeats, emitter.counters.tx_full),
            (1, 2),
            "the last number is the last frame"
        );
    }

    /// A port whose system takes nothing.
    struct Stuck(MemoryLink, usize);

    impl TxPort for Stuck {
        type Frame = Vec<u8>;

        fn take(&mut self) -> Option<Vec<u8>> {
            self.0.take()
        }
        fn has_free(&mut self, wanted: usize) -> bool {
            self.0.has_free(wanted)
        }
        fn frames(&self) -> usize {
            self.0.frames()
        }
        fn bytes<'a>(&'a mut self, frame: &'a mut Vec<u8>) -> &'a mut [u8] {
            frame
        }
        fn submit(&mut self, _: Vec<u8>, _: usize) -> Result<(), Vec<u8>> {
            self.1 += 1;
            Ok(())
        }
        fn kick(&mut self) -> std::io::Result<bool> {
            Ok(self.1 > 0)
        }
        fn waiting(&self) -> usize {
            self.1
        }
        fn overhead_bytes(&self) -> usize {
            self.0.overhead_bytes()
        }
    }

    #[test]
    fn what_the_system_has_not_taken_has_not_left() {
        let sealer = Sealer::new(&LinkKey::sealed([1; 32]), Direction::Forward, 1);
        let port = Stuck(MemoryLink::new(600, 10, Faults::default(), 1), 0);
        let mut emitter = Emitter::new(port, sealer, 0, None);
        for _ in 0..3 {
            emitter.emit(0, Position::default(), Kind::Heartbeat, &[0; 16]);
        }
        let number = emitter.packet_number();
        assert_eq!((emitter.unsent_frames(), emitter.waiting_frames()), (3, 0));
        assert!(emitter.kick().unwrap() && !emitter.has_left(number) && emitter.has_left(0));
        emitter.port.1 = 1;
        assert!(!emitter.has_left(number) && emitter.has_left(number - 1));
        emitter.port.1 = 0;
        assert!(!emitter.kick().unwrap() && emitter.has_left(number));
    }

    #[test]
    fn frames_that_wait_for_the_rate_leave_in_small_batches() {
        const FRAMES: usize = 400;
        const BURST: usize = 64 << 10;
        let sealer = Sealer::new(&LinkKey::sealed([1; 32]), Direction::Forward, 1);
        let rate = Rate { bits_per_second: 1_000_000_000, burst_bytes: BURST as u32 };
        let port = MemoryLink::new(1_200, 2 * FRAMES, Faults::default(), 1);
        let mut emitter = Emitter::new(port, sealer, 0, Some(rate));
        let symbol = [0; 1_000];
        let frame_bytes = FRAME_OVERHEAD + symbol.len() + emitter.port.overhead_bytes();
        for _ in 0..FRAMES {
            emitter.emit(0, Position::default(), Kind::Heartbeat, &symbol);
        }
        let burst = FRAMES - emitter.waiting_frames();
        assert_eq!(burst, BURST / frame_bytes, "the burst leaves at once");
        let (mut now, mut wakes) = (0, 0);
        while let Some(at) = emitter.release(now) {
            assert!(at > now, "{at} after {now}");
            (now, wakes) = (at, wakes + 1);
        }
        assert!(wakes <= (FRAMES - burst) / 7, "{wakes} times for {} frames", FRAMES - burst);
        let at_the_rate = ((FRAMES * frame_bytes - BURST) * 8) as Nanos;
        assert!(now.abs_diff(at_the_rate) < at_the_rate / 100, "{now} instead of {at_the_rate} ns");

        // Behind one frame alone there is nothing to wait for.
        emitter.emit(now, Position::default(), Kind::Heartbeat, &symbol);
        let turn_at = emitter.release(now).expect("the burst is used up");
        assert!(turn_at <= now + (frame_bytes as Nanos + 1) * 8, "{turn_at} after {now}");
        assert_eq!(emitter.release(turn_at), None);
    }
}
