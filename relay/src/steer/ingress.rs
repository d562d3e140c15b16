//! BLUE's program towards its zone.

use std::{collections::BTreeSet, net::IpAddr, os::fd::BorrowedFd};

use aya::maps::{HashMap, LpmTrie, MapData, MapError, PerCpuArray, RingBuf, lpm_trie::Key};
use relay_ebpf::{IngressConfig, IngressCounters, LIST_BITS, SourceV4, SourceV6, Stream, StreamCounters, StreamKey};

use super::{
    error::SteerError,
    events::Events,
    program::{Attached, Loaded, Mode, sum},
    rules::{Change, Installed, Rule, Source},
};

/// The value of every trie entry; only its being there counts.
const PRESENT: u32 = 1;

/// What BLUE ingress does where there is a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngressOptions {
    /// The interface's address. Unicast frames to any other are left to the kernel, which matters where the
    /// interface is promiscuous. None: not checked.
    pub own_mac: Option<[u8; 6]>,
    /// Drop what belongs to no stream instead of passing it to the kernel. That includes ARP, IPv6 neighbour
    /// discovery and logins: only for an interface whose neighbours are configured by hand.
    pub drop_other: bool,
    /// Drop events per second and CPU; further ones are only counted. 0: none.
    pub events_per_second: u32,
}

impl Default for IngressOptions {
    /// Pass what is not ours; a hundred events per second: a log that can still be read, from a
    /// scan that can be recognised.
    fn default() -> Self {
        Self { own_mac: None, drop_other: false, events_per_second: 100 }
    }
}

/// Counts since the program was attached, over all CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngressCounts {
    /// By slot, ascending: every slot that a rule has named since the program was attached.
    pub streams: Vec<(u32, StreamCounters)>,
    /// What belongs to no stream.
    pub other: IngressCounters,
}

/// `blue_ingress` at work on an interface. Dropping it detaches it.
pub struct BlueIngress {
    attached: Attached,
    streams: HashMap<MapData, StreamKey, Stream>,
    sources_v4: LpmTrie<MapData, SourceV4, u32>,
    sources_v6: LpmTrie<MapData, SourceV6, u32>,
    stream_counters: PerCpuArray<MapData, StreamCounters>,
    ingress_counters: PerCpuArray<MapData, IngressCounters>,
    events: Option<Events>,
    installed: Installed,
    slots: BTreeSet<u32>,
}

impl BlueIngress {
    /// Loads and attaches the program; no stream is known yet.
    pub fn attach(interface: &str, options: &IngressOptions) -> Result<Self, SteerError> {
        let mut loaded = Loaded::new(interface, "blue_ingress")?;
        let config = IngressConfig {
            own_mac: options.own_mac.unwrap_or_default(),
            drop_other: u8::from(options.drop_other),
            padding: 0,
            events_per_second: options.events_per_second,
        };
        loaded.configure("INGRESS", config)?;
        let events: RingBuf<MapData> = loaded.map("EVENTS")?;
        Ok(Self {
            streams: loaded.map("STREAMS")?,
            sources_v4: loaded.map("SOURCES_V4")?,
            sources_v6: loaded.map("SOURCES_V6")?,
            stream_counters: loaded.map("STREAM_COUNTERS")?,
            ingress_counters: loaded.map("INGRESS_COUNTERS")?,
            events: Some(Events::new(events)),
            installed: Installed::default(),
            slots: BTreeSet::new(),
            attached: loaded.attach()?,
        })
    }

    /// Where the kernel runs the program.
    pub fn mode(&self) -> Mode {
        self.attached.mode()
    }

    /// Gives the datagrams that arrive on a receive queue to an `AF_XDP` socket bound to that queue.
    pub fn register(&mut self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), SteerError> {
        self.attached.register(queue, socket)
    }

    /// Puts `rules`, and only those, in force while traffic flows. A source that the old and the new rules
    /// allow is allowed throughout. Bad rules change nothing; after a failed write, the next update takes
    /// up where this one stopped.
    pub fn update(&mut self, rules: &[Rule]) -> Result<(), SteerError> {
        for change in self.installed.plan(rules)? {
            self.write(change)?;
            self.installed.done(change);
        }
        self.slots.extend(rules.iter().map(|rule| rule.slot));
        Ok(())
    }

    /// Reads all counters.
    pub fn counters(&self) -> Result<IngressCounts, SteerError> {
        let mut streams = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let counters = sum("STREAM_COUNTERS", &self.stream_counters, *slot)?;
            streams.push((*slot, counters));
        }
        Ok(IngressCounts { streams, other: sum("INGRESS_COUNTERS", &self.ingress_counters, 0)? })
    }

    /// Takes the drop events, for the task that logs them. None from the second call on.
    pub fn take_events(&mut self) -> Option<Events> {
        self.events.take()
    }

    fn write(&mut self, change: Change) -> Result<(), SteerError> {
        match change {
            Change::RemoveStream(key) => {
                let removed = self.streams.remove(&key);
                removed.map_err(|source| failed("STREAMS", "remove a stream from", source))
            }
            Change::PutStream(key, stream) => {
                let put = self.streams.insert(key, stream, 0);
                put.map_err(|source| failed("STREAMS", "put a stream into", source))
            }
            Change::AddSource(source) => self.add_source(source),
            Change::RemoveSource(source) => self.remove_source(source),
        }
    }

    fn add_source(&mut self, source: Source) -> Result<(), SteerError> {
        let action = "add a source to";
        match trie_key(source) {
            TrieKey::V4(key) => {
                self.sources_v4.insert(&key, PRESENT, 0).map_err(|source| failed("SOURCES_V4", action, source))
            }
            TrieKey::V6(key) => {
                self.sources_v6.insert(&key, PRESENT, 0).map_err(|source| failed("SOURCES_V6", action, source))
            }
        }
    }

    fn remove_source(&mut self, source: Source) -> Result<(), SteerError> {
        let action = "remove a source from";
        match trie_key(source) {
            TrieKey::V4(key) => self.sources_v4.remove(&key).map_err(|source| failed("SOURCES_V4", action, source)),
            TrieKey::V6(key) => self.sources_v6.remove(&key).map_err(|source| failed("SOURCES_V6", action, source)),
        }
    }
}

enum TrieKey {
    V4(Key<SourceV4>),
    V6(Key<SourceV6>),
}

fn trie_key(source: Source) -> TrieKey {
    let list = source.list.to_ne_bytes();
    let prefix_len = LIST_BITS + u32::from(source.prefix_len);
    match source.address {
        IpAddr::V4(address) => {
            let address = address.octets();
            TrieKey::V4(Key::new(prefix_len, SourceV4 { list, address }))
        }
        IpAddr::V6(address) => {
            let address = address.octets();
            TrieKey::V6(Key::new(prefix_len, SourceV6 { list, address }))
        }
    }
}

fn failed(map: &'static str, action: &'static str, source: MapError) -> SteerError {
    SteerError::Map { map, action, source }
}
