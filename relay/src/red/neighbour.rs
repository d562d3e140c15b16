//! Next hops of RED's destinations: which MAC address datagrams go to, as the kernel's own tables say.
//!
//! Owns a task on the control thread that asks the kernel over rtnetlink: the route to each destination, and the
//! neighbour entry of its next hop. Where that is missing or old, it has the kernel resolve it (`NTF_USE`), so that
//! ARP and neighbour discovery stay the kernel's work. It never sends a packet itself and never blocks a lane.
//!
//! ```text
//!  kernel: routes, neighbours <--rtnetlink--> task --one atomic store--> NextHop <--one relaxed load-- lanes
//! ```
//!
//! It looks again every second, at every neighbour and route event, and when a destination is added. Datagrams sent
//! over `AF_XDP` do not keep the kernel's entry fresh, so the task uses it in their stead: a peer whose MAC address
//! changed is followed when the kernel's next probe finds it, or at once when the peer announces itself.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia};
use rtnetlink::{Handle, MulticastGroup, new_connection, new_multicast_connection};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::packet::{BROADCAST, Mac};

/// Looks again this often without any event: events can be lost when the kernel's queue overflows.
const PERIOD: Duration = Duration::from_secs(1);
/// Least time between two looks, so that a storm of events costs at most a hundred a second.
const PAUSE: Duration = Duration::from_millis(10);
/// A fault that lasts is told again after this long.
const WARN_PERIOD: Duration = Duration::from_mins(1);

/// Bit that says whether the word's low 48 bits are a MAC address.
const VALID: u64 = 1 << 48;
/// Where the state stands in the word.
const STATE_SHIFT: u32 = 56;

/// What is known of a destination's next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum NextHopState {
    /// The kernel is asking, or nobody answers.
    Resolving,
    /// The MAC address is known.
    Reachable,
    /// No route leads there, or RED's zone interface does not exist.
    NoRoute,
    /// The route leaves by another interface than RED's zone interface.
    OtherInterface,
}

/// One destination's next hop, shared with the lanes.
#[derive(Debug)]
pub struct NextHop {
    /// MAC address in bits 0..48, [`VALID`], state from bit 56 on: one word, so that they always match.
    word: AtomicU64,
    /// Largest IP packet that the route takes, bytes; `u32::MAX` where it does not say.
    mtu: AtomicU32,
}

impl NextHop {
    fn new() -> Self {
        Self { word: AtomicU64::new(0), mtu: AtomicU32::new(u32::MAX) }
    }

    /// The MAC address to send to, if one is known: one relaxed load.
    #[inline]
    pub fn mac(&self) -> Option<Mac> {
        let word = self.word.load(Ordering::Relaxed);
        let [_, _, mac @ ..] = word.to_be_bytes();
        (word & VALID != 0).then_some(mac)
    }

    /// The largest IP packet, in bytes, that the way there takes, as far as the kernel has been told by its routes or
    /// by routers (RFC 1191, RFC 8201).
    #[inline]
    pub fn mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed) as usize
    }

    /// Why there is a MAC address or none.
    pub fn state(&self) -> NextHopState {
        match self.word.load(Ordering::Relaxed) >> STATE_SHIFT {
            1 => NextHopState::Reachable,
            2 => NextHopState::NoRoute,
            3 => NextHopState::OtherInterface,
            _ => NextHopState::Resolving,
        }
    }

    /// Publishes; true when that changed anything.
    fn set(&self, state: NextHopState, mac: Option<Mac>) -> bool {
        let mac = mac.map_or(0, |[a, b, c, d, e, f]| VALID | u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
        let word = (state as u64) << STATE_SHIFT | mac;
        self.word.swap(word, Ordering::Relaxed) != word
    }
}

/// Why next hops cannot be looked up at all.
#[derive(Debug, thiserror::Error)]
pub enum NeighbourError {
    /// The kernel refuses a route socket.
    #[error("cannot open a netlink socket to look up routes and neighbours: {0}; check seccomp and namespace limits")]
    Socket(#[source] io::Error),
}

/// The next hops of all destinations. Dropping it stops its task; the [`NextHop`]s keep their last word.
#[derive(Debug)]
pub struct Neighbours {
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 3],
}

#[derive(Debug)]
struct Shared {
    targets: Mutex<HashMap<IpAddr, Arc<NextHop>>>,
    wake: Notify,
    changes: watch::Sender<u64>,
}

