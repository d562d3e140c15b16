//! Reads the `[[stream]]` tables.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use toml::de::DeValue;

use super::fec;
use super::section::{Notes, Section};
use super::site::{Fec, Impersonate, LEAST_ROOM_BYTES, Network, Stream, StreamKind};
use super::values::{
    Fault, boolean, destination, duration, kind_of, line, network, one_of, rate, size, stream_name, whole,
};

const KINDS: &[(&str, StreamKind)] = &[
    ("udp-unilateral", StreamKind::UdpUnilateral),
    ("tcp-unilateral", StreamKind::TcpUnilateral),
    ("tcp-bilateral", StreamKind::TcpBilateral),
];

const IMPERSONATIONS: &[(&str, Impersonate)] =
    &[("off", Impersonate::Off), ("proxy-v2", Impersonate::ProxyV2), ("transparent", Impersonate::Transparent)];

/// A minute of silence: longer than the keep-alives of the usual media and log senders.
const DEFAULT_UDP_IDLE: Duration = Duration::from_mins(1);
/// A TCP connection says itself when it ends, and a dead client is noticed by keep-alives: an hour of silence is only the
/// last resort against connections that nobody uses.
const DEFAULT_TCP_IDLE: Duration = Duration::from_hours(1);
/// One session unless the file grants more: the careful choice for a guarded border.
const DEFAULT_SESSIONS: u32 = 1;
/// A server on a local network accepts within milliseconds; ten seconds leave room for three lost SYNs.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Under 100 ms a single lost SYN would be a refusal.
const LEAST_CONNECT_TIMEOUT: Duration = Duration::from_millis(100);
/// Past five minutes every client has given up by itself.
const MOST_CONNECT_TIMEOUT: Duration = Duration::from_mins(5);
/// A dead peer is noticed within a minute and a half, at a packet a minute of cost.
const DEFAULT_KEEPALIVE: Duration = Duration::from_mins(1);
/// The kernel counts keep-alives in whole seconds (`TCP_KEEPIDLE`, tcp(7)).
const LEAST_KEEPALIVE: Duration = Duration::from_secs(1);
/// The kernel's own default; a longer one finds no dead peer in time.
const MOST_KEEPALIVE: Duration = Duration::from_hours(2);
/// A burst of a second at 134 Mbit/s.
pub(super) const DEFAULT_BUFFER_BYTES: u32 = 16 << 20;
/// A second at 8 Gbit/s: a destination that needs more does not keep up at all.
pub(super) const MOST_BUFFER_BYTES: u32 = 1 << 30;
/// Bound of a stream's session table.
const MOST_SESSIONS: u32 = 65_536;
/// Entries of a source list: bounds the lookup tables in the kernel.
const MOST_SOURCES: usize = 4096;

/// Reads every `[[stream]]`.
pub(super) fn all(notes: &mut Notes, root: &mut Section<'_, '_>, link_fec: &Fec) -> Vec<Stream> {
    const REMEDY: &str = "add a `[[stream]]` table; config/minimal.toml has one";
    let (sections, all) = root.tables(notes, "stream", "streams", REMEDY);
    let streams = sections.into_iter().map(|section| stream(notes, section, link_fec)).collect();
    // Rules find streams by their place in the file's list: no half lists.
    if all { streams } else { Vec::new() }
}

fn stream(notes: &mut Notes, mut section: Section<'_, '_>, link_fec: &Fec) -> Stream {
    let s = &mut section;
    let channel = s.need(notes, "channel", "1", 0, whole(1..=65535));
    let name = s.need(notes, "name", "\"video\"", String::new(), stream_name);
    let kind = s.need(notes, "type", "\"udp-unilateral\"", StreamKind::UdpUnilateral, one_of(KINDS));
    let sources = sources(notes, s);
    let source_port = s.need(notes, "source_port", "5004", 0, whole(1..=65535));
    let address = s.need(notes, "destination_ip", "\"192.168.50.25\"", IpAddr::V4(Ipv4Addr::UNSPECIFIED), destination);
    let port = s.need(notes, "destination_port", "5004", 0, whole(1..=65535));
    let max_sessions = s.get(notes, "max_sessions", whole(1..=MOST_SESSIONS)).unwrap_or(DEFAULT_SESSIONS);
    let description = s.get(notes, "description", line).unwrap_or_default();
    let rate_bps = s.get(notes, "rate", rate);
    let fec = match s.table(notes, "fec") {
        Some(table) => fec::read(notes, table, link_fec),
        None => link_fec.clone(),
    };
    let default_idle = if kind.is_tcp() { DEFAULT_TCP_IDLE } else { DEFAULT_UDP_IDLE };
    let idle =
        s.get(notes, "idle", duration(Duration::from_millis(100), Duration::from_hours(24))).unwrap_or(default_idle);
    let ordered = s.get(notes, "ordered", boolean).unwrap_or(true);
    let connect_timeout = s
        .get(notes, "connect_timeout", duration(LEAST_CONNECT_TIMEOUT, MOST_CONNECT_TIMEOUT))
        .unwrap_or(DEFAULT_CONNECT_TIMEOUT);
    let keepalive = s.get(notes, "keepalive", duration(LEAST_KEEPALIVE, MOST_KEEPALIVE)).unwrap_or(DEFAULT_KEEPALIVE);
    let buffer_bytes =
        s.get(notes, "buffer", size(LEAST_ROOM_BYTES, MOST_BUFFER_BYTES)).unwrap_or(DEFAULT_BUFFER_BYTES);
    let impersonate = s.get(notes, "impersonate", one_of(IMPERSONATIONS)).unwrap_or(Impersonate::Off);
    section.finish(notes);
    Stream {
        channel,
        name,
        kind,
        sources,
        source_port,
        destination: SocketAddr::new(address, port),
        max_sessions,
        description,
        rate_bps,
        fec,
        idle,
        ordered,
        connect_timeout,
        keepalive,
        buffer_bytes,
        impersonate,
    }
}

/// The source list, each bad entry noted at its own place.
fn sources(notes: &mut Notes, s: &mut Section<'_, '_>) -> Vec<Network> {
    const KEY: &str = "source_ip";
    const EXAMPLE: &str = "[\"192.168.100.11\", \"10.0.0.0/8\"]";
    let Some(value) = s.raw(KEY) else {
        s.missing(notes, KEY, EXAMPLE);
        return Vec::new();
    };
    let fault = |cause: String| Fault::new("is not a source list", cause, format!("write it like {EXAMPLE}"));
    let DeValue::Array(entries) = value.get_ref() else {
        let cause = format!("expected a list, found {}", kind_of(value.get_ref()));
        s.fault(notes, KEY, value.span(), fault(cause));
        return Vec::new();
    };
    if entries.is_empty() {
        let cause = "nobody could send; \"0.0.0.0/0\" and \"::/0\" let everyone".to_owned();
        s.fault(notes, KEY, value.span(), fault(cause));
    } else if entries.len() > MOST_SOURCES {
        let cause = format!("{} entries; at most {MOST_SOURCES}", entries.len());
        s.fault(notes, KEY, value.span(), fault(cause));
    }
    let mut networks = Vec::with_capacity(entries.len());
    for entry in entries {
        match network(entry.get_ref()) {
            Ok(network) => networks.push(network),
            Err(bad) => s.fault(notes, KEY, entry.span(), bad),
        }
    }
    networks
}
