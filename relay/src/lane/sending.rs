//! A lane that sends on a link: from whatever its host sends to its TX queue.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::fec::Encoder;
use crate::host::{Clock, Mailbox, Readiness, Ready, prepare_lane_thread, wait_until};
use crate::link::{Nanos, Sender, SenderChannel, SenderCounters, TxPort};
use crate::tcp::Feed;
use crate::telemetry::counters::{Lanes, SendLink};

/// Datagrams taken at once: enough to spread the cost of a wake-up, few enough that clocks are looked at every 100 us
/// even at full rate.
pub const BATCH: usize = 64;
/// Frames that must be free before a batch is taken: one for each datagram, twice over for what they make blocks do.
const FRAMES_PER_BATCH: usize = 2 * BATCH;
/// Heartbeats sent on stopping, with sessions' ends: two may be lost.
const LAST_HEARTBEATS: u32 = 3;
/// Between them: longer than the receiver's default `hold`, so that its account is settled by the next one.
const LAST_HEARTBEAT_NS: Nanos = 20_000_000;
/// Without free frames the lane looks again after this long at the latest: the time that 32 full frames take at 1 Gbit/s.
const FULL_WAIT_NS: Nanos = 400_000;
/// What has already arrived gets this long to be taken, and then the last frames this long to leave; the whole relay stops
/// within 2 s.
const DRAIN_NS: Nanos = 300_000_000;

/// What a lane sends.
pub trait Sends {
    /// The streams, as the host has them.
    type Table;
    /// Puts everything to wait for into `readiness`, except for the feed.
    fn register(&self, readiness: &Readiness) -> io::Result<()>;
    /// Takes a new table, after the sender took its channels. An error is of single streams; the others work.
    fn set_table<P: TxPort>(&mut self, now: Nanos, table: &Arc<Self::Table>, sender: &Sender<P>) -> io::Result<()>;
    /// Puts a batch of what has arrived into the link, and says how many there were.
    fn receive<P: TxPort>(&mut self, now: Nanos, sender: &mut Sender<P>) -> usize;
    /// What tasks hand over.
    fn feed(&mut self) -> &mut Feed;
    /// Puts what tasks have handed over into the link. Returns whether there was anything.
    fn pump<P: TxPort>(&mut self, now: Nanos, sender: &mut Sender<P>) -> bool;
    /// Announces where every session stands.
    fn mark<P: TxPort>(&mut self, now: Nanos, sender: &mut Sender<P>);
    /// Ends every session, for the last heartbeats.
    fn end_all(&mut self);
    /// Adds what it has counted itself.
    fn publish(&self, to: &SendLink);
}

/// Orders to a lane.
#[derive(Debug)]
pub enum SendingOrder<T> {
    /// Take a new table of streams, and the sender these channels of it, with an encoder that knows them.
    Table(Arc<T>, Vec<SenderChannel>, Encoder),
    /// Drain and stop.
    Stop,
}

/// Everything that a lane owns.
pub struct SendingLane<P: TxPort, S: Sends> {
    /// Its number.
    pub number: usize,
    /// The process's clock.
    pub clock: Clock,
    /// The link.
    pub sender: Sender<P>,
    /// What it sends.
    pub source: S,
    /// Orders.
    pub mailbox: Mailbox<SendingOrder<S::Table>>,
    /// The link's counters.
    pub counters: Arc<Lanes<SendLink>>,
    /// Set once all streams of the first table work.
    pub ready: Ready,
    /// Frames that the port could not send, if it counts any.
    pub send_errors: fn(&P) -> u64,
}

impl<P: TxPort, S: Sends> SendingLane<P, S> {
    /// Runs until told to stop.
    pub fn run(mut self) -> anyhow::Result<()> {
        prepare_lane_thread();
        let readiness = Readiness::new().context("cannot make an epoll descriptor")?;
        let prepared = self.source.register(&readiness).and_then(|()| {
            readiness.add(self.source.feed().as_fd())?;
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
            let fed = self.source.pump(now, &mut self.sender);
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
        Some(self.source.receive(now, &mut self.sender))
    }

    /// Waits for the next datagram or clock, if there is time.
    fn rest(&mut self, readiness: &Readiness, received: Option<usize>, wake_at: Nanos) -> anyhow::Result<()> {
        let now = self.clock.now();
        match received {
            Some(0) => {
                if self.source.feed().fall_asleep() {
                    wait_until(readiness, now, wake_at).context("cannot wait for datagrams")?;
                    self.source.feed().wake_up();
                }
                Ok(())
            }
            Some(_) => Ok(()),
            None => {
                // Datagrams and pieces that wait for room get it as frames leave: nobody tells.
                let pause_ns = wake_at.saturating_sub(now).min(FULL_WAIT_NS);
                std::thread::sleep(Duration::from_nanos(pause_ns));
                Ok(())
            }
        }
    }

    fn heartbeat(&mut self, now: Nanos) {
        self.source.mark(now, &mut self.sender);
        self.sender.heartbeat(now);
    }

    /// Carries out orders. True: stop.
    fn obey(&mut self) -> anyhow::Result<bool> {
        while let Some(order) = self.mailbox.take() {
            match order {
                SendingOrder::Table(table, channels, encoder) => self.take_table(&table, channels, encoder)?,
                SendingOrder::Stop => return Ok(true),
            }
        }
        Ok(false)
    }

    fn take_table(
        &mut self,
        table: &Arc<S::Table>,
        channels: Vec<SenderChannel>,
        encoder: Encoder,
    ) -> anyhow::Result<()> {
        let now = self.clock.now();
        self.sender.set_channels(now, channels, encoder);
        let opened = self.source.set_table(now, table, &self.sender);
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
        while self.clock.now() < until && self.source.pump(self.clock.now(), &mut self.sender) {
            self.sender.poll(self.clock.now())?;
        }
        let until = self.clock.now() + DRAIN_NS;
        self.source.end_all();
        // A link that is behind would not take the sessions' ends.
        while !self.sender.has_room(0) && self.clock.now() < until {
            self.send_until(self.clock.now() + FULL_WAIT_NS)?;
        }
        for _ in 0..LAST_HEARTBEATS {
            let now = self.clock.now();
            self.source.mark(now, &mut self.sender);
            self.sender.stop(now);
            self.send_until(now + LAST_HEARTBEAT_NS)?;
        }
        while !self.sender.is_drained() && self.clock.now() < until {
            self.send_until(self.clock.now() + LAST_HEARTBEAT_NS)?;
        }
        if !self.sender.is_drained() {
            let frames = self.sender.unsent_frames();
            tracing::warn!(
                frames,
                "stopped before everything had left: the link is too slow, the other host never hears of the rest"
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
            self.source.publish(to);
        }
    }
}
