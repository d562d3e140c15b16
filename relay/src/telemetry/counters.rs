//! Counters of the lanes, and their sums.
//!
//! ```text
//! Registry -- streams: [ Lanes<S> of channel 1, Lanes<S> of channel 2, ... ]
//!          \- link:      Lanes<L>
//! Lanes<T>  = | lane 0: T | lane 1: T | ... | control: T |     each T starts on its own cache lines
//! ```
//!
//! Owns the counts. A lane writes its own slot only, with plain loads and stores; the control thread
//! has a slot too, for what the kernel or slower paths count. Whoever prints reads all of them at any
//! time: a sum may be a few packets old, never torn, and never runs backwards.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use super::reasons::{FrameDropped, Lost, MOST_REASONS, Reason, ReceiveRefused, SendRefused};
use crate::config::Role;

/// A count that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. For the one writer of this counter: a load and a store, no locked instruction.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes over an absolute count that someone else keeps, such as a map of the kernel.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The count so far.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A counter per reason of `R`.
#[derive(Debug)]
pub struct Tally<R> {
    counts: [Counter; MOST_REASONS],
    reasons: PhantomData<fn() -> R>,
}

impl<R> Default for Tally<R> {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| Counter::default()), reasons: PhantomData }
    }
}

impl<R: Reason> Tally<R> {
    /// Adds `n` to `reason`. For the one writer of this tally.
    #[inline]
    pub fn add(&self, reason: R, n: u64) {
        self.of(reason).add(n);
    }

    /// The counter of `reason`.
    #[inline]
    pub fn of(&self, reason: R) -> &Counter {
        &self.counts[reason.index()]
    }

    fn visit(&self, group: &'static str, see: See<'_>) {
        for reason in R::ALL {
            see(Key::Reason(group, reason.name()), self.of(*reason).get());
        }
    }
}

/// Name of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A plain count, always printed: `received`.
    Count(&'static str),
    /// A count of a reason, printed when not zero: `refused.source`.
    Reason(&'static str, &'static str),
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(name) => f.write_str(name),
            Self::Reason(group, reason) => write!(f, "{group}.{reason}"),
        }
    }
}

/// Told of each count of a set.
pub type See<'a> = &'a mut dyn FnMut(Key, u64);

/// A set of counters that one thread writes.
pub trait Counters: Default + Send + Sync + 'static {
    /// Tells every count, always in the same order.
    fn visit(&self, see: See<'_>);
}

