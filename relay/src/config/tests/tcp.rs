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
