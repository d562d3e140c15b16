//! Rules between keys: what is right in itself and wrong together.
//!
//! Owns every such rule, errors and warnings. A rule asks [`Notes`] for the place of the keys it is
//! about, so that it stays silent about values that were already reported or that are defaults.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;

use super::problem::{Class, Problem};
use super::section::Notes;
use super::site::{
    Driver, Encapsulation, Endpoint, Impersonate, LEAST_ROOM_BYTES, ReturnMode, Role, Scheme, Site, Stream, StreamKind,
};
use super::values::show_size;

/// Keys of a stream that mean something for connections only.
const TCP_KEYS: [&str; 4] = ["connect_timeout", "keepalive", "buffer", "impersonate"];

/// Checks `site`; a problem about values that stand in the file goes to `notes`.
pub(super) fn check(notes: &mut Notes, site: &Site) {
    let mut found = Vec::new();
    interfaces(notes, site, &mut found);
    addresses(notes, site, &mut found);
    drivers(notes, site, &mut found);
    pacing(notes, site, &mut found);
    repeated(notes, site, &mut found);
    buffers(notes, site, &mut found);
    for (at, stream) in site.streams.iter().enumerate() {
        one_stream(notes, site, &format!("stream.{at}"), stream, &mut found);
    }
    needless_rates(notes, site, &mut found);
    super::files::rules(notes, site, &mut found);
    useless_protection(notes, site, &mut found);
    unsealed(notes, site, &mut found);
    notes.problems.extend(found);
}

/// Two keys must not name the same thing: an error at `later` that names `earlier`.
fn differ<T: PartialEq>(
    notes: &Notes,
    earlier: (&str, &T),
    later: (&str, &T),
    message: &str,
    remedy: &str,
) -> Option<Problem> {
    let first = notes.line(earlier.0)?;
    if earlier.1 != later.1 {
        return None;
    }
    let cause = format!("same as {} in line {first}", earlier.0);
    notes.about(later.0, &cause, message.to_owned(), remedy.to_owned())
}

/// One host, one interface for one purpose.
fn interfaces(notes: &Notes, site: &Site, found: &mut Vec<Problem>) {
    for role in [Role::Blue, Role::Red] {
        let end = |endpoint: &Endpoint| endpoint.interface.clone();
        let (zone, link) = (site.host(role).interface.clone(), end(forward(site, role)));
        let (zone_key, link_key) = (format!("{role}.interface"), format!("link.{role}.interface"));
        found.extend(differ(
            notes,
            (&link_key, &link),
            (&zone_key, &zone),
            &format!("{} has one interface for its zone and for the link", host_name(role)),
            "the diode needs an interface of its own; name the one towards the zone here",
        ));
        let Some(returned) = backward(site, role) else { continue };
        let (back, back_key) = (end(returned), format!("link.return.{role}.interface"));
        for (key, other) in [(&link_key, &link), (&zone_key, &zone)] {
            found.extend(differ(
                notes,
                (key, other),
                (&back_key, &back),
                &format!("{}'s return link shares an interface", host_name(role)),
                "a second diode needs a second interface; name it here",
            ));
        }
    }
}

/// The two ends of a link are two hosts.
fn addresses(notes: &Notes, site: &Site, found: &mut Vec<Problem>) {
    const MESSAGE: &str = "both ends of the link have the same address";
    const REMEDY: &str = "give each host its own address in the link's network";
    let link = &site.link;
    found.extend(differ(
        notes,
        ("link.blue.address", &link.blue.address),
        ("link.red.address", &link.red.address),
        MESSAGE,
        REMEDY,
    ));
    if let Some(back) = &link.return_link {
        found.extend(differ(
            notes,
            ("link.return.red.address", &back.red.address),
            ("link.return.blue.address", &back.blue.address),
            MESSAGE,
            REMEDY,
        ));
    }
}

