//! Site files, good and bad.

mod files;
mod slips;
mod tcp;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// A good file that uses most of what there is; the tables below break one line of it each.
const GOOD: &str = r#"[link]
mtu = 9000
rate = "9.5Gbit/s"
burst = "128KiB"
[link.blue]
interface = "blu1"
address = "10.71.2.1"
[link.red]
interface = "red1"
address = "10.71.2.2"
mac = "02:00:00:00:00:02"
[link.fec]
scheme = "reed-solomon"
flush = "80us"
deadline = "3ms"
protect = { loss = "2%", residual = "1e-6", burst = 15 }
[link.return]
mode = "full"
rate = "1Gbit/s"
burst = "32KiB"
red = { interface = "red2", address = "10.71.4.2" }
blue = { interface = "blu2", address = "10.71.4.1" }
[blue]
interface = "blu0"
driver = "socket"
unmatched = "drop"
buffer = "256MiB"
[red]
interface = "red0"
syslog = "udp://192.0.2.1:514"
buffer = "2GiB"
[[stream]]
channel = 1
name = "video"
type = "udp-unilateral"
source_ip = ["192.168.100.11", "10.0.0.0/8", "2001:db8::/32"]
source_port = 5004
destination_ip = "2001:db8:50::25"
destination_port = 5005
max_sessions = 7
rate = "100 Mbit/s"
fec = { deadline = "2ms", repair = "10%" }
idle = "5min"
ordered = false
[[stream]]
channel = 2
name = "syslog"
type = "tcp-bilateral"
source_ip = ["10.0.0.1"]
source_port = 5004
destination_ip = "192.168.50.25"
destination_port = 514
connect_timeout = "5s"
keepalive = "30s"
buffer = "1MiB"
impersonate = "transparent"
"#;

fn parse_text(text: &str) -> Result<Loaded, SiteErrors> {
    parse(Path::new("/etc/relay/site.toml"), text)
}

fn good() -> Site {
    parse_text(GOOD).unwrap().site
}

/// The good file with `from` replaced, which must stand in it.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "`{from}` is not in the good file");
    GOOD.replacen(from, to, 1)
}

fn errors(text: &str) -> Vec<Problem> {
    match parse_text(text) {
        Ok(loaded) => panic!("accepted: {:?}\n{text}", loaded.site),
        Err(errors) => errors.problems.into_iter().filter(|p| !p.is_warning()).collect(),
    }
}

fn warnings(text: &str) -> Vec<String> {
    let loaded = parse_text(text).unwrap_or_else(|errors| panic!("{errors}"));
    loaded.warnings.iter().map(|warning| warning.message().to_owned()).collect()
}

#[test]
fn a_good_file_gives_what_it_says() {
    let site = good();
    let link = &site.link;
    assert_eq!((link.mtu, link.port, link.rate_bps), (9000, 7400, Some(9_500_000_000)));
    assert_eq!(link.burst_bytes, 131_072);
    assert_eq!(link.red.mac, Some([2, 0, 0, 0, 0, 2]));
    assert_eq!(link.fec.scheme, Scheme::ReedSolomon);
    assert_eq!((link.fec.flush, link.fec.deadline), (Duration::from_micros(80), Duration::from_millis(3)));
    assert_eq!(link.fec.protection, Protection::Promise { loss: 0.02, residual: 1e-6, burst: 15 });
    let back = link.return_link.as_ref().unwrap();
    assert_eq!((back.mode, back.rate_bps, back.burst_bytes), (ReturnMode::Full, Some(1_000_000_000), 32_768));
    assert_eq!((site.blue.driver, site.red.driver), (Driver::Socket, Driver::Xdp));
    assert_eq!(site.blue.unmatched, Unmatched::Drop);
    assert_eq!((site.blue.buffer_bytes, site.red.buffer_bytes), (256 << 20, 2 << 30));
    assert_eq!(site.red.syslog, Some(Syslog::Udp("192.0.2.1:514".parse().unwrap())));
    let [video, syslog] = &site.streams[..] else { panic!("{:?}", site.streams) };
    assert_eq!(video.sources.len(), 3);
    assert!(video.sources[1].contains(IpAddr::from([10, 9, 8, 7])));
    assert_eq!(video.destination, SocketAddr::new("2001:db8:50::25".parse().unwrap(), 5005));
    assert_eq!((video.max_sessions, video.rate_bps), (7, Some(100_000_000)));
    assert_eq!((video.idle, video.ordered), (Duration::from_mins(5), false));
    assert_eq!((syslog.kind, syslog.max_sessions, syslog.ordered), (StreamKind::TcpBilateral, 1, true));
    assert_eq!((syslog.connect_timeout, syslog.keepalive), (Duration::from_secs(5), Duration::from_secs(30)));
    assert_eq!((syslog.buffer_bytes, syslog.impersonate), (1 << 20, Impersonate::Transparent));
}

