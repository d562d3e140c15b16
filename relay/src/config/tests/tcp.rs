//! Keys of TCP streams, and the room that their sessions share on each host.

use super::*;

/// The head of a site file with a full return link; hosts and streams follow.
const HEAD: &str = r#"[link]
key_file = "link.key"
[link.blue]
interface = "blu1"
address = "10.71.2.1"
[link.red]
interface = "red1"
address = "10.71.2.2"
[link.return]
mode = "full"
red = { interface = "red2", address = "10.71.4.2" }
blue = { interface = "blu2", address = "10.71.4.1" }
"#;

/// A site file with `[blue]`, `[red]` and a stream of each of `streams`: its type and its own keys.
fn file(blue: &str, red: &str, streams: &[(&str, &str)]) -> String {
    let mut text = format!("{HEAD}[blue]\ninterface = \"blu0\"\n{blue}\n[red]\ninterface = \"red0\"\n{red}\n");
    for (at, (kind, keys)) in streams.iter().enumerate() {
        let (channel, port) = (at + 1, at + 5001);
        let _ = write!(
            text,
            "[[stream]]\nchannel = {channel}\nname = \"s{channel}\"\ntype = \"{kind}\"\nsource_ip = [\"10.0.0.1\"]\n\
             source_port = {port}\ndestination_ip = \"192.168.50.25\"\ndestination_port = 514\n{keys}\n"
        );
    }
    text
}

fn site(blue: &str, red: &str, streams: &[(&str, &str)]) -> Site {
    parse_text(&file(blue, red, streams)).unwrap_or_else(|errors| panic!("{errors}")).site
}

#[test]
fn the_keys_of_a_tcp_stream_give_what_they_say() {
    let keys = "connect_timeout = \"2s\"\nkeepalive = \"2h\"\nbuffer = \"1GiB\"\nimpersonate = \"proxy-v2\"";
    let site = site("buffer = \"1MiB\"", "buffer = \"1TiB\"", &[("tcp-bilateral", keys), ("tcp-unilateral", "")]);
    let [own, defaults] = &site.streams[..] else { panic!("{:?}", site.streams) };
    assert_eq!((own.connect_timeout, own.keepalive), (Duration::from_secs(2), Duration::from_hours(2)));
    assert_eq!((own.buffer_bytes, own.impersonate), (1 << 30, Impersonate::ProxyV2));
    assert_eq!((defaults.connect_timeout, defaults.keepalive), (Duration::from_secs(10), Duration::from_mins(1)));
    assert_eq!((defaults.buffer_bytes, defaults.impersonate), (16 << 20, Impersonate::Off));
    assert_eq!((site.blue.buffer_bytes, site.red.buffer_bytes), (1 << 20, 1 << 40));
}

#[test]
fn the_return_link_is_paced_like_the_link() {
    let plain = site("", "", &[("tcp-bilateral", "")]).link.return_link.unwrap();
    assert_eq!((plain.rate_bps, plain.burst_bytes), (None, 65_536));
    let text = file("", "", &[("tcp-bilateral", "")])
        .replace("mode = \"full\"", "mode = \"full\"\nrate = \"50Mbit/s\"\nburst = \"2KiB\"");
    let paced = parse_text(&text).unwrap().site.link.return_link.unwrap();
    assert_eq!((paced.rate_bps, paced.burst_bytes), (Some(50_000_000), 2048));
}

#[test]
fn a_session_s_room_is_its_share_of_the_host_s_buffer() {
    let streams = [
        ("tcp-bilateral", "max_sessions = 3\nbuffer = \"64KiB\""),
        ("tcp-unilateral", "max_sessions = 5"),
        ("tcp-bilateral", ""),
        ("udp-unilateral", "max_sessions = 1000"),
    ];
    let site = site("buffer = \"2MiB\"", "buffer = \"9MiB\"", &streams);
    let room = |role| site.streams.iter().map(|stream| site.session_room(role, stream)).collect::<Vec<_>>();
    // Nine sessions share RED's buffer; the four of the bilateral streams share BLUE's.
    assert_eq!(room(Role::Red), [64 << 10, 1 << 20, 1 << 20, 0]);
    assert_eq!(room(Role::Blue), [64 << 10, 0, 512 << 10, 0]);
}

