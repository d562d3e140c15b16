//! A BLUE lane: one thread from its ingress queues to its TX queue of the link.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::ingress::Ingress;
use super::table::Table;
use super::tcp::Feed;
use super::udp::UdpIngress;
use crate::fec::Encoder;
use crate::host::{Clock, Mailbox, Readiness, Ready, prepare_lane_thread, wait_until};
use crate::link::{Nanos, Sender, SenderCounters, TxPort};
use crate::steer::STREAMS_MAX;
use crate::telemetry::counters::{Counter, Lanes, SendLink};

/// Datagrams taken at once: enough to spread the cost of a wake-up, few enough that clocks are looked at every 100 us
/// even at full rate.
const BATCH: usize = 64;
/// Frames that must be free before a batch is taken: one for each datagram, twice over for what they make blocks do.
const FRAMES_PER_BATCH: usize = 2 * BATCH;
/// Heartbeats sent on stopping, with sessions' ends: two may be lost.
const LAST_HEARTBEATS: u32 = 3;
/// Between them: longer than RED's default `hold`, so that RED's account is settled by the next one.
const LAST_HEARTBEAT_NS: Nanos = 20_000_000;
/// Without free frames the lane looks again after this long at the latest: the time that 32 full frames take at 1 Gbit/s.
const FULL_WAIT_NS: Nanos = 400_000;
/// What has already arrived gets this long to be taken, and then the last frames this long to leave; the whole relay stops
/// within 2 s.
const DRAIN_NS: Nanos = 300_000_000;

/// Orders to a lane.
#[derive(Debug)]
pub enum Order {
    /// Take a new table of streams, and an encoder that knows them.
    Table(Arc<Table>, Encoder),
    /// Drain and stop.
    Stop,
}

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

/// Everything that a lane owns.
pub struct Lane<P: TxPort> {
    /// Its number.
    pub number: usize,
    /// The process's clock.
    pub clock: Clock,
    /// The link.
    pub sender: Sender<P>,
    /// Where datagrams come from.
    pub ingress: Ingress,
    /// What becomes of them.
    pub udp: UdpIngress,
    /// What connections hand over.
    pub feed: Feed,
    /// Orders.
    pub mailbox: Mailbox<Order>,
    /// The link's counters.
    pub counters: Arc<Lanes<SendLink>>,
    /// What the control thread reads.
    pub shared: Arc<Shared>,
    /// Set once all streams of the first table work.
    pub ready: Ready,
    /// Frames that the port could not send, if it counts any.
    pub send_errors: fn(&P) -> u64,
}

impl<P: TxPort> Lane<P> {
    /// Runs until told to stop.
    pub fn run(mut self) -> anyhow::Result<()> {
        prepare_lane_thread();
        let readiness = Readiness::new().context("cannot make an epoll descriptor")?;
        let prepared = self.ingress.register(&readiness).and_then(|()| {
            readiness.add(self.feed.as_fd())?;
            readiness.add(self.mailbox.as_fd())
        });
        prepared.context("cannot wait for the lane's sockets")?;
        let mut published = SenderCounters::default();
        while !self.obey()? {
            // Overdue blocks close before new datagrams come in, so that their repair symbols are not late twice.
            let now = self.clock.now();
            let mut wake_at = self.sender.poll(now).context("cannot send on the link")?;
            if self.sender.heartbeat_due(now) {
                self.heartbeat(now);
                wake_at = now;
            }
            let received = self.receive(now);
            let fed = self.udp.pump(now, &mut self.feed, &mut self.sender);
            if received == Some(0) {
                self.shared.emptied.add(1);
            }
            self.publish(&mut published);
            if !fed {
                self.rest(&readiness, received, wake_at)?;
            }
        }
        self.drain(&mut published)
    }

    /// Takes a batch; `None`: there is no room for one. What overflows meanwhile is counted where it waits.
    fn receive(&mut self, now: Nanos) -> Option<usize> {
        if !self.sender.has_frames(FRAMES_PER_BATCH) {
            return None;
        }
        let (sender, udp) = (&mut self.sender, &mut self.udp);
        Some(self.ingress.receive(now, BATCH, |arrival| udp.datagram(now, sender, &arrival)))
    }

