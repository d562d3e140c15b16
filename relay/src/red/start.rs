//! Brings RED up: key, state, programs, sockets, lanes.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use crossbeam_channel::bounded;

use super::egress::{Egress, XdpEgress};
use super::host::RedHost;
use super::neighbour::Neighbours;
use super::notice::{NOTICES_MAX, Notice};
use super::replay::Replay;
use super::return_link;
use super::table::Table;
use super::tcp::Deliveries;
use crate::card::{CardConfig, CardTx};
use crate::config::{Driver, Role, Site, Transmit};
use crate::host::{
    Chatter, Clock, FilesChatter, Lanes, LinkEnd, LinkPort, LinkWatch, POOL_BYTES, ReceiverState, SharedSeen,
    TcpRuntime, XdpReceiving, link_key, open_socket_rx, quiet, raise_open_files,
};
use crate::lane::{ReceivingLane, ReceivingOrder};
use crate::link::{Claim, Receiver, ReceiverConfig};
use crate::steer::ReceivingLink;
use crate::tcp::Memory;
use crate::telemetry::counters::{LinkName, ReceiveCounters};
use crate::telemetry::syslog::{Syslog, Target};
use crate::wire::{Direction, LinkKey};
use crate::xsk::interface::{self, InterfaceInfo};

/// Frames lent to a zero-copy driver on the zone interface, so that the kernel still receives there (ARP, answers).
const KERNEL_FRAMES: u32 = 512;
/// Frames that a lane sends from into the zone: as on the link, 4 ms of full ones at 10 Gbit/s.
const ZONE_FRAMES: u32 = 4096;

/// What all lanes have in common.
struct Common {
    site: Site,
    key: LinkKey,
    deliveries: Deliveries,
    clock: Clock,
    /// What was seen of the link before this start.
    remembered: ReceiverState,
    table: Arc<Table>,
    counters: Arc<ReceiveCounters>,
    notices: crossbeam_channel::Sender<Notice>,
}

/// Starts everything; frames are taken when it returns. Call it inside the control thread's runtime.
pub fn start(path: &Path, site: Site) -> anyhow::Result<RedHost> {
    let key = link_key(&site)?;
    let interfaces = if site.red.driver == Driver::Socket { None } else { Some(Interfaces::look(&site)?) };
    let lanes = interfaces.as_ref().map_or(1, Interfaces::lanes);
    let watch = LinkWatch::start(&site.red.state_dir, Direction::Forward)?;
    raise_open_files(site.streams.iter().map(|stream| u64::from(stream.max_sessions)).sum());
    let counters = Arc::new(ReceiveCounters::new(Role::Red, LinkName::Forward, lanes));
    let neighbours = interfaces.as_ref().map(|_| Neighbours::start(&site.red.interface)).transpose()?;
    let returns = return_link::Prepared::new(&site)?;
    let return_counters = returns.as_ref().map(|returns| &*returns.counters);
    let table = Arc::new(Table::new(&site, None, &counters, return_counters, neighbours.as_ref())?);
    let (notices, notices_here) = bounded(NOTICES_MAX);
    quiet(&site.link.red.interface);
    let runtime = TcpRuntime::start().context("cannot start the threads of TCP connections")?;
    let (clock, memory) = (Clock::default(), Memory::new(site.red.buffer_bytes));
    let feed = returns.as_ref().map(|returns| returns.feed.clone());
    let deliveries = Deliveries::new(runtime.handle().clone(), feed, notices.clone(), clock, Arc::clone(&memory));
    // First: a session that begins is answered.
    let return_link = returns.map(|returns| returns.start(&site, &key, clock, &table)).transpose()?;
    let common =
        Common { key, deliveries, clock, remembered: watch.remembered().clone(), table, counters, notices, site };
    let (running, program, obtained) = match interfaces {
        None => start_socket(&common)?,
        Some(interfaces) => start_xdp(&common, &interfaces)?,
    };
    tracing::info!(lanes, epoch_min = watch.epoch(), "{obtained}");
    let syslog = Syslog::start(Target::resolve(common.site.red.syslog.as_ref())).context("cannot start syslog")?;
    let host = RedHost {
        path: path.to_owned(),
        site: common.site,
        table: common.table,
        counters: common.counters,
        neighbours,
        lanes: running,
        return_link,
        memory,
        runtime: Some(runtime),
        program,
        notices: notices_here,
        files_notices: common.notices,
        syslog,
        obtained,
        clock: common.clock,
        watch,
        files: super::host::Files::default(),
        chatter: Chatter::default(),
        files_chatter: FilesChatter::default(),
    };
    host.start_files();
    host.announce_start();
    Ok(host)
}