impl Shared {
    fn targets(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<NextHop>>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Neighbours {
    /// Starts looking for next hops behind `interface`, RED's zone interface.
    ///
    /// Call it inside a tokio runtime, on a thread in the right network namespace. The interface need not exist yet.
    pub fn start(interface: &str) -> Result<Self, NeighbourError> {
        let groups = [MulticastGroup::Neigh, MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route];
        let (requests, handle, _) = new_connection().map_err(NeighbourError::Socket)?;
        // Events have a socket of their own: should it overflow, requests still work and the period makes up for it.
        let (multicast, _, events) = new_multicast_connection(&groups).map_err(NeighbourError::Socket)?;
        let shared =
            Arc::new(Shared { targets: Mutex::default(), wake: Notify::new(), changes: watch::Sender::new(0) });
        let resolver =
            Resolver { handle, interface: interface.to_owned(), shared: Arc::clone(&shared), notes: HashMap::new() };
        let tasks = [tokio::spawn(requests), tokio::spawn(multicast), tokio::spawn(resolver.run(events.map(drop)))];
        Ok(Self { shared, tasks })
    }

    /// The next hop of a destination; the same for every call. It is looked up from now on, without waiting here.
    pub fn next_hop(&self, destination: IpAddr) -> Arc<NextHop> {
        let mut targets = self.shared.targets();
        let next_hop = targets.entry(destination).or_insert_with(|| Arc::new(NextHop::new()));
        self.shared.wake.notify_one();
        Arc::clone(next_hop)
    }

    /// Stops looking up destinations that `keep` refuses, as after a reload.
    pub fn retain(&self, keep: impl Fn(IpAddr) -> bool) {
        self.shared.targets().retain(|destination, _| keep(*destination));
    }

    /// Counts the changes of any next hop: await its next value to learn of one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// A usable route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Route {
    interface_index: u32,
    /// The gateway, or the destination itself on a connected network.
    next_hop: IpAddr,
    /// Everyone on the network is meant.
    broadcast: bool,
    /// Largest packet, `u32::MAX` where the route does not say.
    mtu: u32,
}

/// A neighbour entry of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    state: NeighbourState,
    mac: Option<Mac>,
}

/// What was found about one destination.
#[derive(Debug)]
enum Finding {
    Known(Mac),
    /// Nobody answered so far; whether the kernel has given up.
    Unknown {
        next_hop: IpAddr,
        failed: bool,
    },
    NoInterface,
    NoRoute(String),
    OtherInterface(String),
}

/// What the task remembers about one destination.
#[derive(Debug, Default)]
struct Note {
    /// When the kernel was last asked to resolve.
    asked: Option<Instant>,
    /// When a warning was last written, and in which state.
    warned: Option<(Instant, NextHopState)>,
}

struct Resolver {
    handle: Handle,
    interface: String,
    shared: Arc<Shared>,
    notes: HashMap<IpAddr, Note>,
}

impl Resolver {
    async fn run(mut self, events: impl Stream<Item = ()>) {
        // Without events the stream ends; the period still holds.
        let mut events = pin!(events.fuse());
        let mut period = interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = period.tick() => {}
                () = self.shared.wake.notified() => {}
                Some(()) = events.next() => {}
            }
            while let Some(Some(())) = events.next().now_or_never() {}
            self.look().await;
            sleep(PAUSE).await;
        }
    }

    /// Looks at every destination once and publishes what it finds.
    async fn look(&mut self) {
        let targets: Vec<(IpAddr, Arc<NextHop>)> =
            self.shared.targets().iter().map(|(ip, hop)| (*ip, Arc::clone(hop))).collect();
        self.notes.retain(|ip, _| targets.iter().any(|(target, _)| target == ip));
        if targets.is_empty() {
            return;
        }
        let index = self.interface_index().await;
        let entries = match index {
            Some(index) => self.entries(index).await,
            None => HashMap::new(),
        };
        let mut changed = false;
        for (destination, next_hop) in targets {
            let finding = match index {
                Some(index) => self.find(destination, &next_hop, index, &entries).await,
                None => Finding::NoInterface,
            };
            changed |= match &finding {
                Finding::Known(mac) => next_hop.set(NextHopState::Reachable, Some(*mac)),
                Finding::Unknown { .. } => next_hop.set(NextHopState::Resolving, None),
                Finding::NoInterface | Finding::NoRoute(_) => next_hop.set(NextHopState::NoRoute, None),
                Finding::OtherInterface(_) => next_hop.set(NextHopState::OtherInterface, None),
            };
            self.tell(destination, next_hop.state(), &finding);
        }
        if changed {
            self.shared.changes.send_modify(|count| *count += 1);
        }
    }

    async fn find(
        &mut self,
        destination: IpAddr,
        target: &NextHop,
        index: u32,
        entries: &HashMap<IpAddr, Entry>,
    ) -> Finding {
        let route = match self.route(destination).await {
            Ok(route) => route,
            Err(reason) => return Finding::NoRoute(reason),
        };
        target.mtu.store(route.mtu, Ordering::Relaxed);
        if route.interface_index != index {
            return Finding::OtherInterface(self.interface_name(route.interface_index).await);
        }
        if let Some(mac) = group_mac(destination, route.broadcast) {
            return Finding::Known(mac);
        }
        let entry = entries.get(&route.next_hop).copied();
        if entry.is_none_or(|entry| wants_use(entry.state)) {
            self.ask(destination, route.next_hop, index).await;
        }
        match entry {
            Some(Entry { state, mac: Some(mac) }) if is_valid(state) => Finding::Known(mac),
            _ => Finding::Unknown {
                next_hop: route.next_hop,
                failed: entry.is_some_and(|entry| entry.state == NeighbourState::Failed),
            },
        }
    }

    /// Has the kernel use the entry as if it had a packet to send: it resolves or confirms the address.
    async fn ask(&mut self, destination: IpAddr, next_hop: IpAddr, index: u32) {
        let note = self.notes.entry(destination).or_default();
        if note.asked.is_some_and(|asked| asked.elapsed() < PERIOD) {
            return;
        }
        note.asked = Some(Instant::now());
        let request = self
            .handle
            .neighbours()
            .add(index, next_hop)
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .replace();
        if let Err(error) = request.execute().await {
            tracing::debug!(%destination, %next_hop, %error, "the kernel does not resolve a next hop");
        }
    }

    /// The kernel's route to a destination, or why there is none.
    async fn route(&self, destination: IpAddr) -> Result<Route, String> {
        let mut message = RouteMessage::default();
        let (family, prefix_len) = match destination {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        message.header.address_family = family;
        message.header.destination_prefix_length = prefix_len;
        message.attributes.push(RouteAttribute::Destination(destination.into()));
        let mut answers = pin!(self.handle.route().get(message).execute());
        match answers.try_next().await {
            Ok(Some(answer)) => {
                usable(&answer, destination).ok_or_else(|| format!("its route is {:?}", answer.header.kind))
            }
            Ok(None) => Err("the kernel gave no answer".to_owned()),
            Err(rtnetlink::Error::NetlinkError(error)) => Err(error.to_io().to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Every neighbour entry of the interface.
    async fn entries(&self, index: u32) -> HashMap<IpAddr, Entry> {
        let mut entries = HashMap::new();
        let mut answers = pin!(self.handle.neighbours().get().execute());
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(message) if message.header.ifindex == index => entries.extend(entry(&message)),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "cannot read the kernel's neighbours"),
            }
        }
        entries
    }

    async fn interface_index(&self) -> Option<u32> {
        let request = self.handle.link().get().match_name(self.interface.clone());
        let mut answers = pin!(request.execute());
        let link: Option<LinkMessage> = answers.try_next().await.ok().flatten();
        link.map(|link| link.header.index)
    }

    async fn interface_name(&self, index: u32) -> String {
        let mut answers = pin!(self.handle.link().get().match_index(index).execute());
        let link: Option<LinkMessage> = answers.try_next().await.ok().flatten();
        let name = link.into_iter().flat_map(|link| link.attributes).find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        });
        name.unwrap_or_else(|| format!("interface number {index}"))
    }

    /// Writes a warning when a fault is new or has lasted for another minute.
    fn tell(&mut self, destination: IpAddr, state: NextHopState, finding: &Finding) {
        let interface = &self.interface;
        let text = match finding {
            Finding::Known(_) | Finding::Unknown { failed: false, .. } => None,
            Finding::Unknown { next_hop, failed: true } => Some(format!(
                "{next_hop}, the next hop of destination {destination}, does not answer on {interface}; check that \
                 it runs and is on this network"
            )),
            Finding::NoInterface => Some(format!(
                "destination {destination} cannot be reached: there is no interface {interface}; create it or \
                 correct [red] interface"
            )),
            Finding::NoRoute(reason) => Some(format!(
                "there is no route to destination {destination} ({reason}); add one by {interface} or correct the \
                 stream's destination_ip"
            )),
            Finding::OtherInterface(other) => Some(format!(
                "the route to destination {destination} leaves by {other} and not by {interface}; correct the \
                 route, [red] interface or the stream's destination_ip"
            )),
        };
        let note = self.notes.entry(destination).or_default();
        let Some(text) = text else {
            if state == NextHopState::Reachable {
                note.warned = None;
            }
            return;
        };
        let told = note.warned.is_some_and(|(when, what)| what == state && when.elapsed() < WARN_PERIOD);
        if !told {
            note.warned = Some((Instant::now(), state));
            tracing::warn!("{text}");
        }
    }
}

