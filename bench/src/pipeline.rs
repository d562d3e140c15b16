//! One round: a sender and a receiver of the link, taking turns, each with a stopwatch of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use relay::fec::{Encoder, Protection, RepairTable, Scheme};
use relay::link::memory::{Faults, MemoryLink};
use relay::link::{
    Claim, Delivery, Nanos, Receiver, ReceiverChannel, ReceiverConfig, RxPort as _, Sender, SenderChannel,
    SenderConfig, Settled, Sink,
};
use relay::wire::{Direction, FRAME_OVERHEAD, IP_UDP_LEN, LinkKey, RecordHead, RecordType, symbol_size};

/// The largest datagram that costs one frame on a link with an MTU of 1,500.
pub const PAYLOAD_BYTES: usize = 1400;
/// Datagrams of a round: some tenths of a second.
pub const DATAGRAMS: u64 = 100_000;
/// The site file's default.
pub const BLOCK_SYMBOLS: u16 = 128;

/// What the simulated time goes by.
const LINK_BITS_PER_SECOND: u64 = 10_000_000_000;
/// Datagrams that a lane takes at once.
const BATCH: u64 = 64;
const CHANNEL: u16 = 1;
const MS: Nanos = 1_000_000;
/// Frames that may be under way: a batch and the repair symbols of its blocks, many times over.
const FRAMES: usize = 8192;

/// What to run.
pub struct Plan {
    /// The erasure code.
    pub scheme: Scheme,
    /// Frames lost, per 65,536.
    pub lose: u16,
    /// Of the losses.
    pub seed: u64,
}

/// What came out.
pub struct Outcome {
    /// Payload through BLUE's pipeline, Gbit/s.
    pub blue_gbit_s: f64,
    /// Payload through RED's pipeline, Gbit/s.
    pub red_gbit_s: f64,
    /// Datagrams that FEC recovered.
    pub recovered: u64,
    /// Datagrams that were not delivered.
    pub lost: u64,
}

/// Counts what is delivered, and looks at each payload's ends.
#[derive(Default)]
struct Count {
    delivered: u64,
    recovered: u64,
    wrong: u64,
    missing: u64,
}

impl Sink for Count {
    fn record(&mut self, delivery: &Delivery<'_>) {
        if delivery.head.kind != RecordType::Datagram {
            return;
        }
        self.delivered += 1;
        self.recovered += u64::from(delivery.recovered);
        let number = delivery.head.sequence.to_be_bytes();
        let right = delivery.payload.starts_with(&number) && delivery.payload.ends_with(&number);
        self.wrong += u64::from(!right || delivery.payload.len() != PAYLOAD_BYTES);
    }

    fn settled(&mut self, settled: &Settled) {
        self.missing = settled.missing_records;
    }

    fn new_epoch(&mut self, _: u32) {}

    fn stream_mismatch(&mut self, _: u16, _: u8, _: Option<u8>) {
        self.wrong += 1;
    }

    fn tables_differ(&mut self, _: u64) {}

    fn stopping(&mut self) {}
}

/// Both ends, and how long each has worked.
struct Round {
    sender: Sender<MemoryLink>,
    receiver: Receiver,
    count: Count,
    now: Nanos,
    blue: Duration,
    red: Duration,
}

/// Runs a round; an error if anything arrived wrong, or the account is not exact.
pub fn run(plan: &Plan) -> Result<Outcome> {
    let mut round = Round::new(plan)?;
    let mut payload = [0x5A; PAYLOAD_BYTES];
    let mut sent = 0;
    while sent < DATAGRAMS {
        round.batch(&mut payload, sent..(sent + BATCH).min(DATAGRAMS))?;
        sent = (sent + BATCH).min(DATAGRAMS);
    }
    let (blue, red) = (round.blue, round.red);
    round.finish()?;
    let count = &round.count;
    ensure!(count.wrong == 0, "{} datagrams arrived wrong", count.wrong);
    ensure!(count.delivered + count.missing == sent, "{} + {} is not {sent}", count.delivered, count.missing);
    let gbit_s = |time: Duration| (sent as usize * PAYLOAD_BYTES * 8) as f64 / time.as_secs_f64() / 1e9;
    Ok(Outcome { blue_gbit_s: gbit_s(blue), red_gbit_s: gbit_s(red), recovered: count.recovered, lost: count.missing })
}

