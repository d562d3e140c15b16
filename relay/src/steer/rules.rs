//! Who may send to which stream, and how to get there from what is in force.
//!
//! Pure: [`Installed::plan`] says which map entries to change in which order; `ingress` does it. The order
//! keeps two promises while traffic flows: a source that both rule sets allow is never refused, and a source
//! is never allowed into a stream that neither set allows it into.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use relay_ebpf::{
    PROTOCOL_TCP, PROTOCOL_UDP, SOURCES_PER_FAMILY_MAX, STREAM_TO_KERNEL, STREAMS_MAX, Stream, StreamKey,
};

use super::error::SteerError;

/// Transport protocol of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Allowed datagrams go to the `AF_XDP` socket of their receive queue.
    Udp,
    /// Allowed segments go on to the kernel's listener.
    Tcp,
}

impl Protocol {
    /// "udp" or "tcp".
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Udp => PROTOCOL_UDP,
            Self::Tcp => PROTOCOL_TCP,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        match number {
            PROTOCOL_UDP => Some(Self::Udp),
            PROTOCOL_TCP => Some(Self::Tcp),
            _ => None,
        }
    }
}

/// One stream: its port and who may send to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The stream's index in counters and events, 0 to [`STREAMS_MAX`] - 1. Chosen by the caller; keep it
    /// the same over updates, or its counters speak of several streams.
    pub slot: u32,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port.
    pub port: u16,
    /// Prefixes of allowed sources, as address and length in bits. Bits behind the length do not matter.
    /// Empty: nobody.
    pub sources: Vec<(IpAddr, u8)>,
}

/// One prefix in one stream's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    pub(super) list: u32,
    pub(super) address: IpAddr,
    pub(super) prefix_len: u8,
}

/// One map write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    RemoveStream(StreamKey),
    AddSource(Source),
    PutStream(StreamKey, Stream),
    RemoveSource(Source),
}

/// What the maps hold.
#[derive(Debug, Default)]
pub(super) struct Installed {
    streams: BTreeMap<StreamKey, Stream>,
    sources: BTreeSet<Source>,
    /// The next list's number. Numbers are not used twice: a packet that looked its stream up a moment ago
    /// must not find another stream's sources under it.
    next_list: u32,
}

impl Installed {
    /// The writes, in order, that put `rules` in force.
    pub(super) fn plan(&mut self, rules: &[Rule]) -> Result<Vec<Change>, SteerError> {
        let (streams, sources) = self.wanted(rules)?;
        let mut changes = Vec::new();
        for key in self.streams.keys() {
            if !streams.contains_key(key) {
                changes.push(Change::RemoveStream(*key));
            }
        }
        changes.extend(sources.difference(&self.sources).map(|s| Change::AddSource(*s)));
        for (key, stream) in &streams {
            if self.streams.get(key) != Some(stream) {
                changes.push(Change::PutStream(*key, *stream));
            }
        }
        changes.extend(self.sources.difference(&sources).map(|s| Change::RemoveSource(*s)));
        Ok(changes)
    }

    /// Takes note of a write that was done.
    pub(super) fn done(&mut self, change: Change) {
        match change {
            Change::RemoveStream(key) => {
                self.streams.remove(&key);
            }
            Change::AddSource(source) => {
                self.sources.insert(source);
            }
            Change::PutStream(key, stream) => {
                self.streams.insert(key, stream);
            }
            Change::RemoveSource(source) => {
                self.sources.remove(&source);
            }
        }
    }

    fn wanted(&mut self, rules: &[Rule]) -> Result<(BTreeMap<StreamKey, Stream>, BTreeSet<Source>), SteerError> {
        if rules.len() > STREAMS_MAX as usize {
            return Err(SteerError::TooManyStreams { count: rules.len() });
        }
        let mut streams = BTreeMap::new();
        let mut sources = BTreeSet::new();
        for rule in rules {
            let key = key(rule);
            let stream = self.stream(key, rule)?;
            if streams.insert(key, stream).is_some() {
                return Err(SteerError::DuplicatePort { protocol: rule.protocol.name(), port: rule.port });
            }
            for (address, prefix_len) in &rule.sources {
                sources.insert(source(stream.list, *address, *prefix_len)?);
            }
        }
        let v4 = sources.iter().filter(|s| s.address.is_ipv4()).count();
        let count = v4.max(sources.len() - v4);
        if count > SOURCES_PER_FAMILY_MAX as usize {
            return Err(SteerError::TooManySources { count });
        }
        Ok((streams, sources))
    }

    /// A known port keeps its list, a new one gets a new list.
    fn stream(&mut self, key: StreamKey, rule: &Rule) -> Result<Stream, SteerError> {
        if rule.slot >= STREAMS_MAX {
            return Err(SteerError::SlotOutOfRange { slot: rule.slot });
        }
        let list = if let Some(stream) = self.streams.get(&key) {
            stream.list
        } else {
            self.next_list = self.next_list.wrapping_add(1);
            self.next_list
        };
        let flags = match rule.protocol {
            Protocol::Udp => 0,
            Protocol::Tcp => STREAM_TO_KERNEL,
        };
        Ok(Stream { slot: rule.slot, list, flags })
    }
}

fn key(rule: &Rule) -> StreamKey {
    StreamKey { protocol: rule.protocol.number(), padding: 0, port: rule.port }
}