#[test]
fn a_session_alone_gets_what_its_stream_grants() {
    let site = site("", "", &[("tcp-bilateral", "")]);
    let stream = &site.streams[0];
    assert_eq!([Role::Blue, Role::Red].map(|role| site.session_room(role, stream)), [16 << 20; 2]);
}

/// Line, message, cause and remedy of every error of `text`.
fn told(text: &str) -> Vec<(usize, String, String, String)> {
    let of = |p: &Problem| (p.line(), p.message().to_owned(), p.cause().to_owned(), p.remedy().to_owned());
    errors(text).iter().map(of).collect()
}

#[test]
fn sessions_without_room_are_told_at_the_stream_that_asks_for_most() {
    let text = file(
        "",
        "",
        &[
            ("tcp-unilateral", "max_sessions = 2000"),
            ("tcp-unilateral", "max_sessions = 6000"),
            ("tcp-bilateral", "max_sessions = 2000"),
            ("udp-unilateral", "max_sessions = 60000"),
        ],
    );
    let line = text.lines().position(|line| line == "max_sessions = 6000").unwrap() + 1;
    let expected = (
        line,
        "RED's `buffer` is too small for all TCP sessions: each needs 64KiB".to_owned(),
        "512MiB for 10000 sessions is 53687B for each".to_owned(),
        "set `buffer` in [red] to at least \"625MiB\", or lower `max_sessions`: \
         all TCP streams together may have 8192"
            .to_owned(),
    );
    assert_eq!(told(&text), [expected]);
}

#[test]
fn on_blue_only_bilateral_sessions_need_room() {
    let streams = [("tcp-unilateral", "max_sessions = 8000"), ("tcp-bilateral", "max_sessions = 17")];
    let text = file("buffer = \"1MiB\"", "", &streams);
    let line = text.lines().position(|line| line == "buffer = \"1MiB\"").unwrap() + 1;
    let expected = (
        line,
        "BLUE's `buffer` is too small for all tcp-bilateral sessions: each needs 64KiB".to_owned(),
        "1MiB for 17 sessions is 61680B for each".to_owned(),
        "set `buffer` in [blue] to at least \"1088KiB\", or lower `max_sessions`: \
         all tcp-bilateral streams together may have 16"
            .to_owned(),
    );
    assert_eq!(told(&text), [expected]);
    let fits = [("tcp-unilateral", "max_sessions = 8000"), ("tcp-bilateral", "max_sessions = 16")];
    let site = site("buffer = \"1MiB\"", "", &fits);
    assert_eq!(site.session_room(Role::Blue, &site.streams[1]), LEAST_ROOM_BYTES as usize);
}

#[test]
fn a_host_s_default_buffer_holds_8192_sessions_and_no_more() {
    let with = |sessions: u32| file("", "", &[("tcp-unilateral", &format!("max_sessions = {sessions}"))]);
    assert!(parse_text(&with(8192)).is_ok());
    assert_eq!(errors(&with(8193)).len(), 1);
}

#[test]
fn a_bad_buffer_is_told_once() {
    let found = errors(&file("", "buffer = \"2TiB\"", &[("tcp-unilateral", "max_sessions = 10000")]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].message().contains("`buffer` in [red] is out of range"), "{found:?}");
}

#[test]
fn a_stream_of_unknown_type_is_not_told_to_be_udp() {
    let found = errors(&file("", "", &[("tcp", "keepalive = \"60s\"")]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].message().contains("`type`"), "{found:?}");
}

