//! BLUE: from its own zone into the link.
//!
//! ```text
//!  zone interface                       lane thread (one per queue)                    link interface
//!  [XDP] -> AF_XDP queue -> Ingress -> UdpIngress (session, limits) -> link::Sender -> AF_XDP queue
//!        -> kernel socket ---^  fragments, or everything with driver = "socket"     -> or UDP socket
//!
//!  control thread: signals, reload, counters, drop events -> log and syslog
//! ```
//!
//! Never receives anything from the link, and never tells RED where to deliver.

mod host;
mod ingress;
mod lane;
mod notice;
mod start;
mod table;
mod udp;

use std::path::Path;

use anyhow::Context as _;

use crate::config::Loaded;
use crate::host::control;

/// Runs the BLUE host until it is told to stop.
pub fn run(path: &Path, loaded: Loaded) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the control thread's runtime")?;
    runtime.block_on(async {
        let mut blue = start::start(path, loaded.site)?;
        let outcome = control(&mut blue).await;
        blue.stop();
        outcome
    })
}
