//! What a lost symbol costs, and what it does not.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::wire::{HEADER_LEN, Header, Kind, RECORD_LEN, TAG_LEN};

type RecordId = (u64, u32);
/// A source symbol and the number of its frame.
type Symbol<'a> = (usize, &'a [u8]);

/// The records of unsealed frames, and the frames that hold bytes of each. Knows only the wire's layout.
fn records_of(frames: &[Vec<u8>]) -> Vec<(RecordId, BTreeSet<usize>)> {
    let mut blocks: BTreeMap<(u16, u32), Vec<Symbol<'_>>> = BTreeMap::new();
    for (number, frame) in frames.iter().enumerate() {
        let header = Header::read(frame).expect("genuine");
        if matches!(header.kind, Kind::Source { .. }) {
            let symbol = &frame[HEADER_LEN..frame.len() - TAG_LEN];
            blocks.entry((header.position.channel, header.position.block)).or_default().push((number, symbol));
        }
    }
    let mut records = Vec::new();
    for symbols in blocks.values() {
        let bytes: Vec<(usize, u8)> =
            symbols.iter().flat_map(|(number, symbol)| symbol.iter().map(move |byte| (*number, *byte))).collect();
        let mut at = 0;
        while at + RECORD_LEN <= bytes.len() {
            let head: Vec<u8> = bytes[at..at + RECORD_LEN].iter().map(|(_, byte)| *byte).collect();
            let (head, len) = RecordHead::read(&head).expect("a record follows a record");
            let session = u64::from_be_bytes(head.session[..8].try_into().expect("8 bytes"));
            let end = at + RECORD_LEN + len;
            records.push(((session, head.sequence), bytes[at..end].iter().map(|(number, _)| *number).collect()));
            at = end;
        }
    }
    records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Any symbols lost, no repair: exactly the records with a byte in one of them are missing.
    #[test]
    fn only_records_in_lost_symbols_are_lost(
        seed: u64,
        half in 20_u16..120,
        block_symbols in 1_u16..60,
        channels in 1_u16..4,
        payload_max in 1_u64..400,
        ordered: bool,
        lost_share in 1_u64..40,
    ) {
        let (symbol_bytes, block_bytes) = (half * 2, u64::from(block_symbols) * u64::from(half) * 2);
        let plan = Plan {
            symbol_bytes, block_symbols, channels, ordered,
            sessions: 6, payload_min: 0, payload_max: payload_max.min(block_bytes - 24), sealed: false,
            ..Plan::bare(seed)
        };
        let mut world = World::new(&plan);
        world.recording = Some(Vec::new());
        world.run(200);
        world.finish();
        let frames = world.recording.take().unwrap_or_default();
        // The same frames again, to a receiver that misses some.
        let mut lossy = World::new(&plan);
        let mut lost = BTreeSet::new();
        for (number, frame) in frames.iter().enumerate() {
            let is_source = matches!(Header::read(frame).expect("genuine").kind, Kind::Source { .. });
            // The first says that the lane was heard from its beginning.
            if is_source && number > 0 && lossy.random.below(100) < lost_share {
                lost.insert(number);
            } else {
                lossy.now += 10 * US;
                lossy.replay(std::slice::from_ref(frame));
            }
        }
        lossy.now += SECOND;
        lossy.receiver.poll(lossy.now, &mut lossy.check);
        for ((session, sequence), held_in) in records_of(&frames) {
            let whole = held_in.is_disjoint(&lost);
            prop_assert_eq!(lossy.check.came(session, sequence), whole, "session {} record {}", session, sequence);
        }
        prop_assert_eq!(lossy.receiver.pool_used(), 0);
    }
}

/// One channel that loses and holds back much has the pool for itself only until another needs it.
#[test]
fn a_channel_that_holds_back_much_costs_others_nothing() {
    let plan = Plan {
        channels: 2,
        sessions: 2,
        block_symbols: 16,
        hold_ns: 10 * SECOND,
        // Slots come 256 at a time.
        pool_bytes: 256 * 1424,
        ..Plan::bare(9)
    };
    let mut world = World::new(&plan);
    for n in 0..1000 {
        world.set_faults(if n % 10 == 3 { Faults::down() } else { Faults::default() });
        world.push_on(0).expect("room");
        world.set_faults(Faults::default());
        world.push_on(1).expect("room");
        world.pass(50 * US);
    }
    assert_eq!(world.check.delivered[&(0, 1)].records, 1000, "the channel that lost nothing");
    world.pass(20 * SECOND);
    assert_eq!(world.finish_and_verify(), 100);
}