macro_rules! counters {
    ($(#[$about:meta])* $set:ident {
        $($(#[$what:meta])* $count:ident,)*
        $(; $($(#[$why:meta])* $group:ident: $reason:ty,)+)?
    }) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        pub struct $set {
            $($(#[$what])* pub $count: Counter,)*
            $($($(#[$why])* pub $group: Tally<$reason>,)+)?
        }

        impl Counters for $set {
            fn visit(&self, see: See<'_>) {
                $(see(Key::Count(stringify!($count)), self.$count.get());)*
                $($(self.$group.visit(stringify!($group), see);)+)?
            }
        }
    };
}

counters! {
    /// The sending host's counts of one stream.
    SendStream {
        /// Datagrams received, refused ones of allowed sources included, and parts of what connections sent.
        received,
        /// Their payload in bytes.
        received_bytes,
        /// Records handed to the link.
        sent,
        /// TCP sessions begun.
        sessions,
        /// TCP sessions broken off, for whatever reason.
        sessions_aborted,
        ;
        /// Not handed to the link, by reason.
        refused: SendRefused,
    }
}

counters! {
    /// The sending host's counts of the link.
    SendLink {
        /// Frames with source symbols.
        source_frames,
        /// Frames with repair symbols.
        repair_frames,
        /// Heartbeats.
        heartbeats,
        /// Bytes of all frames, without the headers around them.
        bytes,
        /// Blocks closed.
        blocks,
        /// Frames lost before they left: no free frame.
        tx_full,
        /// Frames that the system refused to send.
        send_errors,
        /// Packets from the queues that are no datagrams after all, which only a broken sender makes.
        malformed,
        /// Packets in the zone that belong to no stream: left to the kernel or dropped, as `unmatched` says.
        unmatched,
        /// Packets in the zone that were dropped for having more extension headers than are looked through.
        headers_too_deep,
        /// Frames that came from the link, which a diode never lets happen. All were dropped.
        from_link,
    }
}

counters! {
    /// The receiving host's counts of one stream.
    ReceiveStream {
        /// Records delivered.
        delivered,
        /// Their payload in bytes.
        delivered_bytes,
        /// Records among them whose bytes needed FEC.
        recovered,
        /// TCP sessions begun.
        sessions,
        /// TCP sessions broken off: by the sending host, for missing bytes, or by their destination.
        sessions_aborted,
        ;
        /// Missing, by reason.
        lost: Lost,
        /// There but not delivered, by reason.
        refused: ReceiveRefused,
    }
}

impl ReceiveStream {
    /// A record of `payload_bytes` bytes was delivered, which needed FEC if it was `recovered`.
    pub fn deliver(&self, payload_bytes: usize, recovered: bool) {
        self.delivered.add(1);
        self.delivered_bytes.add(payload_bytes as u64);
        self.recovered.add(u64::from(recovered));
    }
}

counters! {
    /// The receiving host's counts of the link.
    ReceiveLink {
        /// Frames accepted, heartbeats included.
        accepted,
        /// Their bytes, without the headers around them.
        bytes,
        /// Heartbeats.
        heartbeats,
        /// Symbols that came again or too late to be needed.
        unneeded,
        /// Blocks delivered whole.
        blocks_complete,
        /// Those of them that FEC completed.
        blocks_recovered,
        /// Blocks given up.
        blocks_abandoned,
        /// Source symbols that FEC restored.
        symbols_recovered,
        /// Source symbols of abandoned blocks that never came.
        symbols_lost,
        /// Records cut off by a lost symbol, or that made no sense.
        records_broken,
        /// Datagrams delivered, as far as the relay could see, that the system refused to send into the zone.
        zone_errors,
        ;
        /// Frames dropped, by reason.
        dropped: FrameDropped,
    }
}

/// Gives each slot its own cache lines. 128 bytes: processors prefetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// One set of counters per lane, and one for the control thread.
#[derive(Debug)]
pub struct Lanes<T> {
    /// The lanes' slots, then the control thread's.
    slots: Box<[Padded<T>]>,
}

impl<T: Counters> Lanes<T> {
    fn new(lanes: usize) -> Self {
        Self { slots: (0..=lanes).map(|_| Padded::default()).collect() }
    }

    /// The slot of a lane, which alone may write there; `None` beyond the registry's lanes.
    pub fn lane(&self, lane: usize) -> Option<&T> {
        let lanes = self.slots.len() - 1;
        self.slots.get(..lanes)?.get(lane).map(|slot| &slot.0)
    }

    /// The slot of the control thread, which alone may write there.
    pub fn control(&self) -> &T {
        // Made with one slot more than lanes, so there is a last one.
        &self.slots[self.slots.len() - 1].0
    }

    /// The sums over all slots, in the set's order.
    pub fn sums(&self) -> Vec<(Key, u64)> {
        let mut sums: Vec<(Key, u64)> = Vec::new();
        for slot in &self.slots {
            let mut at = 0;
            slot.0.visit(&mut |key, count| {
                match sums.get_mut(at) {
                    Some((_, sum)) => *sum = sum.wrapping_add(count),
                    None => sums.push((key, count)),
                }
                at += 1;
            });
        }
        sums
    }
}

/// Which of the two one-way links, as the counter lines name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkName {
    /// BLUE to RED: the diode.
    Forward,
    /// RED to BLUE: the optional second link.
    Return,
}

impl LinkName {
    /// The value of a line's `link`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Return => "return",
        }
    }
}

/// What a sample is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A stream.
    Stream {
        /// Its name in the site file.
        name: String,
        /// Its channel.
        channel: u16,
    },
    /// The link.
    Link,
}

/// The counts of one stream or link, summed over its lanes, since the relay's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Which host counted.
    pub role: Role,
    /// On which of the links.
    pub link: LinkName,
    /// What was counted.
    pub subject: Subject,
    /// The counts in printing order.
    pub counts: Vec<(Key, u64)>,
}

impl Sample {
    /// The count of `name` (`received`, `refused.source`), 0 where there is none.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.iter().find(|(key, _)| key.to_string() == name).map_or(0, |(_, count)| *count)
    }

    /// The sum over the reasons of a group (`refused`).
    pub fn total(&self, group: &str) -> u64 {
        let in_group = |key: &Key| matches!(key, Key::Reason(name, _) if *name == group);
        self.counts.iter().filter(|(key, _)| in_group(key)).map(|(_, count)| count).sum()
    }
}

/// A stream's entry.
struct Entry<S> {
    channel: u16,
    name: String,
    lanes: Arc<Lanes<S>>,
}

/// Every counter of a host on one link: per stream `S`, for the link `L`.
pub struct Registry<S, L> {
    role: Role,
    name: LinkName,
    lanes: usize,
    link: Arc<Lanes<L>>,
    /// Locked by the control thread and by whoever prints, never by a lane.
    streams: RwLock<Vec<Entry<S>>>,
}

/// The counters of a host that sends on a link.
pub type SendCounters = Registry<SendStream, SendLink>;
/// The counters of a host that receives from a link.
pub type ReceiveCounters = Registry<ReceiveStream, ReceiveLink>;

impl<S: Counters, L: Counters> Registry<S, L> {
    /// Counters of the host that plays `role`, which has `lanes` lanes on the link `name`.
    pub fn new(role: Role, name: LinkName, lanes: usize) -> Self {
        let link = Arc::new(Lanes::new(lanes));
        Self { role, name, lanes, link, streams: RwLock::new(Vec::new()) }
    }

    /// The link's counters.
    pub fn link(&self) -> Arc<Lanes<L>> {
        Arc::clone(&self.link)
    }

    /// The counters of a stream, made on first use. A stream that is removed and added again goes on
    /// counting where it was; a new name replaces the old one.
    pub fn stream(&self, channel: u16, name: &str) -> Arc<Lanes<S>> {
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = streams.iter_mut().find(|entry| entry.channel == channel) {
            name.clone_into(&mut entry.name);
            return Arc::clone(&entry.lanes);
        }
        let lanes = Arc::new(Lanes::new(self.lanes));
        streams.push(Entry { channel, name: name.to_owned(), lanes: Arc::clone(&lanes) });
        lanes
    }

    /// The sums now: every stream in the order of its first use, then the link.
    pub fn samples(&self) -> Vec<Sample> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        let sample = |subject, counts| Sample { role: self.role, link: self.name, subject, counts };
        let mut samples: Vec<Sample> = streams
            .deref()
            .iter()
            .map(|entry| {
                let subject = Subject::Stream { name: entry.name.clone(), channel: entry.channel };
                sample(subject, entry.lanes.sums())
            })
            .collect();
        samples.push(sample(Subject::Link, self.link.sums()));
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_and_control_are_summed_per_count_and_reason() {
        let registry = SendCounters::new(Role::Blue, LinkName::Forward, 2);
        let video = registry.stream(7, "video");
        video.lane(0).unwrap().received.add(3);
        video.lane(1).unwrap().received.add(4);
        video.lane(1).unwrap().refused.add(SendRefused::Rate, 2);
        video.control().refused.of(SendRefused::Source).set(9);
        video.control().refused.of(SendRefused::Source).set(11);
        registry.link().lane(0).unwrap().bytes.add(1500);

        let samples = registry.samples();
        let [stream, link] = &samples[..] else { panic!("{samples:?}") };
        assert_eq!(stream.subject, Subject::Stream { name: "video".to_owned(), channel: 7 });
        assert_eq!(stream.count("received"), 7);
        assert_eq!(stream.count("refused.rate"), 2);
        assert_eq!(stream.count("refused.source"), 11);
        assert_eq!(stream.total("refused"), 13);
        assert_eq!(link.subject, Subject::Link);
        assert_eq!(link.count("bytes"), 1500);
    }

    #[test]
    fn there_is_no_lane_beyond_the_last() {
        let registry = ReceiveCounters::new(Role::Red, LinkName::Forward, 1);
        let lanes = registry.link();
        assert!(lanes.lane(0).is_some());
        assert!(lanes.lane(1).is_none(), "the control thread's slot is not a lane's");
    }

    #[test]
    fn a_stream_keeps_its_counts_over_a_reload() {
        let registry = ReceiveCounters::new(Role::Red, LinkName::Forward, 1);
        registry.stream(1, "old").lane(0).unwrap().delivered.add(5);
        registry.stream(1, "new").lane(0).unwrap().delivered.add(1);
        let samples = registry.samples();
        assert_eq!(samples.len(), 2);
        assert_eq!(samples[0].count("delivered"), 6);
        assert_eq!(samples[0].subject, Subject::Stream { name: "new".to_owned(), channel: 1 });
    }

    #[test]
    fn slots_do_not_share_cache_lines() {
        let lanes: Lanes<SendStream> = Lanes::new(3);
        let starts: Vec<usize> = (0..3).map(|lane| std::ptr::from_ref(lanes.lane(lane).unwrap()) as usize).collect();
        for pair in starts.windows(2) {
            assert_eq!(pair[0] % 128, 0);
            assert!(pair[1] - pair[0] >= size_of::<SendStream>());
            assert_eq!((pair[1] - pair[0]) % 128, 0);
        }
    }

    #[test]
    fn a_reader_never_sees_a_sum_run_backwards() {
        const ADDED: u64 = 200_000;
        let registry = Arc::new(SendCounters::new(Role::Blue, LinkName::Forward, 1));
        let stream = registry.stream(1, "video");
        let writer = std::thread::spawn(move || {
            for _ in 0..ADDED {
                stream.lane(0).unwrap().sent.add(1);
            }
        });
        let mut last = 0;
        while !writer.is_finished() {
            let now = registry.samples()[0].count("sent");
            assert!(now >= last);
            last = now;
        }
        writer.join().unwrap();
        assert_eq!(registry.samples()[0].count("sent"), ADDED);
    }
}
