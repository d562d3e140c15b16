//! Readers of single values: rates, sizes, durations, fractions, addresses, names.
//!
//! Each public function makes a reader for one kind of value, with its allowed range, to be handed
//! to [`super::section::Section::get`]. They are pure: a value in, a value or a [`Fault`] out.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::site::{Network, Syslog};

/// What is wrong with a value, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Completes "`key` in [table] ...": "is out of range".
    pub what: String,
    /// The reason, shown beside the value.
    pub cause: String,
    /// What to do.
    pub remedy: String,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), cause: cause.into(), remedy: remedy.into() }
    }

    fn range(allowed: &str) -> Self {
        Self::new("is out of range", format!("allowed: {allowed}"), format!("set a value of {allowed}"))
    }
}

/// Outcome of reading one value.
pub(super) type Read<T> = Result<T, Fault>;

/// "a string", "an integer": for error texts.
pub(super) fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn wrong_kind(value: &DeValue<'_>, wanted: &str, example: &str) -> Fault {
    Fault::new(
        "has the wrong kind of value",
        format!("expected {wanted}, found {}", kind_of(value)),
        format!("write it like {example}"),
    )
}

pub(super) fn text_of<'v>(value: &'v DeValue<'_>, wanted: &str, example: &str) -> Read<&'v str> {
    value.as_str().ok_or_else(|| wrong_kind(value, wanted, example))
}

/// A whole number of `range`.
pub(super) fn whole<T>(range: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Read<T>
where
    T: TryFrom<u32>,
{
    move |value| {
        let allowed = format!("{} to {}", range.start(), range.end());
        let DeValue::Integer(number) = value else {
            return Err(wrong_kind(value, "a whole number", &range.end().to_string()));
        };
        i128::from_str_radix(number.as_str(), number.radix())
            .ok()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| Fault::range(&allowed))
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Read<bool> {
    value.as_bool().ok_or_else(|| wrong_kind(value, "true or false", "true"))
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&DeValue<'_>) -> Read<T> {
    move |value| {
        let known: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let known = known.join(", ");
        let text = text_of(value, &format!("one of {known}"), &known)?;
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let remedy = super::section::nearest(text, words.iter().map(|(word, _)| *word))
                .map_or_else(|| format!("set one of {known}"), |word| format!("did you mean \"{word}\"?"));
            Fault::new("is unknown", format!("allowed: {known}"), remedy)
        })
    }
}

/// Splits "9.5 Gbit/s" into its number and its unit.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// A number with one of `units` behind it, each with its size in base units.
fn scaled(text: &str, units: &[(&str, f64)], example: &str) -> Read<f64> {
    let known: Vec<&str> = units.iter().map(|(unit, _)| *unit).collect();
    let known = known.join(", ");
    let bad =
        |cause: String| Fault::new("cannot be read", cause, format!("write it like \"{example}\"; units: {known}"));
    let (number, unit) =
        number_and_unit(text).ok_or_else(|| bad("expected a number with a unit behind it".to_owned()))?;
    let (_, scale) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(|| {
        bad(if unit.is_empty() { "the unit is missing".to_owned() } else { format!("unknown unit `{unit}`") })
    })?;
    Ok(number * scale)
}

/// Bits per second such as "500Mbit/s", decimal units.
pub(super) fn rate(value: &DeValue<'_>) -> Read<u64> {
    const UNITS: [(&str, f64); 5] =
        [("bit/s", 1.0), ("kbit/s", 1e3), ("Mbit/s", 1e6), ("Gbit/s", 1e9), ("Tbit/s", 1e12)];
    // Below a kilobit not one frame leaves within RED's patience; a terabit is past any card.
    const LEAST_BPS: f64 = 1e3;
    const MOST_BPS: f64 = 1e12;
    let text = text_of(value, "a rate as text", "\"500Mbit/s\"")?;
    let bps = scaled(text, &UNITS, "500Mbit/s")?.round();
    if (LEAST_BPS..=MOST_BPS).contains(&bps) { Ok(bps as u64) } else { Err(Fault::range("1kbit/s to 1Tbit/s")) }
}

/// Bytes such as "64KiB", from `least` to `most`.
pub(super) fn size<T>(least: T, most: T) -> impl Fn(&DeValue<'_>) -> Read<T>
where
    T: Copy + Into<u64> + TryFrom<u64>,
{
    const UNITS: [(&str, f64); 9] = [
        ("B", 1.0),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
    ];
    let (least, most) = (least.into(), most.into());
    move |value| {
        let text = text_of(value, "a size as text", "\"64KiB\"")?;
        let bytes = scaled(text, &UNITS, "64KiB")?.round();
        // Exact: no size of ours comes near the 2^53 bytes from which an f64 leaves out whole numbers.
        let fits = (least as f64..=most as f64).contains(&bytes);
        let bytes = fits.then_some(bytes as u64).and_then(|bytes| T::try_from(bytes).ok());
        bytes.ok_or_else(|| Fault::range(&format!("{} to {}", show_size(least), show_size(most))))
    }
}

/// A size as the site file writes it, in the largest unit that leaves a whole number.
pub(super) fn show_size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let (unit, scale) =
        UNITS.into_iter().find(|(_, scale)| bytes >= *scale && bytes.is_multiple_of(*scale)).unwrap_or(("B", 1));
    format!("{}{unit}", bytes / scale)
}

