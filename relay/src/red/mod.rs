//! RED: from the link into its own zone.
//!
//! ```text
//!  link interface            lane thread (one per queue)                             zone interface
//!  [XDP] -> AF_XDP queue -> link::Receiver -> Replay (session, account) -> Egress -> card
//!           or UDP socket                                                         -> session's kernel socket
//!
//!  Returns (status, answers of destinations) -> lane thread -> link::Sender -> return link, if there is one
//!
//!  control thread: signals, reload, counters, neighbours, link alarm, state -> log, syslog, disk
//! ```
//!
//! Destinations come from RED's own file by channel, never from the link.

mod egress;
pub mod files;
mod host;
mod memory;
pub mod neighbour;
mod notice;
mod promise;
mod replay;
mod return_link;
mod returns;
mod start;
mod table;
mod tcp;

use std::path::Path;

use crate::config::Loaded;

/// Runs the RED host until it is told to stop.
pub fn run(path: &Path, loaded: Loaded) -> anyhow::Result<()> {
    crate::host::run(|| start::start(path, loaded.site))
}