/// Plain sockets carry UDP only.
fn drivers(notes: &Notes, site: &Site, found: &mut Vec<Problem>) {
    if site.link.encapsulation != Encapsulation::Ethernet {
        return;
    }
    let mut keys: Vec<String> = [Role::Blue, Role::Red]
        .into_iter()
        .filter(|role| site.host(*role).driver == Driver::Socket)
        .map(|role| format!("{role}.driver"))
        .map(|own| if notes.place(&own).is_some() { own } else { "link.driver".to_owned() })
        .collect();
    keys.dedup();
    for key in keys {
        found.extend(notes.about(
            &key,
            "plain sockets carry UDP only; encapsulation is \"ethernet\"",
            "the socket driver cannot send frames directly in Ethernet".to_owned(),
            "set encapsulation = \"udp\" in [link], or driver = \"xdp\"".to_owned(),
        ));
    }
}

/// A burst must let one frame out, and means something with a rate only.
fn pacing(notes: &Notes, site: &Site, found: &mut Vec<Problem>) {
    let link = &site.link;
    let back = link.return_link.as_ref().map(|back| ("link.return", back.rate_bps, back.burst_bytes));
    for (table, rate_bps, burst_bytes) in std::iter::once(("link", link.rate_bps, link.burst_bytes)).chain(back) {
        let key = format!("{table}.burst");
        if burst_bytes < u32::from(link.mtu) {
            found.extend(notes.about(
                &key,
                &format!("the link's mtu is {}", link.mtu),
                format!("`burst` in [{table}] is smaller than one frame"),
                format!("set at least \"{}B\"; nothing could leave", link.mtu),
            ));
        }
        if rate_bps.is_none() {
            let problem = notes.about(
                &key,
                "nothing is paced without a rate",
                format!("`burst` in [{table}] has no effect without `rate`"),
                "set `rate`, or remove `burst`".to_owned(),
            );
            found.extend(problem.map(Problem::warning));
        }
    }
}

/// Everything that has a channel, with its full name: the streams, then the files.
fn entries(site: &Site) -> Vec<(String, Stream)> {
    let names = (0..site.streams.len()).map(|at| format!("stream.{at}"));
    let names = names.chain((0..site.files.len()).map(|at| format!("files.{at}")));
    names.zip(site.channels()).collect()
}

/// Channels, names and listening ports are unique.
fn repeated(notes: &Notes, site: &Site, found: &mut Vec<Problem>) {
    let entries = entries(site);
    unique(
        notes,
        &entries,
        found,
        "channel",
        |stream| stream.channel,
        |stream| {
            (
                format!("channel {} is used twice", stream.channel),
                "give each stream and each files table a channel of its own; it names them on the wire".to_owned(),
            )
        },
    );
    unique(
        notes,
        &entries,
        found,
        "name",
        |stream| stream.name.clone(),
        |stream| {
            (
                format!("the name `{}` is used twice", stream.name),
                "give each stream and each files table a name of its own; counters and logs go by it".to_owned(),
            )
        },
    );
    unique(
        notes,
        &entries,
        found,
        "source_port",
        |stream| (stream.kind.is_tcp(), stream.source_port),
        |stream| {
            let protocol = if stream.kind.is_tcp() { "TCP" } else { "UDP" };
            (
                format!("{protocol} port {} is used twice", stream.source_port),
                "BLUE tells streams apart by protocol and port: give one another port, \
                 or put both source lists into one stream"
                    .to_owned(),
            )
        },
    );
}