/// A duration such as "2ms", from `least` to `most`.
pub(super) fn duration(least: Duration, most: Duration) -> impl Fn(&DeValue<'_>) -> Read<Duration> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("min", 6e10), ("h", 3.6e12)];
    move |value| {
        let text = text_of(value, "a duration as text", "\"5ms\"")?;
        let nanos = scaled(text, &UNITS, "5ms")?.round();
        if (least.as_nanos() as f64..=most.as_nanos() as f64).contains(&nanos) {
            Ok(Duration::from_nanos(nanos as u64))
        } else {
            Err(Fault::range(&format!("{} to {}", show_duration(least), show_duration(most))))
        }
    }
}

/// A duration as the site file writes it, in the largest unit that leaves a whole number.
pub(super) fn show_duration(duration: Duration) -> String {
    const UNITS: [(&str, u128); 5] =
        [("h", 3_600_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];
    let nanos = duration.as_nanos();
    let (unit, scale) =
        UNITS.into_iter().find(|(_, scale)| nanos >= *scale && nanos.is_multiple_of(*scale)).unwrap_or(("s", 1));
    format!("{}{unit}", nanos / scale)
}

/// Reads "5%", "0.05" or 0.05 without looking at the range.
fn plain_fraction(value: &DeValue<'_>) -> Read<f64> {
    const EXAMPLE: &str = "\"5%\" or \"1e-9\"";
    let text = match value {
        DeValue::Float(number) => number.as_str(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        other => text_of(other, "a fraction as text", EXAMPLE)?,
    };
    let (number, scale) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 100.0),
        None => (text.trim(), 1.0),
    };
    // `parse` also takes "inf" and "nan", which are no fractions.
    let digits = number.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
    match number.parse::<f64>() {
        Ok(number) if digits => Ok(number / scale),
        _ => {
            Err(Fault::new("cannot be read", "expected a fraction or a percentage", format!("write it like {EXAMPLE}")))
        }
    }
}

/// A probability above 0 and below 1.
pub(super) fn probability(value: &DeValue<'_>) -> Read<f64> {
    let number = plain_fraction(value)?;
    if number > 0.0 && number < 1.0 {
        Ok(number)
    } else {
        Err(Fault::new(
            "is out of range",
            "allowed: above 0 and below 1",
            "set a value above 0 and below 1 (100%), such as \"2%\" or \"1e-9\"",
        ))
    }
}

/// A share above 0 and at most 300%: beyond that the repair symbols alone carry the data thrice.
pub(super) fn share(value: &DeValue<'_>) -> Read<f64> {
    let number = plain_fraction(value)?;
    if number > 0.0 && number <= 3.0 {
        Ok(number)
    } else {
        Err(Fault::new(
            "is out of range",
            "allowed: above 0% and at most 300%",
            "set a share such as \"10%\"; for no repair symbols at all set scheme = \"none\"",
        ))
    }
}

/// Name of a network interface as the kernel allows it (`dev_valid_name`, net/core/dev.c).
pub(super) fn interface(value: &DeValue<'_>) -> Read<String> {
    // IFNAMSIZ of linux/if.h is 16 with the NUL.
    const MOST_BYTES: usize = 15;
    let text = text_of(value, "the name of an interface", "\"eth0\"")?;
    let cause = if text.is_empty() {
        "an interface needs a name".to_owned()
    } else if text.len() > MOST_BYTES {
        format!("{} bytes; an interface name has at most {MOST_BYTES}", text.len())
    } else if text == "."
        || text == ".."
        || text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
    {
        "not a name that the kernel allows".to_owned()
    } else {
        return Ok(text.to_owned());
    };
    Err(Fault::new("is not an interface name", cause, "`ip -brief link` on that host lists its interfaces"))
}

/// IPv4 address of a host on the link.
pub(super) fn link_address(value: &DeValue<'_>) -> Read<Ipv4Addr> {
    let text = text_of(value, "an IPv4 address", "\"10.71.2.1\"")?;
    let cause = match text.parse::<Ipv4Addr>() {
        Err(_) => "expected an IPv4 address without a prefix length",
        Ok(address) if address.is_unspecified() || address.is_broadcast() || address.is_multicast() => {
            "must be the address of one host"
        }
        Ok(address) => return Ok(address),
    };
    Err(Fault::new("is not an address of the link", cause, "write it like \"10.71.2.1\""))
}

/// Address of the one host that RED delivers to.
pub(super) fn destination(value: &DeValue<'_>) -> Read<IpAddr> {
    let text = text_of(value, "an IP address", "\"192.168.50.25\"")?;
    let cause = match text.parse::<IpAddr>() {
        Err(_) => "expected an IPv4 or IPv6 address; names are not looked up",
        Ok(address)
            if address.is_unspecified() || address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) =>
        {
            "RED delivers to one host"
        }
        Ok(address) => return Ok(address),
    };
    Err(Fault::new("is not a destination", cause, "write the server's address like \"192.168.50.25\""))
}

