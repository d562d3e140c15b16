//! Encoder and decoder against each other.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A block of `k` symbols of up to `stride` bytes, zero-padded, and its symbol size.
fn block(k: u16, stride: usize, seed: u64) -> (Vec<u8>, Vec<usize>, u16) {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut data = vec![0; usize::from(k) * stride];
    let mut lens = Vec::new();
    for symbol in data.chunks_exact_mut(stride) {
        let len = 1 + next() as usize % stride;
        symbol[..len].fill_with(|| next() as u8);
        lens.push(len);
    }
    let longest = lens.iter().copied().max().unwrap_or(0);
    (data, lens, longest.next_multiple_of(2) as u16)
}

/// Encodes, drops the symbols in `lost` (source then repair indices), decodes; gives back whether all was restored right.
fn survives(scheme: Scheme, k: u16, repair: u16, stride: usize, seed: u64, lost: &[u16]) -> bool {
    let (data, lens, symbol_bytes) = block(k, stride, seed);
    let code = scheme.code(k).expect("a code");
    let mut repairs = Vec::new();
    let source_block = SourceBlock { data: &data, stride, k, symbol_bytes };
    Encoder::new(&[(scheme, k)]).encode(code, source_block, repair, |index, symbol| {
        assert_eq!(usize::from(index), repairs.len());
        repairs.push(symbol.to_vec());
    });
    assert_eq!(repairs.len(), usize::from(repair));
    let kept = |index: &u16| !lost.contains(index);
    let source = (0..k).filter(kept).map(|index| {
        let at = usize::from(index) * stride;
        (index, &data[at..at + lens[usize::from(index)]])
    });
    let came = (0..repair).filter(|index| kept(&(k + index))).map(|index| (index, &repairs[usize::from(index)][..]));
    let mut restored = BTreeMap::new();
    let geometry = Geometry { code, k, symbol_bytes, repair };
    let done = Decoder::default().decode(geometry, source, came, |index, symbol| {
        assert!(restored.insert(index, symbol.to_vec()).is_none(), "symbol {index} restored twice");
    });
    let expected: Vec<u16> = (0..k).filter(|index| lost.contains(index)).collect();
    if !done {
        assert!(restored.is_empty());
        return false;
    }
    assert_eq!(restored.keys().copied().collect::<Vec<_>>(), expected);
    for (index, symbol) in restored {
        let at = usize::from(index) * stride;
        assert_eq!(symbol, data[at..at + usize::from(symbol_bytes)], "symbol {index}");
    }
    true
}

fn losses() -> impl Strategy<Value = (u16, u16, Vec<u16>)> {
    (1_u16..150, 1_u16..40).prop_flat_map(|(k, repair)| {
        let all: Vec<u16> = (0..k + repair).collect();
        (Just(k), Just(repair), proptest::sample::subsequence(all, 0..=usize::from(repair)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn reed_solomon_restores_any_loss_up_to_the_repair((k, repair, lost) in losses(), half in 1_usize..64, seed: u64) {
        prop_assert!(survives(Scheme::ReedSolomon, k, repair, half * 2, seed, &lost));
    }

    /// With four symbols beyond K it fails once in 10^12.
    #[test]
    fn raptorq_restores_any_loss_but_for_four((k, repair, mut lost) in losses(), half in 1_usize..64, seed: u64) {
        lost.truncate(usize::from(repair.saturating_sub(4)));
        if !lost.is_empty() || k > 1 {
            prop_assert!(survives(Scheme::RaptorQ, k, repair, half * 2, seed, &lost) || usize::from(repair) < lost.len() + 4);
        }
    }

    #[test]
    fn too_much_loss_is_said(k in 2_u16..100, repair in 1_u16..20, seed: u64) {
        let lost: Vec<u16> = (0..=repair.min(k - 1)).collect();
        prop_assume!(lost.len() > usize::from(repair));
        for scheme in [Scheme::ReedSolomon, Scheme::RaptorQ] {
            prop_assert!(!survives(scheme, k, repair, 16, seed, &lost));
        }
    }

    #[test]
    fn contradictions_never_panic(
        code in 1_u8..=3, k in 1_u16..50, half in 0_u16..20, repair in 1_u16..20,
        source in proptest::collection::btree_map(0_u16..60, proptest::collection::vec(any::<u8>(), 0..50), 0..50),
        repairs in proptest::collection::btree_map(0_u16..30, proptest::collection::vec(any::<u8>(), 0..50), 0..20),
    ) {
        let geometry = Geometry { code: Code::from_wire(code).expect("1..=3"), k, symbol_bytes: half * 2, repair };
        let mut restored = 0;
        let done = Decoder::default().decode(
            geometry,
            source.iter().map(|(index, symbol)| (*index, &symbol[..])),
            repairs.iter().map(|(index, symbol)| (*index, &symbol[..])),
            |_, _| restored += 1,
        );
        prop_assert!(done || restored == 0);
    }
}

#[test]
fn blocks_above_the_exact_plans_are_padded_alike_on_both_sides() {
    for k in [129, 192, 193, 500] {
        let lost: Vec<u16> = (3..3 + 16).collect();
        assert!(survives(Scheme::RaptorQ, k, 20, 32, 7, &lost), "k={k}");
        assert!(survives(Scheme::ReedSolomon, k, 16, 32, 7, &lost), "k={k}");
    }
}