/// Clears the bits behind the prefix, so that equal prefixes are equal.
fn source(list: u32, address: IpAddr, prefix_len: u8) -> Result<Source, SteerError> {
    let too_long = SteerError::PrefixTooLong { address, prefix_len };
    let masked = match address {
        IpAddr::V4(v4) if prefix_len <= 32 => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) if prefix_len <= 128 => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix_len)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
        _ => return Err(too_long),
    };
    Ok(Source { list, address: masked, prefix_len })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Change, Installed, Protocol, Rule, Source, SteerError, StreamKey, key};

    fn rule(slot: u32, port: u16, sources: &[&str]) -> Rule {
        let parse = |text: &&str| {
            let (address, prefix_len) = text.split_once('/').unwrap();
            (address.parse().unwrap(), prefix_len.parse().unwrap())
        };
        Rule { slot, protocol: Protocol::Udp, port, sources: sources.iter().map(parse).collect() }
    }

    fn apply(installed: &mut Installed, rules: &[Rule]) -> Vec<Change> {
        let changes = installed.plan(rules).unwrap();
        for change in &changes {
            installed.done(*change);
        }
        changes
    }

    /// What the program would decide: the stream's list holds exactly this prefix.
    fn allows(installed: &Installed, key: StreamKey, prefix: &Source) -> bool {
        installed
            .streams
            .get(&key)
            .is_some_and(|stream| installed.sources.contains(&Source { list: stream.list, ..*prefix }))
    }

    #[test]
    fn the_same_rules_again_change_nothing() {
        let mut installed = Installed::default();
        let rules = [rule(0, 514, &["10.0.0.0/8", "fd00::/8"]), rule(1, 515, &[])];
        assert_eq!(apply(&mut installed, &rules).len(), 4);
        assert_eq!(apply(&mut installed, &rules), []);
    }

    #[test]
    fn a_new_stream_appears_after_its_sources_and_vanishes_before_them() {
        let mut installed = Installed::default();
        let changes = apply(&mut installed, &[rule(0, 514, &["10.0.0.0/8"])]);
        assert!(matches!(changes[..], [Change::AddSource(_), Change::PutStream(..)]));
        let changes = apply(&mut installed, &[]);
        assert!(matches!(changes[..], [Change::RemoveStream(_), Change::RemoveSource(_)]));
    }

    #[test]
    fn bits_behind_the_prefix_do_not_matter() {
        let mut installed = Installed::default();
        apply(&mut installed, &[rule(0, 514, &["10.1.2.3/8", "10.9.9.9/8"])]);
        assert_eq!(installed.sources.len(), 1);
        assert_eq!(apply(&mut installed, &[rule(0, 514, &["10.0.0.0/8"])]), []);
    }

    #[test]
    fn zero_and_full_length_prefixes_are_kept_as_they_are() {
        let mut installed = Installed::default();
        let all = ["0.0.0.0/0", "10.1.2.3/32", "::/0", "fd00::1/128"];
        apply(&mut installed, &[rule(0, 514, &all)]);
        let held: Vec<String> = installed.sources.iter().map(|s| format!("{}/{}", s.address, s.prefix_len)).collect();
        assert_eq!(held, all);
    }

    #[test]
    fn bad_rules_are_refused_before_anything_changes() {
        let mut installed = Installed::default();
        let refused = |rules: &[Rule]| Installed::default().plan(rules).unwrap_err();
        assert!(matches!(refused(&[rule(1024, 1, &[])]), SteerError::SlotOutOfRange { slot: 1024 }));
        assert!(matches!(refused(&[rule(0, 1, &["10.0.0.0/33"])]), SteerError::PrefixTooLong { prefix_len: 33, .. }));
        assert!(matches!(refused(&[rule(0, 1, &["::/129"])]), SteerError::PrefixTooLong { .. }));
        assert!(matches!(refused(&[rule(0, 1, &[]), rule(1, 1, &[])]), SteerError::DuplicatePort { port: 1, .. }));
        let many: Vec<Rule> = (0..1025).map(|port| rule(0, port, &[])).collect();
        assert!(matches!(refused(&many), SteerError::TooManyStreams { count: 1025 }));
        assert_eq!(apply(&mut installed, &[]), []);
    }

    fn any_rules() -> impl Strategy<Value = Vec<Rule>> {
        let sources = prop::collection::vec(0..6_u8, 0..4);
        prop::collection::btree_map(1..5_u16, (0..4_u32, sources), 0..4).prop_map(|ports| {
            ports
                .into_iter()
                .map(|(port, (slot, hosts))| Rule {
                    slot,
                    protocol: Protocol::Udp,
                    port,
                    sources: hosts.into_iter().map(|h| ([10, 0, 0, h].into(), 32)).collect(),
                })
                .collect()
        })
    }

    fn names(rules: &[Rule], port: u16, host: u8) -> bool {
        rules.iter().any(|rule| rule.port == port && rule.sources.contains(&([10, 0, 0, host].into(), 32)))
    }

    proptest! {
        /// After every single write: what both sets allow is allowed, what neither allows is not.
        #[test]
        fn no_update_opens_a_window(sets in prop::collection::vec(any_rules(), 1..5)) {
            let mut installed = Installed::default();
            let mut before: Vec<Rule> = Vec::new();
            for after in sets {
                for change in installed.plan(&after).unwrap() {
                    installed.done(change);
                    for (port, host) in (1..5).flat_map(|p| (0..6).map(move |h| (p, h))) {
                        let probe = Rule { slot: 0, protocol: Protocol::Udp, port, sources: vec![] };
                        let prefix = Source { list: 0, address: [10, 0, 0, host].into(), prefix_len: 32 };
                        let allowed = allows(&installed, key(&probe), &prefix);
                        let (old, new) = (names(&before, port, host), names(&after, port, host));
                        prop_assert!(allowed || !(old && new), "{port} {host} refused");
                        prop_assert!(!allowed || old || new, "{port} {host} allowed");
                    }
                }
                prop_assert_eq!(installed.plan(&after).unwrap(), vec![]);
                before = after;
            }
        }
    }
}
