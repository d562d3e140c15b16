//! RED's part of a measurement: opens the link as `relay red` does, counts, and says what follows.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::counting::{Counting, SharedTally};
use super::tally::{Measured, Tally};
use super::{PAUSE, advice, cpu_time, show};
use crate::config::{Driver, Encapsulation, Role, Site};
use crate::host::{
    Clock, Controlled, Lanes, LinkEnd, LinkPort, LinkWatch, SharedSeen, XdpReceiving, link_key, open_socket_rx, quiet,
    run,
};
use crate::lane::{ReceivingLane, ReceivingOrder};
use crate::link::{Claim, Receiver, ReceiverChannel, ReceiverConfig};
use crate::session;
use crate::steer::ReceivingLink;
use crate::telemetry::counters::{Key, LinkName, ReceiveCounters};
use crate::telemetry::reasons::FrameDropped;
use crate::telemetry::report::Occasion;
use crate::wire::{BENCH_CHANNEL, BENCH_STREAM_TYPE, Direction, IP_UDP_LEN, LinkKey};

/// Memory for symbols that wait, per lane, as RED has it.
const POOL_BYTES: usize = 64 << 20;
/// Ethernet header, bytes.
const ETHERNET_LEN: u64 = 14;
/// A relay that has just been told to stop says so in several heartbeats; one that goes on for so long is at work.
const FOREIGN_MAX: Duration = Duration::from_secs(2);

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub struct Receive {
    /// Share of the records that a safe rate may lose, 0..1.
    pub loss: f64,
    /// Silence after which the sender counts as gone.
    pub silence: Duration,
}

/// Counts until the sender is done or gone, or until SIGTERM or SIGINT, and prints what follows.
pub fn receive(site: &Site, what: Receive) -> anyhow::Result<()> {
    let tally = SharedTally::default();
    run(|| start(site, what, tally.clone()))?;
    conclude(site, &what, &tally)
}

/// Prints the advice. An error: there is none.
fn conclude(site: &Site, what: &Receive, tally: &SharedTally) -> anyhow::Result<()> {
    let (advice, text) = tally.with(|tally| {
        let advice = advice::advise(tally.steps(), what.loss);
        let text = advice.as_ref().map(|advice| advice::text(advice, what.loss, tally.steps(), &site.link.fec));
        (advice, text)
    });
    let (Some(advice), Some(text)) = (advice, text) else {
        anyhow::bail!(
            "nothing came from `relay bench send`: start it on BLUE with the same site file and key while this runs"
        )
    };
    let _ = write!(std::io::stdout(), "\n{text}");
    anyhow::ensure!(advice.safe.is_some(), "no safe rate was found");
    Ok(())
}

fn start(site: &Site, what: Receive, tally: SharedTally) -> anyhow::Result<Receiving> {
    let key = link_key(site)?;
    let end = LinkEnd::forward(&site.link, Role::Red);
    let socket_driver = site.red.driver == Driver::Socket;
    let interface = if socket_driver { None } else { Some(end.interface()?) };
    let lanes = interface.as_ref().map_or(1, |interface| interface.rx_queues as usize);
    let watch = LinkWatch::start(&site.red.state_dir, Direction::Forward)?;
    quiet(&end.own.interface);
    let overhead = match site.link.encapsulation {
        Encapsulation::Udp => ETHERNET_LEN + IP_UDP_LEN as u64,
        Encapsulation::Ethernet => ETHERNET_LEN,
    };
    let mut receiving = Receiving {
        lanes: Lanes::default(),
        program: None,
        counters: Arc::new(ReceiveCounters::new(Role::Red, LinkName::Forward, lanes)),
        watch,
        clock: Clock::default(),
        tally,
        port: site.link.port,
        overhead_bytes: overhead,
        silence: what.silence,
        began: Instant::now(),
        before: Look::default(),
        heard_at: None,
        foreign_since: None,
        told_silence: false,
        printed: 0,
        run: None,
    };
    let spawn = Spawn { site, key, end };
    let obtained = match interface {
        None => {
            spawn.lane(&mut receiving, Claim::first(), open_socket_rx(&end)?)?;
            "driver=socket mode=kernel".to_owned()
        }
        Some(interface) => {
            let link = XdpReceiving::open(&end, &interface, lanes)?;
            let claims = Claim::among(link.lanes.len()).context("more queues than receivers can share a link")?;
            for (queues, claim) in link.lanes.into_iter().zip(claims) {
                spawn.lane(&mut receiving, claim, queues)?;
            }
            receiving.program = Some(link.program);
            format!("driver=xdp mode={}", link.mode)
        }
    };
    receiving.lanes.wait_ready()?;
    receiving.before = receiving.look();
    tracing::info!(lanes, epoch_min = receiving.watch.epoch(), "{obtained}");
    tracing::info!("waiting for `relay bench send` on BLUE");
    Ok(receiving)
}

