//! RED's next hops against real kernels: two hosts on a cable.
//!
//! ```text
//!  red                             server
//!  red0 10.71.3.1  ----veth----  srv0 10.71.3.10
//!       fd71:3::1                     fd71:3::10
//! ```

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lab::{Lab, Options, address, require_root};
use relay::red::neighbour::{Neighbours, NextHop, NextHopState};

/// ARP and neighbour discovery retry after a second, and give up after three: several times that.
const SOON: Duration = Duration::from_secs(30);

/// Runs a test's body in a tokio runtime on RED.
fn on_red<F: Future<Output = ()>>(lab: &Lab, body: impl FnOnce() -> F + Send) {
    lab.red
        .run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(body());
        })
        .unwrap();
}

/// Waits until the next hop is as wanted.
async fn until(neighbours: &Neighbours, next_hop: &Arc<NextHop>, state: NextHopState, mac: Option<[u8; 6]>) {
    let mut changes = neighbours.changes();
    let done = changes.wait_for(|_| next_hop.state() == state && next_hop.mac() == mac);
    let result = tokio::time::timeout(SOON, done).await;
    assert!(result.is_ok(), "wanted {state:?} {mac:02x?}, is {:?} {:02x?}", next_hop.state(), next_hop.mac());
}

fn set_server_mac(lab: &Lab, last: u8) -> [u8; 6] {
    lab.server.ip(&format!("link set srv0 address 02:00:00:00:03:{last:02x}")).unwrap();
    [2, 0, 0, 0, 3, last]
}

#[test]
fn fresh_peers_are_resolved_in_both_families() {
    require_root!();
    let lab = Lab::new(&Options::default()).unwrap();
    let mac = set_server_mac(&lab, 0x10);
    on_red(&lab, || async move {
        let neighbours = Neighbours::start(address::RED_IF).unwrap();
        for destination in [IpAddr::from(address::SERVER), address::SERVER_V6.into()] {
            let next_hop = neighbours.next_hop(destination);
            assert!(Arc::ptr_eq(&next_hop, &neighbours.next_hop(destination)));
            until(&neighbours, &next_hop, NextHopState::Reachable, Some(mac)).await;
        }
        let group = neighbours.next_hop([239, 1, 2, 3].into());
        // No route to it yet.
        until(&neighbours, &group, NextHopState::NoRoute, None).await;
    });
}

#[test]
fn gateways_stand_for_what_is_behind_them() {
    require_root!();
    let lab = Lab::new(&Options::default()).unwrap();
    let mac = set_server_mac(&lab, 0x11);
    lab.red.ip(&format!("route add default via {}", address::SERVER)).unwrap();
    lab.red.ip(&format!("route add 10.9.0.0/16 via inet6 {} dev red0", address::SERVER_V6)).unwrap();
    on_red(&lab, || async move {
        let neighbours = Neighbours::start(address::RED_IF).unwrap();
        for destination in [[192, 0, 2, 1], [10, 9, 1, 1]] {
            let next_hop = neighbours.next_hop(destination.into());
            until(&neighbours, &next_hop, NextHopState::Reachable, Some(mac)).await;
        }
        let group = neighbours.next_hop([239, 129, 2, 3].into());
        until(&neighbours, &group, NextHopState::Reachable, Some([1, 0, 0x5e, 1, 2, 3])).await;
        let subnet = neighbours.next_hop([10, 71, 3, 255].into());
        until(&neighbours, &subnet, NextHopState::Reachable, Some([0xff; 6])).await;
    });
}

#[test]
fn a_changed_address_is_followed() {
    require_root!();
    let lab = Lab::new(&Options::default()).unwrap();
    let old = set_server_mac(&lab, 0x10);
    // Entries are confirmed after this long instead of half a minute, and probed at once.
    for (key, value) in [("base_reachable_time_ms", "500"), ("delay_first_probe_time", "0")] {
        lab.red.sysctl(&format!("net/ipv4/neigh/red0/{key}"), value).unwrap();
    }
    on_red(&lab, || async {
        let neighbours = Neighbours::start(address::RED_IF).unwrap();
        let next_hop = neighbours.next_hop(address::SERVER.into());
        until(&neighbours, &next_hop, NextHopState::Reachable, Some(old)).await;
        let new = set_server_mac(&lab, 0x99);
        until(&neighbours, &next_hop, NextHopState::Reachable, Some(new)).await;
    });
}

#[test]
fn silent_and_returning_peers() {
    require_root!();
    let lab = Lab::new(&Options::default()).unwrap();
    let mac = set_server_mac(&lab, 0x10);
    on_red(&lab, || async {
        let neighbours = Neighbours::start(address::RED_IF).unwrap();
        let absent = neighbours.next_hop([10, 71, 3, 77].into());
        let server = neighbours.next_hop(address::SERVER.into());
        until(&neighbours, &server, NextHopState::Reachable, Some(mac)).await;
        assert_eq!((absent.state(), absent.mac()), (NextHopState::Resolving, None));
        lab.server.ip("addr add 10.71.3.77/24 dev srv0").unwrap();
        until(&neighbours, &absent, NextHopState::Reachable, Some(mac)).await;
    });
}

#[test]
fn routes_that_are_missing_or_elsewhere_are_told() {
    require_root!();
    let lab = Lab::new(&Options::default()).unwrap();
    let mac = set_server_mac(&lab, 0x10);
    on_red(&lab, || async {
        let neighbours = Neighbours::start(address::RED_IF).unwrap();
        let nowhere = neighbours.next_hop([192, 0, 2, 1].into());
        let link = neighbours.next_hop(address::BLUE_LINK.into());
        until(&neighbours, &nowhere, NextHopState::NoRoute, None).await;
        until(&neighbours, &link, NextHopState::OtherInterface, None).await;
        lab.red.ip(&format!("route add 192.0.2.0/24 via {}", address::SERVER)).unwrap();
        until(&neighbours, &nowhere, NextHopState::Reachable, Some(mac)).await;
        lab.red.ip("route del 192.0.2.0/24").unwrap();
        until(&neighbours, &nowhere, NextHopState::NoRoute, None).await;
        // What is no longer wanted keeps its last word, and is looked up afresh when wanted again.
        neighbours.retain(|destination| destination != IpAddr::from([192, 0, 2, 1]));
        lab.red.ip(&format!("route add 192.0.2.0/24 via {}", address::SERVER)).unwrap();
        let again = neighbours.next_hop([192, 0, 2, 1].into());
        until(&neighbours, &again, NextHopState::Reachable, Some(mac)).await;
        assert_eq!(nowhere.state(), NextHopState::NoRoute);

        let missing = Neighbours::start("nosuch0").unwrap();
        let server = missing.next_hop(address::SERVER.into());
        until(&missing, &server, NextHopState::NoRoute, None).await;
    });
}