#[test]
fn a_stream_overrides_some_of_the_link_s_fec_and_keeps_the_rest() {
    let site = good();
    let own = &site.streams[0].fec;
    assert_eq!((own.scheme, own.flush), (Scheme::ReedSolomon, Duration::from_micros(80)));
    assert_eq!(own.deadline, Duration::from_millis(2));
    assert_eq!(own.protection, Protection::Share { repair: 0.1, repair_min: 2 });
    assert_eq!(site.streams[1].fec, site.link.fec);

    let partly = with("repair = \"10%\"", "protect = { burst = 3 }");
    let fec = &parse_text(&partly).unwrap().site.streams[0].fec;
    assert_eq!(fec.protection, Protection::Promise { loss: 0.02, residual: 1e-6, burst: 3 });
}

/// The site file of the design's contract, word for word.
const CONTRACT: &str = r#"[link]
mtu = 1500                    # IP MTU of the link
port = 7400                   # UDP port of the frames
encapsulation = "udp"         # or "ethernet"
rate = "9.5Gbit/s"            # optional pacing
key_file = "link.key"         # optional; `relay keygen` writes one
driver = "xdp"                # or "socket": plain kernel UDP, needs no privilege
heartbeat = "250ms"
[link.blue]
interface = "blu1"
address = "10.71.2.1"
[link.red]
interface = "red1"
address = "10.71.2.2"
mac = "02:00:00:00:00:02"     # optional; without it frames go to the broadcast address. No ARP crosses a diode
[link.fec]
scheme = "raptorq"            # or "reed-solomon", "none"
block_symbols = 128
flush = "50us"
deadline = "5ms"
protect = { loss = "0.1%", residual = "1e-9", burst = 4 }
# repair = "10%"              # instead of protect: a plain share,
# repair_min = 2              # and at least so many symbols a block
[link.return]                 # optional second one-way link RED -> BLUE
mode = "status"               # or "full"
red = { interface = "red2", address = "10.71.4.2" }
blue = { interface = "blu2", address = "10.71.4.1" }

[blue]
interface = "blu0"            # towards the BLUE zone
[red]
interface = "red0"            # towards the RED zone

[[stream]]
channel = 1                   # unique; identifies the stream on the wire, must match on both sides
name = "syslog"
type = "tcp-unilateral"       # udp-unilateral | tcp-unilateral | tcp-bilateral
source_ip = ["192.168.100.11", "10.0.0.0/8"]
source_port = 514             # BLUE listens here
destination_ip = "192.168.50.25"
destination_port = 514
max_sessions = 1
description = "Syslog to server in RED zone"
rate = "100Mbit/s"            # optional
fec = { deadline = "2ms" }    # optional overrides of [link.fec]
"#;

#[test]
fn the_contract_s_own_file_is_accepted() {
    let loaded = parse_text(CONTRACT).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let fec = &loaded.site.streams[0].fec;
    assert_eq!(Fec { deadline: Duration::from_millis(5), ..fec.clone() }, loaded.site.link.fec);
    assert_eq!(fec.deadline, Duration::from_millis(2));
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let text = include_str!("../../../config/minimal.toml");
    let site = parse_text(text).unwrap().site;
    let link = &site.link;
    assert_eq!((link.mtu, link.port, link.rate_bps, link.burst_bytes), (1500, 7400, None, 65_536));
    assert_eq!((link.encapsulation, link.driver, link.transmit), (Encapsulation::Udp, Driver::Xdp, Transmit::Auto));
    assert_eq!((link.heartbeat, &link.key_file), (Duration::from_millis(250), &None));
    let fec = Fec {
        scheme: Scheme::RaptorQ,
        block_symbols: 128,
        flush: Duration::from_micros(50),
        deadline: Duration::from_millis(5),
        hold: Duration::from_millis(5),
        protection: Protection::Promise { loss: 0.001, residual: 1e-9, burst: 4 },
    };
    assert_eq!((&link.fec, &site.streams[0].fec), (&fec, &fec));
    let host = Host {
        interface: "blu0".to_owned(),
        driver: Driver::Xdp,
        state_dir: PathBuf::from("/var/lib/relay"),
        interval: Duration::from_secs(10),
        syslog: None,
        buffer_bytes: 512 << 20,
        unmatched: Unmatched::Pass,
    };
    assert_eq!(site.blue, host);
    let stream = &site.streams[0];
    assert_eq!((stream.max_sessions, stream.idle, stream.ordered), (1, Duration::from_mins(1), true));
    assert_eq!((stream.description.as_str(), stream.rate_bps), ("", None));
}

