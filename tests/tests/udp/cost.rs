//! What the link carries for what it is given, where nothing is lost.

use lab::traffic::Load;
use lab::{Options, Role, Site, require_root};

use lab::path::{Path5, is_soak, stream};

#[test]
fn a_sparse_1400_byte_datagram_costs_one_source_frame() {
    require_root!();
    for driver in ["xdp", "socket"] {
        let path = Path5::start(&Options::default(), &Site::new(driver).stream(stream()));
        let seconds = if is_soak() { 30 } else { 2 };
        let (sent, received) = path.send(|load| Load { rate: 1_000, ..load }.seconds(seconds));
        let outcome = path.stop(sent, received);
        outcome.report(&format!("{driver} defaults, no loss, 1000/s for {seconds} s"));
        outcome.check_complete();
        let datagrams = outcome.sent.total();
        let (source, heartbeats) = (outcome.link(Role::Blue, "source_frames"), outcome.link(Role::Blue, "heartbeats"));
        // Beside the datagrams there are marks: at every heartbeat one of the one session, at most a frame each.
        assert!(source >= datagrams, "{source} source frames for {datagrams} datagrams");
        let marks = source - datagrams;
        assert!(marks <= heartbeats, "{marks} source frames too many, with {heartbeats} heartbeats");
        assert_eq!(outcome.red.summary.stream("numbers").unwrap().number("recovered").unwrap(), 0);
        for count in ["blocks_recovered", "blocks_abandoned", "symbols_recovered", "symbols_lost", "records_broken"] {
            assert_eq!(outcome.link(Role::Red, count), 0, "{count}");
        }
    }
}
