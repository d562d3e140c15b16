//! RED's end of the return link: opened at the start, looked after by the control thread.

use std::sync::Arc;

use anyhow::Context as _;

use super::returns::Returns;
use super::table::Table;
use crate::config::{Driver, ReturnMode, Role, Site};
use crate::host::{Clock, Lanes, LinkEnd, LinkTx, XdpSending, encoder, next_epoch, print_report, quiet, tx_frames};
use crate::lane::{SendingLane, SendingOrder};
use crate::link::socket::SocketTx;
use crate::link::{Rate, Sender, SenderConfig, TxPort};
use crate::steer::SendingLink;
use crate::tcp::{Carries, Feed, FeedSender, feed};
use crate::telemetry::counters::{LinkName, SendCounters};
use crate::telemetry::report::Occasion;
use crate::wire::{Direction, LinkKey};

/// The return link before it has its streams.
pub struct Prepared {
    /// For deliveries.
    pub feed: FeedSender,
    /// For the table.
    pub counters: Arc<SendCounters>,
    lane_feed: Feed,
}

/// The return link at work.
pub struct ReturnLink {
    lanes: Lanes<SendingOrder<Table>, ()>,
    program: Option<SendingLink>,
    counters: Arc<SendCounters>,
    obtained: String,
    /// Frames that its port has.
    tx_frames: usize,
}

impl Prepared {
    /// Of the site's return link, if it has one.
    pub fn new(site: &Site) -> anyhow::Result<Option<Self>> {
        let Some(link) = &site.link.return_link else { return Ok(None) };
        let carries = match link.mode {
            ReturnMode::Status => Carries::StatusOnly,
            ReturnMode::Full => Carries::Everything,
        };
        let (feed, lane_feed) = feed(carries, link.rate_bps).context("cannot make the return lane's feed")?;
        let counters = Arc::new(SendCounters::new(Role::Red, LinkName::Return, 1));
        Ok(Some(Self { feed, counters, lane_feed }))
    }

    /// Opens the link and starts its lane.
    pub fn start(self, site: &Site, key: &LinkKey, clock: Clock, table: &Arc<Table>) -> anyhow::Result<ReturnLink> {
        let end = LinkEnd::of_return(&site.link, Role::Red).context("the site has no return link")?;
        quiet(&end.own.interface);
        let epoch = next_epoch(&site.red.state_dir, Direction::Return)?;
        let tx_frames = tx_frames(&table.return_channels());
        let mut link = ReturnLink {
            lanes: Lanes::default(),
            program: None,
            counters: Arc::clone(&self.counters),
            obtained: "driver=socket mode=kernel".to_owned(),
            tx_frames,
        };
        let lane = Start { site, key, clock, table, epoch };
        if site.red.driver == Driver::Socket {
            lane.spawn(&mut link, LinkTx::<SocketTx>::open(&end, tx_frames)?, self.lane_feed)?;
        } else {
            let mut opened = XdpSending::open(&end, &end.interface()?, 1, tx_frames)?;
            let tx = opened.lanes.pop().context("the return link has no queue")?;
            link.program = Some(opened.program);
            link.obtained = format!("driver=xdp mode={}", opened.mode);
            lane.spawn(&mut link, tx, self.lane_feed)?;
        }
        link.lanes.wait_ready()?;
        tracing::info!(epoch, "return link: {}", link.obtained);
        Ok(link)
    }
}

/// What its lane starts from.
struct Start<'a> {
    site: &'a Site,
    key: &'a LinkKey,
    clock: Clock,
    table: &'a Arc<Table>,
    epoch: u32,
}

impl Start<'_> {
    fn spawn<P>(&self, link: &mut ReturnLink, tx: LinkTx<P>, feed: Feed) -> anyhow::Result<()>
    where
        P: TxPort + Send + 'static,
        P::Frame: Send,
    {
        let counters = link.counters.link();
        link.lanes.spawn(Some(order(self.table)), |number, mailbox, _, ready| {
            let pacing = self.site.link.return_link.as_ref();
            let rate =
                pacing.and_then(|link| Some(Rate { bits_per_second: link.rate_bps?, burst_bytes: link.burst_bytes }));
            let config = SenderConfig {
                lane: number as u16,
                epoch: self.epoch,
                direction: Direction::Return,
                key: self.key.clone(),
                symbol_bytes: tx.symbol_bytes,
                heartbeat_ns: self.site.link.heartbeat.as_nanos() as u64,
                rate,
            };
            let lane = SendingLane {
                number,
                clock: self.clock,
                sender: Sender::new(config, tx.port),
                source: Returns::new(Arc::clone(self.table), feed),
                mailbox,
                counters,
                ready,
                send_errors: tx.send_errors,
            };
            move || lane.run()
        })
    }
}

fn order(table: &Arc<Table>) -> SendingOrder<Table> {
    let channels = table.return_channels();
    let encoder = encoder(&channels);
    SendingOrder::Table(Arc::clone(table), channels, encoder)
}

impl ReturnLink {
    /// The counters, for a new table.
    pub fn counters(&self) -> &SendCounters {
        &self.counters
    }

    /// Fails if a new table cannot be taken before the next start.
    pub fn check_table(&self, table: &Table) -> anyhow::Result<()> {
        anyhow::ensure!(
            tx_frames(&table.return_channels()) <= self.tx_frames,
            "the new `protect` needs more transmit frames on the return link than there are; restart to use it"
        );
        Ok(())
    }

    /// Takes a new table.
    pub fn set_table(&self, table: &Arc<Table>) -> anyhow::Result<()> {
        self.lanes.order_all(|| order(table))
    }

    /// Fails if its lane has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.lanes.check().context("return link")
    }

    /// Gives the counters.
    pub fn report(&self, occasion: Occasion) {
        if let Some(program) = &self.program {
            self.counters.link().control().publish_program(program);
        }
        print_report(occasion, &self.counters.samples(), &self.obtained);
    }

    /// Sends what is left, and says that RED stops.
    pub fn stop(&mut self) {
        self.lanes.stop(|| SendingOrder::Stop);
    }
}
