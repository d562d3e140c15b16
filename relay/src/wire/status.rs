//! The payload of a status record: all that a return link in mode "status" ever carries.

use super::bytes::{put, u32_at, u64_at};

/// Bytes of every status record's payload; there is no other length.
pub const STATUS_LEN: usize = 16;

/// What has become of a session at its other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Standing {
    /// It is connected.
    Good = 1,
    /// Its peer will send no more, but still takes bytes.
    HalfClosed = 2,
    /// It is over, and everything was taken.
    Closed = 3,
    /// It is over before its end: not connected, or broken off.
    Failed = 4,
    /// It is over before its end, and its peer is not to blame: the host stops, or was started anew and knows nothing of it.
    Gone = 5,
}

impl Standing {
    fn from_wire(number: u8) -> Option<Self> {
        [Self::Good, Self::HalfClosed, Self::Closed, Self::Failed, Self::Gone]
            .into_iter()
            .find(|standing| *standing as u8 == number)
    }

    /// Does nothing come after it?
    pub fn is_final(self) -> bool {
        matches!(self, Self::Closed | Self::Failed | Self::Gone)
    }
}

/// How a session stands at its receiving end. Cumulative: a later one says all that an earlier one did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What has become of it.
    pub standing: Standing,
    /// Bytes that may be on their way beyond `consumed_bytes`.
    pub window_bytes: u32,
    /// Bytes that were handed to the session's peer so far.
    pub consumed_bytes: u64,
}

impl Status {
    /// The payload: standing (1) | 0 (3) | window (4) | consumed (8).
    pub fn to_wire(self) -> [u8; STATUS_LEN] {
        let mut to = [0; STATUS_LEN];
        to[0] = self.standing as u8;
        put(&mut to, 4, &self.window_bytes.to_be_bytes());
        put(&mut to, 8, &self.consumed_bytes.to_be_bytes());
        to
    }

    /// Reads a payload; `None` if anything in it is not as [`Status::to_wire`] writes it.
    pub fn from_wire(from: &[u8]) -> Option<Self> {
        if from.len() != STATUS_LEN || from[1..4] != [0; 3] {
            return None;
        }
        let standing = Standing::from_wire(from[0])?;
        Some(Self { standing, window_bytes: u32_at(from, 4), consumed_bytes: u64_at(from, 8) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn layout_is_the_documented_one() {
        let status =
            Status { standing: Standing::Closed, window_bytes: 0x0102_0304, consumed_bytes: 0x0506_0708_090A_0B0C };
        assert_eq!(status.to_wire(), [3, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    }

    proptest! {
        /// There is one way to write a status, so nothing else fits into one.
        #[test]
        fn what_is_read_is_what_would_be_written(bytes in proptest::collection::vec(0_u8..6, 0..20)) {
            if let Some(status) = Status::from_wire(&bytes) {
                prop_assert_eq!(&status.to_wire()[..], &bytes[..]);
            }
        }
    }
}
