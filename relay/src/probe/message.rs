//! What the records of a measurement say, byte by byte. All numbers are big-endian.
//!
//! The session's UUID is the run's: BLUE makes one at each start. A *datagram* record is load. A *mark* record comes after
//! the step, some times over, and its [`FLAG_END`] says that it was the run's last step. The record header's sequence is
//! the low half of the count.
//!
//! | offset | bytes | field | in |
//! | --- | --- | --- | --- |
//! | 0 | 2 | step, from 1 on | both |
//! | 2 | 2 | lanes of the sender | both |
//! | 4 | 8 | rate that all lanes together are paced at, bit/s; 0: unpaced | both |
//! | 12 | 8 | load: how many of the lane's load records of this step came before; mark: how many there were | both |
//! | 20 | 8 | bytes that the lane sent in this step, with all headers | marks |
//! | 28 | 8 | how long that took, ns | marks |
//!
//! [`FLAG_END`]: crate::wire::FLAG_END

use crate::link::Nanos;

/// A load record's payload holds this and then whatever fills it.
pub const PAYLOAD_BYTES_MIN: usize = 20;
/// Payload of a mark.
pub(super) const MARK_BYTES: usize = 36;

/// Which step a record belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StepHead {
    /// From 1 on.
    pub(super) step: u16,
    /// The sender's lanes.
    pub(super) lanes: u16,
    /// What all lanes together are paced at, bit/s; `None`: unpaced.
    pub(super) rate_bps: Option<u64>,
}

/// What a lane sent in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LaneSent {
    /// Load records.
    pub(super) records: u64,
    /// Bytes of all frames with all headers around them.
    pub(super) link_bytes: u64,
    /// Until the last frame had left.
    pub(super) elapsed_ns: Nanos,
}

impl LaneSent {
    /// Bits per second on the link.
    pub(super) fn link_bps(&self) -> f64 {
        self.link_bytes as f64 * 8e9 / self.elapsed_ns.max(1) as f64
    }
}

impl StepHead {
    /// Writes this and a count of records into the first [`PAYLOAD_BYTES_MIN`] bytes of `to`.
    pub(super) fn write(&self, records: u64, to: &mut [u8]) {
        to[..2].copy_from_slice(&self.step.to_be_bytes());
        to[2..4].copy_from_slice(&self.lanes.to_be_bytes());
        to[4..12].copy_from_slice(&self.rate_bps.unwrap_or(0).to_be_bytes());
        to[12..20].copy_from_slice(&records.to_be_bytes());
    }

    /// `None`: not of a measurement.
    pub(super) fn read(from: &[u8]) -> Option<Self> {
        let (step, lanes) = (u16::from_be_bytes(array(from, 0)?), u16::from_be_bytes(array(from, 2)?));
        let rate_bps = u64::from_be_bytes(array(from, 4)?);
        (step > 0 && lanes > 0).then_some(Self { step, lanes, rate_bps: (rate_bps > 0).then_some(rate_bps) })
    }

    /// The payload of a mark.
    pub(super) fn mark(&self, sent: &LaneSent) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        self.write(sent.records, &mut bytes);
        bytes[20..28].copy_from_slice(&sent.link_bytes.to_be_bytes());
        bytes[28..].copy_from_slice(&sent.elapsed_ns.to_be_bytes());
        bytes
    }
}

/// The count of records in either kind of record.
pub(super) fn read_records(from: &[u8]) -> Option<u64> {
    array(from, 12).map(u64::from_be_bytes)
}

/// What a mark says of its lane.
pub(super) fn read_mark(from: &[u8]) -> Option<LaneSent> {
    let (link_bytes, elapsed_ns) = (u64::from_be_bytes(array(from, 20)?), u64::from_be_bytes(array(from, 28)?));
    Some(LaneSent { records: read_records(from)?, link_bytes, elapsed_ns })
}

fn array<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table in the module's head, byte for byte.
    #[test]
    fn layout_is_the_documented_one() {
        let head = StepHead { step: 0x0102, lanes: 3, rate_bps: Some(0x0405_0607) };
        let sent = LaneSent { records: 9, link_bytes: 0x11, elapsed_ns: 0x2233 };
        let mark = head.mark(&sent);
        assert_eq!(mark[..12], [1, 2, 0, 3, 0, 0, 0, 0, 4, 5, 6, 7]);
        assert_eq!(mark[12..20], [0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(mark[20..], [0, 0, 0, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0, 0, 0x22, 0x33]);
        assert_eq!((StepHead::read(&mark), read_mark(&mark)), (Some(head), Some(sent)));
        let unpaced = StepHead { rate_bps: None, ..head };
        assert_eq!(StepHead::read(&unpaced.mark(&sent)), Some(unpaced));
    }

    #[test]
    fn what_is_too_short_or_makes_no_sense_is_refused() {
        assert_eq!((StepHead::read(&[1; 11]), read_mark(&[1; 35])), (None, None));
        assert_eq!(StepHead::read(&[0; 12]), None);
    }
}
