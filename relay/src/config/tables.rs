//! Reads `[link]`, `[blue]` and `[red]` with everything below them.
//!
//! Owns the keys of these tables, their ranges and their defaults. What concerns two tables at once
//! is left to [`super::rules`].

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fec;
use super::section::{Notes, Section};
use super::site::{Driver, Encapsulation, Endpoint, Host, Link, ReturnLink, ReturnMode, Role, Transmit, Unmatched};
use super::values::{duration, interface, link_address, mac, one_of, path, rate, size, syslog, whole};

const DRIVERS: &[(&str, Driver)] = &[("xdp", Driver::Xdp), ("socket", Driver::Socket)];
const TRANSMITS: &[(&str, Transmit)] =
    &[("auto", Transmit::Auto), ("af_xdp", Transmit::AfXdp), ("packet", Transmit::Packet)];
const ENCAPSULATIONS: &[(&str, Encapsulation)] = &[("udp", Encapsulation::Udp), ("ethernet", Encapsulation::Ethernet)];
const RETURN_MODES: &[(&str, ReturnMode)] = &[("status", ReturnMode::Status), ("full", ReturnMode::Full)];
const UNMATCHED: &[(&str, Unmatched)] = &[("pass", Unmatched::Pass), ("drop", Unmatched::Drop)];

/// What every internet host must accept (RFC 791, section 3.1): a smaller link is no IPv4 link.
const LEAST_MTU: u32 = 576;
/// The customary jumbo frame; larger ones are not supported yet.
const MOST_MTU: u32 = 9000;
/// Ethernet's customary payload.
const DEFAULT_MTU: u16 = 1500;
/// Any port does as long as both hosts agree, which sharing one file makes sure of.
const DEFAULT_PORT: u16 = 7400;
/// About 43 full frames: what a socket's queue or a NIC's ring takes without loss.
const LEAST_DEFAULT_BURST_BYTES: u32 = 64 << 10;
/// A thread that waited comes to run again after the others' time slices, on a busy host some milliseconds later. What the bucket
/// cannot hold of that time is lost to the rate: with 64 KiB, a link of 1.2 Gbit/s got 0.5.
const DEFAULT_BURST_TIME: Duration = Duration::from_millis(5);
/// About 700 full frames: a third of the smallest queue that RED opens.
const MOST_DEFAULT_BURST_BYTES: u32 = 1 << 20;
/// Four a second: a dead link shows within a second at under 1 kbit/s of cost.
const DEFAULT_HEARTBEAT: Duration = Duration::from_millis(250);
/// Room for 8,192 TCP sessions of 64 KiB, or 32 of 16 MiB; leaves most of a small host's memory alone.
const DEFAULT_BUFFER_BYTES: u64 = 512 << 20;
/// Sixteen of the smallest sessions.
const LEAST_BUFFER_BYTES: u64 = 1 << 20;
/// As much memory as large servers have.
const MOST_BUFFER_BYTES: u64 = 1 << 40;
/// A tenth of a second at 5 Gbit/s: a larger burst is no pacing.
const MOST_BURST_BYTES: u32 = 64 << 20;
/// Often enough to watch, seldom enough for a journal.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
/// `StateDirectory=relay` of the systemd units.
const DEFAULT_STATE_DIR: &str = "/var/lib/relay";

/// Stands in for an endpoint that is missing, which is noted.
const NOWHERE: Endpoint = Endpoint { interface: String::new(), address: Ipv4Addr::UNSPECIFIED, mac: None };

/// Reads `[link]`. Paths are resolved against `folder`.
pub(super) fn link(notes: &mut Notes, root: &mut Section<'_, '_>, folder: &Path) -> Link {
    const EXAMPLE: &str = "[link.blue] and [link.red] below it";
    let mut link = blank_link();
    let Some(mut section) = root.need_table(notes, "link", EXAMPLE) else {
        return link;
    };
    let s = &mut section;
    link.mtu = s.get(notes, "mtu", whole(LEAST_MTU..=MOST_MTU)).unwrap_or(link.mtu);
    link.port = s.get(notes, "port", whole(1..=65535)).unwrap_or(link.port);
    link.encapsulation = s.get(notes, "encapsulation", one_of(ENCAPSULATIONS)).unwrap_or(link.encapsulation);
    link.rate_bps = s.get(notes, "rate", rate);
    link.burst_bytes = burst(notes, s, link.rate_bps);
    link.key_file = s.get(notes, "key_file", path).map(|path| folder.join(path));
    link.driver = s.get(notes, "driver", one_of(DRIVERS)).unwrap_or(link.driver);
    link.transmit = s.get(notes, "transmit", one_of(TRANSMITS)).unwrap_or(link.transmit);
    link.heartbeat = s
        .get(notes, "heartbeat", duration(Duration::from_millis(10), Duration::from_mins(1)))
        .unwrap_or(link.heartbeat);
    link.blue = endpoint(notes, s, "blue");
    link.red = endpoint(notes, s, "red");
    if let Some(table) = s.table(notes, "fec") {
        link.fec = fec::read(notes, table, &link.fec);
    }
    if let Some(table) = s.table(notes, "return") {
        link.return_link = Some(return_link(notes, table));
    }
    section.finish(notes);
    link
}

