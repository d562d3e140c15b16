//! Brings BLUE up: epoch, key, programs, sockets, lanes.

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
use crate::config::{Driver, Role, Site, Unmatched};
use crate::host::{Chatter, Clock, Lanes, LinkEnd, LinkTx, XdpSending, link_key, next_epoch, quiet};
use crate::link::socket::SocketTx;
use crate::link::{Rate, Sender, SenderConfig, TxPort};
use crate::steer::{BlueIngress, IngressOptions};
use crate::telemetry::counters::{LinkName, SendCounters};
use crate::telemetry::syslog::{Syslog, Target};
use crate::wire::{Direction, LinkKey};
use crate::xsk::interface::{self, InterfaceInfo};
use crate::xsk::{RxConfig, RxSocket};

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
    let epoch = next_epoch(&site.blue.state_dir, Direction::Forward)?;
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
        let link = LinkEnd::forward(&site.link, Role::Blue).interface()?;
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
    let end = LinkEnd::forward(&common.site.link, Role::Blue);
    let tx = LinkTx::<SocketTx>::open(&end, tx_frames(&common.table))?;
    let kernel = KernelSockets::new(&common.site.blue.interface).context("cannot make kernel sockets")?;
    let ingress = Ingress::new(Vec::new(), Some(kernel));
    let mut lanes = Lanes::default();
    let feeds = vec![spawn(common, &mut lanes, tx, ingress)?];
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
    let count = interfaces.lanes();
    let end = LinkEnd::forward(&site.link, Role::Blue);
    let link = XdpSending::open(&end, &interfaces.link, count, tx_frames(&common.table))?;
    let mut ingress = BlueIngress::attach(&site.blue.interface, &options)?;
    let mut queues: Vec<Vec<RxSocket>> = (0..count).map(|_| Vec::new()).collect();
    for queue in 0..interfaces.zone.rx_queues {
        let socket = RxSocket::open(&interfaces.rx_config(&site.blue.interface, queue))?;
        ingress.register(queue, std::os::fd::AsFd::as_fd(&socket))?;
        queues[queue as usize % count].push(socket);
    }
    let zone_mode = format!("{}/{}", ingress.mode(), queues[0][0].mode());
    let mut lanes = Lanes::default();
    let mut feeds = Vec::new();
    for (number, (tx, queues)) in link.lanes.into_iter().zip(queues).enumerate() {
        // The kernel's sockets get few datagrams, and each flow of them one lane: the first.
        let kernel = (number == 0).then(|| KernelSockets::new(&site.blue.interface)).transpose();
        let ingress = Ingress::new(queues, kernel.context("cannot make kernel sockets")?);
        feeds.push(spawn(common, &mut lanes, tx, ingress)?);
    }
    // Last, so that no datagram is taken before its lane runs.
    lanes.wait_ready()?;
    ingress.update(&common.table.rules())?;
    let events = ingress.take_events();
    let obtained = format!("driver=xdp mode={zone_mode} link_mode={}", link.mode);
    Ok((lanes, feeds, Some(Programs { ingress, link: link.program, events }), obtained))
}

fn spawn<P>(
    common: &Common,
    lanes: &mut Lanes<Order, Shared>,
    tx: LinkTx<P>,
    ingress: Ingress,
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
            symbol_bytes: tx.symbol_bytes,
            heartbeat_ns: link.heartbeat.as_nanos() as u64,
            rate: link.rate_bps.map(|bits_per_second| Rate { bits_per_second, burst_bytes: link.burst_bytes }),
        };
        let table = Arc::clone(&common.table);
        let lane = Lane {
            number: lane,
            clock: common.clock,
            sender: Sender::new(config, tx.port),
            ingress,
            udp: UdpIngress::new(lane, table, Arc::clone(&shared), common.notices.clone()),
            feed,
            mailbox,
            counters: common.counters.link(),
            shared,
            ready,
            send_errors: tx.send_errors,
        };
        move || lane.run()
    })?;
    Ok(feed_sender)
}
