//! What BLUE sends: datagrams of its queues and sockets, and what connections hand over.

use std::io;
use std::sync::Arc;

use super::ingress::Ingress;
use super::table::Table;
use super::udp::UdpIngress;
use crate::host::Readiness;
use crate::lane::{BATCH, Sends};
use crate::link::{Nanos, Sender, TxPort};
use crate::steer::STREAMS_MAX;
use crate::tcp::Feed;
use crate::telemetry::counters::{Counter, SendLink};

/// What a lane shares with the control thread.
#[derive(Debug)]
pub struct Shared {
    /// Datagrams taken from `AF_XDP` queues, by slot.
    pub from_queues: Box<[Counter]>,
    /// How often all queues were found empty: whatever came before has been taken, or was dropped.
    pub emptied: Counter,
}

impl Default for Shared {
    fn default() -> Self {
        let from_queues = (0..STREAMS_MAX).map(|_| Counter::default()).collect();
        Self { from_queues, emptied: Counter::default() }
    }
}

/// One lane's sources.
pub struct Source {
    /// Where datagrams come from.
    pub ingress: Ingress,
    /// What becomes of them.
    pub udp: UdpIngress,
    /// What connections hand over.
    pub feed: Feed,
    /// What the control thread reads.
    pub shared: Arc<Shared>,
}

impl Sends for Source {
    type Table = Table;

    fn register(&self, readiness: &Readiness) -> io::Result<()> {
        self.ingress.register(readiness)
    }

    fn set_table<P: TxPort>(&mut self, now: Nanos, table: &Arc<Table>, sender: &Sender<P>) -> io::Result<()> {
        self.udp.set_table(now, Arc::clone(table), sender);
        self.ingress.set_table(table)
    }

    fn receive<P: TxPort>(&mut self, now: Nanos, sender: &mut Sender<P>) -> usize {
        let udp = &mut self.udp;
        let received = self.ingress.receive(now, BATCH, |arrival| udp.datagram(now, sender, &arrival));
        if received == 0 {
            self.shared.emptied.add(1);
        }
        received
    }

    fn feed(&mut self) -> &mut Feed {
        &mut self.feed
    }

    fn pump<P: TxPort>(&mut self, now: Nanos, sender: &mut Sender<P>) -> bool {
        self.udp.pump(now, &mut self.feed, sender)
    }

    fn mark<P: TxPort>(&mut self, now: Nanos, sender: &mut Sender<P>) {
        self.udp.heartbeat(now, &mut self.feed, sender);
    }

    fn end_all(&mut self) {
        self.udp.end_all();
        self.feed.abort_all();
    }

    fn publish(&self, to: &SendLink) {
        to.malformed.set(self.ingress.malformed());
    }
}