#[test]
fn paths_are_relative_to_the_file_s_folder() {
    let text = with("mtu = 9000", "key_file = \"keys/link.key\"");
    let text = text.replacen("unmatched", "state_dir = \"/srv/relay\"\nunmatched", 1);
    let site = parse_text(&text).unwrap().site;
    assert_eq!(site.link.key_file, Some(PathBuf::from("/etc/relay/keys/link.key")));
    assert_eq!(site.blue.state_dir, PathBuf::from("/srv/relay"));
}

#[test]
fn a_tcp_stream_has_an_order_and_a_port_of_its_own() {
    let tcp = with("\"udp-unilateral\"", "\"tcp-unilateral\"");
    let found = errors(&tcp);
    let lines: Vec<_> = found.iter().map(|p| (p.line(), p.message())).collect();
    assert_eq!(lines, [(44, "`ordered = false` is for udp-unilateral streams"), (50, "TCP port 5004 is used twice")]);
}

#[test]
fn packets_leave_as_the_file_says() {
    for (word, transmit) in [("auto", Transmit::Auto), ("af_xdp", Transmit::AfXdp), ("packet", Transmit::Packet)] {
        let text = with("mtu = 9000", &format!("transmit = \"{word}\""));
        assert_eq!(parse_text(&text).unwrap().site.link.transmit, transmit);
    }
}

#[test]
fn one_driver_key_for_both_hosts_is_reported_once() {
    let text = with("mtu = 9000", "encapsulation = \"ethernet\"\ndriver = \"socket\"");
    let text = text.replacen("driver = \"socket\"\nunmatched", "unmatched", 1);
    let found = errors(&text);
    assert_eq!(found.iter().map(Problem::line).collect::<Vec<_>>(), [3]);
}

#[test]
fn every_error_is_told_at_once_in_the_order_of_the_file() {
    let text = GOOD
        .replace("mtu = 9000", "mtu = 1")
        .replace("\"reed-solomon\"", "\"x\"")
        .replace("interface = \"blu0\"", "interfce = \"blu0\"")
        .replace("10.0.0.0/8", "10.0.0.0/99")
        .replace("channel = 2", "channel = 1");
    let lines: Vec<usize> = errors(&text).iter().map(Problem::line).collect();
    assert_eq!(lines, [2, 13, 23, 24, 36, 46]);
}

#[test]
fn an_empty_file_names_everything_that_must_be_there() {
    let messages: Vec<String> = errors("").iter().map(|p| p.message().to_owned()).collect();
    for part in ["[link]", "[blue]", "[red]", "[[stream]]"] {
        assert!(messages.iter().any(|m| m.contains(part) && m.contains("site.toml")), "{messages:?}");
    }
    assert_eq!(messages.len(), 4);
}

