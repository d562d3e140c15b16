//! Site files, good and bad.

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
red = { interface = "red2", address = "10.71.4.2" }
blue = { interface = "blu2", address = "10.71.4.1" }
[blue]
interface = "blu0"
driver = "socket"
unmatched = "drop"
[red]
interface = "red0"
syslog = "udp://192.0.2.1:514"
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
    assert_eq!(link.return_link.as_ref().unwrap().mode, ReturnMode::Full);
    assert_eq!((site.blue.driver, site.red.driver), (Driver::Socket, Driver::Xdp));
    assert_eq!(site.blue.unmatched, Unmatched::Drop);
    assert_eq!(site.red.syslog, Some(Syslog::Udp("192.0.2.1:514".parse().unwrap())));
    let [video, syslog] = &site.streams[..] else { panic!("{:?}", site.streams) };
    assert_eq!(video.sources.len(), 3);
    assert!(video.sources[1].contains(IpAddr::from([10, 9, 8, 7])));
    assert_eq!(video.destination, SocketAddr::new("2001:db8:50::25".parse().unwrap(), 5005));
    assert_eq!((video.max_sessions, video.rate_bps), (7, Some(100_000_000)));
    assert_eq!((video.idle, video.ordered), (Duration::from_mins(5), false));
    assert_eq!((syslog.kind, syslog.max_sessions, syslog.ordered), (StreamKind::TcpBilateral, 1, true));
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

