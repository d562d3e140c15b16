//! The ground that an application stands on: hosts, links, and what carries its connections.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::apps::sockets;
use lab::path::{Ground, Path5};
use lab::{Lab, Line, Loss, Options, Site, Stopped, Stream, address};

/// A bound for what takes a second.
pub const SOON: Duration = Duration::from_mins(1);
/// Between two looks at what cannot be waited for.
pub const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// What carries connections from client to server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// The kernels of BLUE and RED, over links that lose nothing.
    Kernel,
    /// The relay, over links that lose nothing.
    Relay,
    /// The relay, and every link loses 1% of its frames.
    RelayRandomLoss,
    /// The relay, and every link loses 12 in a row of every 900 frames.
    RelayBursts,
}

impl Carrier {
    /// The loss of every link, and the protection that promises to survive it.
    fn loss(self) -> (Loss, (&'static str, &'static str, u32)) {
        match self {
            Self::Kernel | Self::Relay => (Loss::None, ("0.1%", "1e-9", 4)),
            Self::RelayRandomLoss => (Loss::percent(1.0), ("1%", "1e-9", 0)),
            Self::RelayBursts => (Loss::Bursts { burst: 12, period: 900 }, ("0.01%", "1e-9", 12)),
        }
    }
}

/// Hosts with one TCP stream from the client's zone to the server.
pub struct Stage {
    carrier: Carrier,
    port: u16,
    path: Carried,
}

enum Carried {
    Kernel(Ground),
    Relay(Path5),
}

impl Stage {
    /// A `tcp-unilateral` stream on this port. The kernels need a way back all the same.
    pub fn unilateral(carrier: Carrier, port: u16) -> Self {
        let site = Site::new("xdp").stream(stream("tcp-unilateral", port));
        Self::set(carrier, port, site, (carrier == Carrier::Kernel).then_some(Loss::None))
    }

    /// A `tcp-bilateral` stream on this port for so many clients, with a return link that loses as much as the link.
    pub fn bilateral(carrier: Carrier, port: u16, max_sessions: u32) -> Self {
        let stream = stream("tcp-bilateral", port).line(&format!("max_sessions = {max_sessions}"));
        Self::set(carrier, port, Site::new("xdp").return_link("full").stream(stream), Some(carrier.loss().0))
    }

    fn set(carrier: Carrier, port: u16, site: Site, return_loss: Option<Loss>) -> Self {
        let (loss, (share, residual, burst)) = carrier.loss();
        let options = Options { loss, return_loss, ..Options::default() };
        // No faster than RED can take it, also when it was built without optimisation and has little of the processor.
        let site = site.link("rate = \"200Mbit/s\"").protect(share, residual, burst);
        let ground = Ground::sealed(&options, &site);
        if carrier != Carrier::Kernel {
            return Self { carrier, port, path: Carried::Relay(ground.start()) };
        }
        ground.lab.forward_in_kernel().expect("a way there and back");
        Self { carrier, port, path: Carried::Kernel(ground) }
    }

    fn ground(&self) -> &Ground {
        match &self.path {
            Carried::Kernel(ground) => ground,
            Carried::Relay(path) => &path.ground,
        }
    }

    /// The hosts.
    pub fn lab(&self) -> &Lab {
        &self.ground().lab
    }

    /// Where applications may write.
    pub fn folder(&self) -> &Path {
        self.ground().folder.path()
    }

    /// Where the client connects to.
    pub fn entrance(&self) -> SocketAddr {
        let ip = match self.path {
            Carried::Kernel(_) => address::SERVER,
            Carried::Relay(_) => address::BLUE,
        };
        (ip, self.port).into()
    }

    /// What the relays wrote so far; nothing when there are none.
    pub fn log_text(&self) -> String {
        match &self.path {
            Carried::Kernel(_) => String::new(),
            Carried::Relay(path) => format!("{}\n{}", path.blue.log().text(), path.red.log().text()),
        }
    }

    /// Waits for the end of every connection; stops the relays, if there are any, and checks that no session of them
    /// was broken off and nothing was lost on the way but what the links were to lose. Gives BLUE's and RED's counters of the stream.
    pub fn end(self) -> Option<(Line, Line)> {
        let deadline = Instant::now() + SOON;
        while !sockets::is_idle(&self.lab().server, self.port).expect("sockets") {
            assert!(Instant::now() < deadline, "the server still has connections\n{}", self.log_text());
            std::thread::sleep(LOOK_PERIOD);
        }
        let Carried::Relay(path) = self.path else { return None };
        let lost_back = path.ground.lab.back.as_ref().map_or(0, |back| back.counters().expect("it counts").dropped);
        let (blue, red, diode) = path.end();
        let log = format!("{}\n{}", blue.log.text(), red.log.text());
        // One of the two ways has little to carry.
        let lost = diode.dropped.max(lost_back);
        assert!(lost >= self.carrier.loss().0.frames_min(), "only {lost} frames were lost\n{log}");
        assert!(blue.status.success() && red.status.success(), "{log}");
        assert_eq!(diode.came_back, 0, "{log}");
        let line = |stopped: &Stopped| stopped.summary.channel(1).expect("counted").clone();
        let (blue, red) = (line(&blue), line(&red));
        assert_eq!(red.number("sessions_aborted").expect("counted"), 0, "{log}");
        assert_eq!(red.total("lost") + red.total("refused"), 0, "{log}");
        Some((blue, red))
    }
}

fn stream(kind: &str, port: u16) -> Stream {
    Stream::new(1, "application", kind, port, (address::SERVER, port).into())
}
