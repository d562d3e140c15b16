//! What the TCP figures share: a path whose link is set up as the environment says, clients and servers.
//!
//! | variable | default | meaning |
//! | --- | --- | --- |
//! | `RELAY_FIGURES_DRIVER` | `xdp` | or `socket`, for both hosts |
//! | `RELAY_FIGURES_RATE` | `1500Mbit/s` | the link's rate where there is no return link, so that TCP does not outrun RED; `none` for no rate |
//! | `RELAY_FIGURES_RETURN` | no return link | its mode, `status` or `full`: RED then slows the clients down, and no rate is set |
//! | `RELAY_FIGURES_MTU` | `1500` | of the link |
//! | `RELAY_FIGURES_THREADED` | off | `1`: threaded NAPI on RED's side of the link |
//! | `RELAY_FIGURES_RUNS` | `20` | runs of each case of `whole` |
//! | `RELAY_FIGURES_SECONDS` | `5` | length of each case of `rate` and `stalled` |

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use lab::path::{Ground, Path5};
use lab::traffic::{Arrived, receive_bytes, tcp};
use lab::{Loss, Options, Site, Stream, address};

/// The first stream's port, on BLUE and on the server; the next one's is the next.
pub const PORT: u16 = 5140;
/// A bound for what takes a fraction of it.
pub const SOON: Duration = Duration::from_mins(1);

fn setting(name: &str, default: &str) -> String {
    std::env::var(format!("RELAY_FIGURES_{name}")).unwrap_or_else(|_| default.to_owned())
}

/// A number from the environment.
pub fn number(name: &str, default: u32) -> u32 {
    let text = setting(name, &default.to_string());
    text.parse().unwrap_or_else(|_| panic!("RELAY_FIGURES_{name}={text} is not a number"))
}

/// A path of `streams` TCP streams over a link set up as the environment says.
pub fn start(site: Site, loss: Loss, streams: u16) -> Path5 {
    let (mtu, mode) = (number("MTU", 1500), setting("RETURN", ""));
    let options = Options { mtu, loss, return_loss: (!mode.is_empty()).then_some(Loss::None), ..Options::default() };
    let mut site = site.link(&format!("mtu = {mtu}"));
    let rate = setting("RATE", "1500Mbit/s");
    if !mode.is_empty() {
        site = site.return_link(&mode);
    } else if rate != "none" {
        site = site.link(&format!("rate = \"{rate}\""));
    }
    for number in 0..streams {
        let destination = SocketAddr::from((address::SERVER, PORT + number));
        let stream = Stream::new(number + 1, &format!("bytes{number}"), "tcp-unilateral", PORT + number, destination);
        site = site.stream(stream.line("max_sessions = 4"));
    }
    let path = Ground::sealed(&options, &site).start();
    prepare_cards(&path);
    path
}

/// A site with the driver that the environment asks for.
pub fn site() -> Site {
    Site::new(&setting("DRIVER", "xdp"))
}

/// Has RED's card on the link poll as the environment says. Real cards join what arrives; a veth does with an XDP program only.
pub fn prepare_cards(path: &Path5) {
    let lab = &path.ground.lab;
    if setting("DRIVER", "xdp") == "socket" {
        lab.gro_on_link().expect("RED's link joins what arrives");
    }
    if setting("THREADED", "0") == "1" {
        lab.red.threaded_napi(address::RED_LINK_IF).expect("RED's link polls in a thread");
    }
}

/// What the environment made of the link, for the lines that are printed.
pub fn link() -> String {
    let mode = setting("RETURN", "");
    let paced = if mode.is_empty() { setting("RATE", "1500Mbit/s") } else { format!("return link, {mode}") };
    let threaded = if setting("THREADED", "0") == "1" { ", threaded NAPI" } else { "" };
    format!("driver {}, MTU {}, {paced}{threaded}", setting("DRIVER", "xdp"), number("MTU", 1500))
}

/// Listens on the server for stream number `stream`, from 0.
pub fn listen(path: &Path5, stream: u16) -> TcpListener {
    path.ground.lab.server.run(|| TcpListener::bind((address::SERVER, PORT + stream))).unwrap().expect("a free port")
}

/// Takes the next connection and checks what comes over it, on a thread of its own; tells when it has ended.
pub fn check_next(listener: TcpListener) -> Receiver<Arrived> {
    let (tell, arrived) = channel();
    std::thread::spawn(move || {
        let (connection, _) = listener.accept().expect("RED connects");
        // Whoever asked may have given up.
        let _ = tell.send(receive_bytes(&mut &connection, || ()));
    });
    arrived
}

/// Connects the client to stream number `stream`.
pub fn connect(path: &Path5, stream: u16) -> TcpStream {
    let to = SocketAddr::from((address::BLUE, PORT + stream));
    path.ground.lab.client.run(|| TcpStream::connect_timeout(&to, SOON)).unwrap().expect("BLUE accepts")
}

/// Ends what the client sends in order, and waits until BLUE has taken it.
pub fn end(client: &TcpStream) {
    tcp::finish(client, SOON).expect("still connected");
}

/// Sends a seed's stream for so long, as fast as it is taken; gives the bytes sent.
pub fn send_for(client: &TcpStream, seed: u8, time: Duration) -> u64 {
    tcp::send_for(client, seed, time).expect("BLUE reads")
}

/// What a checked connection must have come to.
pub fn assert_whole(arrived: &Arrived, bytes: u64, path: &Path5) {
    let right = arrived.whole && !arrived.wrong && arrived.bytes == bytes;
    assert!(right, "{bytes} sent, {arrived:?}\n{}\n{}", path.blue.log().text(), path.red.log().text());
}

/// Stops both relays, which must end well; nothing may have come back over the diode.
pub fn stop(path: Path5) {
    let (blue, red, diode) = path.end();
    let log = format!("{}\n{}", blue.log.text(), red.log.text());
    assert!(blue.status.success() && red.status.success(), "{log}");
    assert_eq!(diode.came_back, 0, "{log}");
}