    /// Waits for the next datagram or clock, if there is time.
    fn rest(&mut self, readiness: &Readiness, received: Option<usize>, wake_at: Nanos) -> anyhow::Result<()> {
        let now = self.clock.now();
        match received {
            Some(0) => {
                // Connections that wait for room get it as frames leave: nobody rings for that.
                let blocked = self.feed.is_blocked();
                if blocked {
                    return wait_until(readiness, now, wake_at.min(now + FULL_WAIT_NS)).context("cannot wait for room");
                }
                if self.feed.fall_asleep() {
                    wait_until(readiness, now, wake_at).context("cannot wait for datagrams")?;
                    self.feed.wake_up();
                }
                Ok(())
            }
            Some(_) => Ok(()),
            None => {
                let pause_ns = wake_at.saturating_sub(now).min(FULL_WAIT_NS);
                std::thread::sleep(Duration::from_nanos(pause_ns));
                Ok(())
            }
        }
    }

    fn heartbeat(&mut self, now: Nanos) {
        self.udp.heartbeat(now, &mut self.feed, &mut self.sender);
        self.sender.heartbeat(now);
    }

    /// Carries out orders. True: stop.
    fn obey(&mut self) -> anyhow::Result<bool> {
        while let Some(order) = self.mailbox.take() {
            match order {
                Order::Table(table, encoder) => self.take_table(&table, encoder)?,
                Order::Stop => return Ok(true),
            }
        }
        Ok(false)
    }

    fn take_table(&mut self, table: &Arc<Table>, encoder: Encoder) -> anyhow::Result<()> {
        let now = self.clock.now();
        self.sender.set_channels(now, table.sender_channels(), encoder);
        self.udp.set_table(now, Arc::clone(table), &self.sender);
        let opened = self.ingress.set_table(table);
        if !self.ready.get() {
            opened?;
            self.ready.set();
        } else if let Err(error) = opened {
            // A reload must not take the other streams down.
            tracing::error!("{error}; the other streams go on");
        }
        Ok(())
    }

    /// Takes what has already arrived, closes everything, and says so until RED should have heard it.
    fn drain(mut self, published: &mut SenderCounters) -> anyhow::Result<()> {
        let until = self.clock.now() + DRAIN_NS;
        while self.clock.now() < until && self.receive(self.clock.now()) != Some(0) {
            self.sender.poll(self.clock.now())?;
        }
        while self.clock.now() < until && self.udp.pump(self.clock.now(), &mut self.feed, &mut self.sender) {
            self.sender.poll(self.clock.now())?;
        }
        let until = self.clock.now() + DRAIN_NS;
        self.udp.end_all();
        self.feed.abort_all();
        // A link that is behind would not take the sessions' ends.
        while !self.sender.has_room(0) && self.clock.now() < until {
            self.send_until(self.clock.now() + FULL_WAIT_NS)?;
        }
        for _ in 0..LAST_HEARTBEATS {
            let now = self.clock.now();
            self.udp.heartbeat(now, &mut self.feed, &mut self.sender);
            self.sender.stop(now);
            self.send_until(now + LAST_HEARTBEAT_NS)?;
        }
        while !self.sender.is_drained() && self.clock.now() < until {
            self.send_until(self.clock.now() + LAST_HEARTBEAT_NS)?;
        }
        if !self.sender.is_drained() {
            let frames = self.sender.waiting_frames();
            tracing::warn!(
                frames,
                "stopped before everything had left: the link is too slow, RED never hears of the rest"
            );
        }
        self.publish(published);
        Ok(())
    }

    /// Goes on sending until `until`.
    fn send_until(&mut self, until: Nanos) -> anyhow::Result<()> {
        loop {
            let next = self.sender.poll(self.clock.now())?;
            let now = self.clock.now();
            if now >= until {
                return Ok(());
            }
            std::thread::sleep(Duration::from_nanos(next.min(until).saturating_sub(now)));
        }
    }

    fn publish(&self, published: &mut SenderCounters) {
        let now = self.sender.counters();
        if now == *published {
            return;
        }
        *published = now;
        if let Some(to) = self.counters.lane(self.number) {
            to.publish(&now, (self.send_errors)(self.sender.port()));
            to.malformed.set(self.ingress.malformed());
        }
    }
}
