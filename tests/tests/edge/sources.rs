//! Who may send: refused sources never reach the server, are counted where they belong, and are told without flooding.

use std::net::IpAddr;
use std::time::Duration;

use lab::{Options, Site, Syslog, address, require_root};

use super::raw;
use super::rig::{
    ARRIVES, Rig, await_stats, client, client_from, count, crosses, link_count, logs, numbers, server, socket, stop,
    stream, value,
};
use lab::path::PORT;

/// A second address of the client's, of which no list knows.
const STRANGER: &str = "10.71.1.66";
/// The port of a second stream.
const OTHER_PORT: u16 = 5002;
/// Datagrams of the flood.
const FLOOD: u64 = 50_000;

fn stranger() -> IpAddr {
    STRANGER.parse().unwrap()
}

fn with_stranger() -> Rig {
    let rig = Rig::new(&Options::default());
    rig.lab.client.ip(&format!("addr add {STRANGER}/24 dev cli0")).unwrap();
    rig
}

fn refused(driver: &str) {
    let rig = with_stranger();
    let syslog = Syslog::start(&rig.lab.blue);
    let other = stream(2, "other", OTHER_PORT, (address::SERVER, OTHER_PORT));
    let site = Site::new(driver).blue(&format!("syslog = \"{}\"", Syslog::TARGET)).stream(numbers()).stream(other);
    let path = rig.start(&site);
    let server = server(&path.ground.lab);
    let allowed = client(&path.ground.lab, PORT);
    let refused = client_from(&path.ground.lab, stranger(), PORT);
    let from_port = refused.local_addr().unwrap().port();
    crosses(&path, &allowed, &server, b"before");
    for _ in 0..100 {
        refused.send(b"refused").unwrap();
    }
    await_stats(&path.blue, |line| line.contains("stream=numbers") && value(line, "refused.source") == 100);
    crosses(&path, &allowed, &server, b"between");
    let told = syslog.until(ARRIVES, |message| message.contains(STRANGER)).unwrap_or_else(|all| panic!("{all:#?}"));
    let message = told.last().unwrap();
    assert!(message.starts_with("<28>1 ") && message.contains(" relay "), "{message}");
    let data = format!("stream=\"numbers\" source=\"{STRANGER}\" port=\"{PORT}\" reason=\"source\"]");
    assert!(message.contains(&data) && message.contains(&format!("{STRANGER}:{from_port}")), "{message}");
    for _ in 0..FLOOD {
        refused.send(b"flood").unwrap();
    }
    // On a veth the sender's core does the receiver's work too, so that the flood is over.
    crosses(&path, &allowed, &server, b"after");
    let log = path.blue.log().clone();
    let (blue, red) = stop(path);
    let messages = syslog.until(ARRIVES, |message| message.contains("BLUE stopped")).unwrap_or_else(|all| all);
    let about = messages.iter().filter(|message| message.contains(STRANGER)).count();
    assert!(about < 10, "{about} messages:\n{}", messages.join("\n"));
    assert!(log.len() < 200, "{} log lines", log.len());
    let (source, overflow) = (count(&blue, "numbers", "refused.source"), count(&blue, "numbers", "refused.overflow"));
    // With the socket driver the flood overflows the socket's buffer.
    assert!(source > 1000 && source + overflow <= FLOOD + 100, "{source} {overflow}");
    assert!(driver == "socket" || source == FLOOD + 100 && overflow == 0, "{source} {overflow}");
    assert_eq!(count(&blue, "other", "refused.source"), 0);
    assert_eq!((count(&blue, "numbers", "sent"), count(&red, "numbers", "delivered")), (3, 3));
}

#[test]
fn refused_sources_xdp() {
    require_root!();
    refused("xdp");
}

#[test]
fn refused_sources_socket() {
    require_root!();
    refused("socket");
}

fn prefixes(driver: &str) {
    let rig = with_stranger();
    let server_port = |port| (address::SERVER, port);
    // Overlapping prefixes in one stream, and in the other only the narrower.
    let wide = stream(1, "numbers", PORT, server_port(PORT))
        .line(&format!("source_ip = [\"{STRANGER}/32\", \"10.71.0.0/16\"]"));
    let narrow = stream(2, "narrow", OTHER_PORT, server_port(PORT))
        .line(&format!("source_ip = [\"{STRANGER}\", \"10.0.0.0/16\"]"));
    let path = rig.start(&Site::new(driver).stream(wide).stream(narrow));
    let server = server(&path.ground.lab);
    crosses(&path, &client(&path.ground.lab, PORT), &server, b"wide");
    crosses(&path, &client_from(&path.ground.lab, stranger(), PORT), &server, b"narrow within wide");
    client(&path.ground.lab, OTHER_PORT).send(b"outside of both prefixes").unwrap();
    crosses(&path, &client_from(&path.ground.lab, stranger(), OTHER_PORT), &server, b"narrow");
    let (blue, _) = stop(path);
    assert_eq!((count(&blue, "numbers", "refused.source"), count(&blue, "narrow", "refused.source")), (0, 1));
}

#[test]
fn prefixes_xdp() {
    require_root!();
    prefixes("xdp");
}

#[test]
fn prefixes_socket() {
    require_root!();
    prefixes("socket");
}

#[test]
fn traffic_of_no_stream_stays_with_the_kernel() {
    require_root!();
    let path = Rig::new(&Options::default()).start(&Site::new("xdp").stream(numbers()));
    let kernel = socket(&path.ground.lab.blue, (address::BLUE, 6000));
    crosses(&path, &client(&path.ground.lab, 6000), &kernel, b"for the kernel");
    crosses(&path, &client(&path.ground.lab, PORT), &server(&path.ground.lab), b"for the stream");
    stop(path);
}

#[test]
fn traffic_of_no_stream_is_dropped_if_asked_for() {
    require_root!();
    let rig = Rig::new(&Options::default());
    let kernel = socket(&rig.lab.blue, (address::BLUE, 6000));
    kernel.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    // ARP is of no stream either.
    let mac = raw::mac(&rig.lab.blue, "blu0").map(|byte| format!("{byte:02x}")).join(":");
    rig.lab.client.ip(&format!("neigh replace {} lladdr {mac} dev cli0 nud permanent", address::BLUE)).unwrap();
    let path = rig.start(&Site::new("xdp").blue("unmatched = \"drop\"").stream(numbers()));
    client(&path.ground.lab, 6000).send(b"for nobody").unwrap();
    crosses(&path, &client(&path.ground.lab, PORT), &server(&path.ground.lab), b"for the stream");
    assert!(kernel.recv(&mut [0; 64]).is_err(), "{}", logs(&path));
    let (blue, _) = stop(path);
    assert!(link_count(&blue, "unmatched") >= 1, "{}", blue.log.text());
}
