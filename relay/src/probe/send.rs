//! BLUE's part of a measurement: opens the link as `relay blue` does, and climbs the ladder.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::ladder::{Ladder, Rates, Step};
use super::message::LaneSent;
use super::source::{Load, SharedSent, Source, Stage};
use super::{PAUSE, cpu_time, show};
use crate::config::{Driver, Role, Site};
use crate::fec::Encoder;
use crate::host::{
    Clock, Controlled, Lanes, LinkEnd, LinkTx, XdpSending, encoder, fec_channel, link_key, next_epoch, quiet, run,
    tx_frames,
};
use crate::lane::{SendingLane, SendingOrder};
use crate::link::socket::SocketTx;
use crate::link::{LANES_MAX, Sender, SenderChannel, SenderConfig, TxPort};
use crate::session::{self, SessionId};
use crate::steer::SendingLink;
use crate::tcp::{Carries, FeedSender, feed};
use crate::telemetry::counters::{LinkName, SendCounters};
use crate::telemetry::report::Occasion;
use crate::wire::{BENCH_CHANNEL, BENCH_STREAM_TYPE, Direction, LinkKey, RECORD_LEN};

/// Time that the last step's marks get to be said again.
const FAREWELL: Duration = PAUSE;

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct Send {
    /// Length of a step, at least 200 ms.
    pub step: Duration,
    /// The rates to climb.
    pub rates: Rates,
    /// Payload of a record, bytes; without, as much as one frame holds.
    pub payload_bytes: Option<u16>,
}

/// Runs the ladder to its end, or until SIGTERM or SIGINT.
pub fn send(site: &Site, what: Send) -> anyhow::Result<()> {
    run(|| start(site, what))
}

/// What the steps' lanes have in common.
struct Common<'a> {
    site: &'a Site,
    epoch: u32,
    key: LinkKey,
    run: SessionId,
    lanes: u16,
    payload_bytes: Option<u16>,
    clock: Clock,
    counters: Arc<SendCounters>,
    channel: SenderChannel,
    encoder: Encoder,
}

fn start(site: &Site, what: Send) -> anyhow::Result<Sending> {
    let key = link_key(site)?;
    let end = LinkEnd::forward(&site.link, Role::Blue);
    let socket_driver = site.blue.driver == Driver::Socket;
    let interface = if socket_driver { None } else { Some(end.interface()?) };
    let lanes = interface.as_ref().map_or(1, |interface| interface.tx_queues.clamp(1, u32::from(LANES_MAX)));
    let fec = &site.link.fec;
    let channel = fec_channel(BENCH_CHANNEL, BENCH_STREAM_TYPE, fec).context("[link.fec] `protect` cannot be kept")?;
    let epoch = next_epoch(&site.blue.state_dir, Direction::Forward)?;
    quiet(&end.own.interface);
    let common = Common {
        site,
        epoch,
        key,
        run: session::new_id(),
        lanes: lanes as u16,
        payload_bytes: what.payload_bytes,
        clock: Clock::default(),
        counters: Arc::new(SendCounters::new(Role::Blue, LinkName::Forward, lanes as usize)),
        encoder: encoder(std::slice::from_ref(&channel)),
        channel,
    };
    let frames = tx_frames(std::slice::from_ref(&common.channel));
    let mut running = Lanes::default();
    let mut feeds = Vec::new();
    let (program, obtained) = match interface {
        None => {
            feeds.push(common.spawn(&mut running, LinkTx::<SocketTx>::open(&end, frames)?)?);
            (None, "driver=socket mode=kernel".to_owned())
        }
        Some(interface) => {
            let link = XdpSending::open(&end, &interface, lanes as usize, frames)?;
            for tx in link.lanes {
                feeds.push(common.spawn(&mut running, tx)?);
            }
            (Some(link.program), format!("driver=xdp mode={}", link.mode))
        }
    };
    running.wait_ready()?;
    tracing::info!(epoch, lanes, run = %session::display(common.run), "{obtained}");
    if site.link.rate_bps.is_some() && what.rates.last_bps != Some(what.rates.first_bps) {
        tracing::info!("[link] rate of the site file does not count here");
    }
    Ok(Sending {
        lanes: running,
        channel: common.channel,
        encoder: common.encoder,
        ladder: Ladder::new(what.rates),
        step_time: what.step,
        pause: PAUSE + fec.deadline + fec.hold,
        phase: Phase::Pausing { since: Instant::now(), step: None },
        over: false,
        cpu_before: cpu_time(),
        _program: program,
        _feeds: feeds,
    })
}