#[test]
fn streams_that_are_no_tables_are_told() {
    let head = GOOD.split("[[stream]]").next().unwrap();
    // Before the first table, where a key of the file itself can stand.
    for (streams, message) in
        [("stream = []", "not a list"), ("stream = 5", "not a list"), ("stream = [1]", "number 1 is not a table")]
    {
        let found = errors(&format!("{streams}\n{head}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].message().contains(message) && found[0].line() == 1, "{found:?}");
    }
}

#[test]
fn broken_syntax_hides_what_it_may_have_caused_and_nothing_else() {
    let text = with("[link.fec]", "[link.fec").replace("mtu = 9000", "mtu = 1");
    let found = errors(&text);
    assert_eq!(found[0].line(), 2, "{found:?}");
    assert!(found.iter().any(|p| p.line() == 12 && p.message().contains("not TOML")), "{found:?}");
    assert!(!found.iter().any(|p| p.message().contains("unknown key") || p.message().contains("missing")), "{found:?}");
}

#[test]
fn warnings_do_not_refuse_a_file() {
    assert_eq!(warnings(GOOD), ["the link is not sealed: whoever reaches it can read and forge streams"]);
    let sealed = with("mtu = 9000", "key_file = \"link.key\"");
    assert_eq!(warnings(&sealed), [""; 0]);
    let text = sealed.replace("rate = \"9.5Gbit/s\"\n", "");
    assert_eq!(warnings(&text), ["`burst` in [link] has no effect without `rate`"]);
    let text = sealed.replace("rate = \"1Gbit/s\"\n", "");
    assert_eq!(warnings(&text), ["`burst` in [link.return] has no effect without `rate`"]);
    let text = sealed.replace("9.5Gbit/s", "50Mbit/s");
    assert!(warnings(&text)[0].contains("stream `video` is above the link's"));
    let text = sealed.replace("\"reed-solomon\"", "\"none\"");
    assert_eq!(warnings(&text).len(), 2, "the link's and the overriding stream's");
}

#[test]
fn a_line_for_the_log_says_it_all() {
    let found = errors(&with("mtu = 9000", "mtu = 1"));
    assert_eq!(
        found[0].one_line(),
        "/etc/relay/site.toml:2:7: `mtu` in [link] is out of range (allowed: 576 to 9000); set a value of 576 to 9000"
    );
}

/// The reference file with its optional keys in force. `repair` and `protect` exclude each other.
fn reference_with_options() -> String {
    let mut text = String::new();
    for line in include_str!("../../../config/reference.toml").lines() {
        let option = line.strip_prefix("# ").filter(|rest| {
            rest.starts_with("[link.return]")
                || rest.split_once(" = ").is_some_and(|(key, value)| {
                    key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                        && value.starts_with(['"', '{', '['].as_slice()) | value.parse::<i64>().is_ok()
                })
        });
        let line = option.unwrap_or(line);
        if !line.starts_with("protect = ") {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

#[test]
fn the_reference_file_has_the_defaults() {
    let reference = parse_text(include_str!("../../../config/reference.toml")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(reference.warnings.len(), 1, "{:?}", reference.warnings);
    let site = reference.site;
    let minimal = format!(
        "[link.blue]\ninterface = \"blu1\"\naddress = \"10.71.2.1\"\n[link.red]\ninterface = \"red1\"\naddress = \"10.71.2.2\"\n\
         [blue]\ninterface = \"blu0\"\n[red]\ninterface = \"red0\"\n[[stream]]\nchannel = 1\nname = \"syslog\"\ntype = \"udp-unilateral\"\n\
         source_ip = [\"192.168.100.11\", \"10.0.0.0/8\"]\nsource_port = 514\ndestination_ip = \"192.168.50.25\"\ndestination_port = {}\n\
         [[stream]]\nchannel = 2\nname = \"mail\"\ntype = \"tcp-unilateral\"\nsource_ip = [\"192.168.100.11\"]\nsource_port = 25\n\
         destination_ip = \"192.168.50.26\"\ndestination_port = 25\n\
         [[files]]\nchannel = 3\nname = \"reports\"\n[files.blue]\nkind = \"dir\"\npath = \"/srv/outgoing\"\n\
         [files.red]\nkind = \"ftps\"\nserver = \"192.168.50.25\"\nuser = \"relay\"\npassword_file = \"reports.password\"\n\
         path = \"/incoming\"\n",
        514
    );
    assert_eq!(site, parse_text(&minimal).unwrap().site);
}

/// What a host may be late by is time, not bytes.
#[test]
fn a_burst_that_is_not_given_follows_the_rate() {
    let burst_of = |rate: &str| {
        let text = format!("[link]\nrate = \"{rate}\"\n{}", include_str!("../../../config/minimal.toml"));
        parse_text(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}")).site.link.burst_bytes
    };
    assert_eq!(burst_of("10Mbit/s"), 64 << 10);
    assert_eq!(burst_of("1Gbit/s"), 625_000);
    assert_eq!(burst_of("100Gbit/s"), 1 << 20);
}

#[test]
fn the_reference_file_has_every_key() {
    let text = reference_with_options();
    let site = parse_text(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}")).site;
    assert!(site.link.return_link.is_some() && site.link.rate_bps.is_some() && site.link.key_file.is_some());
    assert_eq!(site.link.fec.protection, Protection::Share { repair: 0.1, repair_min: 2 });
    assert_eq!(site.link.burst_bytes, 65_536);
    // An unknown key's remedy lists the keys of its table: each must stand in the reference.
    let tables = [
        "[link]",
        "[link.blue]",
        "[link.fec]",
        "[link.return]",
        "[blue]",
        "[red]",
        "[[stream]]",
        "[[files]]",
        "[files.blue]",
        "[files.red]",
    ];
    for table in tables {
        let asked = text.replacen(&format!("{table}\n"), &format!("{table}\nzzzzzzzzzzzz = 1\n"), 1);
        let found = errors(&asked);
        let keys = found[0].remedy().rsplit(" takes ").next().unwrap().to_owned();
        for key in keys.split(", ") {
            let there = ["protect"].contains(&key)
                || text.contains(&format!("\n{key} = "))
                || text.contains(&format!(".{key}]\n"));
            assert!(there, "`{key}` of {table} is not in reference.toml");
        }
    }
}

#[test]
fn a_change_is_sorted_into_live_and_restart() {
    let old = good();
    assert!(diff(&old, &old).is_empty());
    let text = with("10.0.0.0/8", "10.0.0.0/9")
        .replace("mtu = 9000", "mtu = 1500")
        .replace("unmatched = \"drop\"", "interval = \"1s\"")
        .replace("interface = \"red0\"", "interface = \"red9\"")
        .replace("channel = 2", "channel = 3")
        .replace("deadline = \"2ms\"", "deadline = \"1ms\"");
    let change = diff(&old, &parse_text(&text).unwrap().site);
    assert_eq!((change.added.as_slice(), change.removed.as_slice()), ([3].as_slice(), [2].as_slice()));
    assert_eq!(change.changed, [StreamChange { channel: 1, keys: vec!["source_ip", "fec"] }]);
    assert_eq!(change.live, ["blue.interval"]);
    assert_eq!(change.restart_needed, ["link.mtu", "blue.unmatched", "red.interface"]);
    assert_eq!(change.restart_needed_by(Role::Blue).collect::<Vec<_>>(), ["link.mtu", "blue.unmatched"]);
    assert_eq!(change.restart_needed_by(Role::Red).count(), 2);
}

#[test]
fn a_changed_default_reaches_the_streams_that_use_it() {
    let text = with("deadline = \"3ms\"", "deadline = \"4ms\"");
    let change = diff(&good(), &parse_text(&text).unwrap().site);
    assert_eq!(change.changed, [StreamChange { channel: 2, keys: vec!["fec"] }]);
    assert!(change.restart_needed.is_empty());
}

/// Must give a site or errors that can be shown, whatever the text.
fn never_panics(text: &str) {
    if let Err(errors) = parse_text(text) {
        assert!(errors.error_count() > 0);
        let _ = (errors.to_string(), render(&errors.problems, true));
        for problem in &errors.problems {
            assert!(!problem.message().is_empty() && !problem.remedy().is_empty());
            assert!(problem.line() <= text.matches('\n').count() + 1);
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_accepted_or_refused(text in any::<String>()) {
        never_panics(&text);
    }

    #[test]
    fn any_toml_like_text_is_accepted_or_refused(
        text in "([\\[\\]{}=,.\"'#\n\r a-z0-9é%/:_-]|link|blue|red|fec|stream|\\[\\[stream\\]\\]|true|1e9|\"5ms\"){0,120}"
    ) {
        never_panics(&text);
    }

    #[test]
    fn any_mutation_of_a_good_file_is_accepted_or_refused(
        cuts in prop::collection::vec((0..GOOD.len(), 0..30_usize, "[\\[\\]{}=,\"\n a-z0-9é]{0,6}"), 1..6)
    ) {
        // GOOD is ASCII, but what is put in is not: cut at characters, not bytes.
        let mut text: Vec<char> = GOOD.chars().collect();
        for (at, len, put) in cuts {
            let start = at.min(text.len());
            let end = (start + len).min(text.len());
            text.splice(start..end, put.chars());
        }
        never_panics(&text.into_iter().collect::<String>());
    }

    #[test]
    fn any_value_of_any_key_is_accepted_or_refused(line in 0..60_usize, value in "(\"[^\"\\\\\n\r]{0,20}\"|-?[0-9]{1,25}|[0-9]{1,3}\\.[0-9]{1,3}|true|\\{\\}|\\[\\]|\\[\\[1\\]\\]|1979-05-27)") {
        let text: Vec<String> = GOOD.lines().enumerate().map(|(at, text)| {
            match text.split_once(" = ") {
                Some((key, _)) if at == line => format!("{key} = {value}"),
                _ => text.to_owned(),
            }
        }).collect();
        never_panics(&text.join("\n"));
    }
}
