//! Brings RED up: key, state, programs, sockets, lanes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossbeam_channel::bounded;

use super::egress::{Egress, XdpEgress};
use super::host::{LaneHandle, RedHost};
use super::lane::{Lane, Order, Shared};
use super::neighbour::Neighbours;
use super::notice::{NOTICES_MAX, Notice};
use super::port::{LinkPort, Queues};
use super::replay::Replay;
use super::table::Table;
use crate::config::{Driver, Encapsulation, Site};
use crate::host::{Chatter, Clock, RedState, link_key, load_red, mailbox, quiet, store_red};
use crate::link::socket::SocketRx;
use crate::link::xdp::XdpRx;
use crate::link::{Claim, Receiver, ReceiverConfig};
use crate::packet;
use crate::steer::{self, RedLink};
use crate::telemetry::counters::RedCounters;
use crate::telemetry::syslog::{Syslog, Target};
use crate::wire::{Direction, IP_UDP_LEN, LinkKey, symbol_size};
use crate::xsk::interface::{self, InterfaceInfo};
use crate::xsk::{RxConfig, RxSocket, TxConfig, TxSocket};

/// Memory for symbols that wait, per lane: at 10 Gbit/s it is 50 ms of link, far more than any `hold`.
const POOL_BYTES: usize = 64 << 20;
/// Frames lent to a zero-copy driver on the zone interface, so that the kernel still receives there (ARP, answers).
const KERNEL_FRAMES: u32 = 512;
/// Ethernet header, bytes.
const ETHERNET_LEN: u32 = 14;
/// Lanes must all run within this time.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// What all lanes have in common.
struct Common {
    site: Site,
    key: LinkKey,
    claim: Claim,
    clock: Clock,
    state: RedState,
    table: Arc<Table>,
    counters: Arc<RedCounters>,
    notices: crossbeam_channel::Sender<Notice>,
}

/// Starts everything; frames are taken when it returns. Call it inside the control thread's runtime.
pub fn start(path: &Path, site: Site) -> anyhow::Result<RedHost> {
    let key = link_key(&site)?;
    let interfaces = if site.red.driver == Driver::Socket { None } else { Some(Interfaces::look(&site)?) };
    let lanes = interfaces.as_ref().map_or(1, Interfaces::lanes);
    let state = load_red(&site.red.state_dir)?;
    // Finds out now, not at the first new epoch, that the folder cannot be written.
    store_red(&site.red.state_dir, &state, false)?;
    let counters = Arc::new(RedCounters::red(lanes));
    let neighbours = interfaces.as_ref().map(|_| Neighbours::start(&site.red.interface)).transpose()?;
    let table = Arc::new(Table::new(&site, None, &counters, neighbours.as_ref()));
    let (notices, notices_here) = bounded(NOTICES_MAX);
    quiet(&site.link.red.interface);
    let common = Common {
        key,
        claim: Claim::first(),
        clock: Clock::default(),
        state: state.clone(),
        table,
        counters,
        notices,
        site,
    };
    let (handles, program, obtained) = match interfaces {
        None => start_socket(&common)?,
        Some(interfaces) => start_xdp(&common, &interfaces)?,
    };
    wait_ready(&handles)?;
    tracing::info!(lanes, epoch_min = state.epoch, "{obtained}");
    let syslog = Syslog::start(Target::resolve(common.site.red.syslog.as_ref())).context("cannot start syslog")?;
    let host = RedHost {
        path: path.to_owned(),
        site: common.site,
        table: common.table,
        counters: common.counters,
        neighbours,
        lanes: handles,
        program,
        notices: notices_here,
        syslog,
        obtained,
        clock: common.clock,
        state,
        watch: super::host::Watch::default(),
        chatter: Chatter::default(),
    };
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
        let link = interface::info(&site.link.red.interface).context("[link.red] interface")?;
        anyhow::ensure!(
            link.mtu >= u32::from(site.link.mtu),
            "[link] mtu = {} is above the MTU of {}, which is {}: set the same on both",
            site.link.mtu,
            site.link.red.interface,
            link.mtu
        );
        Ok(Self { zone, link })
    }

    fn lanes(&self) -> usize {
        self.link.rx_queues.min(self.zone.tx_queues).max(1) as usize
    }
}

type Started = (Vec<LaneHandle>, Option<RedLink>, String);

fn start_socket(common: &Common) -> anyhow::Result<Started> {
    let link = &common.site.link;
    let at = SocketAddr::from((link.red.address, link.port));
    let port = SocketRx::open(at).with_context(|| {
        format!("cannot receive at {at} ([link.red] address and [link] port); give {} that address", link.red.interface)
    })?;
    let lane = spawn(common, 0, port, Egress::new(None))?;
    Ok((vec![lane], None, "driver=socket mode=kernel".to_owned()))
}