/// Both interfaces of an XDP host.
struct Interfaces {
    zone: InterfaceInfo,
    link: InterfaceInfo,
}

impl Interfaces {
    fn look(site: &Site) -> anyhow::Result<Self> {
        let zone = interface::info(&site.red.interface).context("[red] interface")?;
        let link = LinkEnd::forward(&site.link, Role::Red).interface()?;
        Ok(Self { zone, link })
    }

    fn lanes(&self) -> usize {
        self.link.rx_queues.min(self.zone.tx_queues).max(1) as usize
    }
}

type Started = (Lanes<ReceivingOrder<Table>, SharedSeen>, Option<ReceivingLink>, String);

fn start_socket(common: &Common) -> anyhow::Result<Started> {
    let port = open_socket_rx(&LinkEnd::forward(&common.site.link, Role::Red))?;
    let mut lanes = Lanes::default();
    spawn(common, &mut lanes, Claim::first(), port, Egress::new(None))?;
    lanes.wait_ready()?;
    Ok((lanes, None, "driver=socket mode=kernel".to_owned()))
}

fn start_xdp(common: &Common, interfaces: &Interfaces) -> anyhow::Result<Started> {
    let end = LinkEnd::forward(&common.site.link, Role::Red);
    let link = XdpReceiving::open(&end, &interfaces.link, interfaces.lanes())?;
    let mut lanes = Lanes::default();
    let mut zone_mode = String::new();
    let claims = Claim::among(link.lanes.len()).context("more queues than receivers can share a link")?;
    let count = link.lanes.len();
    for (number, (queues, claim)) in link.lanes.into_iter().zip(claims).enumerate() {
        let xdp = open_zone(common, &interfaces.zone, (number, count))?;
        zone_mode = xdp.card.mode().to_string();
        spawn(common, &mut lanes, claim, queues, Egress::new(Some(xdp)))?;
    }
    lanes.wait_ready()?;
    Ok((lanes, Some(link.program), format!("driver=xdp mode={} zone_mode={zone_mode}", link.mode)))
}

fn open_zone(common: &Common, zone: &InterfaceInfo, (lane, lanes): (usize, usize)) -> anyhow::Result<XdpEgress> {
    let transmit = match common.site.link.transmit {
        // Which queue a packet socket's packets take may change with the processor that its lane runs on (XPS), and with it their order.
        Transmit::Auto if zone.tx_queues > 1 => Transmit::AfXdp,
        transmit => transmit,
    };
    let (card, mtu) = CardTx::open(&CardConfig {
        interface: &common.site.red.interface,
        queue: lane as u32,
        mtu: zone.mtu,
        frames: ZONE_FRAMES,
        receive_frames: KERNEL_FRAMES,
        transmit,
        lanes: lanes as u32,
    })?;
    Ok(XdpEgress { card, mac: zone.mac, mtu: mtu as usize })
}

fn spawn<P>(
    common: &Common,
    lanes: &mut Lanes<ReceivingOrder<Table>, SharedSeen>,
    claim: Claim,
    port: P,
    egress: Egress,
) -> anyhow::Result<()>
where
    P: LinkPort + Send + 'static,
{
    let link = &common.site.link;
    let mut receiver = Receiver::new(ReceiverConfig {
        claim,
        key: common.key.clone(),
        direction: Direction::Forward,
        epoch_min: common.remembered.epoch,
        packet_floors: common.remembered.floors.clone(),
        symbol_bytes: LinkEnd::forward(link, Role::Red).symbol_bytes(),
        hold_ns: link.fec.hold.as_nanos() as u64,
        heartbeat_ns: link.heartbeat.as_nanos() as u64,
        pool_bytes: POOL_BYTES,
    });
    receiver.set_channels(common.table.channels());
    common.deliveries.windows().add_queue(port.queue_bytes());
    lanes.spawn(None, |number, mailbox, seen, ready| {
        let lane = ReceivingLane {
            number,
            clock: common.clock,
            port,
            receiver,
            sink: Replay::new(
                number,
                Arc::clone(&common.table),
                egress,
                common.deliveries.clone(),
                common.notices.clone(),
            ),
            mailbox,
            counters: common.counters.link(),
            seen,
            ready,
        };
        move || lane.run()
    })
}
