//! BLUE: from its own zone into the link.
//!
//! ```text
//!  zone interface                       lane thread (one per queue)                    link interface
//!  [XDP] -> AF_XDP queue -> Ingress -> UdpIngress (session, limits) -> link::Sender -> card
//!        -> kernel socket ---^  fragments, or everything with driver = "socket"     -> or UDP socket
//!
//!  return link, if there is one -> link::Receiver -> Answers (status, data) -> connections of clients
//!
//!  control thread: signals, reload, counters, drop events -> log and syslog
//! ```
//!
//! Never receives anything from the forward link, and never tells RED where to deliver.

pub mod files;
mod host;
mod ingress;
mod notice;
mod return_link;
mod source;
mod start;
mod table;
mod tcp;
mod udp;

use std::path::Path;

use crate::config::Loaded;

/// Runs the BLUE host until it is told to stop.
pub fn run(path: &Path, loaded: Loaded) -> anyhow::Result<()> {
    crate::host::run(|| start::start(path, loaded.site))
}
