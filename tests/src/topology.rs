//! The hosts and their cables; the picture is in the crate's head.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;

use crate::{Diode, Host, Loss, offload};

/// Who has which address. Constants, because every laboratory has namespaces of its own.
pub mod address {
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// The client in the BLUE zone.
    pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 71, 1, 10);
    /// BLUE in its zone.
    pub const BLUE: Ipv4Addr = Ipv4Addr::new(10, 71, 1, 1);
    /// BLUE on the link.
    pub const BLUE_LINK: Ipv4Addr = Ipv4Addr::new(10, 71, 2, 1);
    /// RED on the link.
    pub const RED_LINK: Ipv4Addr = Ipv4Addr::new(10, 71, 2, 2);
    /// RED in its zone.
    pub const RED: Ipv4Addr = Ipv4Addr::new(10, 71, 3, 1);
    /// The server in the RED zone.
    pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 71, 3, 10);
    /// RED on the return link.
    pub const RED_RETURN: Ipv4Addr = Ipv4Addr::new(10, 71, 4, 2);
    /// BLUE on the return link.
    pub const BLUE_RETURN: Ipv4Addr = Ipv4Addr::new(10, 71, 4, 1);
    /// The client in the BLUE zone, IPv6.
    pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd71, 1, 0, 0, 0, 0, 0, 0x10);
    /// BLUE in its zone, IPv6.
    pub const BLUE_V6: Ipv6Addr = Ipv6Addr::new(0xfd71, 1, 0, 0, 0, 0, 0, 1);
    /// RED in its zone, IPv6.
    pub const RED_V6: Ipv6Addr = Ipv6Addr::new(0xfd71, 3, 0, 0, 0, 0, 0, 1);
    /// The server in the RED zone, IPv6.
    pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd71, 3, 0, 0, 0, 0, 0, 0x10);

    /// The client's interface.
    pub const CLIENT_IF: &str = "cli0";
    /// BLUE's interface in its zone.
    pub const BLUE_IF: &str = "blu0";
    /// BLUE's interface on the link.
    pub const BLUE_LINK_IF: &str = "blu1";
    /// The diode's interface to BLUE.
    pub const DIODE_BLUE_IF: &str = "dio0";
    /// The diode's interface to RED.
    pub const DIODE_RED_IF: &str = "dio1";
    /// RED's interface on the link.
    pub const RED_LINK_IF: &str = "red1";
    /// RED's interface in its zone.
    pub const RED_IF: &str = "red0";
    /// The server's interface.
    pub const SERVER_IF: &str = "srv0";
    /// RED's interface on the return link.
    pub const RED_RETURN_IF: &str = "red2";
    /// The return diode's interface to RED.
    pub const RETURN_RED_IF: &str = "dio2";
    /// The return diode's interface to BLUE.
    pub const RETURN_BLUE_IF: &str = "dio3";
    /// BLUE's interface on the return link.
    pub const BLUE_RETURN_IF: &str = "blu2";

    /// MAC address of BLUE on the link (locally administered, as all here).
    pub const BLUE_LINK_MAC: &str = "02:00:00:00:00:01";
    /// MAC address of RED on the link.
    pub const RED_LINK_MAC: &str = "02:00:00:00:00:02";
    /// MAC address of RED on the return link.
    pub const RED_RETURN_MAC: &str = "02:00:00:00:00:03";
    /// MAC address of BLUE on the return link.
    pub const BLUE_RETURN_MAC: &str = "02:00:00:00:00:04";
}

/// How a laboratory is built.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// IP MTU of the link, and of the return link, in bytes.
    pub mtu: u32,
    /// IP MTU of both zones, in bytes.
    pub zone_mtu: u32,
    /// RX and TX queues of every interface.
    pub queues: u32,
    /// What the diode loses at first.
    pub loss: Loss,
    /// What the return diode loses at first; there is no return link without.
    pub return_loss: Option<Loss>,
}

impl Default for Options {
    fn default() -> Self {
        Self { mtu: 1500, zone_mtu: 1500, queues: 1, loss: Loss::None, return_loss: None }
    }
}