fn unique<K: Eq + Hash>(
    notes: &Notes,
    entries: &[(String, Stream)],
    found: &mut Vec<Problem>,
    key: &str,
    of: impl Fn(&Stream) -> K,
    text: impl Fn(&Stream) -> (String, String),
) {
    let mut seen: HashMap<K, usize> = HashMap::new();
    for (name, stream) in entries {
        let full = format!("{name}.{key}");
        let Some(line) = notes.line(&full) else { continue };
        if key == "source_port" && notes.place(&format!("{name}.type")).is_none() {
            continue;
        }
        match seen.entry(of(stream)) {
            Entry::Occupied(first) => {
                let (message, remedy) = text(stream);
                let cause = format!("first used in line {}", first.get());
                found.extend(notes.about(&full, &cause, message, remedy));
            }
            Entry::Vacant(free) => {
                free.insert(line);
            }
        }
    }
}

/// All sessions that may be open at a time must find room, so that the buffer bounds the host's memory.
fn buffers(notes: &Notes, site: &Site, found: &mut Vec<Problem>) {
    let least = u64::from(LEAST_ROOM_BYTES);
    for role in [Role::Blue, Role::Red] {
        let (buffer, sessions) = (site.host(role).buffer_bytes, site.waiting_sessions(role));
        if sessions == 0 || buffer / sessions >= least {
            continue;
        }
        let with_files = role == Role::Red && !site.files.is_empty();
        let kind = if role == Role::Blue { "tcp-bilateral" } else { "TCP" };
        let (waiting, lower, all) = if with_files {
            ("TCP sessions and files".to_owned(), "`max_sessions` or `parallel`", "TCP streams and files".to_owned())
        } else {
            (format!("{kind} sessions"), "`max_sessions`", format!("{kind} streams"))
        };
        let cause = format!("{} for {sessions} sessions is {}B for each", show_size(buffer), buffer / sessions);
        let message =
            format!("{}'s `buffer` is too small for all {waiting}: each needs {}", host_name(role), show_size(least));
        let remedy = format!(
            "set `buffer` in [{role}] to at least \"{}\", or lower {lower}: all {all} together may have {}",
            show_size(sessions * least),
            buffer / least
        );
        found.extend(notes.about(&buffer_place(notes, site, role), &cause, message, remedy));
    }
}

/// What to point at when the buffer of `role` is too small: itself if the file sets it, else the stream that asks for most.
fn buffer_place(notes: &Notes, site: &Site, role: Role) -> String {
    let own = format!("{role}.buffer");
    if notes.place(&own).is_some() {
        return own;
    }
    let entries = entries(site);
    let waiting = entries.iter().filter(|(_, stream)| stream.kind.waits_on(role));
    let most = waiting.rev().max_by_key(|(_, stream)| stream.max_sessions).map_or("", |(name, _)| name);
    // Thousands of streams of one session each need not say so.
    let keys = ["max_sessions", "parallel", "type", "channel"].map(|key| format!("{most}.{key}"));
    keys.into_iter().find(|key| notes.place(key).is_some()).unwrap_or(own)
}

/// What a stream asks of the link and of its own protocol.
fn one_stream(notes: &Notes, site: &Site, name: &str, stream: &Stream, found: &mut Vec<Problem>) {
    let full_return = site.link.return_link.as_ref().is_some_and(|link| link.mode == ReturnMode::Full);
    if stream.kind == StreamKind::TcpBilateral && !full_return {
        found.extend(notes.about(
            &format!("{name}.type"),
            "data has no way back",
            "a tcp-bilateral stream needs a full return link".to_owned(),
            "add [link.return] with mode = \"full\", or set type = \"tcp-unilateral\"".to_owned(),
        ));
    }
    found.extend(shown_across_families(notes, name, stream));
    if stream.kind.is_tcp() && !stream.ordered {
        found.extend(notes.about(
            &format!("{name}.ordered"),
            "TCP has one order",
            "`ordered = false` is for udp-unilateral streams".to_owned(),
            "remove `ordered`".to_owned(),
        ));
    }
    if stream.kind == StreamKind::UdpUnilateral && notes.place(&format!("{name}.type")).is_some() {
        found.extend(TCP_KEYS.iter().filter_map(|key| {
            notes.about(
                &format!("{name}.{key}"),
                "the stream is udp-unilateral",
                format!("`{key}` is for TCP streams"),
                format!("remove `{key}`, or set type = \"tcp-unilateral\""),
            )
        }));
    }
}

