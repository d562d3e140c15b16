//! One round: a sender and a receiver of the link, taking turns, each with a stopwatch of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use relay::fec::{Encoder, Protection, RepairTable, Scheme};
use relay::link::memory::{Faults, MemoryLink};
use relay::link::{
    Claim, Nanos, Receiver, ReceiverChannel, ReceiverConfig, RxPort, Sender, SenderChannel, SenderConfig, TxPort,
};
use relay::wire::{Direction, FRAME_OVERHEAD, IP_UDP_LEN, LinkKey, RECORD_LEN, symbol_size};

use super::zone::{BATCH, BlueZone, RedZone};
use crate::stopwatch::{Parts, gbit_per_second};

/// What the simulated time goes by.
const LINK_BITS_PER_SECOND: u64 = 10_000_000_000;
const CHANNEL: u16 = 1;
const MS: Nanos = 1_000_000;
/// Blocks that are timed together, so that every part holds the same work: some tenths of a millisecond.
const PART_BLOCKS: u64 = 4;
/// Frames that may be under way: a batch and the repair symbols of its blocks, many times over.
const FRAMES: usize = 8192;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The erasure code.
    pub scheme: Scheme,
    /// How many repair symbols.
    pub protection: Protection,
    /// Most source symbols of a block.
    pub block_symbols: u16,
    /// IP MTU of the link.
    pub mtu: usize,
    /// Payload of every datagram, bytes, at least 4.
    pub payload_bytes: usize,
    /// At least so many.
    pub datagrams: u64,
    /// What the link does.
    pub faults: Faults,
    /// Of the losses.
    pub seed: u64,
}

impl Plan {
    /// The largest symbol on the link.
    pub fn symbol_bytes(&self) -> usize {
        symbol_size(self.mtu, IP_UDP_LEN)
    }

    /// Datagrams of a full symbol; 0 for those larger than a symbol.
    pub fn records_per_symbol(&self) -> usize {
        self.symbol_bytes() / (RECORD_LEN + self.payload_bytes)
    }

    /// Batches that are timed together.
    fn part_batches(&self) -> u64 {
        let block = self.records_per_symbol().max(1) as u64 * u64::from(self.block_symbols);
        (PART_BLOCKS * block).div_ceil(BATCH as u64)
    }

    /// A link as the plan wants it.
    pub fn link(&self) -> MemoryLink {
        MemoryLink::new(self.symbol_bytes() + FRAME_OVERHEAD, FRAMES, self.faults, self.seed)
    }

    /// Repair symbols by K.
    pub fn repair(&self) -> Result<RepairTable> {
        RepairTable::new(self.scheme, self.protection, self.block_symbols).context("no repair table")
    }
}

/// A port whose losses can be ended.
pub trait Lossy: TxPort + RxPort {
    /// Loses nothing more.
    fn heal(&mut self);
}

impl Lossy for MemoryLink {
    fn heal(&mut self) {
        self.set_faults(Faults::default());
    }
}

/// What came out.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Payload into BLUE's pipeline, Gbit/s.
    pub blue_gbit_s: f64,
    /// Payload out of RED's pipeline, Gbit/s.
    pub red_gbit_s: f64,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams delivered.
    pub delivered: u64,
}

/// Both ends, and how long each has worked.
pub struct Round<P: Lossy> {
    plan: Plan,
    blue_zone: BlueZone,
    sender: Sender<P>,
    receiver: Receiver,
    red_zone: RedZone,
    now: Nanos,
}

impl<P: Lossy> Round<P> {
    /// Both ends of `link`. `encoder` knows the plan's code and block size.
    pub fn new(plan: &Plan, link: P, encoder: Encoder) -> Result<Self> {
        let symbol_bytes = plan.symbol_bytes() as u16;
        let key = LinkKey::sealed([7; 32]);
        let config = SenderConfig {
            lane: 0,
            epoch: 1,
            direction: Direction::Forward,
            key: key.clone(),
            symbol_bytes,
            heartbeat_ns: 250 * MS,
            rate: None,
        };
        let mut sender = Sender::new(config, link);
        let channel = SenderChannel {
            channel: CHANNEL,
            stream_type: 1,
            scheme: plan.scheme,
            block_symbols: plan.block_symbols,
            flush_ns: MS / 20,
            deadline_ns: 5 * MS,
            repair: Arc::new(plan.repair()?),
        };
        sender.set_channels(MS, vec![channel], encoder);
        let mut receiver = Receiver::new(ReceiverConfig {
            claim: Claim::first(),
            key,
            direction: Direction::Forward,
            epoch_min: 0,
            packet_floors: Vec::new(),
            symbol_bytes,
            hold_ns: 5 * MS,
            heartbeat_ns: 250 * MS,
            pool_bytes: 64 << 20,
        });
        receiver.set_channels(&[ReceiverChannel { channel: CHANNEL, stream_type: 1, ordered: true }]);
        Ok(Self {
            plan: *plan,
            blue_zone: BlueZone::new(plan.payload_bytes)?,
            sender,
            receiver,
            red_zone: RedZone::new(plan.payload_bytes)?,
            now: MS,
        })
    }