#[test]
fn the_defaults_are_those_of_the_contract() {
    let text = include_str!("../../../config/minimal.toml");
    let site = parse_text(text).unwrap().site;
    let link = &site.link;
    assert_eq!((link.mtu, link.port, link.rate_bps, link.burst_bytes), (1500, 7400, None, 65_536));
    assert_eq!((link.encapsulation, link.driver), (Encapsulation::Udp, Driver::Xdp));
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

/// One slip in the good file: (what to replace, with what, line of the error, its message, cause and
/// remedy in part).
type Slip = (&'static str, &'static str, usize, &'static str, &'static str, &'static str);

fn assert_slips(slips: &[Slip]) {
    for (from, to, line, message, cause, remedy) in slips {
        let found = errors(&with(from, to));
        let [problem] = &found[..] else { panic!("`{to}` gave {found:#?}") };
        assert_eq!(problem.line(), *line, "{problem:?}");
        assert!(problem.message().contains(message), "{problem:?} lacks `{message}`");
        assert!(problem.cause().contains(cause), "{problem:?} lacks `{cause}`");
        assert!(problem.remedy().contains(remedy), "{problem:?} lacks `{remedy}`");
        assert!(problem.column() > 0 && problem.file() == "/etc/relay/site.toml");
        let shown = render(std::slice::from_ref(problem), false);
        let text = with(from, to);
        let offending = text.lines().nth(line - 1).unwrap();
        assert!(shown.contains(offending), "`{offending}` is not shown:\n{shown}");
        assert!(shown.contains(&format!("site.toml:{line}:{}", problem.column())), "{shown}");
    }
}

#[test]
fn values_out_of_range_name_the_range() {
    assert_slips(&[
        ("mtu = 9000", "mtu = 575", 2, "`mtu` in [link] is out of range", "576 to 9000", "576 to 9000"),
        ("mtu = 9000", "mtu = 9001", 2, "`mtu`", "576 to 9000", ""),
        ("mtu = 9000", "mtu = -1", 2, "`mtu`", "576 to 9000", ""),
        ("mtu = 9000", "mtu = 99999999999999999999999", 2, "`mtu`", "576 to 9000", ""),
        ("mtu = 9000", "port = 0", 2, "`port` in [link] is out of range", "1 to 65535", ""),
        ("mtu = 9000", "heartbeat = \"1ms\"", 2, "`heartbeat`", "10ms to 60s", "10ms to 60s"),
        ("\"9.5Gbit/s\"", "\"2Tbit/s\"", 3, "`rate` in [link]", "1kbit/s to 1Tbit/s", ""),
        ("\"128KiB\"", "\"100B\"", 4, "`burst`", "576B to 64MiB", ""),
        ("\"128KiB\"", "\"8999B\"", 4, "smaller than one frame", "mtu is 9000", "at least \"9000B\""),
        ("flush = \"80us\"", "block_symbols = 0", 14, "`block_symbols`", "1 to 8192", ""),
        ("flush = \"80us\"", "block_symbols = 8193", 14, "`block_symbols`", "1 to 8192", ""),
        (
            "fec = { deadline = \"2ms\"",
            "fec = { flush = \"4ms\"",
            38,
            "longer than `deadline` in `fec` of [[stream]] \"video\"",
            "deadline is 3ms",
            "shorter",
        ),
        ("flush = \"80us\"", "hold = \"11s\"", 14, "`hold`", "0s to 10s", ""),
        ("loss = \"2%\"", "loss = \"0%\"", 16, "`loss`", "above 0 and below 1", "2%"),
        ("loss = \"2%\"", "loss = \"100%\"", 16, "`loss`", "above 0 and below 1", ""),
        ("residual = \"1e-6\"", "residual = 1", 16, "`residual`", "above 0 and below 1", "1e-9"),
        ("burst = 15", "burst = 5000", 16, "`burst` in [link.fec.protect]", "0 to 4096", ""),
        ("repair = \"10%\"", "repair = \"301%\"", 38, "`repair`", "300%", "scheme = \"none\""),
        ("source_port = 5004", "source_port = 0", 33, "`source_port`", "1 to 65535", ""),
        ("destination_port = 5005", "destination_port = 65536", 35, "`destination_port`", "1 to 65535", ""),
        ("max_sessions = 7", "max_sessions = 65537", 36, "`max_sessions`", "1 to 65536", ""),
        ("channel = 1", "channel = 0", 29, "`channel`", "1 to 65535", ""),
        ("idle = \"5min\"", "idle = \"1ms\"", 39, "`idle`", "100ms to 24h", ""),
    ]);
}

#[test]
fn values_that_cannot_be_read_get_an_example() {
    assert_slips(&[
        ("mtu = 9000", "mtu = \"9000\"", 2, "wrong kind of value", "expected a whole number, found text", "9000"),
        ("\"9.5Gbit/s\"", "\"9.5Gb\"", 3, "cannot be read", "unknown unit `Gb`", "500Mbit/s"),
        ("\"9.5Gbit/s\"", "9500", 3, "wrong kind", "found an integer", "500Mbit/s"),
        ("\"9.5Gbit/s\"", "\"fast\"", 3, "cannot be read", "a number with a unit", "Gbit/s"),
        ("\"80us\"", "\"80\"", 14, "cannot be read", "unit is missing", "us, "),
        ("\"80us\"", "\"1.2.3us\"", 14, "cannot be read", "a number", ""),
        ("loss = \"2%\"", "loss = \"nan\"", 16, "cannot be read", "a fraction", "5%"),
        ("loss = \"2%\"", "loss = true", 16, "wrong kind", "found true or false", ""),
        (
            "\"reed-solomon\"",
            "\"raptor\"",
            13,
            "`scheme` in [link.fec] is unknown",
            "allowed: \"raptorq\"",
            "did you mean \"raptorq\"?",
        ),
        ("\"reed-solomon\"", "\"xor\"", 13, "is unknown", "\"none\"", "set one of"),
        ("\"blu1\"", "\"interface-sixteen\"", 6, "not an interface name", "at most 15", "ip -brief link"),
        ("\"blu1\"", "\"a/b\"", 6, "not an interface name", "kernel", ""),
        ("\"blu1\"", "\"\"", 6, "not an interface name", "needs a name", ""),
        ("\"10.71.2.1\"", "\"10.71.2.1/24\"", 7, "not an address of the link", "without a prefix", ""),
        ("\"10.71.2.1\"", "\"224.0.0.1\"", 7, "not an address of the link", "one host", ""),
        ("\"02:00:00:00:00:02\"", "\"01:00:5e:00:00:02\"", 11, "not a MAC", "one card; leave", "ip link"),
        ("\"02:00:00:00:00:02\"", "\"02:00:00:00:00\"", 11, "not a MAC", "six bytes", ""),
        ("\"02:00:00:00:00:02\"", "\"02:00:00:00:00:02:03\"", 11, "not a MAC", "six bytes", ""),
        ("\"udp://192.0.2.1:514\"", "\"192.0.2.1\"", 27, "not a syslog target", "udp://", "\"local\""),
        ("\"udp://192.0.2.1:514\"", "\"udp://0.0.0.0:514\"", 27, "not a syslog target", "", ""),
        ("name = \"video\"", "name = \"a b\"", 30, "not a stream name", "A-Z", "description"),
        ("\"udp-unilateral\"", "\"udp\"", 31, "is unknown", "udp-unilateral", "set one of"),
        ("\"10.0.0.0/8\"", "\"10.0.0.0/33\"", 32, "bad entry `10.0.0.0/33`", "0 to 32", ""),
        ("\"10.0.0.0/8\"", "\"10.0.0.1/8\"", 32, "bad entry", "behind the prefix", "\"10.0.0.0/8\""),
        ("\"10.0.0.0/8\"", "\"example.org\"", 32, "bad entry", "not looked up", ""),
        ("\"10.0.0.0/8\"", "7", 32, "wrong kind", "found an integer", ""),
        ("\"2001:db8:50::25\"", "\"255.255.255.255\"", 34, "not a destination", "one host", ""),
        ("ordered = false", "ordered = \"no\"", 40, "wrong kind", "found text", "true"),
        ("name = \"video\"", "name = \"video\"\ndescription = \"a\\nb\"", 31, "line breaks", "one line", ""),
    ]);
}

#[test]
fn structure_is_checked() {
    assert_slips(&[
        ("mtu = 9000", "mtu = 9000\nsream = 1", 3, "unknown key `sream` in [link]", "not a key", "takes mtu, port"),
        ("deadline = \"3ms\"", "deadlin = \"3ms\"", 15, "unknown key `deadlin`", "", "did you mean `deadline`?"),
        ("[red]\n", "[red]\nunmatched = \"pass\"\n", 26, "unknown key `unmatched` in [red]", "", ""),
        (
            "interface = \"blu1\"\n",
            "",
            5,
            "`interface` is missing in [link.blue]",
            "no `interface`",
            "add `interface = ",
        ),
        ("channel = 1\n", "", 28, "`channel` is missing in [[stream]] \"video\"", "", "add `channel = 1`"),
        ("name = \"video\"\n", "", 28, "`name` is missing in [[stream]] number 1", "", ""),
        ("source_ip = [\"10.0.0.1\"]\n", "", 41, "`source_ip` is missing in [[stream]] \"syslog\"", "", "10.0.0.0/8"),
        ("source_ip = [\"10.0.0.1\"]", "source_ip = []", 45, "not a source list", "nobody could send", ""),
        ("source_ip = [\"10.0.0.1\"]", "source_ip = \"10.0.0.1\"", 45, "not a source list", "found text", "[\""),
        (
            "protect = { loss = \"2%\", residual = \"1e-6\", burst = 15 }",
            "protect = \"2%\"",
            16,
            "not a table",
            "found text",
            "[link.fec.protect]",
        ),
    ]);
}

#[test]
fn rules_between_keys_are_checked() {
    assert_slips(&[
        ("10.71.2.2", "10.71.2.1", 10, "same address", "link.blue.address in line 7", "its own address"),
        ("\"blu0\"", "\"blu1\"", 22, "BLUE has one interface", "link.blue.interface in line 6", "interface of its own"),
        ("\"red0\"", "\"red1\"", 26, "RED has one interface", "line 9", ""),
        ("\"blu2\"", "\"blu1\"", 20, "BLUE's return link shares", "line 6", "second interface"),
        ("\"red2\"", "\"red0\"", 19, "RED's return link shares", "red.interface in line 26", ""),
        ("10.71.4.1", "10.71.4.2", 20, "same address", "line 19", ""),
        (
            "mtu = 9000",
            "encapsulation = \"ethernet\"",
            23,
            "cannot send frames directly in Ethernet",
            "sockets carry UDP only",
            "encapsulation = \"udp\"",
        ),
        ("channel = 2", "channel = 1", 42, "channel 1 is used twice", "line 29", "a channel of its own"),
        ("name = \"syslog\"", "name = \"video\"", 43, "`video` is used twice", "line 30", ""),
        ("mode = \"full\"", "mode = \"status\"", 44, "needs a full return link", "no way back", "mode = \"full\""),
        ("ordered = false", "repair_min = 2", 40, "unknown key `repair_min`", "", ""),
        ("repair = \"10%\"", "repair_min = 4", 38, "has no `repair`", "with `repair` only", "10%"),
        ("repair = \"10%\"", "repair = \"10%\", protect = {}", 38, "exclude each other", "is set as well", "keep"),
    ]);
}

#[test]
fn a_tcp_stream_has_an_order_and_a_port_of_its_own() {
    let tcp = with("\"udp-unilateral\"", "\"tcp-unilateral\"");
    let found = errors(&tcp);
    let lines: Vec<_> = found.iter().map(|p| (p.line(), p.message())).collect();
    assert_eq!(lines, [(40, "`ordered = false` is for udp-unilateral streams"), (46, "TCP port 5004 is used twice")]);
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
    assert_eq!(lines, [2, 13, 21, 22, 32, 42]);
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
         source_ip = [\"192.168.100.11\", \"10.0.0.0/8\"]\nsource_port = 514\ndestination_ip = \"192.168.50.25\"\ndestination_port = {}\n",
        514
    );
    assert_eq!(site, parse_text(&minimal).unwrap().site);
}

#[test]
fn the_reference_file_has_every_key() {
    let text = reference_with_options();
    let site = parse_text(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}")).site;
    assert!(site.link.return_link.is_some() && site.link.rate_bps.is_some() && site.link.key_file.is_some());
    assert_eq!(site.link.fec.protection, Protection::Share { repair: 0.1, repair_min: 2 });
    assert_eq!(site.link.burst_bytes, 65_536);
    // An unknown key's remedy lists the keys of its table: each must stand in the reference.
    let tables = ["[link]", "[link.blue]", "[link.fec]", "[link.return]", "[blue]", "[red]", "[[stream]]"];
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
    assert_eq!(change.live, ["blue.interval", "blue.unmatched"]);
    assert_eq!(change.restart_needed, ["link.mtu", "red.interface"]);
    assert_eq!(change.restart_needed_by(Role::Blue).collect::<Vec<_>>(), ["link.mtu"]);
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
    #![proptest_config(ProptestConfig::with_cases(300))]

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
    fn any_value_of_any_key_is_accepted_or_refused(line in 0..50_usize, value in "(\"[^\"\\\\\n\r]{0,20}\"|-?[0-9]{1,25}|[0-9]{1,3}\\.[0-9]{1,3}|true|\\{\\}|\\[\\]|\\[\\[1\\]\\]|1979-05-27)") {
        let text: Vec<String> = GOOD.lines().enumerate().map(|(at, text)| {
            match text.split_once(" = ") {
                Some((key, _)) if at == line => format!("{key} = {value}"),
                _ => text.to_owned(),
            }
        }).collect();
        never_panics(&text.join("\n"));
    }
}