impl Common<'_> {
    fn spawn<P>(&self, lanes: &mut Lanes<SendingOrder<Stage>, SharedSent>, tx: LinkTx<P>) -> anyhow::Result<FeedSender>
    where
        P: TxPort + std::marker::Send + 'static,
        P::Frame: std::marker::Send,
    {
        let load = Load {
            run: self.run,
            lanes: self.lanes,
            burst_bytes: self.site.link.burst_bytes,
            payload_bytes: self.payload_bytes(tx.symbol_bytes)?,
        };
        let (feed_sender, feed) = feed(Carries::Everything, None).context("cannot make a lane's feed")?;
        let first = order(Stage::Rest, &self.channel, &self.encoder);
        lanes.spawn(Some(first), |number, mailbox, shared, ready| {
            let config = SenderConfig {
                lane: number as u16,
                epoch: self.epoch,
                direction: Direction::Forward,
                key: self.key.clone(),
                symbol_bytes: tx.symbol_bytes,
                heartbeat_ns: self.site.link.heartbeat.as_nanos() as u64,
                rate: None,
            };
            let lane = SendingLane {
                number,
                clock: self.clock,
                sender: Sender::new(config, tx.port),
                source: Source::new(&load, feed, shared),
                mailbox,
                counters: self.counters.link(),
                ready,
                send_errors: tx.send_errors,
            };
            move || lane.run()
        })?;
        Ok(feed_sender)
    }

    /// Payload of a record: what was asked for, or what fills a frame.
    fn payload_bytes(&self, symbol_bytes: u16) -> anyhow::Result<usize> {
        let block_bytes = usize::from(symbol_bytes) * usize::from(self.channel.block_symbols);
        let bytes = self.payload_bytes.map_or(usize::from(symbol_bytes) - RECORD_LEN, usize::from);
        anyhow::ensure!(
            RECORD_LEN + bytes <= block_bytes,
            "records of {bytes} bytes do not fit a block, which holds {}: give a smaller --size, or raise [link.fec] block_symbols",
            block_bytes - RECORD_LEN
        );
        Ok(bytes)
    }
}

fn order(stage: Stage, channel: &SenderChannel, encoder: &Encoder) -> SendingOrder<Stage> {
    SendingOrder::Table(Arc::new(stage), vec![channel.clone()], encoder.share())
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing but what was sent in the last step, and heartbeats.
    Pausing {
        since: Instant,
        step: Option<(Step, Duration)>,
    },
    Running {
        since: Instant,
        step: Step,
    },
}

/// BLUE's control thread while it measures.
struct Sending {
    lanes: Lanes<SendingOrder<Stage>, SharedSent>,
    channel: SenderChannel,
    encoder: Encoder,
    ladder: Ladder,
    step_time: Duration,
    pause: Duration,
    phase: Phase,
    over: bool,
    cpu_before: Duration,
    /// Keeps the link one-way while it lives.
    _program: Option<SendingLink>,
    /// Lanes sleep on the other ends of these, which must not close.
    _feeds: Vec<FeedSender>,
}

impl Sending {
    fn order_all(&self, stage: Stage) -> anyhow::Result<()> {
        self.lanes.order_all(|| order(stage, &self.channel, &self.encoder))
    }

    /// Ends the step that runs.
    fn rest(&mut self, since: Instant, step: Step) -> anyhow::Result<()> {
        self.order_all(Stage::Rest)?;
        self.phase = Phase::Pausing { since: Instant::now(), step: Some((step, since.elapsed())) };
        Ok(())
    }

    /// What all lanes sent in `step`; what a lane did not tell yet is missing.
    fn sent(&self, step: u16) -> Vec<LaneSent> {
        self.lanes.shared().filter_map(|shared| shared.of(step)).collect()
    }

    /// Shows what was sent and climbs on.
    fn climb(&mut self, before: Option<(Step, Duration)>) -> anyhow::Result<()> {
        let sent = before.map(|(step, _)| self.sent(step.number)).unwrap_or_default();
        let sent_bps = sent.iter().map(LaneSent::link_bps).sum();
        if let Some((step, took)) = before {
            let records = sent.iter().map(|sent| sent.records).sum();
            let cpu = cpu_time().saturating_sub(self.cpu_before);
            let row = show::sent(step.number, step.rate_bps, sent_bps, records, cpu, took);
            // Nobody may be reading; RED is told all the same.
            let _ = writeln!(std::io::stdout(), "{row}");
        } else {
            let _ = writeln!(std::io::stdout(), "{}", show::SENT_HEAD);
        }
        let Some(step) = self.ladder.next(sent_bps) else {
            self.over = true;
            return Ok(());
        };
        self.cpu_before = cpu_time();
        self.order_all(Stage::Run(step))?;
        self.phase = Phase::Running { since: Instant::now(), step };
        Ok(())
    }
}

impl Controlled for Sending {
    fn reload(&mut self) {
        tracing::warn!("a measurement keeps the site file that it began with");
    }

    fn report(&mut self, _: Occasion) {}

    fn tick(&mut self) -> anyhow::Result<()> {
        self.lanes.check()?;
        match self.phase {
            Phase::Running { since, step } if since.elapsed() >= self.step_time => self.rest(since, step),
            Phase::Pausing { since, step } if since.elapsed() >= self.pause => self.climb(step),
            _ => Ok(()),
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn interval(&self) -> Duration {
        // Steps are told as they end.
        Duration::from_hours(1)
    }

    fn stop(mut self) {
        if let Phase::Running { since, step } = self.phase
            && self.rest(since, step).is_ok()
        {
            std::thread::sleep(FAREWELL);
        }
        self.lanes.stop(|| SendingOrder::Stop);
    }
}
