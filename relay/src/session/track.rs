//! What came of one session of datagrams, by its sequence.

/// What a record's sequence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// In its place, after `missing` records that never came.
    Next {
        /// Records missing directly before it.
        missing: u32,
    },
    /// Already counted, or counted as missing: not to be delivered.
    Stale,
}

/// Sequence account of one session. Sequences wrap; a step of more than half their range is a step back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Track {
    expected: u32,
}

impl Track {
    /// A session that is first heard of with `expected`.
    pub fn starting_at(expected: u32) -> Self {
        Self { expected }
    }

    /// A datagram with this number came in its turn.
    pub fn datagram(&mut self, sequence: u32) -> Heard {
        let missing = sequence.wrapping_sub(self.expected);
        if missing > u32::MAX / 2 {
            return Heard::Stale;
        }
        self.expected = sequence.wrapping_add(1);
        Heard::Next { missing }
    }

    /// The sender says that the session's next datagram is `sequence`: returns how many of those before never came.
    pub fn mark(&mut self, sequence: u32) -> u32 {
        let missing = sequence.wrapping_sub(self.expected);
        if missing > u32::MAX / 2 {
            return 0;
        }
        self.expected = sequence;
        missing
    }
}

/// What the offset of some bytes says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeardBytes {
    /// They are the next ones.
    Next,
    /// So many bytes before them never came.
    Gap(u32),
    /// They came before.
    Stale,
}

/// Offset account of one session of bytes. Offsets wrap after 4 GiB; a step of more than half that is a step back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteTrack {
    expected: u32,
}

impl ByteTrack {
    /// Takes `len` bytes that begin at `offset`, if they are the next.
    pub fn data(&mut self, offset: u32, len: usize) -> HeardBytes {
        let heard = self.mark(offset);
        if heard == HeardBytes::Next {
            self.expected = offset.wrapping_add(len as u32);
        }
        heard
    }

    /// Takes the next `bytes` for lost.
    pub fn skip(&mut self, bytes: u32) {
        self.expected = self.expected.wrapping_add(bytes);
    }

    /// The sender stands at `offset`: are bytes before it missing?
    pub fn mark(&self, offset: u32) -> HeardBytes {
        match offset.wrapping_sub(self.expected) {
            0 => HeardBytes::Next,
            missing if missing <= u32::MAX / 2 => HeardBytes::Gap(missing),
            _ => HeardBytes::Stale,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is lost, delivered and missing add up to what was sent, also across the wrap.
        #[test]
        fn every_number_is_counted_once(
            start: u32,
            steps in proptest::collection::vec((any::<bool>(), 0_u8..10), 1..200),
        ) {
            let mut track = Track::starting_at(start);
            let (mut delivered, mut missing) = (0_u32, 0_u32);
            let mut sequence = start;
            for (kept, act) in steps {
                if act == 0 {
                    missing += track.mark(sequence);
                    prop_assert_eq!(track.mark(sequence), 0);
                }
                if kept {
                    let Heard::Next { missing: before } = track.datagram(sequence) else {
                        panic!("{sequence} is not stale");
                    };
                    prop_assert_eq!(track.datagram(sequence), Heard::Stale);
                    missing += before;
                    delivered += 1;
                }
                sequence = sequence.wrapping_add(1);
            }
            missing += track.mark(sequence);
            prop_assert_eq!(delivered + missing, sequence.wrapping_sub(start));
        }
    }

    #[test]
    fn bytes_are_taken_in_order_also_across_the_wrap() {
        let mut track = ByteTrack { expected: u32::MAX - 1 };
        assert_eq!(track.data(u32::MAX - 1, 4), HeardBytes::Next);
        assert_eq!(track.data(u32::MAX - 1, 4), HeardBytes::Stale);
        assert_eq!(track.data(5, 1), HeardBytes::Gap(3));
        assert_eq!(track.mark(2), HeardBytes::Next);
        assert_eq!(track.data(2, 1), HeardBytes::Next);
    }
}