/// What a route answer says, if packets can follow it.
fn usable(message: &RouteMessage, destination: IpAddr) -> Option<Route> {
    let kind = message.header.kind;
    if !matches!(kind, RouteType::Unicast | RouteType::Multicast | RouteType::Broadcast | RouteType::Local) {
        return None;
    }
    let mut interface_index = None;
    let mut next_hop = destination;
    let mut mtu = u32::MAX;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface_index = Some(*index),
            RouteAttribute::Metrics(metrics) => {
                let told = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
                mtu = told.filter(|mtu| *mtu > 0).unwrap_or(mtu);
            }
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => next_hop = (*gateway).into(),
            RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) | RouteAttribute::Via(RouteVia::Inet6(gateway)) => {
                next_hop = (*gateway).into();
            }
            _ => {}
        }
    }
    let broadcast = kind == RouteType::Broadcast;
    interface_index.map(|interface_index| Route { interface_index, next_hop, broadcast, mtu })
}

/// Address and content of a neighbour entry.
fn entry(message: &NeighbourMessage) -> Option<(IpAddr, Entry)> {
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => address = Some((*ip).into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => address = Some((*ip).into()),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Mac::try_from(bytes.as_slice()).ok(),
            _ => {}
        }
    }
    Some((address?, Entry { state: message.header.state, mac }))
}

