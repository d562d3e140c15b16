//! Sessions that say nothing over links that lose heartbeats: nobody takes the silence for the other host's end.

use std::net::Shutdown;

use lab::{Loss, RelayProcess, require_root};

use super::pattern::{End, Pattern};
use super::rig::{self, Door, Plan, Way, Weather};

/// Much, so that it does not take long until heartbeats are lost.
const HEAVY: Weather = (Loss::Random { per_million: 300_000 }, ("30%", "1e-9", 0));
/// Each costs the sessions of before their connections, if nothing else is heard of them. One more may be on its way.
const LOST_HEARTBEATS: u64 = 4;
const BYTES: u64 = 100_000;

/// Of one link, so far.
fn lost_heartbeats(link: &str, sender: &RelayProcess, receiver: &RelayProcess) -> u64 {
    let count = |relay| rig::link_count(relay, link, "heartbeats");
    count(sender).saturating_sub(count(receiver))
}

/// Clients connect, and speak only after heartbeats were lost.
fn silent(way: Way) {
    let path = Plan { weather: HEAVY, ..Plan::new(way) }.start();
    let (client, server) = rig::pair(&path, &Door::open(&path));
    rig::wait_for("lost heartbeats", || {
        (lost_heartbeats("forward", &path.blue, &path.red) >= LOST_HEARTBEATS).then_some(())
    });
    if way != Way::Alone {
        rig::wait_for("lost heartbeats of the return link", || {
            (lost_heartbeats("return", &path.red, &path.blue) >= LOST_HEARTBEATS).then_some(())
        });
    }
    let asked = Pattern::new(1);
    asked.send(&client, 0, BYTES).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(asked.read_to_end(&server), (BYTES, End::Closed));
    drop((client, server));
    let (blue, red, log) = rig::stop(path);
    for line in [blue, red] {
        assert_eq!((line.number("sessions").unwrap(), line.number("sessions_aborted").unwrap()), (1, 0), "{log}");
    }
}

#[test]
fn a_client_that_says_nothing_outlives_lost_heartbeats() {
    require_root!();
    silent(Way::Alone);
}

#[test]
fn a_client_that_says_nothing_outlives_lost_heartbeats_of_both_links() {
    require_root!();
    silent(Way::Status);
}
