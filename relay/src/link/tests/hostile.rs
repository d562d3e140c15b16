//! Genuine frames that say anything, and frames that are not genuine: nothing panics, memory stays bounded, and a fresh
//! epoch works.

use proptest::prelude::*;

use super::frames::{Anything, Forge, record};
use super::*;
use crate::wire::{BLOCK_SYMBOLS_MAX, HeartbeatEntry, Kind, Position, REPAIR_SYMBOLS_MAX};

/// Small symbols, small blocks (few plans to make) and a small pool: 512 slots.
fn plan(seed: u64, sealed: bool, ordered: bool) -> Plan {
    Plan {
        symbol_bytes: 128,
        block_symbols: 20,
        payload_min: 0,
        payload_max: 300,
        pool_bytes: 2 * 256 * 128,
        channels: 2,
        sessions: 4,
        sealed,
        ordered,
        ..Plan::main(seed)
    }
}

/// Numbers near the ends of their range, near each other, or anywhere.
fn any_u16() -> impl Strategy<Value = u16> {
    prop_oneof![4 => 0_u16..4, 2 => 0_u16..70, 1 => any::<u16>(), 1 => Just(u16::MAX), 1 => 8190_u16..8194]
}

fn any_block() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0_u32..8, 2 => 0_u32..200, 1 => u32::MAX - 70..=u32::MAX, 1 => any::<u32>(), 1 => (1_u32 << 31) - 2..(1 << 31) + 2]
}

fn any_symbol() -> impl Strategy<Value = Vec<u8>> {
    let records = (0_u64..5, 0_u32..50, any::<u16>()).prop_map(|(session, sequence, len)| {
        let mut bytes = record(&Plan { payload_max: 100, ..plan(1, false, true) }, session, sequence);
        // Lengths that lie.
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        bytes
    });
    let types = (0_u8..12, 0_usize..130).prop_map(|(kind, len)| vec![kind; len]);
    prop_oneof![records, types, proptest::collection::vec(any::<u8>(), 0..140)]
}

/// A frame that a sender with the key could make, were it hostile.
#[derive(Clone, Debug)]
struct Hostile {
    lane: u16,
    packet_number: u64,
    position: Position,
    kind: Kind,
    symbol: Vec<u8>,
    /// Time until the next.
    pause_ns: Nanos,
}

fn any_kind() -> impl Strategy<Value = Kind> {
    let maybe = || proptest::option::of(any_u16());
    let source = (maybe(), maybe()).prop_map(|(first_record, previous_k)| Kind::Source { first_record, previous_k });
    let repair = (any_u16(), any_u16(), any_u16(), 0_u8..5)
        .prop_map(|(k, symbol_bytes, repair, scheme)| Kind::Repair { k, symbol_bytes, repair, scheme });
    prop_oneof![4 => source, 4 => repair, 1 => Just(Kind::Heartbeat)]
}

fn any_hostile() -> impl Strategy<Value = Hostile> {
    let lane = prop_oneof![8 => Just(0_u16), 1 => 0_u16..3, 1 => 254_u16..258, 1 => any::<u16>()];
    let number = prop_oneof![
        8 => 0_u64..2000,
        1 => any::<u64>().prop_map(|number| number & crate::wire::PACKET_NUMBER_MAX),
        1 => Just(crate::wire::PACKET_NUMBER_MAX),
    ];
    let position =
        (1_u16..4, any_block(), any_u16()).prop_map(|(channel, block, symbol)| Position { channel, block, symbol });
    let pause = prop_oneof![Just(0_u64), 0..MS, 0..SECOND];
    (lane, number, position, any_kind(), any_symbol(), pause).prop_map(
        |(lane, packet_number, position, kind, mut symbol, pause_ns)| {
            // Most repair symbols are as long as they say, or they would get no further than the header's check.
            if let Kind::Repair { symbol_bytes, .. } = kind
                && symbol_bytes < 200
            {
                symbol.resize(usize::from(symbol_bytes), 7);
            }
            Hostile { lane, packet_number, position, kind, symbol, pause_ns }
        },
    )
}

fn any_entry() -> impl Strategy<Value = HeartbeatEntry> {
    (1_u16..4, any::<u8>(), any_block(), proptest::option::of(any_u16()), any::<u64>(), any::<u64>()).prop_map(
        |(channel, stream_type, next_block, last_k, records, bytes)| HeartbeatEntry {
            channel,
            stream_type,
            next_block,
            last_k,
            records,
            bytes,
        },
    )
}

/// Feeds frames to a world's receiver, with a sink that takes anything.
struct Attack {
    world: World,
    sink: Anything,
}

impl Attack {
    fn new(plan: &Plan) -> Self {
        let mut world = World::new(plan);
        // The good sender comes after all that.
        world.restart_senders();
        Self { world, sink: Anything::default() }
    }

    fn frame(&mut self, frame: &mut [u8], pause_ns: Nanos) {
        let world = &mut self.world;
        world.receiver.frame(world.now, frame, &mut self.sink);
        world.now += pause_ns;
        let next = world.receiver.poll(world.now, &mut self.sink);
        assert!(next > world.now, "a clock that rings without end");
        assert!(world.receiver.pool_used() <= 512);
        assert!(world.receiver.open_blocks_max() <= 64);
    }