impl Round {
    fn new(plan: &Plan) -> Result<Self> {
        let symbol_bytes = symbol_size(1500, IP_UDP_LEN);
        let key = LinkKey::sealed([7; 32]);
        let protection = Protection::Share { repair: 0.1, repair_min: 0 };
        let repair = RepairTable::new(plan.scheme, protection, BLOCK_SYMBOLS).context("no repair table")?;
        let config = SenderConfig {
            lane: 0,
            epoch: 1,
            direction: Direction::Forward,
            key: key.clone(),
            symbol_bytes: symbol_bytes as u16,
            heartbeat_ns: 250 * MS,
            rate: None,
        };
        let faults = Faults { lose: plan.lose, ..Faults::default() };
        let link = MemoryLink::new(symbol_bytes + FRAME_OVERHEAD, FRAMES, faults, plan.seed);
        let mut sender = Sender::new(config, link);
        let channel = SenderChannel {
            channel: CHANNEL,
            stream_type: 1,
            scheme: plan.scheme,
            block_symbols: BLOCK_SYMBOLS,
            flush_ns: MS / 20,
            deadline_ns: 5 * MS,
            repair: Arc::new(repair),
        };
        sender.set_channels(MS, vec![channel], Encoder::new(&[(plan.scheme, BLOCK_SYMBOLS)]));
        let mut receiver = Receiver::new(ReceiverConfig {
            claim: Claim::first(),
            key,
            direction: Direction::Forward,
            epoch_min: 0,
            packet_floors: Vec::new(),
            symbol_bytes: symbol_bytes as u16,
            hold_ns: 5 * MS,
            heartbeat_ns: 250 * MS,
            pool_bytes: 64 << 20,
        });
        receiver.set_channels(&[ReceiverChannel { channel: CHANNEL, stream_type: 1, ordered: true }]);
        Ok(Self { sender, receiver, count: Count::default(), now: MS, blue: Duration::ZERO, red: Duration::ZERO })
    }

    /// BLUE's turn with a batch, then RED's with all that arrived.
    fn batch(&mut self, payload: &mut [u8; PAYLOAD_BYTES], numbers: std::ops::Range<u64>) -> Result<()> {
        let started = Instant::now();
        for number in numbers {
            let sequence = number as u32;
            payload[..4].copy_from_slice(&sequence.to_be_bytes());
            payload[PAYLOAD_BYTES - 4..].copy_from_slice(&sequence.to_be_bytes());
            let head = RecordHead { kind: RecordType::Datagram, flags: 0, session: [1; 16], sequence };
            self.sender.push(self.now, 0, &head, payload).context("the link in memory is full")?;
        }
        if self.sender.heartbeat_due(self.now) {
            self.sender.heartbeat(self.now);
        }
        self.sender.poll(self.now)?;
        let turned = Instant::now();
        self.blue += turned - started;
        self.receive()?;
        self.red += turned.elapsed();
        self.now += BATCH * PAYLOAD_BYTES as u64 * 8 * 1_000_000_000 / LINK_BITS_PER_SECOND;
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        let (now, receiver, count) = (self.now, &mut self.receiver, &mut self.count);
        self.sender.port_mut().receive(usize::MAX, &mut |frame| receiver.frame(now, frame, count))?;
        receiver.poll(now, count);
        Ok(())
    }

    /// Without a stopwatch: closes the last block, and has the account settled over a link without loss.
    fn finish(&mut self) -> Result<()> {
        self.sender.stop(self.now);
        self.sender.poll(self.now)?;
        self.sender.port_mut().set_faults(Faults::default());
        for _ in 0..3 {
            self.receive()?;
            self.now += 20 * MS;
            self.sender.heartbeat(self.now);
            self.sender.poll(self.now)?;
        }
        self.receive()
    }
}