    /// Sends and receives everything; an error if anything arrived wrong, or the account is not exact. Gives the sender back as it is
    /// after the last block was closed.
    pub fn run(mut self) -> Result<(Outcome, Sender<P>)> {
        let (mut blue, mut red) = (Parts::default(), Parts::default());
        let mut sent = 0;
        while sent < self.plan.datagrams {
            sent += self.part(sent, &mut blue, &mut red)?;
        }
        self.finish()?;
        let zone = &self.red_zone;
        ensure!(zone.wrong == 0, "{} datagrams arrived wrong", zone.wrong);
        ensure!(zone.delivered + zone.missing == sent, "{} + {} is not {sent}", zone.delivered, zone.missing);
        let gbit_s = |parts: &Parts| gbit_per_second(parts.per_second() * self.plan.payload_bytes as f64, 1.0);
        let (blue_gbit_s, red_gbit_s) = (gbit_s(&blue), gbit_s(&red));
        Ok((Outcome { blue_gbit_s, red_gbit_s, sent, delivered: zone.delivered }, self.sender))
    }

    /// Some whole blocks: by turns BLUE with a batch, then RED with all that arrived. Returns how many datagrams were sent.
    fn part(&mut self, first: u64, blue: &mut Parts, red: &mut Parts) -> Result<u64> {
        let delivered_before = self.red_zone.delivered;
        let (mut blue_time, mut red_time) = (Duration::ZERO, Duration::ZERO);
        let batches = self.plan.part_batches();
        for batch in 0..batches {
            self.number((first + batch * BATCH as u64) as u32);
            let started = Instant::now();
            self.send(BATCH)?;
            let turned = Instant::now();
            self.receive()?;
            blue_time += turned - started;
            red_time += turned.elapsed();
            self.pass_time(BATCH);
        }
        let sent = batches * BATCH as u64;
        blue.add(sent, blue_time);
        red.add(self.red_zone.delivered - delivered_before, red_time);
        Ok(sent)
    }

    /// Numbers the datagrams of the next batch from `first` on.
    pub fn number(&mut self, first: u32) {
        self.blue_zone.number(first);
    }

    /// Lets as much time pass as `count` datagrams take on the link.
    pub fn pass_time(&mut self, count: usize) {
        self.now += (count * self.plan.payload_bytes) as u64 * 8 * 1_000_000_000 / LINK_BITS_PER_SECOND;
    }

    /// BLUE: strips, tags, and puts a batch into the link.
    pub fn send(&mut self, count: usize) -> Result<()> {
        let (now, sender) = (self.now, &mut self.sender);
        self.blue_zone.take(now, count, |head, payload| {
            sender.push(now, 0, head, payload).context("the link in memory is full")
        })?;
        if sender.heartbeat_due(now) {
            sender.heartbeat(now);
        }
        sender.poll(now)?;
        Ok(())
    }

    /// RED: takes all that arrived, and rebuilds what the link delivers.
    pub fn receive(&mut self) -> Result<()> {
        let (now, receiver, zone) = (self.now, &mut self.receiver, &mut self.red_zone);
        self.sender.port_mut().receive(usize::MAX, &mut |frame| receiver.frame(now, frame, zone))?;
        receiver.poll(now, zone);
        Ok(())
    }

    /// Without a stopwatch: closes the last block, and has the account settled over a link without loss.
    fn finish(&mut self) -> Result<()> {
        self.sender.stop(self.now);
        self.sender.poll(self.now)?;
        self.sender.port_mut().heal();
        for _ in 0..3 {
            self.receive()?;
            self.now += 20 * MS;
            self.sender.heartbeat(self.now);
            self.sender.poll(self.now)?;
        }
        self.receive()
    }
}