fn burst(notes: &mut Notes, s: &mut Section<'_, '_>, rate_bps: Option<u64>) -> u32 {
    let given = s.get(notes, "burst", size(LEAST_MTU, MOST_BURST_BYTES));
    given.unwrap_or_else(|| default_burst_bytes(rate_bps))
}

/// The largest burst of a link whose site file has none, bytes: 5 ms of its rate, from 64 KiB to 1 MiB.
pub fn default_burst_bytes(rate_bps: Option<u64>) -> u32 {
    let bytes = u128::from(rate_bps.unwrap_or(0)) * DEFAULT_BURST_TIME.as_nanos() / 8_000_000_000;
    u32::try_from(bytes).unwrap_or(u32::MAX).clamp(LEAST_DEFAULT_BURST_BYTES, MOST_DEFAULT_BURST_BYTES)
}

/// A link with every default.
fn blank_link() -> Link {
    Link {
        mtu: DEFAULT_MTU,
        port: DEFAULT_PORT,
        encapsulation: Encapsulation::Udp,
        rate_bps: None,
        burst_bytes: LEAST_DEFAULT_BURST_BYTES,
        key_file: None,
        driver: Driver::Xdp,
        transmit: Transmit::Auto,
        heartbeat: DEFAULT_HEARTBEAT,
        blue: NOWHERE,
        red: NOWHERE,
        fec: fec::defaults(),
        return_link: None,
    }
}

fn endpoint(notes: &mut Notes, parent: &mut Section<'_, '_>, key: &'static str) -> Endpoint {
    const EXAMPLE: &str = "`interface = \"eth1\"` and `address = \"10.71.2.1\"`";
    let Some(mut s) = parent.need_table(notes, key, EXAMPLE) else {
        return NOWHERE;
    };
    let endpoint = Endpoint {
        interface: s.need(notes, "interface", "\"eth1\"", String::new(), interface),
        address: s.need(notes, "address", "\"10.71.2.1\"", Ipv4Addr::UNSPECIFIED, link_address),
        mac: s.get(notes, "mac", mac),
    };
    s.finish(notes);
    endpoint
}

fn return_link(notes: &mut Notes, mut s: Section<'_, '_>) -> ReturnLink {
    let mode = s.get(notes, "mode", one_of(RETURN_MODES)).unwrap_or(ReturnMode::Status);
    let rate_bps = s.get(notes, "rate", rate);
    let link = ReturnLink {
        mode,
        rate_bps,
        burst_bytes: burst(notes, &mut s, rate_bps),
        red: endpoint(notes, &mut s, "red"),
        blue: endpoint(notes, &mut s, "blue"),
    };
    s.finish(notes);
    link
}

/// Reads `[blue]` or `[red]`; the driver defaults to the link's.
pub(super) fn host(notes: &mut Notes, root: &mut Section<'_, '_>, role: Role, link: &Link, folder: &Path) -> Host {
    let mut host = Host {
        interface: String::new(),
        driver: link.driver,
        state_dir: PathBuf::from(DEFAULT_STATE_DIR),
        interval: DEFAULT_INTERVAL,
        syslog: None,
        buffer_bytes: DEFAULT_BUFFER_BYTES,
        unmatched: Unmatched::Pass,
    };
    let Some(mut s) = root.need_table(notes, role.name(), "`interface = \"eth0\"`") else {
        return host;
    };
    host.interface = s.need(notes, "interface", "\"eth0\"", String::new(), interface);
    host.driver = s.get(notes, "driver", one_of(DRIVERS)).unwrap_or(host.driver);
    host.state_dir = s.get(notes, "state_dir", path).map_or(host.state_dir, |path| folder.join(path));
    host.interval = s
        .get(notes, "interval", duration(Duration::from_millis(100), Duration::from_hours(1)))
        .unwrap_or(host.interval);
    host.syslog = s.get(notes, "syslog", syslog);
    // A bad value is reported where it stands: the largest in its place keeps the rules from judging the default.
    let without = if s.has("buffer") { MOST_BUFFER_BYTES } else { DEFAULT_BUFFER_BYTES };
    host.buffer_bytes = s.get(notes, "buffer", size(LEAST_BUFFER_BYTES, MOST_BUFFER_BYTES)).unwrap_or(without);
    if role == Role::Blue {
        host.unmatched = s.get(notes, "unmatched", one_of(UNMATCHED)).unwrap_or(host.unmatched);
    }
    s.finish(notes);
    host
}