/// One end of a cable.
#[derive(Debug, Clone, Copy)]
pub struct Nic<'a> {
    /// The host it is on.
    pub host: &'a Host,
    /// Interface name, at most 15 bytes.
    pub name: &'a str,
    /// MAC address; the kernel chooses one without.
    pub mac: Option<&'a str>,
}

/// The laboratory: everything ends when it is dropped.
#[derive(Debug)]
pub struct Lab {
    /// Sends, in the BLUE zone.
    pub client: Host,
    /// Runs `relay blue`.
    pub blue: Host,
    /// The one-way link from BLUE to RED.
    pub diode: Diode,
    /// The one-way link from RED to BLUE, with [`Options::return_loss`].
    pub back: Option<Diode>,
    /// Runs `relay red`.
    pub red: Host,
    /// Receives, in the RED zone.
    pub server: Host,
}

impl Lab {
    /// Builds hosts, cables, addresses and routes. All is up and the diode forwards when it returns.
    pub fn new(options: &Options) -> Result<Self> {
        use address as a;
        let back = options.return_loss.map(|_| Diode::new("return diode", a::RETURN_RED_IF, a::RETURN_BLUE_IF));
        let lab = Self {
            client: Host::new("client")?,
            blue: Host::new("blue")?,
            diode: Diode::new("diode", a::DIODE_BLUE_IF, a::DIODE_RED_IF)?,
            back: back.transpose()?,
            red: Host::new("red")?,
            server: Host::new("server")?,
        };
        lab.zones(options)?;
        let from = Nic { host: &lab.blue, name: a::BLUE_LINK_IF, mac: Some(a::BLUE_LINK_MAC) };
        let to = Nic { host: &lab.red, name: a::RED_LINK_IF, mac: Some(a::RED_LINK_MAC) };
        lay_link((from, a::BLUE_LINK), &lab.diode, (to, a::RED_LINK), options, options.loss)?;
        if let (Some(back), Some(loss)) = (&lab.back, options.return_loss) {
            let from = Nic { host: &lab.red, name: a::RED_RETURN_IF, mac: Some(a::RED_RETURN_MAC) };
            let to = Nic { host: &lab.blue, name: a::BLUE_RETURN_IF, mac: Some(a::BLUE_RETURN_MAC) };
            lay_link((from, a::RED_RETURN), back, (to, a::BLUE_RETURN), options, loss)?;
        }
        Ok(lab)
    }

    /// Both zones: cables, addresses and routes.
    fn zones(&self, options: &Options) -> Result<()> {
        use address as a;
        let nic = |host, name| Nic { host, name, mac: None };
        let (mtu, queues) = (options.zone_mtu, options.queues);
        connect(nic(&self.client, a::CLIENT_IF), nic(&self.blue, a::BLUE_IF), mtu, queues)?;
        connect(nic(&self.red, a::RED_IF), nic(&self.server, a::SERVER_IF), mtu, queues)?;
        // RED sends datagrams of one flow as one message, which no real cable carries.
        offload::cut_udp_messages(&self.red, a::RED_IF)?;
        self.client.ip_batch(&format!(
            "addr add {}/24 dev cli0\naddr add {}/64 dev cli0 nodad\nlink set cli0 up\n\
             route add default via {}\nroute add ::/0 via {}",
            a::CLIENT,
            a::CLIENT_V6,
            a::BLUE,
            a::BLUE_V6
        ))?;
        self.blue.ip_batch(&format!(
            "addr add {}/24 dev blu0\naddr add {}/64 dev blu0 nodad\nlink set blu0 up",
            a::BLUE,
            a::BLUE_V6
        ))?;
        self.red.ip_batch(&format!(
            "addr add {}/24 dev red0\naddr add {}/64 dev red0 nodad\nlink set red0 up",
            a::RED,
            a::RED_V6
        ))?;
        self.server.ip_batch(&format!(
            "addr add {}/24 dev srv0\naddr add {}/64 dev srv0 nodad\nlink set srv0 up\n\
             route add default via {}\nroute add ::/0 via {}",
            a::SERVER,
            a::SERVER_V6,
            a::RED,
            a::RED_V6
        ))?;
        Ok(())
    }

