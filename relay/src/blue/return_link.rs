//! BLUE's end of the return link: opened at the start, looked after by the control thread.

use std::sync::Arc;

use anyhow::Context as _;

use super::notice::Notice;
use super::table::Table;
use super::tcp::{Answers, AnswersSender, answers};
use crate::config::{Driver, Role, Site};
use crate::host::{
    Clock, Lanes, LinkEnd, LinkPort, LinkWatch, POOL_BYTES, SharedSeen, XdpReceiving, open_socket_rx, print_report,
    quiet,
};
use crate::lane::{ReceivingLane, ReceivingOrder};
use crate::link::{Claim, Receiver, ReceiverConfig};
use crate::steer::ReceivingLink;
use crate::tcp::Windows;
use crate::telemetry::counters::{LinkName, ReceiveCounters};
use crate::telemetry::report::Occasion;
use crate::telemetry::syslog::Event;
use crate::wire::{Direction, LinkKey};

/// The return link at work.
pub struct ReturnLink {
    lanes: Lanes<ReceivingOrder<Table>, SharedSeen>,
    program: Option<ReceivingLink>,
    counters: Arc<ReceiveCounters>,
    watch: LinkWatch,
    obtained: String,
    clock: Clock,
    port: u16,
}

/// The return link, and what connections need of it.
pub struct Started {
    /// For the control thread.
    pub link: ReturnLink,
    /// To its lane.
    pub answers: AnswersSender,
    /// What RED may send ahead.
    pub windows: Arc<Windows>,
}

/// Counters of the site's return link, if it has one.
pub fn return_counters(site: &Site) -> Option<Arc<ReceiveCounters>> {
    site.link.return_link.as_ref()?;
    Some(Arc::new(ReceiveCounters::new(Role::Blue, LinkName::Return, 1)))
}

/// Opens the return link, if the site has one, and starts its lane.
pub fn start(
    site: &Site,
    key: &LinkKey,
    clock: Clock,
    table: &Arc<Table>,
    counters: Option<Arc<ReceiveCounters>>,
    notices: &crossbeam_channel::Sender<Notice>,
) -> anyhow::Result<Option<Started>> {
    let (Some(end), Some(counters)) = (LinkEnd::of_return(&site.link, Role::Blue), counters) else { return Ok(None) };
    let mode = site.link.return_link.as_ref().context("the site has no return link")?.mode;
    quiet(&end.own.interface);
    let watch = LinkWatch::start(&site.blue.state_dir, Direction::Return)?;
    let mut receiver = Receiver::new(ReceiverConfig {
        claim: Claim::first(),
        key: key.clone(),
        direction: Direction::Return,
        epoch_min: watch.remembered().epoch,
        packet_floors: watch.remembered().floors.clone(),
        symbol_bytes: end.symbol_bytes(),
        hold_ns: site.link.fec.hold.as_nanos() as u64,
        heartbeat_ns: site.link.heartbeat.as_nanos() as u64,
        pool_bytes: POOL_BYTES,
    });
    receiver.set_channels(&table.return_channels());
    let (sender, answers) = answers(mode, Arc::clone(table), notices.clone());
    let mut link = ReturnLink {
        lanes: Lanes::default(),
        program: None,
        counters,
        watch,
        obtained: "driver=socket mode=kernel".to_owned(),
        clock,
        port: site.link.port,
    };
    let windows = Arc::new(Windows::default());
    if site.blue.driver == Driver::Socket {
        let port = open_socket_rx(&end)?;
        windows.add_queue(port.queue_bytes());
        link.spawn(port, receiver, answers)?;
    } else {
        let mut opened = XdpReceiving::open(&end, &end.interface()?, 1)?;
        let queues = opened.lanes.pop().context("the return link has no queue")?;
        windows.add_queue(queues.queue_bytes());
        link.program = Some(opened.program);
        link.obtained = format!("driver=xdp mode={}", opened.mode);
        link.spawn(queues, receiver, answers)?;
    }
    link.lanes.wait_ready()?;
    tracing::info!(epoch_min = link.watch.epoch(), "return link: {}", link.obtained);
    Ok(Some(Started { link, answers: sender, windows }))
}

impl ReturnLink {
    fn spawn<P>(&mut self, port: P, receiver: Receiver, sink: Answers) -> anyhow::Result<()>
    where
        P: LinkPort + Send + 'static,
    {
        let (clock, counters) = (self.clock, self.counters.link());
        self.lanes.spawn(None, |number, mailbox, seen, ready| {
            let lane = ReceivingLane { number, clock, port, receiver, sink, mailbox, counters, seen, ready };
            move || lane.run()
        })
    }

    /// The counters, for a new table.
    pub fn counters(&self) -> &ReceiveCounters {
        &self.counters
    }

    /// Takes a new table.
    pub fn set_table(&self, table: &Arc<Table>) -> anyhow::Result<()> {
        self.lanes.order_all(|| ReceivingOrder::Table(Arc::clone(table), table.return_channels()))
    }

    /// Looks at what its lane has seen. Fails if the lane has ended; else gives what syslog should be told.
    pub fn tick(&mut self) -> anyhow::Result<Option<Event>> {
        self.look(false);
        self.lanes.check().context("return link")?;
        Ok(self.watch.alarm(self.clock.now()))
    }

    /// RED has started anew, with `epoch`; gives what syslog should be told.
    pub fn peer_started(&mut self, epoch: u32) -> Event {
        self.watch.peer_started(epoch)
    }

    /// RED says that it stops.
    pub fn peer_stops(&mut self) {
        self.watch.peer_stops();
    }

    fn look(&mut self, store_now: bool) {
        self.watch.look(self.lanes.shared().map(|seen| &**seen));
        self.watch.store(store_now);
    }

    /// Gives the counters.
    pub fn report(&mut self, occasion: Occasion) {
        let control = self.counters.link();
        match &self.program {
            Some(program) => control.control().publish_program(program),
            None => control.control().publish_socket(self.port),
        }
        let (since, all) = self.watch.take_loss();
        let told = if occasion == Occasion::Summary { all } else { since };
        print_report(occasion, &self.counters.samples(), &format!("{} {told}", self.obtained));
    }

    /// Stops its lane.
    pub fn stop(&mut self) {
        self.lanes.stop(|| ReceivingOrder::Stop);
        self.look(true);
    }
}
