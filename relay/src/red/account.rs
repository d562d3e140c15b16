//! What is missing, counted once: by sessions' sequences, and for sessions that nothing is known of by what BLUE says it
//! sent.

use rustc_hash::FxHashMap;

use crate::link::Settled;

/// One stream's account on one lane, in one epoch.
#[derive(Clone, Copy, Debug, Default)]
struct LaneAccount {
    /// Missing records that sessions know of.
    attributed: u64,
    /// The last settled account, and the one before it.
    settled: Option<Settled>,
}

/// The accounts of one stream.
#[derive(Debug, Default)]
pub struct Account {
    lanes: FxHashMap<u16, LaneAccount>,
    /// Unattributed losses of older epochs.
    unseen_before: u64,
    unseen: u64,
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
    /// before, or when nothing was sent since, and is still not attributed, counts as unseen.
    pub fn settle(&mut self, settled: &Settled) {
        let lane = self.lanes.entry(settled.lane).or_default();
        let before = lane.settled.replace(*settled);
        let certain = before.map_or(0, |before| {
            let idle = before.sent_records == settled.sent_records;
            if idle { settled.missing_records } else { before.missing_records }
        });
        let unseen = certain.saturating_sub(lane.attributed);
        // An estimate of one lane replaces that lane's older one; they only grow.
        self.unseen = self.unseen.max(self.others(settled.lane) + unseen);
        self.before_join = self.lanes.values().filter_map(|lane| lane.settled).map(|s| s.before_join_records).sum();
    }

    /// A new epoch begins: what was found out about the old one stands.
    pub fn new_epoch(&mut self) {
        self.unseen_before += std::mem::take(&mut self.unseen);
        self.before_join_before += std::mem::take(&mut self.before_join);
        self.lanes.clear();
    }

    /// Missing records of which no session knew.
    pub fn unseen(&self) -> u64 {
        self.unseen_before + self.unseen
    }

    /// Records sent before this side listened.
    pub fn before_join(&self) -> u64 {
        self.before_join_before + self.before_join
    }

    fn others(&self, lane: u16) -> u64 {
        let others = self.lanes.iter().filter(|(number, _)| **number != lane);
        others.filter_map(|(_, a)| a.settled.map(|s| s.missing_records.saturating_sub(a.attributed))).sum()
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
    fn lanes_add_up() {
        let mut account = Account::default();
        for _ in 0..2 {
            account.settle(&settled(0, 100, 3));
            account.settle(&settled(1, 100, 4));
        }
        assert_eq!(account.unseen(), 7);
    }
}