/// The MAC address that stands for a group: IPv4 multicast (RFC 1112, 6.4), IPv6 multicast (RFC 2464, 7), broadcast.
fn group_mac(destination: IpAddr, broadcast: bool) -> Option<Mac> {
    match destination {
        IpAddr::V4(ip) if broadcast || ip == Ipv4Addr::BROADCAST => Some(BROADCAST),
        IpAddr::V4(ip) if ip.is_multicast() => {
            let [_, b, c, d] = ip.octets();
            Some([0x01, 0x00, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(ip) if ip.is_multicast() => {
            let [.., a, b, c, d] = ip.octets();
            Some([0x33, 0x33, a, b, c, d])
        }
        _ => None,
    }
}

/// Whether packets may be sent to an entry's address (`NUD_VALID` of net/neighbour.h).
fn is_valid(state: NeighbourState) -> bool {
    use NeighbourState as S;
    matches!(state, S::Permanent | S::Noarp | S::Reachable | S::Probe | S::Stale | S::Delay)
}

/// Whether the kernel does nothing about this entry until somebody uses it.
fn wants_use(state: NeighbourState) -> bool {
    matches!(state, NeighbourState::None | NeighbourState::Stale | NeighbourState::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_hop_is_one_word() {
        let next_hop = NextHop::new();
        assert_eq!((next_hop.mac(), next_hop.state()), (None, NextHopState::Resolving));
        assert!(next_hop.set(NextHopState::Reachable, Some([0; 6])));
        assert_eq!(next_hop.mac(), Some([0; 6]), "an address of zeroes is one too");
        let mac = [0xfe, 1, 2, 3, 4, 0xff];
        assert!(next_hop.set(NextHopState::Reachable, Some(mac)));
        assert!(!next_hop.set(NextHopState::Reachable, Some(mac)), "nothing changed");
        assert_eq!((next_hop.mac(), next_hop.state()), (Some(mac), NextHopState::Reachable));
        for state in [NextHopState::NoRoute, NextHopState::OtherInterface, NextHopState::Resolving] {
            assert!(next_hop.set(state, None));
            assert_eq!((next_hop.mac(), next_hop.state()), (None, state));
        }
    }

    #[test]
    fn groups_have_fixed_addresses() {
        let mac = |ip: &str, broadcast| group_mac(ip.parse().unwrap(), broadcast);
        assert_eq!(mac("239.129.2.3", false), Some([1, 0, 0x5e, 1, 2, 3]));
        assert_eq!(mac("ff02::1:ff00:12", false), Some([0x33, 0x33, 0xff, 0, 0, 0x12]));
        assert_eq!(mac("255.255.255.255", false), Some(BROADCAST));
        assert_eq!(mac("10.0.0.255", true), Some(BROADCAST));
        assert_eq!(mac("10.0.0.255", false), None);
        assert_eq!(mac("fd00::1", false), None);
    }
}