    /// A fresh epoch is not harmed by anything that was before.
    fn recovers(mut self) {
        self.world.run(200);
        assert_eq!(self.world.finish_and_verify(), 0);
        assert_eq!(self.world.check.records, 200);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn genuine_frames_may_say_anything(
        sealed: bool, ordered: bool,
        frames in proptest::collection::vec(any_hostile(), 1..150),
        entries in proptest::collection::vec(proptest::collection::vec(any_entry(), 0..17), 0..20),
    ) {
        let plan = plan(1, sealed, ordered);
        let mut attack = Attack::new(&plan);
        let mut forge = Forge::new(&plan, FIRST_EPOCH, 0);
        let mut entries = entries.into_iter();
        for (number, hostile) in frames.into_iter().enumerate() {
            forge.lane = hostile.lane;
            forge.packet_number = hostile.packet_number;
            let mut frame = forge.frame(hostile.position, hostile.kind, &hostile.symbol);
            attack.frame(&mut frame, hostile.pause_ns);
            if number % 7 == 0 && let Some(entries) = entries.next() {
                forge.lane = 0;
                forge.packet_number = 3000 + number as u64;
                let mut heartbeat = forge.heartbeat(&entries);
                attack.frame(&mut heartbeat, 0);
            }
        }
        attack.recovers();
    }

    /// Frames with any bytes changed, cut or appended: none is taken for genuine.
    #[test]
    fn changed_frames_change_nothing(
        seed: u64, sealed: bool,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_u8..3, 1_u8..=255), 100),
    ) {
        let plan = plan(seed, sealed, true);
        let mut world = World::new(&plan);
        world.recording = Some(Vec::new());
        world.run(60);
        let frames = world.recording.take().unwrap_or_default();
        let mut attack = Attack::new(&plan);
        for (which, at, how, value) in changes {
            let mut frame = which.get(&frames).clone();
            let at = at.index(frame.len());
            match how {
                0 => frame[at] ^= value,
                1 => frame.truncate(at),
                _ => frame.push(value),
            }
            attack.frame(&mut frame, 0);
        }
        prop_assert_eq!(attack.sink.records, 0);
        prop_assert_eq!(attack.world.receiver.counters().frames, 0);
        attack.recovers();
    }

    #[test]
    fn arbitrary_bytes_change_nothing(
        sealed: bool,
        mut frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..50),
    ) {
        let mut attack = Attack::new(&plan(1, sealed, true));
        for frame in &mut frames {
            let head = [0xD1, 0x0D, 1, if sealed { 0x80 } else { 0 }];
            let len = frame.len().min(head.len());
            frame[..len].copy_from_slice(&head[..len]);
            attack.frame(frame, 0);
        }
        prop_assert_eq!(attack.world.receiver.counters().frames, 0);
        attack.recovers();
    }
}

/// Symbols that are as far out as can be, on every lane and in every block of the window: the pool stays at its bound.
#[test]
fn the_pool_is_bounded_whatever_is_held_back() {
    let plan = plan(2, true, true);
    let mut attack = Attack::new(&plan);
    let mut forge = Forge::new(&plan, FIRST_EPOCH, 0);
    for number in 0..5000_u32 {
        forge.lane = (number % 5) as u16;
        let position = Position { channel: 1, block: number / 40, symbol: (number * 7 % 512) as u16 };
        let kind = if number % 3 == 0 {
            Kind::Repair { k: 512, symbol_bytes: 64, repair: 512, scheme: 2 }
        } else {
            Kind::Source { first_record: None, previous_k: Some(512) }
        };
        let mut frame = forge.frame(position, kind, &[9; 64]);
        attack.frame(&mut frame, 0);
    }
    assert!(attack.world.receiver.pool_used() > 400, "the pool was never full");
    attack.recovers();
}

/// Every code with every K that a header may name, and just enough symbols of nonsense to decode.
#[test]
fn nonsense_decodes_to_nonsense() {
    let plan = Plan { pool_bytes: 64 << 20, ..plan(3, true, true) };
    let mut world = World::new(&plan);
    world.restart_senders();
    let mut sink = Anything::default();
    let mut forge = Forge::new(&plan, FIRST_EPOCH, 0);
    let shapes =
        [(1, 1), (1, 2), (2, 1), (3, 200), (7, 7), (130, 1), (300, 40), (BLOCK_SYMBOLS_MAX, REPAIR_SYMBOLS_MAX)];
    for (block, (scheme, (k, repair))) in (0_u32..).zip((1..=3).flat_map(|scheme| shapes.map(|shape| (scheme, shape))))
    {
        // RaptorQ takes seconds over the largest block without optimisation.
        let k = if scheme == 1 { k.min(1000) } else { k };
        let source = Kind::Source { first_record: Some(0), previous_k: None };
        let kind = Kind::Repair { k, symbol_bytes: 2, repair, scheme };
        let position = |symbol| Position { channel: 1, block, symbol };
        let frames = (repair.min(k)..k)
            .map(|symbol| (position(symbol), source))
            .chain((0..repair.min(k)).map(|symbol| (position(symbol), kind)));
        for (position, kind) in frames {
            let symbol = [position.symbol as u8, scheme];
            world.receiver.frame(world.now, &mut forge.frame(position, kind, &symbol), &mut sink);
        }
    }
    world.run(200);
    assert_eq!(world.finish_and_verify(), 0);
}

/// Packet numbers at the end of their range are refused when they come again, like any other.
#[test]
fn the_last_packet_numbers_are_taken_once() {
    let plan = Plan::main(4);
    let mut world = World::new(&plan);
    let mut forge = Forge::new(&plan, FIRST_EPOCH, crate::wire::PACKET_NUMBER_MAX - 2);
    for sequence in 0..3 {
        let frame = forge.block(sequence, &record(&plan, 0, sequence));
        world.replay(&[frame.clone(), frame]);
    }
    assert_eq!((world.check.records, world.receiver.counters().replayed), (3, 3));
    world.restart_senders();
    world.run(100);
    assert_eq!(world.finish_and_verify(), 0);
}
