//! What differs between the site in force and a newly read one: the basis of a reload.
//!
//! Owns the judgement which keys a running relay can take over. It changes nothing itself.

use super::files::Files;
use super::site::{Host, Role, Site, Stream};

/// The difference between two sites.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Channels that only the new site has.
    pub added: Vec<u16>,
    /// Channels that only the old site has.
    pub removed: Vec<u16>,
    /// Channels that both have, with different settings.
    pub changed: Vec<StreamChange>,
    /// Full names of changed keys that a running relay takes over: `blue.interval`.
    pub live: Vec<String>,
    /// Full names of changed keys that need a restart: `link.mtu`, `red.driver`.
    pub restart_needed: Vec<String>,
}

/// A stream, or files, with other settings than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamChange {
    /// Its channel.
    pub channel: u16,
    /// The site file's keys that differ; `fec`, `blue` and `red` stand for everything below them. `type` also where a stream
    /// has become files, or files a stream.
    pub keys: Vec<&'static str>,
}

impl Change {
    /// Whether the two sites are the same.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The keys that need a restart of the host that plays `role`: the other host's are left out.
    pub fn restart_needed_by(&self, role: Role) -> impl Iterator<Item = &str> {
        let other = match role {
            Role::Blue => "red.",
            Role::Red => "blue.",
        };
        self.restart_needed.iter().map(String::as_str).filter(move |key| !key.starts_with(other))
    }
}

/// Compares the site in force with a new one. Streams and files are matched by channel.
pub fn diff(old: &Site, new: &Site) -> Change {
    let mut change = Change::default();
    for channel in channels(new) {
        match keys_of(old, new, channel) {
            None => change.added.push(channel),
            Some(keys) if keys.is_empty() => {}
            Some(keys) => change.changed.push(StreamChange { channel, keys }),
        }
    }
    change.removed.extend(channels(old).filter(|channel| keys_of(new, old, *channel).is_none()));
    link_keys(old, new, &mut change.restart_needed);
    for role in [Role::Blue, Role::Red] {
        host_keys(role, old.host(role), new.host(role), &mut change);
    }
    change
}

fn channels(site: &Site) -> impl Iterator<Item = u16> {
    let files = site.files.iter().map(|files| files.channel);
    site.streams.iter().map(|stream| stream.channel).chain(files)
}

/// The keys that differ on a channel of `new`; `None` if `old` does not have it.
fn keys_of(old: &Site, new: &Site, channel: u16) -> Option<Vec<&'static str>> {
    match (old.stream(channel), new.stream(channel), old.files_of(channel), new.files_of(channel)) {
        (Some(before), Some(after), _, _) => Some(stream_keys(before, after)),
        (_, _, Some(before), Some(after)) => Some(files_keys(before, after)),
        (None, _, None, _) => None,
        _ => Some(vec!["type"]),
    }
}

fn files_keys(old: &Files, new: &Files) -> Vec<&'static str> {
    let pairs = [
        ("name", old.name != new.name),
        ("description", old.description != new.description),
        ("enabled", old.enabled != new.enabled),
        ("poll", old.poll != new.poll),
        ("settle", old.settle != new.settle),
        ("parallel", old.parallel != new.parallel),
        ("attempts", old.attempts != new.attempts),
        ("repeat", old.repeat != new.repeat),
        ("manifest", old.manifest != new.manifest),
        ("retain", old.retain != new.retain),
        ("rate", old.rate_bps != new.rate_bps),
        ("fec", old.fec != new.fec),
        ("buffer", old.buffer_bytes != new.buffer_bytes),
        ("blue", old.blue != new.blue),
        ("red", old.red != new.red),
    ];
    pairs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

fn stream_keys(old: &Stream, new: &Stream) -> Vec<&'static str> {
    let pairs = [
        ("name", old.name != new.name),
        ("type", old.kind != new.kind),
        ("source_ip", old.sources != new.sources),
        ("source_port", old.source_port != new.source_port),
        ("destination_ip", old.destination.ip() != new.destination.ip()),
        ("destination_port", old.destination.port() != new.destination.port()),
        ("max_sessions", old.max_sessions != new.max_sessions),
        ("description", old.description != new.description),
        ("rate", old.rate_bps != new.rate_bps),
        ("fec", old.fec != new.fec),
        ("idle", old.idle != new.idle),
        ("ordered", old.ordered != new.ordered),
        ("connect_timeout", old.connect_timeout != new.connect_timeout),
        ("keepalive", old.keepalive != new.keepalive),
        ("buffer", old.buffer_bytes != new.buffer_bytes),
        ("impersonate", old.impersonate != new.impersonate),
    ];
    pairs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

/// Every key of the link shapes rings, sockets or keys that exist since the start. Those of
/// `[link.fec]` are not among them, they reach a relay through its streams; nor is `link.driver`, which
/// shows in the hosts' drivers.
fn link_keys(old: &Site, new: &Site, restart: &mut Vec<String>) {
    let (old, new) = (&old.link, &new.link);
    let pairs = [
        ("link.mtu", old.mtu != new.mtu),
        ("link.port", old.port != new.port),
        ("link.encapsulation", old.encapsulation != new.encapsulation),
        ("link.rate", old.rate_bps != new.rate_bps),
        ("link.burst", old.burst_bytes != new.burst_bytes),
        ("link.key_file", old.key_file != new.key_file),
        ("link.transmit", old.transmit != new.transmit),
        ("link.heartbeat", old.heartbeat != new.heartbeat),
        ("link.blue", old.blue != new.blue),
        ("link.red", old.red != new.red),
        ("link.return", old.return_link != new.return_link),
    ];
    restart.extend(pairs.into_iter().filter(|pair| pair.1).map(|pair| pair.0.to_owned()));
}

fn host_keys(role: Role, old: &Host, new: &Host, change: &mut Change) {
    let restart = [
        ("interface", old.interface != new.interface),
        ("driver", old.driver != new.driver),
        ("state_dir", old.state_dir != new.state_dir),
        // Fixed in the XDP program when it is loaded.
        ("unmatched", old.unmatched != new.unmatched),
    ];
    let live = [
        ("interval", old.interval != new.interval),
        ("syslog", old.syslog != new.syslog),
        // Sessions that run keep the room that they began with.
        ("buffer", old.buffer_bytes != new.buffer_bytes),
    ];
    let full = |pair: (&str, bool)| pair.1.then(|| format!("{role}.{}", pair.0));
    change.restart_needed.extend(restart.into_iter().filter_map(full));
    change.live.extend(live.into_iter().filter_map(full));
}
