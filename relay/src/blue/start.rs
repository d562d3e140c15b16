//! Brings BLUE up: epoch, key, programs, sockets, lanes.

use std::path::Path;
use std::sync::{Arc, RwLock};

use anyhow::Context as _;
use crossbeam_channel::bounded;

use super::files::{self, Watchers};
use super::host::{BlueHost, Programs};
use super::ingress::{Ingress, KernelSockets};
use super::notice::{NOTICES_MAX, Notice};
use super::return_link;
use super::source::{Shared, Source};
use super::table::Table;
use super::tcp::{Clients, Listeners};
use super::udp::UdpIngress;
use crate::config::{Driver, Link, Role, Site, Unmatched};
use crate::host::{
    Chatter, Clock, FilesChatter, Lanes, LinkEnd, LinkTx, XdpSending, link_key, next_epoch, quiet, raise_open_files,
    tx_frames,
};
use crate::lane::{SendingLane, SendingOrder};
use crate::link::socket::SocketTx;
use crate::link::{Pacer, Rate, Sender, SenderConfig, TxPort};
use crate::steer::{BlueIngress, IngressOptions};
use crate::tcp::{Carries, FeedSender, Memory, feed};
use crate::telemetry::counters::{LinkName, SendCounters};
use crate::telemetry::syslog::{Syslog, Target};
use crate::wire::{Direction, LinkKey};
use crate::xsk::interface::{self, InterfaceInfo};
use crate::xsk::{RxConfig, RxSocket};

/// Ethernet header around the link's IP packets, bytes.
const ETHERNET_LEN: u32 = 14;

/// What all lanes have in common.
struct Common {
    site: Site,
    epoch: u32,
    key: LinkKey,
    /// Of all lanes together.
    pacer: Option<Pacer>,
    lanes: usize,
    clock: Clock,
    table: Arc<Table>,
    counters: Arc<SendCounters>,
    notices: crossbeam_channel::Sender<Notice>,
}

