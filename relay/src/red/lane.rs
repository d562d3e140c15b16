//! A RED lane thread: from its RX queue of the link to its way into the zone.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use anyhow::Context as _;

use super::replay::Replay;
use super::table::Table;
use crate::host::{Clock, LinkPort, Mailbox, Readiness, Ready, SharedSeen, prepare_lane_thread, wait_until};
use crate::link::{Nanos, Receiver};
use crate::telemetry::counters::{Lanes, ReceiveLink};

/// Frames taken at once: enough to spread the cost of a wake-up, few enough that what they hold leaves soon.
const BATCH: usize = 64;
/// What waits for a neighbour or for the zone's queue is looked at again after this long.
const RETRY_NS: Nanos = 1_000_000;
/// How often the control thread is told of epoch, floors and losses.
const SHARE_NS: Nanos = 100_000_000;

/// Orders to a lane.
#[derive(Debug)]
pub enum Order {
    /// Take a new table of streams.
    Table(Arc<Table>),
    /// Accept nothing below this epoch: another lane has seen it.
    Epoch(u32),
    /// Stop.
    Stop,
}

/// Everything that a lane owns.
pub struct Lane<P> {
    /// Its number.
    pub number: usize,
    /// The process's clock.
    pub clock: Clock,
    /// The link.
    pub port: P,
    /// Frames into records.
    pub receiver: Receiver,
    /// Records into the zone.
    pub replay: Replay,
    /// Orders.
    pub mailbox: Mailbox<Order>,
    /// The link's counters.
    pub counters: Arc<Lanes<ReceiveLink>>,
    /// What the control thread reads.
    pub seen: Arc<SharedSeen>,
    /// Set once the lane runs.
    pub ready: Ready,
}

impl<P: LinkPort> Lane<P> {
    /// Runs until told to stop.
    pub fn run(mut self) -> anyhow::Result<()> {
        prepare_lane_thread();
        let readiness = Readiness::new().context("cannot make an epoll descriptor")?;
        let added = self.port.register(&readiness).and_then(|()| readiness.add(self.mailbox.as_fd()));
        added.context("cannot wait for the lane's sockets")?;
        self.ready.set();
        let mut share_at = 0;
        while !self.obey() {
            let now = self.clock.now();
            self.replay.begin(now, self.receiver.last_frame_at(), self.receiver.heartbeat_ns());
            let received = self.receive(now)?;
            let mut wake_at = now;
            if received < BATCH {
                // Only once nothing waits: time that frames spent in the ring is not held against the sender.
                wake_at = self.receiver.poll(now, &mut self.replay);
            }
            if self.replay.end().context("cannot send into the zone")? {
                wake_at = wake_at.min(now + RETRY_NS);
            }
            if now >= share_at {
                share_at = now + SHARE_NS;
                self.share();
            }
            if received == 0 {
                let now = self.clock.now();
                wait_until(&readiness, now, wake_at.min(share_at)).context("cannot wait for frames")?;
            }
        }
        self.replay.stop();
        self.share();
        Ok(())
    }

    fn receive(&mut self, now: Nanos) -> anyhow::Result<usize> {
        let (receiver, replay) = (&mut self.receiver, &mut self.replay);
        let received = self.port.receive(BATCH, &mut |frame| receiver.frame(now, frame, replay));
        received.context("cannot receive from the link")
    }

    /// Carries out orders. True: stop.
    fn obey(&mut self) -> bool {
        while let Some(order) = self.mailbox.take() {
            match order {
                Order::Table(table) => {
                    self.receiver.set_channels(table.channels());
                    self.replay.set_table(table);
                }
                Order::Epoch(epoch) => self.receiver.raise_epoch(epoch),
                Order::Stop => return true,
            }
        }
        false
    }

    fn share(&mut self) {
        if let Some(to) = self.counters.lane(self.number) {
            to.publish(&self.receiver.counters(), self.port.overflow());
        }
        self.seen.note(&mut self.receiver);
    }
}
