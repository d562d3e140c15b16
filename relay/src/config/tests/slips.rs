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
        ("mtu = 9000", "transmit = \"xdp\"", 2, "`transmit`", "auto", "af_xdp"),
        ("mtu = 9000", "heartbeat = \"1ms\"", 2, "`heartbeat`", "10ms to 60s", "10ms to 60s"),
        ("\"9.5Gbit/s\"", "\"2Tbit/s\"", 3, "`rate` in [link]", "1kbit/s to 1Tbit/s", ""),
        ("\"128KiB\"", "\"100B\"", 4, "`burst`", "576B to 64MiB", ""),
        ("\"128KiB\"", "\"8999B\"", 4, "smaller than one frame", "mtu is 9000", "at least \"9000B\""),
        ("flush = \"80us\"", "block_symbols = 0", 14, "`block_symbols`", "1 to 8192", ""),
        ("flush = \"80us\"", "block_symbols = 8193", 14, "`block_symbols`", "1 to 8192", ""),
        (
            "fec = { deadline = \"2ms\"",
            "fec = { flush = \"4ms\"",
            42,
            "longer than `deadline` in `fec` of [[stream]] \"video\"",
            "deadline is 3ms",
            "shorter",
        ),
        ("flush = \"80us\"", "hold = \"11s\"", 14, "`hold`", "0s to 10s", ""),
        ("loss = \"2%\"", "loss = \"0%\"", 16, "`loss`", "above 0 and below 1", "2%"),
        ("loss = \"2%\"", "loss = \"100%\"", 16, "`loss`", "above 0 and below 1", ""),
        ("residual = \"1e-6\"", "residual = 1", 16, "`residual`", "above 0 and below 1", "1e-9"),
        ("burst = 15", "burst = 5000", 16, "`burst` in [link.fec.protect]", "0 to 4096", ""),
        ("repair = \"10%\"", "repair = \"301%\"", 42, "`repair`", "300%", "scheme = \"none\""),
        ("source_port = 5004", "source_port = 0", 37, "`source_port`", "1 to 65535", ""),
        ("destination_port = 5005", "destination_port = 65536", 39, "`destination_port`", "1 to 65535", ""),
        ("max_sessions = 7", "max_sessions = 65537", 40, "`max_sessions`", "1 to 65536", ""),
        ("channel = 1", "channel = 0", 33, "`channel`", "1 to 65535", ""),
        ("idle = \"5min\"", "idle = \"1ms\"", 43, "`idle`", "100ms to 24h", ""),
        ("burst = \"32KiB\"", "burst = \"65MiB\"", 20, "`burst` in [link.return] is out", "576B to 64MiB", ""),
        ("burst = \"32KiB\"", "burst = \"8999B\"", 20, "[link.return] is smaller than one", "9000", "\"9000B\""),
        ("\"1Gbit/s\"", "\"2Tbit/s\"", 19, "`rate` in [link.return]", "1kbit/s to 1Tbit/s", ""),
        ("\"256MiB\"", "\"1023KiB\"", 27, "`buffer` in [blue] is out of range", "1MiB to 1TiB", "1MiB to 1TiB"),
        ("\"2GiB\"", "\"1025GiB\"", 31, "`buffer` in [red] is out of range", "1MiB to 1TiB", ""),
        ("\"5s\"", "\"99ms\"", 53, "`connect_timeout` in [[stream]] \"syslog\"", "100ms to 300s", "100ms to 300s"),
        ("\"5s\"", "\"301s\"", 53, "`connect_timeout`", "100ms to 300s", ""),
        ("\"30s\"", "\"999ms\"", 54, "`keepalive`", "1s to 2h", "1s to 2h"),
        ("\"30s\"", "\"7201s\"", 54, "`keepalive`", "1s to 2h", ""),
        ("\"1MiB\"", "\"63KiB\"", 55, "`buffer` in [[stream]] \"syslog\"", "64KiB to 1GiB", "64KiB to 1GiB"),
        ("\"1MiB\"", "\"1025MiB\"", 55, "`buffer`", "64KiB to 1GiB", ""),
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
        ("\"udp://192.0.2.1:514\"", "\"192.0.2.1\"", 30, "not a syslog target", "udp://", "\"local\""),
        ("\"udp://192.0.2.1:514\"", "\"udp://0.0.0.0:514\"", 30, "not a syslog target", "", ""),
        ("name = \"video\"", "name = \"a b\"", 34, "not a stream name", "A-Z", "description"),
        ("\"udp-unilateral\"", "\"udp\"", 35, "is unknown", "udp-unilateral", "set one of"),
        ("\"10.0.0.0/8\"", "\"10.0.0.0/33\"", 36, "bad entry `10.0.0.0/33`", "0 to 32", ""),
        ("\"10.0.0.0/8\"", "\"10.0.0.1/8\"", 36, "bad entry", "behind the prefix", "\"10.0.0.0/8\""),
        ("\"10.0.0.0/8\"", "\"example.org\"", 36, "bad entry", "not looked up", ""),
        ("\"10.0.0.0/8\"", "7", 36, "wrong kind", "found an integer", ""),
        ("\"2001:db8:50::25\"", "\"255.255.255.255\"", 38, "not a destination", "one host", ""),
        ("ordered = false", "ordered = \"no\"", 44, "wrong kind", "found text", "true"),
        ("\"30s\"", "30", 54, "`keepalive` in [[stream]] \"syslog\" has the wrong kind", "found an integer", "5ms"),
        (
            "\"1MiB\"",
            "1048576",
            55,
            "`buffer` in [[stream]] \"syslog\" has the wrong kind",
            "found an integer",
            "64KiB",
        ),
        ("\"2GiB\"", "\"2Gbit\"", 31, "cannot be read", "unknown unit `Gbit`", "TiB"),
        ("\"transparent\"", "\"proxy\"", 56, "`impersonate`", "\"off\", \"proxy-v2\", \"transparent\"", "set one of"),
        ("\"transparent\"", "\"proxy-v1\"", 56, "is unknown", "allowed: \"off\"", "did you mean \"proxy-v2\"?"),
        ("name = \"video\"", "name = \"video\"\ndescription = \"a\\nb\"", 35, "line breaks", "one line", ""),
    ]);
}

