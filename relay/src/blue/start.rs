//! Brings BLUE up: epoch, key, programs, sockets, lanes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use crossbeam_channel::bounded;

use super::host::{BlueHost, Programs};
use super::ingress::{Ingress, KernelSockets};
use super::lane::{Lane, Order, Shared};
use super::notice::{NOTICES_MAX, Notice};
use super::table::Table;
use super::tcp::{FeedSender, Listeners, feed};
use super::udp::UdpIngress;
use crate::config::{Driver, Encapsulation, Role, Site, Unmatched};
use crate::host::{Chatter, Clock, Lanes, check_mtu, check_mtu_if_there, link_key, next_epoch, quiet};
use crate::link::socket::SocketTx;
use crate::link::xdp::XdpTx;
use crate::link::{Rate, Sender, SenderConfig, TxPort};
use crate::packet::{BROADCAST, LinkHeader};
use crate::steer::{BlueIngress, IngressOptions, SendingLink};
use crate::telemetry::counters::{LinkName, SendCounters};
use crate::telemetry::syslog::{Syslog, Target};
use crate::wire::{Direction, FRAME_OVERHEAD, IP_UDP_LEN, LinkKey, symbol_size};
use crate::xsk::interface::{self, InterfaceInfo};
use crate::xsk::{RxConfig, RxSocket, TxConfig, TxSocket};

/// Lane n sends from this UDP port plus n: the start of the dynamic ports (RFC 6335, 6), so that RED's network card
/// spreads lanes over its queues.
const SOURCE_PORT_BASE: u16 = 49_152;
/// Ethernet header, bytes.
const ETHERNET_LEN: usize = 14;
/// The least frames a lane sends from: 8 MiB of 2 KiB frames, 4 ms at 10 Gbit/s.
const TX_FRAMES_MIN: usize = 4096;

/// What all lanes have in common.
struct Common {
    site: Site,
    epoch: u32,
    key: LinkKey,
    clock: Clock,
    table: Arc<Table>,
    counters: Arc<SendCounters>,
    notices: crossbeam_channel::Sender<Notice>,
}

/// Starts everything; datagrams flow when it returns.
pub fn start(path: &Path, site: Site) -> anyhow::Result<BlueHost> {
    let key = link_key(&site)?;
    crate::host::warn_not_carried(&site);
    let socket_driver = site.blue.driver == Driver::Socket;
    let interfaces = if socket_driver { None } else { Some(Interfaces::look(&site)?) };
    let lanes = interfaces.as_ref().map_or(1, Interfaces::lanes);
    let counters = Arc::new(SendCounters::new(Role::Blue, LinkName::Forward, lanes));
    let table = Arc::new(Table::new(&site, None, &counters)?);
    let (notices, notices_here) = bounded(NOTICES_MAX);
    let epoch = next_epoch(&site.blue.state_dir)?;
    quiet(&site.link.blue.interface);
    let common = Common { epoch, key, clock: Clock::default(), table, counters, notices, site };
    let queue_room = interfaces.as_ref().map_or(0, Interfaces::queue_room);
    let (running, feeds, programs, obtained) = match interfaces {
        None => start_socket(&common)?,
        Some(interfaces) => start_xdp(&common, &interfaces)?,
    };
    let tx_frames = tx_frames(&common.table);
    let zone = &common.site.blue.interface;
    let listeners = Listeners::new(zone, Arc::clone(&common.table), feeds, common.notices.clone(), common.clock);
    let mut listeners = listeners.context("cannot start the runtime of TCP connections")?;
    listeners.set_table(&common.table)?;
    tracing::info!(epoch, lanes, "{obtained}");
    let syslog = Syslog::start(Target::resolve(common.site.blue.syslog.as_ref())).context("cannot start syslog")?;
    let host = BlueHost {
        path: path.to_owned(),
        site: common.site,
        table: common.table,
        counters: common.counters,
        lanes: running,
        listeners: Some(listeners),
        programs,
        notices: notices_here,
        syslog,
        obtained,
        tx_frames,
        allowed_before: Vec::new(),
        emptied_before: Vec::new(),
        queue_room,
        overflow: std::collections::HashMap::new(),
        chatter: Chatter::default(),
    };
    host.announce_start(epoch);
    Ok(host)
}