/// Unicast MAC address.
pub(super) fn mac(value: &DeValue<'_>) -> Read<[u8; 6]> {
    let text = text_of(value, "a MAC address", "\"02:00:00:00:00:02\"")?;
    let fault = |cause: &str| {
        Fault::new("is not a MAC address", cause, "write it like \"02:00:00:00:00:02\"; `ip link` shows it")
    };
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        *byte = parts
            .next()
            .filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|part| u8::from_str_radix(part, 16).ok())
            .ok_or_else(|| fault("expected six bytes in hexadecimal"))?;
    }
    if parts.next().is_some() {
        return Err(fault("expected six bytes in hexadecimal"));
    }
    // The lowest bit of the first byte marks a group address (IEEE 802).
    if mac[0] & 1 == 1 || mac == [0; 6] {
        return Err(fault("must be the address of one card; leave `mac` out to send to everyone"));
    }
    Ok(mac)
}

/// One entry of a source list: an address or a CIDR block.
pub(super) fn network(value: &DeValue<'_>) -> Read<Network> {
    const EXAMPLE: &str = "\"192.168.100.11\" or \"10.0.0.0/8\"";
    let text = text_of(value, "an address or a block", EXAMPLE)?;
    let fault =
        |cause: &str| Fault::new(format!("has a bad entry `{text}`"), cause, format!("write it like {EXAMPLE}"));
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr =
        address.parse().map_err(|_| fault("expected an IPv4 or IPv6 address; names are not looked up"))?;
    let most: u8 = if address.is_ipv4() { 32 } else { 128 };
    let prefix_len = match prefix {
        None => most,
        Some(prefix) => prefix
            .parse()
            .ok()
            .filter(|len| *len <= most && prefix.bytes().all(|b| b.is_ascii_digit()))
            .ok_or_else(|| fault(&format!("the prefix length must be 0 to {most}")))?,
    };
    let network = Network::around(address, prefix_len);
    if network.address == address {
        Ok(network)
    } else {
        Err(Fault::new(
            format!("has a bad entry `{text}`"),
            "bits are set behind the prefix",
            format!("write \"{network}\" for the block or \"{address}\" for the one address"),
        ))
    }
}

/// Name of a stream: goes into logs, counters and syslog, so its characters are few.
pub(super) fn stream_name(value: &DeValue<'_>) -> Read<String> {
    const MOST_CHARS: usize = 32;
    let text = text_of(value, "a name", "\"video\"")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if (1..=MOST_CHARS).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        "is not a stream name",
        format!("allowed: 1 to {MOST_CHARS} of A-Z a-z 0-9 . _ -"),
        "pick a short name like \"video\" and put the rest into `description`",
    ))
}

/// Text for people, in one line.
pub(super) fn line(value: &DeValue<'_>) -> Read<String> {
    const MOST_CHARS: usize = 200;
    let text = text_of(value, "text", "\"Syslog to server in RED zone\"")?;
    if text.chars().count() <= MOST_CHARS && !text.contains(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        "is too long or has line breaks",
        format!("allowed: one line of up to {MOST_CHARS} characters"),
        "shorten it",
    ))
}

/// Path of a file or folder.
pub(super) fn path(value: &DeValue<'_>) -> Read<PathBuf> {
    let text = text_of(value, "a path", "\"link.key\"")?;
    if text.is_empty() || text.contains('\0') {
        return Err(Fault::new("is not a path", "a path is neither empty nor has a NUL", "write it like \"link.key\""));
    }
    Ok(PathBuf::from(text))
}

/// `local`, `local:///path`, `udp://IP:PORT` or `tcp://IP:PORT`.
pub(super) fn syslog(value: &DeValue<'_>) -> Read<Syslog> {
    const EXAMPLE: &str = "\"local\", \"udp://192.0.2.1:514\" or \"tcp://[2001:db8::1]:601\"";
    let text = text_of(value, "a syslog target", EXAMPLE)?;
    let target = match text.split_once("://") {
        None if text == "local" => Some(Syslog::Local(PathBuf::from("/dev/log"))),
        Some(("local", path)) if path.starts_with('/') => Some(Syslog::Local(PathBuf::from(path))),
        Some(("udp", server)) => server.parse().ok().map(Syslog::Udp),
        Some(("tcp", server)) => server.parse().ok().map(Syslog::Tcp),
        _ => None,
    };
    let reachable = |target: &Syslog| match target {
        Syslog::Local(_) => true,
        Syslog::Udp(server) | Syslog::Tcp(server) => server.port() != 0 && !server.ip().is_unspecified(),
    };
    target.filter(reachable).ok_or_else(|| {
        Fault::new(
            "is not a syslog target",
            "expected \"local\", or udp:// or tcp:// with an address and a port",
            format!("write it like {EXAMPLE}"),
        )
    })
}
