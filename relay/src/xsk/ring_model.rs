//! Ring cursors against an oracle: whatever one side pushes, publishes, pops and releases, and wherever the cursors
//! start, a ring behaves like a bounded queue.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::thread;

use proptest::prelude::*;

use super::ring::memory::Plain;
use super::ring::{Consumer, Descriptor, Producer};

/// What one side of a ring does next, with how many values.
#[derive(Clone, Copy, Debug)]
enum Step {
    Push(u32),
    Publish,
    Pop(u32),
    Release,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1u32..80).prop_map(Step::Push),
        Just(Step::Publish),
        (1u32..80).prop_map(Step::Pop),
        Just(Step::Release),
    ];
    prop::collection::vec(step, 1..120)
}

/// Cursors near the wrap of `u32` half of the time.
fn cursor() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), (0u32..200).prop_map(|before| u32::MAX - before)]
}

fn size() -> impl Strategy<Value = u32> {
    (0u32..8).prop_map(|shift| 1 << shift)
}

/// A ring as it should be.
#[derive(Default)]
struct Oracle {
    pushed: VecDeque<u64>,
    published: VecDeque<u64>,
    unreleased: u32,
    next: u64,
}

impl Oracle {
    fn used(&self) -> u32 {
        (self.pushed.len() + self.published.len()) as u32 + self.unreleased
    }
}

fn apply(step: Step, size: u32, producer: &mut Producer<u64>, consumer: &mut Consumer<u64>, oracle: &mut Oracle) {
    match step {
        Step::Push(count) => {
            for _ in 0..count {
                let expected = oracle.used() < size;
                assert_eq!(producer.push(oracle.next), expected, "push into a ring with {} of {size}", oracle.used());
                if expected {
                    oracle.pushed.push_back(oracle.next);
                    oracle.next += 1;
                }
            }
        }
        Step::Publish => {
            producer.publish();
            oracle.published.append(&mut oracle.pushed);
        }
        Step::Pop(count) => {
            for _ in 0..count {
                let expected = oracle.published.pop_front();
                assert_eq!(consumer.pop(), expected);
                oracle.unreleased += u32::from(expected.is_some());
            }
        }
        Step::Release => {
            consumer.release();
            oracle.unreleased = 0;
        }
    }
}

proptest! {
    #[test]
    fn a_ring_is_a_bounded_queue(size in size(), cursor in cursor(), steps in steps()) {
        let ring = Plain::<u64>::new(size, cursor);
        let (mut producer, mut consumer) = (ring.as_producer(), ring.as_consumer());
        let mut oracle = Oracle::default();
        for step in steps {
            apply(step, size, &mut producer, &mut consumer, &mut oracle);
            prop_assert_eq!(producer.has_room(), oracle.used() < size);
            prop_assert_eq!(producer.waiting(), oracle.used());
            prop_assert_eq!(consumer.is_empty(), oracle.published.is_empty());
        }
        prop_assert_eq!((producer.faults(), consumer.faults()), (0, 0));
    }

    /// Whatever is written over the shared cursors, no call leaves the ring's memory (the address sanitizer and Miri
    /// can see that), panics, or counts more than the ring holds.
    #[test]
    fn impossible_cursors_do_no_harm(
        size in size(),
        cursor in cursor(),
        moves in prop::collection::vec(any::<(u32, u32, bool)>(), 1..60),
    ) {
        let ring = Plain::<Descriptor>::new(size, cursor);
        let (mut producer, mut consumer) = (ring.as_producer(), ring.as_consumer());
        for (theirs, ours, publish) in moves {
            ring.consumer.store(theirs, Ordering::Release);
            let mut pushed = 0;
            while producer.push(Descriptor::default()) {
                pushed += 1;
                prop_assert!(pushed <= size);
            }
            prop_assert!(producer.waiting() <= size);
            ring.producer.store(ours, Ordering::Release);
            let popped = std::iter::from_fn(|| consumer.pop()).take(size as usize * 2 + 1).count();
            prop_assert!(popped <= size as usize, "a believed cursor gives one ring of slots at most");
            if publish {
                producer.publish();
                consumer.release();
            }
        }
    }
}

#[test]
fn a_cursor_beyond_the_ring_is_a_fault_and_changes_nothing() {
    let ring = Plain::<u64>::new(8, u32::MAX - 2);
    let (mut producer, mut consumer) = (ring.as_producer(), ring.as_consumer());
    assert!(producer.push(7));
    producer.publish();
    ring.producer.fetch_add(8, Ordering::Release);
    assert_eq!(consumer.pop(), None, "9 of 8 slots cannot be used");
    assert_eq!(consumer.faults(), 1);
    ring.producer.fetch_sub(8, Ordering::Release);
    assert_eq!(consumer.pop(), Some(7));
    ring.consumer.fetch_add(2, Ordering::Release);
    assert_eq!(producer.waiting(), 1, "more consumed than was ever produced is not believed");
    assert_eq!(producer.faults(), 1);
}

#[test]
fn a_ring_taken_over_with_an_impossible_consumer_counts_as_empty() {
    let ring = Plain::<u64>::new(4, 100);
    ring.consumer.store(200, Ordering::Relaxed);
    let mut producer = ring.as_producer();
    assert_eq!(producer.faults(), 1);
    assert!((0..4).all(|value| producer.push(value)));
    assert!(!producer.push(4));
}

#[test]
fn the_wakeup_flag_is_read_from_the_ring() {
    let ring = Plain::<u64>::new(4, 0);
    let producer = ring.as_producer();
    assert!(!producer.needs_wakeup());
    ring.flags.store(libc::XDP_RING_NEED_WAKEUP, Ordering::Relaxed);
    assert!(producer.needs_wakeup());
}

/// Two real threads: order and visibility hold where the cursors wrap.
#[test]
fn values_cross_threads_in_order() {
    const COUNT: u64 = 200_000;
    let ring = Plain::<u64>::new(64, u32::MAX - 1000);
    let (mut producer, mut consumer) = (ring.as_producer(), ring.as_consumer());
    let sender = thread::spawn(move || {
        let mut next = 0;
        while next < COUNT {
            if producer.push(next) {
                next += 1;
                if next % 7 != 0 && next != COUNT {
                    continue;
                }
            }
            producer.publish();
            thread::yield_now();
        }
    });
    let mut expected = 0;
    while expected < COUNT {
        match consumer.pop() {
            Some(value) => {
                assert_eq!(value, expected);
                expected += 1;
            }
            None => thread::yield_now(),
        }
        consumer.release();
    }
    sender.join().unwrap();
    assert!(consumer.is_empty());
}
