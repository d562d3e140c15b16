//! A link in memory, as bad as asked for: loss, bursts, duplication, reordering, corruption and truncation, all from
//! one seed. For tests and benchmarks.

use std::io;

use super::{RxPort, TxPort};

/// Shares are per 65,536 frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Frames lost, each by itself.
    pub lose: u16,
    /// Frames at which a burst of losses begins.
    pub burst: u16,
    /// A burst of losses begins with every so many frames, 0: never.
    pub burst_every: u32,
    /// Length of the bursts of either kind, frames.
    pub burst_frames: u16,
    /// Frames that come twice.
    pub duplicate: u16,
    /// Frames that are held back.
    pub delay: u16,
    /// By how many frames at most, at least 1 where `delay` is set.
    pub delay_frames: u16,
    /// Frames with one bit flipped.
    pub corrupt: u16,
    /// Frames cut short.
    pub truncate: u16,
}

impl Faults {
    /// A link that is down: every frame is lost.
    pub fn down() -> Self {
        Self { burst_every: 1, burst_frames: 1, ..Self::default() }
    }
}

/// What the link did to the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named after the faults that they count")]
pub struct FaultCounts {
    pub frames: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub delayed: u64,
    pub corrupted: u64,
    pub truncated: u64,
}

/// Pseudo-random numbers from a seed (xorshift64*, Vigna 2016): repeatable, not secret.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// A sequence of its own for every seed.
    pub fn new(seed: u64) -> Self {
        Self((seed ^ 0x9E37_79B9_7F4A_7C15).max(1))
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`, which is above 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    fn hits(&mut self, share: u16) -> bool {
        share > 0 && (self.next_u64() >> 48) < u64::from(share)
    }
}

/// Both ends of a link in memory.
#[derive(Debug)]
pub struct MemoryLink {
    frame_bytes: usize,
    frames_max: usize,
    faults: Faults,
    random: Seeded,
    burst_left: u16,
    /// Frames handed out and not yet submitted.
    taken: usize,
    arriving: Vec<Vec<u8>>,
    /// Frames held back, and after how many sent frames each arrives.
    delayed: Vec<(u64, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    /// What the link did so far.
    pub counts: FaultCounts,
}

impl MemoryLink {
    /// A link for frames of up to `frame_bytes`, of which `frames_max` may be in use at once: handed out or on their
    /// way. What the link itself holds back takes none of them.
    pub fn new(frame_bytes: usize, frames_max: usize, faults: Faults, seed: u64) -> Self {
        Self {
            frame_bytes,
            frames_max,
            faults,
            random: Seeded::new(seed),
            burst_left: 0,
            taken: 0,
            arriving: Vec::new(),
            delayed: Vec::new(),
            spare: Vec::new(),
            counts: FaultCounts::default(),
        }
    }

    /// Changes the faults from here on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
        self.burst_left = 0;
    }

    /// Frames handed out or not yet received.
    pub fn on_their_way(&self) -> usize {
        self.taken + self.arriving.len()
    }

    /// Lets everything arrive that is still held back.
    pub fn settle(&mut self) {
        self.delayed.sort_by_key(|(at, _)| *at);
        self.arriving.extend(self.delayed.drain(..).map(|(_, frame)| frame));
    }

    fn is_lost(&mut self) -> bool {
        if self.burst_left > 0 {
            self.burst_left -= 1;
            return true;
        }
        let every = u64::from(self.faults.burst_every);
        if (every > 0 && self.counts.frames.is_multiple_of(every)) || self.random.hits(self.faults.burst) {
            self.burst_left = self.faults.burst_frames.saturating_sub(1);
            return self.faults.burst_frames > 0;
        }
        self.random.hits(self.faults.lose)
    }

    fn pass(&mut self, mut frame: Vec<u8>) {
        if self.random.hits(self.faults.corrupt) && !frame.is_empty() {
            let bit = self.random.below(frame.len() as u64 * 8);
            frame[(bit / 8) as usize] ^= 1 << (bit % 8);
            self.counts.corrupted += 1;
        }
        if self.random.hits(self.faults.truncate) {
            frame.truncate(self.random.below(frame.len().max(1) as u64) as usize);
            self.counts.truncated += 1;
        }
        if self.random.hits(self.faults.delay) {
            let at = self.counts.frames + 1 + self.random.below(u64::from(self.faults.delay_frames.max(1)));
            self.delayed.push((at, frame));
            self.counts.delayed += 1;
        } else {
            self.arriving.push(frame);
        }
    }

    fn release_due(&mut self) {
        let now = self.counts.frames;
        for index in (0..self.delayed.len()).rev() {
            if self.delayed[index].0 <= now {
                let (_, frame) = self.delayed.swap_remove(index);
                self.arriving.push(frame);
            }
        }
    }
}

impl TxPort for MemoryLink {
    type Frame = Vec<u8>;

    fn take(&mut self) -> Option<Vec<u8>> {
        if !self.has_free(1) {
            return None;
        }
        self.taken += 1;
        let mut frame = self.spare.pop().unwrap_or_default();
        frame.resize(self.frame_bytes, 0);
        Some(frame)
    }

    fn has_free(&mut self, wanted: usize) -> bool {
        self.on_their_way() + wanted <= self.frames_max
    }

    fn frames(&self) -> usize {
        self.frames_max
    }

    fn bytes<'a>(&'a mut self, frame: &'a mut Vec<u8>) -> &'a mut [u8] {
        frame
    }

    fn submit(&mut self, mut frame: Vec<u8>, len: usize) -> Result<(), Vec<u8>> {
        frame.truncate(len);
        self.taken = self.taken.saturating_sub(1);
        self.counts.frames += 1;
        if self.is_lost() {
            self.counts.lost += 1;
            self.spare.push(frame);
        } else {
            if self.random.hits(self.faults.duplicate) {
                self.counts.duplicated += 1;
                self.pass(frame.clone());
            }
            self.pass(frame);
        }
        self.release_due();
        Ok(())
    }

    fn kick(&mut self) -> io::Result<bool> {
        Ok(false)
    }

    /// What was submitted is on the link.
    fn waiting(&self) -> usize {
        0
    }

    fn overhead_bytes(&self) -> usize {
        0
    }
}

impl RxPort for MemoryLink {
    fn receive(&mut self, max: usize, each: &mut dyn FnMut(&mut [u8])) -> io::Result<usize> {
        let count = max.min(self.arriving.len());
        for mut frame in self.arriving.drain(..count) {
            each(&mut frame);
            self.spare.push(frame);
        }
        Ok(count)
    }
}