#[test]
fn a_transparent_stream_has_clients_of_its_destination_s_family() {
    let mixed = file("", "", &[("tcp-unilateral", "impersonate = \"transparent\"")])
        .replace("[\"10.0.0.1\"]", "[\"10.0.0.1\", \"2001:db8::/32\"]");
    let line = mixed.lines().position(|line| line.starts_with("impersonate")).unwrap() + 1;
    let expected = (
        line,
        "a client of another IP family than the destination's cannot be shown to it".to_owned(),
        "2001:db8::/32 is IPv6, the destination is IPv4".to_owned(),
        "list IPv4 clients only, or set impersonate = \"proxy-v2\", which shows clients of both families".to_owned(),
    );
    assert_eq!(told(&mixed), [expected]);
    for (from, to) in [("transparent", "proxy-v2"), ("transparent", "off"), (", \"2001:db8::/32\"", "")] {
        assert!(parse_text(&mixed.replace(from, to)).is_ok(), "{to}");
    }
    let sixes = mixed.replace("\"10.0.0.1\", ", "");
    assert!(parse_text(&sixes.replace("\"192.168.50.25\"", "\"2001:db8:1::1\"")).is_ok());
    let found = errors(&mixed.replace("192.168.50.25", "nowhere"));
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_reload_takes_over_streams_and_buffers_but_not_the_return_link() {
    let text = GOOD
        .replace("\"5s\"", "\"6s\"")
        .replace("\"30s\"", "\"31s\"")
        .replace("\"1MiB\"", "\"2MiB\"")
        .replace("\"transparent\"", "\"off\"")
        .replace("\"256MiB\"", "\"257MiB\"")
        .replace("\"2GiB\"", "\"3GiB\"")
        .replace("\"1Gbit/s\"", "\"2Gbit/s\"");
    let change = diff(&good(), &parse_text(&text).unwrap().site);
    let keys = vec!["connect_timeout", "keepalive", "buffer", "impersonate"];
    assert_eq!(change.changed, [StreamChange { channel: 2, keys }]);
    assert_eq!(change.live, ["blue.buffer", "red.buffer"]);
    for role in [Role::Blue, Role::Red] {
        assert_eq!(change.restart_needed_by(role).collect::<Vec<_>>(), ["link.return"]);
    }
    let burst = parse_text(&with("\"32KiB\"", "\"33KiB\"")).unwrap().site;
    assert_eq!(diff(&good(), &burst).restart_needed, ["link.return"]);
}

/// The seed's examples and one for the web, as they stand in config/.
#[test]
fn the_ready_files_for_tcp_say_what_their_names_say() {
    let read = |text: &str| parse_text(text).unwrap_or_else(|errors| panic!("{errors}"));
    let plain = read(include_str!("../../../../config/syslog.toml"));
    let status = read(include_str!("../../../../config/syslog-status.toml"));
    let mysql = read(include_str!("../../../../config/mysql.toml"));
    let https = read(include_str!("../../../../config/https.toml"));
    let summary = |loaded: &Loaded| {
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let [stream] = &loaded.site.streams[..] else { panic!("{:?}", loaded.site.streams) };
        let mode = loaded.site.link.return_link.as_ref().map(|back| back.mode);
        (mode, stream.kind, stream.source_port, stream.destination.to_string(), stream.max_sessions)
    };
    let (one_way, both_ways) = (StreamKind::TcpUnilateral, StreamKind::TcpBilateral);
    assert_eq!(summary(&plain), (None, one_way, 514, "192.168.50.25:514".to_owned(), 1));
    assert_eq!(summary(&status), (Some(ReturnMode::Status), one_way, 514, "192.168.50.25:514".to_owned(), 1));
    assert_eq!(status.site.streams, plain.site.streams);
    assert_eq!(summary(&mysql), (Some(ReturnMode::Full), both_ways, 3306, "192.168.222.250:3306".to_owned(), 3));
    let sources: Vec<_> = mysql.site.streams[0].sources.iter().map(ToString::to_string).collect();
    assert_eq!(sources, ["192.168.101.10/32", "192.168.101.11/32", "192.168.101.12/32"]);
    let (mode, kind, port, destination, _) = summary(&https);
    assert_eq!((mode, kind, port), (Some(ReturnMode::Full), both_ways, 443));
    assert!(destination.ends_with(":443"), "{destination}");
}
