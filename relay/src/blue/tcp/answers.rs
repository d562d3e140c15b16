//! What comes back over the return link: the return lane hands it to the sessions that it belongs to.
//!
//! In mode "status" nothing passes here but well-formed status records of sessions that this host has begun. Whatever
//! else comes is counted and told, and goes nowhere.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::blue::notice::Notice;
use crate::blue::table::{Entry, Table};
use crate::config::{ReturnMode, StreamKind};
use crate::lane::Receives;
use crate::link::{Delivery, Nanos, Settled, Sink};
use crate::session::{Account, SessionId};
use crate::tcp::{Failure, Fate, Inflow, Peer};
use crate::telemetry::counters::ReceiveStream;
use crate::telemetry::reasons::{Lost, ReceiveRefused};
use crate::wire::{FLAG_ABORT, FLAG_END, RecordType, Status};

/// The return link has one lane.
const LANE: usize = 0;

/// A session that expects answers.
#[derive(Debug)]
struct Answered {
    slot: u16,
    peer: Arc<Peer>,
    /// On a stream that carries data back.
    inflow: Option<Inflow>,
}

enum Note {
    Begun(SessionId, Answered),
    Over(SessionId),
}

/// The connections' end.
#[derive(Clone)]
pub struct AnswersSender(crossbeam_channel::Sender<Note>);

/// A session that the return lane knows, until this is dropped.
pub struct Expected {
    id: SessionId,
    lane: AnswersSender,
}

impl AnswersSender {
    /// Makes a session known. Call it before its open leaves.
    pub fn expect(&self, id: SessionId, slot: u16, peer: Arc<Peer>, inflow: Option<Inflow>) -> Expected {
        // A lane that is gone takes the whole host with it.
        let _ = self.0.send(Note::Begun(id, Answered { slot, peer, inflow }));
        Expected { id, lane: self.clone() }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        let _ = self.lane.0.send(Note::Over(self.id));
    }
}

/// The return lane's end.
pub struct Answers {
    mode: ReturnMode,
    table: Arc<Table>,
    notes: crossbeam_channel::Receiver<Note>,
    by_id: FxHashMap<SessionId, Answered>,
    /// Sessions with collected bytes.
    touched: Vec<SessionId>,
    /// By slot of the receiver.
    accounts: Vec<Account>,
    notices: crossbeam_channel::Sender<Notice>,
}

/// Both ends.
pub fn answers(
    mode: ReturnMode,
    table: Arc<Table>,
    notices: crossbeam_channel::Sender<Notice>,
) -> (AnswersSender, Answers) {
    let (sender, notes) = crossbeam_channel::unbounded();
    let (by_id, touched, accounts) = (FxHashMap::default(), Vec::new(), Vec::new());
    (AnswersSender(sender), Answers { mode, table, notes, by_id, touched, accounts, notices })
}

impl Receives for Answers {
    type Table = Table;

    /// Sessions of streams that the table has not are broken off.
    fn set_table(&mut self, table: Arc<Table>) {
        self.table = table;
        self.learn();
        for answered in self.by_id.values().filter(|answered| self.table.get(answered.slot).is_none()) {
            answered.peer.fail(Failure::StreamRemoved);
        }
    }

    fn begin(&mut self, _: Nanos, _: Option<Nanos>, _: Nanos) {
        self.learn();
    }

    fn gone(&mut self) {
        self.fail_all();
    }

    fn end(&mut self) -> anyhow::Result<bool> {
        for id in self.touched.drain(..) {
            let Some(answered) = self.by_id.get_mut(&id) else { continue };
            if answered.inflow.as_mut().is_some_and(|inflow| !inflow.hand_over()) {
                // RED went beyond its window.
                answered.break_off(Failure::Overflow);
            }
        }
        Ok(false)
    }

    /// Closes the accounts.
    fn stop(&mut self) {
        for (slot, account) in self.accounts.iter_mut().enumerate() {
            account.close();
            publish(account, &self.table, slot);
        }
    }
}

impl Answers {
    /// Takes over which sessions there are.
    fn learn(&mut self) {
        for note in self.notes.try_iter() {
            match note {
                Note::Begun(id, answered) => drop(self.by_id.insert(id, answered)),
                Note::Over(id) => drop(self.by_id.remove(&id)),
            }
        }
    }

    /// Breaks off every session that RED has answered, also one that RED is done with while its answers are still missing. One
    /// that waits for RED to answer has a time limit of its own.
    fn fail_all(&mut self) {
        let heard = self.by_id.values_mut().filter(|answered| answered.peer.is_heard());
        heard.for_each(|answered| answered.break_off(Failure::PeerGone));
    }

    fn carries(&self, entry: &Entry, kind: RecordType) -> bool {
        let data = self.mode == ReturnMode::Full && entry.kind == StreamKind::TcpBilateral;
        kind == RecordType::Status
            || data && matches!(kind, RecordType::Data | RecordType::Close | RecordType::Abort | RecordType::Mark)
    }