/// What lanes start from.
struct Spawn<'a> {
    site: &'a Site,
    key: LinkKey,
    end: LinkEnd<'a>,
}

impl Spawn<'_> {
    fn lane<P>(&self, to: &mut Receiving, claim: Claim, port: P) -> anyhow::Result<()>
    where
        P: LinkPort + Send + 'static,
    {
        let remembered = to.watch.remembered();
        let mut receiver = Receiver::new(ReceiverConfig {
            claim,
            key: self.key.clone(),
            direction: Direction::Forward,
            epoch_min: remembered.epoch,
            packet_floors: remembered.floors.clone(),
            symbol_bytes: self.end.symbol_bytes(),
            hold_ns: self.site.link.fec.hold.as_nanos() as u64,
            heartbeat_ns: self.site.link.heartbeat.as_nanos() as u64,
            pool_bytes: POOL_BYTES,
        });
        receiver.set_channels(&[ReceiverChannel {
            channel: BENCH_CHANNEL,
            stream_type: BENCH_STREAM_TYPE,
            ordered: true,
        }]);
        let (clock, counters, sink) = (to.clock, to.counters.link(), Counting::new(to.tally.clone()));
        to.lanes.spawn(None, |number, mailbox, seen, ready| {
            let lane = ReceivingLane { number, clock, port, receiver, sink, mailbox, counters, seen, ready };
            move || lane.run()
        })
    }
}

/// Counts since the start, at one look.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    accepted: u64,
    bytes: u64,
    overflow: u64,
    cpu: Duration,
    at: Duration,
}

/// RED's control thread while it measures.
struct Receiving {
    lanes: Lanes<ReceivingOrder<()>, SharedSeen>,
    program: Option<ReceivingLink>,
    counters: Arc<ReceiveCounters>,
    watch: LinkWatch,
    clock: Clock,
    tally: SharedTally,
    port: u16,
    /// What is around every frame.
    overhead_bytes: u64,
    silence: Duration,
    began: Instant,
    before: Look,
    /// When anything genuine came last.
    heard_at: Option<Instant>,
    /// When the sender first spoke of other streams.
    foreign_since: Option<Instant>,
    told_silence: bool,
    /// Steps of this run that were printed.
    printed: usize,
    run: Option<session::SessionId>,
}

impl Receiving {
    fn look(&self) -> Look {
        let link = self.counters.link();
        match &self.program {
            Some(program) => link.control().publish_program(program),
            None => link.control().publish_socket(self.port),
        }
        let sums = link.sums();
        let sum = |key: Key| sums.iter().find(|(name, _)| *name == key).map_or(0, |(_, sum)| *sum);
        Look {
            accepted: sum(Key::Count("accepted")),
            bytes: sum(Key::Count("bytes")),
            overflow: sum(Key::Reason("dropped", FrameDropped::Overflow.name())),
            cpu: cpu_time(),
            at: self.began.elapsed(),
        }
    }