/// Frames that every lane's port has, for these streams.
pub fn tx_frames(table: &Table) -> usize {
    let repair = table.sender_channels().iter().map(|channel| channel.repair.max()).max().unwrap_or(0);
    // Two blocks may close with one record, and a record may be as long as a datagram can be.
    (4 * usize::from(repair) + 512).next_power_of_two().max(TX_FRAMES_MIN)
}

/// Both interfaces of an XDP host.
struct Interfaces {
    zone: InterfaceInfo,
    link: InterfaceInfo,
}

impl Interfaces {
    fn look(site: &Site) -> anyhow::Result<Self> {
        let zone = interface::info(&site.blue.interface).context("[blue] interface")?;
        let link = interface::info(&site.link.blue.interface).context("[link.blue] interface")?;
        check_mtu(&site.link, &site.link.blue, &link)?;
        Ok(Self { zone, link })
    }

    /// Datagrams that all receive rings of the zone hold.
    fn queue_room(&self) -> u64 {
        u64::from(self.zone.rx_queues) * u64::from(self.rx_config("", 0).ring_size)
    }

    fn rx_config(&self, interface: &str, queue: u32) -> RxConfig {
        RxConfig::one_of(interface, queue, self.zone.rx_queues)
    }

    fn lanes(&self) -> usize {
        self.zone.rx_queues.min(self.link.tx_queues).max(1) as usize
    }
}

type Started = (Lanes<Order, Shared>, Vec<FeedSender>, Option<Programs>, String);

fn start_socket(common: &Common) -> anyhow::Result<Started> {
    let link = &common.site.link;
    check_mtu_if_there(link, &link.blue)?;
    let symbol_bytes = symbol_size(usize::from(link.mtu), IP_UDP_LEN);
    let from = SocketAddr::from((link.blue.address, 0));
    let to = SocketAddr::from((link.red.address, link.port));
    let port =
        SocketTx::open(from, to, symbol_bytes + FRAME_OVERHEAD, tx_frames(&common.table)).with_context(|| {
            format!(
                "cannot send from {} ([link.blue] address) to {to}; give {} that address",
                link.blue.address, link.blue.interface
            )
        })?;
    let kernel = KernelSockets::new(&common.site.blue.interface).context("cannot make kernel sockets")?;
    let ingress = Ingress::new(Vec::new(), Some(kernel));
    let errors = |port: &SocketTx| port.errors().0;
    let mut lanes = Lanes::default();
    let feeds = vec![spawn(common, &mut lanes, port, symbol_bytes, ingress, errors)?];
    lanes.wait_ready()?;
    Ok((lanes, feeds, None, "driver=socket mode=kernel".to_owned()))
}