    fn bytes(&mut self, counters: &ReceiveStream, delivery: &Delivery<'_>) {
        let head = delivery.head;
        let open = self.by_id.get_mut(&head.session).and_then(|answered| {
            let inflow = answered.inflow.as_mut()?;
            Some((&answered.peer, inflow))
        });
        let Some((peer, inflow)) = open else {
            // The client is gone.
            return counters.refused.add(ReceiveRefused::Aborted, u64::from(head.kind == RecordType::Data));
        };
        if head.kind == RecordType::Data {
            let collecting = inflow.has_collected();
            match inflow.data(head.sequence, delivery.payload) {
                Fate::Stale => {}
                Fate::Taken => {
                    counters.deliver(delivery.payload.len(), delivery.recovered);
                    if !collecting {
                        self.touched.push(head.session);
                    }
                }
                Fate::Counted | Fate::Ended => counters.refused.add(ReceiveRefused::Aborted, 1),
                Fate::Gap(bytes) => {
                    counters.refused.add(ReceiveRefused::Aborted, 1);
                    break_off(peer, Some(inflow), Failure::Missing(bytes));
                }
            }
            return;
        }
        let missing_bytes = inflow.missing_bytes(head.sequence);
        if missing_bytes > 0 {
            break_off(peer, Some(inflow), Failure::Missing(missing_bytes));
        } else if head.flags & FLAG_ABORT != 0 {
            break_off(peer, Some(inflow), Failure::ByPeer);
        } else if head.flags & FLAG_END != 0 {
            inflow.close();
        }
    }
}

impl Answered {
    fn break_off(&mut self, why: Failure) {
        break_off(&self.peer, self.inflow.as_mut(), why);
    }
}

/// The reason first: a connection that finds its bytes ended without one takes it that this host stops.
fn break_off(peer: &Peer, inflow: Option<&mut Inflow>, why: Failure) {
    match inflow.filter(|inflow| inflow.is_open()) {
        None => peer.fail(why),
        Some(inflow) => {
            peer.break_off(why);
            inflow.abandon();
        }
    }
}

impl Sink for Answers {
    fn record(&mut self, delivery: &Delivery<'_>) {
        let table = Arc::clone(&self.table);
        let Some((slot, entry)) = table.returned(delivery.slot) else { return };
        let Some(counters) = entry.returns.as_ref().and_then(|counters| counters.lane(LANE)) else { return };
        let head = delivery.head;
        let status = Status::from_wire(delivery.payload).filter(|_| head.flags == 0 && head.sequence == 0);
        let is_status = head.kind == RecordType::Status;
        if !self.carries(entry, head.kind) || is_status && status.is_none() {
            counters.refused.add(ReceiveRefused::NotStatus, 1);
            // A full queue means that the log is behind already; the counter has it.
            let _ = self.notices.try_send(Notice::NotStatus { slot });
            return;
        }
        if !self.by_id.contains_key(&head.session) {
            // It may have begun since the last look.
            self.learn();
        }
        match status.filter(|_| is_status) {
            None => self.bytes(counters, delivery),
            Some(status) => {
                if let Some(answered) = self.by_id.get(&head.session) {
                    answered.peer.report(&status);
                }
            }
        }
    }

    fn settled(&mut self, settled: &Settled) {
        if self.accounts.len() <= settled.slot {
            self.accounts.resize_with(settled.slot + 1, Account::default);
        }
        let account = &mut self.accounts[settled.slot];
        account.settle(settled);
        publish(account, &self.table, settled.slot);
    }

    fn new_epoch(&mut self, epoch: u32) {
        self.fail_all();
        self.accounts.iter_mut().for_each(Account::new_epoch);
        let _ = self.notices.try_send(Notice::NewEpoch(epoch));
    }

    fn stream_mismatch(&mut self, _: u16, _: u8, _: Option<u8>) {
        // RED sees the same difference, and says which.
    }

    fn tables_differ(&mut self, digest: u64) {
        let _ = self.notices.try_send(Notice::TablesDiffer(digest));
    }

    fn stopping(&mut self) {
        let _ = self.notices.try_send(Notice::Stopping);
    }
}

fn publish(account: &Account, table: &Table, slot: usize) {
    let entry = table.returned(slot).and_then(|(_, entry)| entry.returns.as_ref());
    if let Some(counters) = entry.and_then(|counters| counters.lane(LANE)) {
        counters.lost.of(Lost::Unseen).set(account.unseen());
        counters.lost.of(Lost::BeforeJoin).set(account.before_join());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, Purpose, Role};
    use crate::link::Turn;
    use crate::tcp::{Memory, way};
    use crate::telemetry::counters::{LinkName, ReceiveCounters, SendCounters};
    use crate::wire::{RecordHead, Standing};

    /// The answers, and what tells of their end, were lost; that RED is done with the session was not. Then RED falls silent.
    #[tokio::test]
    async fn a_session_whose_last_answers_are_lost_does_not_wait_for_ever() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/mysql.toml");
        let site = config::load(&file, Purpose::Check).expect("a ready site file").site;
        let sent = SendCounters::new(Role::Blue, LinkName::Forward, 1);
        let returned = ReceiveCounters::new(Role::Blue, LinkName::Return, 1);
        let table = Arc::new(Table::new(&site, None, &sent, Some(&returned)).expect("possible"));
        let (notices, _told) = crossbeam_channel::bounded(1);
        let (sender, mut answers) = answers(ReturnMode::Full, table, notices);
        let (way, mut end) = way(&Memory::new(1000));
        let (id, peer) = ([7; 16], Arc::new(Peer::unheard()));
        let _expected = sender.expect(id, 0, Arc::clone(&peer), Some(Inflow::new(way, 1000)));
        let status = Status { standing: Standing::Closed, window_bytes: 0, consumed_bytes: 0 };
        let head = RecordHead { kind: RecordType::Status, flags: 0, session: id, sequence: 0 };
        let (payload, turn) = (&status.to_wire(), Turn::InOrder);
        answers.record(&Delivery { lane: 0, slot: 0, head, payload, recovered: false, turn, from_start: true });
        peer.closed().await;
        answers.gone();
        assert_eq!(peer.failed().await, Failure::PeerGone);
        assert!(end.next().await.is_none());
    }
}
