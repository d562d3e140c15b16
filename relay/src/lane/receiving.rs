//! A lane that receives from a link: from its queue to whatever becomes of the records.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use anyhow::Context as _;

use crate::host::{Clock, LinkPort, Mailbox, Readiness, Ready, SharedSeen, prepare_lane_thread, wait_until};
use crate::link::{Nanos, Receiver, ReceiverChannel, Sink};
use crate::telemetry::counters::{Lanes, ReceiveLink};

/// Frames taken at once: enough to spread the cost of a wake-up, few enough that what they hold leaves soon.
const BATCH: usize = 64;
/// What waits for something else than frames is looked at again after this long.
const RETRY_NS: Nanos = 1_000_000;
/// The sender counts as gone when nothing came for so many of its heartbeats: one may be lost, and with live sessions there
/// are marks besides, protected as data is.
const GONE_HEARTBEATS: u64 = 2;
/// How often the control thread is told of epoch, floors and losses.
const SHARE_NS: Nanos = 100_000_000;

/// What becomes of a lane's records.
pub trait Receives: Sink {
    /// The streams, as the host has them.
    type Table;
    /// Takes a new table, after the receiver took its channels.
    fn set_table(&mut self, table: Arc<Self::Table>);
    /// Before a batch. `heard_at` is when the last frame came, `heartbeat_ns` the sender's period.
    fn begin(&mut self, now: Nanos, heard_at: Option<Nanos>, heartbeat_ns: Nanos);
    /// The sender counts as gone: nothing came for two heartbeats, and nothing waits. Told again while that lasts.
    fn gone(&mut self);
    /// After a batch: makes sure that what it brought leaves. True: call again soon.
    fn end(&mut self) -> anyhow::Result<bool>;
    /// What counted as delivered and could not be sent after all.
    fn send_errors(&self) -> u64 {
        0
    }
    /// Nothing more is going to be heard.
    fn stop(&mut self);
}

/// Orders to a lane.
#[derive(Debug)]
pub enum ReceivingOrder<T> {
    /// Take a new table of streams, and the receiver these channels of it.
    Table(Arc<T>, Vec<ReceiverChannel>),
    /// Accept nothing below this epoch: another lane has seen it.
    Epoch(u32),
    /// Stop.
    Stop,
}

/// Everything that a lane owns.
pub struct ReceivingLane<P, S: Receives> {
    /// Its number.
    pub number: usize,
    /// The process's clock.
    pub clock: Clock,
    /// The link.
    pub port: P,
    /// Frames into records.
    pub receiver: Receiver,
    /// What becomes of them.
    pub sink: S,
    /// Orders.
    pub mailbox: Mailbox<ReceivingOrder<S::Table>>,
    /// The link's counters.
    pub counters: Arc<Lanes<ReceiveLink>>,
    /// What the control thread reads.
    pub seen: Arc<SharedSeen>,
    /// Set once the lane runs.
    pub ready: Ready,
}

impl<P: LinkPort, S: Receives> ReceivingLane<P, S> {
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
            self.sink.begin(now, self.receiver.last_frame_at(), self.receiver.heartbeat_ns());
            let received = self.receive(now)?;
            let mut wake_at = now;
            if received < BATCH {
                // Only once nothing waits: time that frames spent in the ring is not held against the sender.
                wake_at = self.receiver.poll(now, &mut self.sink).min(self.miss(now));
            }
            if self.sink.end()? {
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
        self.sink.stop();
        self.share();
        Ok(())
    }

    fn receive(&mut self, now: Nanos) -> anyhow::Result<usize> {
        let (receiver, sink) = (&mut self.receiver, &mut self.sink);
        let received = self.port.receive(BATCH, &mut |frame| receiver.frame(now, frame, sink));
        received.context("cannot receive from the link")
    }

    /// Tells if the sender is gone; else returns when it will count as gone.
    fn miss(&mut self, now: Nanos) -> Nanos {
        let Some(heard_at) = self.receiver.last_frame_at() else { return Nanos::MAX };
        let gone_at = heard_at + GONE_HEARTBEATS * self.receiver.heartbeat_ns();
        if now < gone_at {
            return gone_at;
        }
        self.sink.gone();
        Nanos::MAX
    }

    /// Carries out orders. True: stop.
    fn obey(&mut self) -> bool {
        while let Some(order) = self.mailbox.take() {
            match order {
                ReceivingOrder::Table(table, channels) => {
                    self.receiver.set_channels(&channels);
                    self.sink.set_table(table);
                }
                ReceivingOrder::Epoch(epoch) => self.receiver.raise_epoch(epoch),
                ReceivingOrder::Stop => return true,
            }
        }
        false
    }

    fn share(&mut self) {
        if let Some(to) = self.counters.lane(self.number) {
            to.publish(&self.receiver.counters(), self.port.overflow(), self.sink.send_errors());
        }
        self.seen.note(&mut self.receiver);
    }
}