/// Starts everything; datagrams flow when it returns.
pub fn start(path: &Path, site: Site) -> anyhow::Result<BlueHost> {
    let key = link_key(&site)?;
    let socket_driver = site.blue.driver == Driver::Socket;
    let interfaces = if socket_driver { None } else { Some(Interfaces::look(&site)?) };
    let lanes = interfaces.as_ref().map_or(1, Interfaces::lanes);
    let counters = Arc::new(SendCounters::new(Role::Blue, LinkName::Forward, lanes));
    let return_counters = return_link::return_counters(&site);
    let table = Arc::new(Table::new(&site, None, &counters, return_counters.as_deref())?);
    raise_open_files(table.tcp().map(|(_, entry)| u64::from(entry.limit.max())).sum());
    let (notices, notices_here) = bounded(NOTICES_MAX);
    let epoch = next_epoch(&site.blue.state_dir, Direction::Forward)?;
    quiet(&site.link.blue.interface);
    let pacer = pacer(&site.link, lanes);
    let common = Common { epoch, key, pacer, lanes, clock: Clock::default(), table, counters, notices, site };
    let returns =
        return_link::start(&common.site, &common.key, common.clock, &common.table, return_counters, &common.notices)?;
    let windows = returns.as_ref().map(|returns| Arc::clone(&returns.windows)).unwrap_or_default();
    let (return_link, answers) = returns.map(|returns| (returns.link, returns.answers)).unzip();
    let queue_room = interfaces.as_ref().map_or(0, Interfaces::queue_room);
    let (running, feeds, programs, obtained) = match interfaces {
        None => start_socket(&common)?,
        Some(interfaces) => start_xdp(&common, &interfaces)?,
    };
    let tx_frames = tx_frames(&common.table.sender_channels());
    let memory = Memory::new(common.site.blue.buffer_bytes);
    let (lanes_of_files, answers_of_files) = (feeds.clone(), answers.clone());
    let shared = Clients {
        table: RwLock::new(Arc::clone(&common.table)),
        lanes: feeds,
        answers,
        memory: Arc::clone(&memory),
        windows,
        notices: common.notices.clone(),
        clock: common.clock,
    };
    let listeners = Listeners::new(&common.site.blue.interface, shared);
    let mut listeners = listeners.context("cannot start the runtime of TCP connections")?;
    let opened = listeners.open(&common.table)?;
    listeners.set_table(&common.table, opened);
    let files = files::Common {
        lanes: lanes_of_files,
        answers: answers_of_files,
        notices: common.notices.clone(),
        clock: common.clock,
    };
    let mut watchers = Watchers::new(files);
    watchers.set_site(&common.site, &common.table, listeners.runtime())?;
    tracing::info!(epoch, lanes, "{obtained}");
    let syslog = Syslog::start(Target::resolve(common.site.blue.syslog.as_ref())).context("cannot start syslog")?;
    let host = BlueHost {
        path: path.to_owned(),
        site: common.site,
        table: common.table,
        counters: common.counters,
        lanes: running,
        return_link,
        memory,
        listeners: Some(listeners),
        watchers: Some(watchers),
        programs,
        notices: notices_here,
        syslog,
        obtained,
        tx_frames,
        allowed_before: Vec::new(),
        emptied_before: Vec::new(),
        queue_room,
        overflow: std::collections::HashMap::new(),
        differs_from: None,
        chatter: Chatter::default(),
        files_chatter: FilesChatter::default(),
    };
    host.announce_start(epoch);
    Ok(host)
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

type Started = (Lanes<SendingOrder<Table>, Shared>, Vec<FeedSender>, Option<Programs>, String);

fn start_socket(common: &Common) -> anyhow::Result<Started> {
    let end = LinkEnd::forward(&common.site.link, Role::Blue);
    let tx = LinkTx::<SocketTx>::open(&end, tx_frames(&common.table.sender_channels()))?;
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
    let link = XdpSending::open(&end, &interfaces.link, count, tx_frames(&common.table.sender_channels()))?;
    let mut ingress = BlueIngress::attach(&site.blue.interface, &options)?;
    let mut queues: Vec<Vec<RxSocket>> = (0..count).map(|_| Vec::new()).collect();
    for queue in 0..interfaces.zone.rx_queues {
        let socket = RxSocket::open(&interfaces.rx_config(&site.blue.interface, queue))?;
        ingress.register(queue, std::os::fd::AsFd::as_fd(&socket))?;
        queues[queue as usize % count].push(socket);
    }
    let zone_mode = format!("{}/{}", ingress.mode(), queues[0][0].mode());
    // Before the lanes open the kernel's sockets: what came over these first would be overtaken by what comes over the
    // queues, which hold it until their lane runs.
    ingress.update(&common.table.rules())?;
    let mut lanes = Lanes::default();
    let mut feeds = Vec::new();
    for (number, (tx, queues)) in link.lanes.into_iter().zip(queues).enumerate() {
        // The kernel's sockets get few datagrams, and each flow of them one lane: the first.
        let kernel = (number == 0).then(|| KernelSockets::new(&site.blue.interface)).transpose();
        let ingress = Ingress::new(queues, kernel.context("cannot make kernel sockets")?);
        feeds.push(spawn(common, &mut lanes, tx, ingress)?);
    }
    lanes.wait_ready()?;
    let events = ingress.take_events();
    let obtained = format!("driver=xdp mode={zone_mode} link_mode={}", link.mode);
    Ok((lanes, feeds, Some(Programs { ingress, link: link.program, events }), obtained))
}

fn spawn<P>(
    common: &Common,
    lanes: &mut Lanes<SendingOrder<Table>, Shared>,
    tx: LinkTx<P>,
    ingress: Ingress,
) -> anyhow::Result<FeedSender>
where
    P: TxPort + Send + 'static,
    P::Frame: Send,
{
    let link = &common.site.link;
    // As if every lane were busy: one that is alone empties its queue the sooner.
    let lane_bps = link.rate_bps.map(|rate_bps| rate_bps / common.lanes as u64);
    let (feed_sender, feed) = feed(Carries::Everything, lane_bps).context("cannot make a lane's feed")?;
    // There before the lane runs: its first heartbeat tells of the table.
    let table = order(&common.table);
    lanes.spawn(Some(table), |lane, mailbox, shared, ready| {
        let config = SenderConfig {
            lane: lane as u16,
            epoch: common.epoch,
            direction: Direction::Forward,
            key: common.key.clone(),
            symbol_bytes: tx.symbol_bytes,
            heartbeat_ns: link.heartbeat.as_nanos() as u64,
            rate: None,
        };
        let mut sender = Sender::new(config, tx.port);
        if let Some(pacer) = &common.pacer {
            sender.share_rate(pacer.clone());
        }
        let table = Arc::clone(&common.table);
        let udp = UdpIngress::new(lane, table, Arc::clone(&shared), common.notices.clone());
        let lane = SendingLane {
            number: lane,
            clock: common.clock,
            sender,
            source: Source { ingress, udp, feed, shared },
            mailbox,
            counters: common.counters.link(),
            ready,
            send_errors: tx.send_errors,
        };
        move || lane.run()
    })?;
    Ok(feed_sender)
}

/// What all lanes together may not exceed.
fn pacer(link: &Link, lanes: usize) -> Option<Pacer> {
    let rate = Rate { bits_per_second: link.rate_bps?, burst_bytes: link.burst_bytes };
    Some(Pacer::shared(rate, lanes, u32::from(link.mtu) + ETHERNET_LEN))
}

fn order(table: &Arc<Table>) -> SendingOrder<Table> {
    SendingOrder::Table(Arc::clone(table), table.sender_channels(), table.encoder())
}