/// A rate above the link's says nothing.
fn needless_rates(notes: &Notes, site: &Site, found: &mut Vec<Problem>) {
    for (name, stream) in entries(site) {
        let (Some(own), Some(link)) = (stream.rate_bps, site.link.rate_bps) else { continue };
        if own <= link {
            continue;
        }
        let kind = if stream.kind == StreamKind::Files { "files" } else { "stream" };
        let problem = notes.about(
            &format!("{name}.rate"),
            "more than the link's rate",
            format!("`rate` of {kind} `{}` is above the link's: it never takes effect", stream.name),
            "lower it, or raise `rate` in [link]".to_owned(),
        );
        found.extend(problem.map(Problem::warning));
    }
}

/// RED cannot connect to an IPv4 destination from an IPv6 address, nor the other way round.
fn shown_across_families(notes: &Notes, name: &str, stream: &Stream) -> Option<Problem> {
    let destination = stream.destination.ip();
    let other = stream.sources.iter().find(|source| source.address.is_ipv4() != destination.is_ipv4())?;
    // A destination that was reported already says nothing about the sources.
    notes.place(&format!("{name}.destination_ip"))?;
    if stream.impersonate != Impersonate::Transparent {
        return None;
    }
    let family = |ip: IpAddr| if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let (theirs, ours) = (family(other.address), family(destination));
    notes.about(
        &format!("{name}.impersonate"),
        &format!("{other} is {theirs}, the destination is {ours}"),
        "a client of another IP family than the destination's cannot be shown to it".to_owned(),
        format!("list {ours} clients only, or set impersonate = \"proxy-v2\", which shows clients of both families"),
    )
}

/// Repair symbols asked for beside a scheme that has none.
fn useless_protection(notes: &Notes, site: &Site, found: &mut Vec<Problem>) {
    let tables = entries(site).into_iter().map(|(name, stream)| (format!("{name}.fec"), stream.fec.scheme));
    let link = ("link.fec".to_owned(), site.link.fec.scheme);
    for (table, scheme) in std::iter::once(link).chain(tables) {
        if scheme != Scheme::None {
            continue;
        }
        let key = ["protect", "repair"]
            .map(|key| format!("{table}.{key}"))
            .into_iter()
            .find(|key| notes.place(key).is_some());
        let problem = key.and_then(|key| {
            notes.about(
                &key,
                "the scheme is \"none\"",
                "without a scheme there are no repair symbols".to_owned(),
                "set scheme = \"raptorq\", or remove it".to_owned(),
            )
        });
        found.extend(problem.map(Problem::warning));
    }
}

/// The link runs in the clear: never silently.
fn unsealed(notes: &Notes, site: &Site, found: &mut Vec<Problem>) {
    if site.link.key_file.is_some() {
        return;
    }
    let problem = notes.about(
        "link",
        "no `key_file`",
        "the link is not sealed: whoever reaches it can read and forge streams".to_owned(),
        "run `relay keygen link.key`, copy the file to both hosts and set key_file = \"link.key\"".to_owned(),
    );
    found.extend(problem.map(|problem| problem.class(Class::Structure).warning()));
}

const fn forward(site: &Site, role: Role) -> &Endpoint {
    match role {
        Role::Blue => &site.link.blue,
        Role::Red => &site.link.red,
    }
}

fn backward(site: &Site, role: Role) -> Option<&Endpoint> {
    site.link.return_link.as_ref().map(|link| match role {
        Role::Blue => &link.blue,
        Role::Red => &link.red,
    })
}

const fn host_name(role: Role) -> &'static str {
    match role {
        Role::Blue => "BLUE",
        Role::Red => "RED",
    }
}