#[test]
fn structure_is_checked() {
    assert_slips(&[
        ("mtu = 9000", "mtu = 9000\nsream = 1", 3, "unknown key `sream` in [link]", "not a key", "takes mtu, port"),
        ("deadline = \"3ms\"", "deadlin = \"3ms\"", 15, "unknown key `deadlin`", "", "did you mean `deadline`?"),
        ("[red]\n", "[red]\nunmatched = \"pass\"\n", 29, "unknown key `unmatched` in [red]", "", ""),
        (
            "interface = \"blu1\"\n",
            "",
            5,
            "`interface` is missing in [link.blue]",
            "no `interface`",
            "add `interface = ",
        ),
        ("channel = 1\n", "", 32, "`channel` is missing in [[stream]] \"video\"", "", "add `channel = 1`"),
        ("name = \"video\"\n", "", 32, "`name` is missing in [[stream]] number 1", "", ""),
        ("source_ip = [\"10.0.0.1\"]\n", "", 45, "`source_ip` is missing in [[stream]] \"syslog\"", "", "10.0.0.0/8"),
        ("source_ip = [\"10.0.0.1\"]", "source_ip = []", 49, "not a source list", "nobody could send", ""),
        ("source_ip = [\"10.0.0.1\"]", "source_ip = \"10.0.0.1\"", 49, "not a source list", "found text", "[\""),
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
        ("\"blu0\"", "\"blu1\"", 24, "BLUE has one interface", "link.blue.interface in line 6", "interface of its own"),
        ("\"red0\"", "\"red1\"", 29, "RED has one interface", "line 9", ""),
        ("\"blu2\"", "\"blu1\"", 22, "BLUE's return link shares", "line 6", "second interface"),
        ("\"red2\"", "\"red0\"", 21, "RED's return link shares", "red.interface in line 29", ""),
        ("10.71.4.1", "10.71.4.2", 22, "same address", "line 21", ""),
        (
            "mtu = 9000",
            "encapsulation = \"ethernet\"",
            25,
            "cannot send frames directly in Ethernet",
            "sockets carry UDP only",
            "encapsulation = \"udp\"",
        ),
        ("channel = 2", "channel = 1", 46, "channel 1 is used twice", "line 33", "a channel of its own"),
        ("name = \"syslog\"", "name = \"video\"", 47, "`video` is used twice", "line 34", ""),
        ("mode = \"full\"", "mode = \"status\"", 48, "needs a full return link", "no way back", "mode = \"full\""),
        (
            "\"2GiB\"",
            "\"1MiB\"\n[[stream]]\nchannel = 9\nname = \"many\"\ntype = \"tcp-unilateral\"\nsource_ip = [\"10.0.0.1\"]\n\
             source_port = 99\ndestination_ip = \"10.0.0.9\"\ndestination_port = 99\nmax_sessions = 16",
            31,
            "RED's `buffer` is too small for all TCP sessions: each needs 64KiB",
            "1MiB for 17 sessions is 61680B for each",
            "set `buffer` in [red] to at least \"1088KiB\", or lower `max_sessions`: all TCP streams together may have 16",
        ),
        (
            "ordered = false",
            "connect_timeout = \"10s\"",
            44,
            "`connect_timeout` is for TCP streams",
            "udp-unilateral",
            "remove `connect_timeout`, or set type = \"tcp-unilateral\"",
        ),
        ("ordered = false", "keepalive = \"60s\"", 44, "`keepalive` is for TCP streams", "", "remove `keepalive`"),
        ("ordered = false", "buffer = \"16MiB\"", 44, "`buffer` is for TCP streams", "", "remove `buffer`"),
        (
            "ordered = false",
            "impersonate = \"off\"",
            44,
            "`impersonate` is for TCP streams",
            "",
            "remove `impersonate`",
        ),
        ("ordered = false", "repair_min = 2", 44, "unknown key `repair_min`", "", ""),
        ("repair = \"10%\"", "repair_min = 4", 42, "has no `repair`", "with `repair` only", "10%"),
        ("repair = \"10%\"", "repair = \"10%\", protect = {}", 42, "exclude each other", "is set as well", "keep"),
    ]);
}