    /// Has RED's card on the link polled, and packets of one sender joined there (NAPI, GRO), as every real card has it from the start.
    /// A veth otherwise does so only with an XDP program on it, and [`Host::threaded_napi`] is without effect.
    pub fn gro_on_link(&self) -> Result<()> {
        offload::join_received((self.diode.host(), self.diode.output()), (&self.red, address::RED_LINK_IF))
    }

    /// Lets the kernels of BLUE and RED forward IPv4 from client to server, and over a return link back, as if there
    /// were no relay: the yardstick of what the path itself can do.
    pub fn forward_in_kernel(&self) -> Result<()> {
        for host in [&self.blue, &self.red] {
            host.sysctl("net/ipv4/ip_forward", "1")?;
            host.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
        }
        self.red.sysctl("net/ipv4/conf/red1/rp_filter", "0")?;
        self.blue.ip(&format!("route add {}/32 via {}", address::SERVER, address::RED_LINK))?;
        if self.back.is_some() {
            self.blue.sysctl("net/ipv4/conf/blu2/rp_filter", "0")?;
            self.red.ip(&format!("route add {}/32 via {}", address::CLIENT, address::BLUE_RETURN))?;
        }
        Ok(())
    }
}

/// Lays a one-way link from one host over a diode to another, brings it up and starts the diode.
fn lay_link(
    (from, from_address): (Nic, Ipv4Addr),
    diode: &Diode,
    (to, to_address): (Nic, Ipv4Addr),
    options: &Options,
    loss: Loss,
) -> Result<()> {
    let via = |name| Nic { host: diode.host(), name, mac: None };
    let (input, output) = (via(diode.input()), via(diode.output()));
    connect(from, input, options.mtu, options.queues)?;
    connect(output, to, options.mtu, options.queues)?;
    for nic in [from, input, output, to] {
        silence(nic.host, nic.name)?;
    }
    offload::cut_udp_messages(from.host, from.name)?;
    let name = from.name;
    from.host.ip_batch(&format!("addr add {from_address}/24 dev {name}\nlink set {name} up"))?;
    if let Some(mac) = to.mac {
        // ARP is off on the link, and without it the kernel would put its own MAC address into the frames.
        from.host.ip(&format!("neigh replace {to_address} lladdr {mac} dev {name} nud permanent"))?;
    }
    for nic in [input, output] {
        nic.host.ip(&format!("link set {} up", nic.name))?;
    }
    to.host.ip_batch(&format!("addr add {to_address}/24 dev {0}\nlink set {0} up", to.name))?;
    diode.install(loss)
}

/// Lays a veth cable between two hosts; both ends are down. `mtu` in bytes, `queues` for RX and TX each.
pub fn connect(one: Nic, other: Nic, mtu: u32, queues: u32) -> Result<()> {
    // Every end has an index of its own. The kernel reports a carrier up to a second late, and IPv6 waits for that
    // report, when a veth's index equals its peer's, as it does in two fresh namespaces (net/core/link_watch.c).
    static INDEX: AtomicU32 = AtomicU32::new(10);
    let end = |nic: Nic| {
        let index = INDEX.fetch_add(1, Ordering::Relaxed);
        let mac = nic.mac.map(|mac| format!(" address {mac}")).unwrap_or_default();
        format!("{} index {index} mtu {mtu} numtxqueues {queues} numrxqueues {queues}{mac}", nic.name)
    };
    let netns = other.host.netns_path();
    one.host.ip(&format!("link add {} type veth peer {} netns {netns}", end(one), end(other))).map(drop)
}

/// Keeps the kernel from talking on an interface by itself: no IPv6 neighbour discovery, no ARP, and no ICMP answers to
/// frames that come while no relay listens there.
fn silence(host: &Host, interface: &str) -> Result<()> {
    host.sysctl(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "1")?;
    host.ip(&format!("link set {interface} arp off"))?;
    let rules = format!(
        "table ip quiet {{ chain answers {{ type filter hook output priority 0; oifname \"{interface}\" meta l4proto icmp drop; }}; }}"
    );
    host.nft(&rules).map(drop)
}