    /// Takes everything that was seen since the last look, for the step that runs.
    fn measure(&mut self) {
        let look = self.look();
        let before = std::mem::replace(&mut self.before, look);
        self.watch.look(self.lanes.shared().map(|seen| &**seen));
        let frames = look.accepted - before.accepted;
        if frames > 0 {
            self.heard_at = Some(Instant::now());
        }
        let measured = Measured {
            link_bytes: look.bytes - before.bytes + frames * self.overhead_bytes,
            loss: self.watch.take_loss().0,
            overflow: look.overflow.saturating_sub(before.overflow),
            cpu_ns: look.cpu.saturating_sub(before.cpu).as_nanos() as u64,
            elapsed_ns: look.at.saturating_sub(before.at).as_nanos() as u64,
        };
        self.tally.with(|tally| tally.measured(&measured));
    }

    /// Prints the steps that are complete: all but the last, which may still go on.
    fn print(&mut self, all: bool) {
        let (run, rows) = self.tally.with(|tally| {
            let printed = if tally.run() == self.run { self.printed } else { 0 };
            let complete = if all { tally.steps().len() } else { tally.steps().len().saturating_sub(1) };
            let rows: Vec<_> = tally.steps().iter().take(complete).skip(printed).map(show::received).collect();
            (tally.run(), rows)
        });
        // Nobody may be reading; the advice comes all the same.
        let mut out = std::io::stdout();
        if run != self.run {
            self.run = run;
            self.printed = 0;
            let _ = writeln!(out, "{}", show::RECEIVED_HEAD);
        }
        self.printed += rows.len();
        for row in &rows {
            let _ = writeln!(out, "{row}");
        }
    }

    /// Fails if the sender is a relay at work.
    fn check_sender(&mut self) -> anyhow::Result<()> {
        let foreign = self.tally.with(|tally| tally.foreign_heard());
        if foreign == 0 {
            self.foreign_since = None;
            return Ok(());
        }
        let since = *self.foreign_since.get_or_insert_with(Instant::now);
        anyhow::ensure!(
            foreign < 2 || since.elapsed() < FOREIGN_MAX,
            "BLUE runs a relay, not a measurement: stop `relay blue` there and start `relay bench send`"
        );
        Ok(())
    }

    /// Says once what may be wrong while nothing comes.
    fn tell_silence(&mut self) {
        if self.heard_at.is_some() || self.told_silence || self.began.elapsed() < self.silence {
            return;
        }
        self.told_silence = true;
        let dropped: Vec<_> = self.counters.link().sums().into_iter().filter(|(_, count)| *count > 0).collect();
        if dropped.is_empty() {
            tracing::warn!(
                "nothing comes: is `relay bench send` running on BLUE, is the cable the right way round, and [link.red] mac this card's?"
            );
        } else {
            let dropped: Vec<_> = dropped.iter().map(|(key, count)| format!("{key}={count}")).collect();
            tracing::warn!(
                "frames come and are refused ({}): both hosts need the same site file and the same key",
                dropped.join(" ")
            );
        }
    }
}

impl Controlled for Receiving {
    fn reload(&mut self) {
        tracing::warn!("a measurement keeps the site file that it began with");
    }

    fn report(&mut self, _: Occasion) {}

    fn tick(&mut self) -> anyhow::Result<()> {
        self.measure();
        for lane in self.watch.lanes_behind() {
            // A lane without room for the order learns of the epoch from its next frame or from the next tick.
            let _ = self.lanes.order(lane, ReceivingOrder::Epoch(self.watch.epoch()));
        }
        self.watch.store(false);
        self.print(false);
        self.tell_silence();
        self.check_sender()?;
        self.lanes.check()
    }

    fn is_over(&self) -> bool {
        let Some(heard_at) = self.heard_at else { return false };
        let patience = if self.tally.with(|tally| tally.is_over()) { PAUSE } else { self.silence };
        heard_at.elapsed() >= patience
    }

    fn interval(&self) -> Duration {
        // Steps are told as they end.
        Duration::from_hours(1)
    }

    fn stop(mut self) {
        self.lanes.stop(|| ReceivingOrder::Stop);
        self.measure();
        self.watch.store(true);
        if self.tally.with(|tally| !Tally::steps(tally).is_empty()) {
            self.print(true);
        }
    }
}