fn start_xdp(common: &Common, interfaces: &Interfaces) -> anyhow::Result<Started> {
    let site = &common.site;
    let options = IngressOptions {
        own_mac: Some(interfaces.zone.mac),
        drop_other: site.blue.unmatched == Unmatched::Drop,
        ..IngressOptions::default()
    };
    let link = SendingLink::attach(&site.link.blue.interface)?;
    let mut ingress = BlueIngress::attach(&site.blue.interface, &options)?;
    let count = interfaces.lanes();
    let mut queues: Vec<Vec<RxSocket>> = (0..count).map(|_| Vec::new()).collect();
    for queue in 0..interfaces.zone.rx_queues {
        let socket = RxSocket::open(&interfaces.rx_config(&site.blue.interface, queue))?;
        ingress.register(queue, std::os::fd::AsFd::as_fd(&socket))?;
        queues[queue as usize % count].push(socket);
    }
    let zone_mode = format!("{}/{}", ingress.mode(), queues[0][0].mode());
    let mut lanes = Lanes::default();
    let mut feeds = Vec::new();
    let mut link_mode = String::new();
    for (number, queues) in queues.into_iter().enumerate() {
        let (port, symbol_bytes) = open_port(common, interfaces, number)?;
        link_mode = format!("{}/{}", link.mode(), port.socket().mode());
        // The kernel's sockets get few datagrams, and each flow of them one lane: the first.
        let kernel = (number == 0).then(|| KernelSockets::new(&site.blue.interface)).transpose();
        let ingress = Ingress::new(queues, kernel.context("cannot make kernel sockets")?);
        feeds.push(spawn(common, &mut lanes, port, symbol_bytes, ingress, |_| 0)?);
    }
    // Last, so that no datagram is taken before its lane runs.
    lanes.wait_ready()?;
    ingress.update(&common.table.rules())?;
    let events = ingress.take_events();
    let obtained = format!("driver=xdp mode={zone_mode} link_mode={link_mode}");
    Ok((lanes, feeds, Some(Programs { ingress, link, events }), obtained))
}

fn open_port(common: &Common, interfaces: &Interfaces, lane: usize) -> anyhow::Result<(XdpTx, usize)> {
    let link = &common.site.link;
    let mac = link.red.mac.unwrap_or(BROADCAST);
    let (header, ip_overhead) = match link.encapsulation {
        Encapsulation::Udp => {
            let port = SOURCE_PORT_BASE + lane as u16;
            let header =
                LinkHeader::udp(interfaces.link.mac, mac, link.blue.address, link.red.address, port, link.port);
            (header, IP_UDP_LEN)
        }
        Encapsulation::Ethernet => (LinkHeader::ethernet(interfaces.link.mac, mac), 0),
    };
    let mut config = TxConfig::new(&link.blue.interface, lane as u32);
    config.frame_count = tx_frames(&common.table) as u32;
    if usize::from(link.mtu) + ETHERNET_LEN > config.frame_size as usize {
        config.frame_size = 4096;
    }
    // A packet lies in one frame: on a jumbo link symbols are as large as frames allow.
    let mtu = usize::from(link.mtu).min(config.frame_size as usize - ETHERNET_LEN);
    let socket = TxSocket::open(&config)?;
    Ok((XdpTx::new(socket, header), symbol_size(mtu, ip_overhead)))
}

fn spawn<P>(
    common: &Common,
    lanes: &mut Lanes<Order, Shared>,
    port: P,
    symbol_bytes: usize,
    ingress: Ingress,
    send_errors: fn(&P) -> u64,
) -> anyhow::Result<FeedSender>
where
    P: TxPort + Send + 'static,
    P::Frame: Send,
{
    let link = &common.site.link;
    let (feed_sender, feed) = feed().context("cannot make a lane's feed")?;
    // There before the lane runs: its first heartbeat tells of the table.
    let table = Order::Table(Arc::clone(&common.table), common.table.encoder());
    lanes.spawn(Some(table), |lane, mailbox, shared, ready| {
        let config = SenderConfig {
            lane: lane as u16,
            epoch: common.epoch,
            direction: Direction::Forward,
            key: common.key.clone(),
            symbol_bytes: symbol_bytes as u16,
            heartbeat_ns: link.heartbeat.as_nanos() as u64,
            rate: link.rate_bps.map(|bits_per_second| Rate { bits_per_second, burst_bytes: link.burst_bytes }),
        };
        let table = Arc::clone(&common.table);
        let lane = Lane {
            number: lane,
            clock: common.clock,
            sender: Sender::new(config, port),
            ingress,
            udp: UdpIngress::new(lane, table, Arc::clone(&shared), common.notices.clone()),
            feed,
            mailbox,
            counters: common.counters.link(),
            shared,
            ready,
            send_errors,
        };
        move || lane.run()
    })?;
    Ok(feed_sender)
}