fn start_xdp(common: &Common, interfaces: &Interfaces) -> anyhow::Result<Started> {
    let link = &common.site.link;
    let (steered, stripped) = match link.encapsulation {
        Encapsulation::Udp => (steer::Encapsulation::Udp, packet::Encapsulation::Udp),
        Encapsulation::Ethernet => (steer::Encapsulation::Ethernet, packet::Encapsulation::Ethernet),
    };
    let mut program = RedLink::attach(&link.red.interface, link.port, steered)?;
    let lanes = interfaces.lanes();
    let mut queues: Vec<Vec<XdpRx>> = (0..lanes).map(|_| Vec::new()).collect();
    for queue in 0..interfaces.link.rx_queues {
        let socket = RxSocket::open(&RxConfig::new(&link.red.interface, queue))?;
        program.register(queue, std::os::fd::AsFd::as_fd(&socket))?;
        queues[queue as usize % lanes].push(XdpRx::new(socket, stripped));
    }
    let link_mode = format!("{}/{}", program.mode(), queues[0][0].socket().mode());
    let mut handles = Vec::new();
    let mut zone_mode = String::new();
    for (number, queues) in queues.into_iter().enumerate() {
        let xdp = open_zone(common, &interfaces.zone, number)?;
        zone_mode = xdp.socket.mode().to_string();
        handles.push(spawn(common, number, Queues(queues), Egress::new(Some(xdp)))?);
    }
    Ok((handles, Some(program), format!("driver=xdp mode={link_mode} zone_mode={zone_mode}")))
}

fn open_zone(common: &Common, zone: &InterfaceInfo, lane: usize) -> anyhow::Result<XdpEgress> {
    let mut config = TxConfig::new(&common.site.red.interface, lane as u32);
    config.receive_frames = KERNEL_FRAMES;
    if zone.mtu + ETHERNET_LEN > config.frame_size {
        config.frame_size = 4096;
    }
    let mtu = zone.mtu.min(config.frame_size - ETHERNET_LEN) as usize;
    Ok(XdpEgress { socket: TxSocket::open(&config)?, mac: zone.mac, mtu })
}

fn spawn<P>(common: &Common, number: usize, port: P, egress: Egress) -> anyhow::Result<LaneHandle>
where
    P: LinkPort + Send + 'static,
{
    let link = &common.site.link;
    let ip_overhead = if link.encapsulation == Encapsulation::Udp { IP_UDP_LEN } else { 0 };
    let mut receiver = Receiver::new(ReceiverConfig {
        claim: common.claim.another().context("more queues than receivers can share a link")?,
        key: common.key.clone(),
        direction: Direction::Forward,
        epoch_min: common.state.epoch,
        packet_floors: common.state.floors.clone(),
        symbol_bytes: symbol_size(usize::from(link.mtu), ip_overhead) as u16,
        hold_ns: link.fec.hold.as_nanos() as u64,
        pool_bytes: POOL_BYTES,
    });
    receiver.set_channels(common.table.channels());
    let (orders, mailbox) = mailbox().context("cannot make a lane's mailbox")?;
    let shared = Arc::new(Shared::default());
    let lane = Lane {
        number,
        clock: common.clock,
        port,
        receiver,
        replay: Replay::new(number, Arc::clone(&common.table), egress, common.notices.clone()),
        mailbox,
        counters: common.counters.link(),
        shared: Arc::clone(&shared),
    };
    let notices = common.notices.clone();
    let thread = std::thread::Builder::new().name(format!("lane {number}")).spawn(move || {
        if let Err(error) = lane.run() {
            // The queue is empty when a lane dies at start; later the control thread notices the end itself.
            let _ = notices.try_send(Notice::LaneDied { lane: number, error });
        }
    });
    Ok(LaneHandle { orders, shared, thread: thread.context("cannot start a lane's thread")? })
}

/// Waits until every lane runs. A lane that dies instead has said why in a notice.
fn wait_ready(lanes: &[LaneHandle]) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_TIMEOUT;
    for lane in lanes {
        while !lane.shared.ready.load(Acquire) && !lane.thread.is_finished() {
            anyhow::ensure!(Instant::now() < deadline, "a lane did not start within {READY_TIMEOUT:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// Orders a lane to take a table.
pub fn order_table(lane: &LaneHandle, table: &Arc<Table>) -> anyhow::Result<()> {
    lane.orders.send(Order::Table(Arc::clone(table))).map_err(|_| anyhow::anyhow!("a lane takes no orders"))
}
