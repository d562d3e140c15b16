//! What is missing, counted once: by sessions' sequences, and for sessions that nothing is known of by what BLUE says it
//! sent.

use rustc_hash::FxHashMap;

use crate::link::Settled;

/// One stream's account on one lane, in one epoch.
#[derive(Clone, Copy, Debug, Default)]
struct LaneAccount {
    /// Missing records that sessions know of.
    attributed: u64,
    /// The last settled account.
    settled: Option<Settled>,
    /// Missing records that sessions have had the time to know of.
    certain: u64,
}

/// The accounts of one stream.
#[derive(Debug, Default)]
pub struct Account {
    lanes: FxHashMap<u16, LaneAccount>,
    /// Unattributed losses of older epochs.
    unseen_before: u64,
    before_join_before: u64,
    before_join: u64,
}

impl Account {
    /// Sessions of `lane` know of `missing` more records that never came.
    pub fn attribute(&mut self, lane: u16, missing: u64) {
        self.lanes.entry(lane).or_default().attributed += missing;
    }

    /// The link's account of a lane is settled.
    ///
    /// Records before the settled moment may be missing without any session knowing it yet, because the next record or
    /// mark of their session is still to come; every heartbeat brings a mark. So only what was missing at the heartbeat
    /// before, or when nothing was sent since, and is still not attributed, counts as unseen. A mark may be lost too:
    /// then a session learns later of what counts as unseen by now, and it is moved from one to the other.
    pub fn settle(&mut self, settled: &Settled) {
        let lane = self.lanes.entry(settled.lane).or_default();
        if let Some(before) = lane.settled.replace(*settled) {
            let idle = before.sent_records == settled.sent_records;
            lane.certain = if idle { settled.missing_records } else { before.missing_records };
        }
        self.before_join = self.lanes.values().filter_map(|lane| lane.settled).map(|s| s.before_join_records).sum();
    }

    /// No session will learn any more: what is settled is certain.
    pub fn close(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.certain = lane.settled.map_or(0, |settled| settled.missing_records);
        }
    }

    /// A new epoch begins: what was found out about the old one stands.
    pub fn new_epoch(&mut self) {
        self.close();
        self.unseen_before = self.unseen();
        self.before_join_before += std::mem::take(&mut self.before_join);
        self.lanes.clear();
    }

    /// Missing records of which no session knows.
    pub fn unseen(&self) -> u64 {
        let lanes = self.lanes.values().map(|lane| lane.certain.saturating_sub(lane.attributed));
        self.unseen_before + lanes.sum::<u64>()
    }

    /// Records sent before this side listened.
    pub fn before_join(&self) -> u64 {
        self.before_join_before + self.before_join
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(lane: u16, sent_records: u64, missing_records: u64) -> Settled {
        Settled { lane, slot: 0, sent_records, missing_records, missing_bytes: 0, before_join_records: 0 }
    }

    #[test]
    fn what_sessions_know_is_not_counted_again() {
        let mut account = Account::default();
        account.settle(&settled(0, 100, 10));
        assert_eq!(account.unseen(), 0, "marks may still tell");
        account.attribute(0, 10);
        account.settle(&settled(0, 200, 10));
        account.settle(&settled(0, 200, 10));
        assert_eq!(account.unseen(), 0);
    }

    #[test]
    fn what_no_session_knows_of_is_unseen() {
        let mut account = Account::default();
        account.attribute(0, 4);
        account.settle(&settled(0, 100, 10));
        account.settle(&settled(0, 100, 10));
        assert_eq!(account.unseen(), 6);
        account.new_epoch();
        account.settle(&settled(0, 5, 1));
        account.settle(&settled(0, 5, 1));
        assert_eq!(account.unseen(), 7);
    }

    #[test]
    fn what_a_session_learns_late_is_not_counted_twice() {
        let mut account = Account::default();
        account.settle(&settled(0, 100, 6));
        account.settle(&settled(0, 200, 6));
        assert_eq!(account.unseen(), 6, "the mark was lost");
        account.attribute(0, 6);
        assert_eq!(account.unseen(), 0);
    }

    #[test]
    fn at_the_end_the_last_settled_account_is_certain() {
        let mut account = Account::default();
        account.settle(&settled(0, 100, 6));
        account.attribute(0, 2);
        account.close();
        assert_eq!(account.unseen(), 4);
        account.new_epoch();
        assert_eq!(account.unseen(), 4);
    }

    #[test]
    fn lanes_add_up() {
        let mut account = Account::default();
        for _ in 0..2 {
            account.settle(&settled(0, 100, 3));
            account.settle(&settled(1, 100, 4));
        }
        assert_eq!(account.unseen(), 7);
    }
}
