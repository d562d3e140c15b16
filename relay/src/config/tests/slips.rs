//! One slip at a time: each is shown with its line, cause and remedy, and nothing else is.

use super::*;

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
