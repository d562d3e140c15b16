//! Sessions of datagrams on RED: what the link delivers goes to the stream's destination, and everything is accounted.

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::sync::Arc;

use anyhow::Context as _;
use rustc_hash::FxHashMap;

use super::egress::{Egress, Exit, Fate, Outgoing, Waiting};
use super::memory::{HeardTime, SESSIONS_MAX};
use super::neighbour::{NextHop, NextHopState};
use super::notice::Notice;
use super::table::{Entry, Table};
use super::tcp;
use crate::lane::Receives;
use crate::link::{Delivery, Nanos, Settled, Sink, Turn};
use crate::session::{self, Account, Heard, SessionId, Track};
use crate::telemetry::counters::ReceiveStream;
use crate::telemetry::reasons::{Lost, ReceiveRefused};
use crate::wire::{FLAG_END, RecordType};

#[derive(Debug)]
struct Session {
    slot: usize,
    /// `None` until its first record in turn.
    track: Option<Track>,
    /// `None` before its first datagram, and after its end once nothing waits.
    exit: Option<Exit>,
    last_at: Nanos,
    /// The same, in time during which BLUE was heard.
    last_heard: Nanos,
    ended: bool,
}

/// One lane's streams and sessions.
pub struct Replay {
    table: Arc<Table>,
    sessions: Sessions,
    tcp: tcp::Sessions,
}

/// How many sessions of each stream have a way out, by slot.
#[derive(Debug, Default)]
struct Exits(Vec<usize>);

impl Exits {
    fn count(&self, slot: usize) -> usize {
        self.0.get(slot).copied().unwrap_or(0)
    }

    fn open(&mut self, session: &mut Session, exit: Exit) {
        if self.0.len() <= session.slot {
            self.0.resize(session.slot + 1, 0);
        }
        self.0[session.slot] += usize::from(session.exit.replace(exit).is_none());
    }

    fn close(&mut self, session: &mut Session) {
        if session.exit.take().is_some() {
            self.0[session.slot] -= 1;
        }
    }
}

/// One lane's sessions and their way out.
struct Sessions {
    lane: usize,
    now: Nanos,
    by_id: FxHashMap<SessionId, Session>,
    exits: Exits,
    /// By slot.
    accounts: Vec<Account>,
    egress: Egress,
    heard: HeardTime,
    notices: crossbeam_channel::Sender<Notice>,
}

impl Replay {
    /// For lane number `lane`.
    pub fn new(
        lane: usize,
        table: Arc<Table>,
        egress: Egress,
        deliveries: tcp::Deliveries,
        notices: crossbeam_channel::Sender<Notice>,
    ) -> Self {
        let sessions = Sessions {
            lane,
            now: 0,
            by_id: FxHashMap::default(),
            exits: Exits::default(),
            accounts: Vec::new(),
            egress,
            heard: HeardTime::default(),
            notices,
        };
        let tcp = tcp::Sessions::new(lane, deliveries, sessions.notices.clone());
        Self { table, sessions, tcp }
    }
}

impl Receives for Replay {
    type Table = Table;

    /// Sessions of streams whose destination changed go to the new one from their next datagram on.
    fn set_table(&mut self, table: Arc<Table>) {
        self.tcp.set_table(&self.table, &table);
        for session in self.sessions.by_id.values_mut() {
            let destination = |table: &Table| table.get(session.slot).map(|entry| entry.destination);
            if destination(&table) != destination(&self.table) {
                self.sessions.exits.close(session);
            }
        }
        let removed = |slot: &usize| table.get(*slot).is_none();
        (0..self.sessions.egress.waiting_slots()).filter(removed).for_each(|slot| {
            self.sessions.abandon_waiting(&self.table, slot);
        });
        self.table = table;
    }

    /// Sets the time for what follows, and sends what waited for a neighbour.
    fn begin(&mut self, now: Nanos, heard_at: Option<Nanos>, heartbeat_ns: Nanos) {
        self.sessions.now = now;
        self.sessions.send_waiting(&self.table);
        if self.sessions.heard.look(now, heard_at, heartbeat_ns) {
            self.sessions.sweep(&self.table);
            self.tcp.sweep(&self.sessions.heard, &self.table);
        }
    }

    /// TCP sessions end; those of datagrams wait.
    fn gone(&mut self) {
        self.tcp.abort_all(&self.table);
    }

    fn end(&mut self) -> anyhow::Result<bool> {
        self.tcp.flush(self.sessions.heard.now(), &self.table);
        let egress = &mut self.sessions.egress;
        let kicked = egress.kick().context("cannot send into the zone")?;
        Ok(kicked | egress.is_waiting())
    }

    fn send_errors(&self) -> u64 {
        self.sessions.egress.errors()
    }

    /// Lets leave what can, gives up what still waits for a neighbour, and closes the accounts.
    fn stop(&mut self) {
        self.sessions.egress.drain();
        self.tcp.flush(self.sessions.heard.now(), &self.table);
        self.tcp.stop();
        (0..self.sessions.egress.waiting_slots()).for_each(|slot| self.sessions.abandon_waiting(&self.table, slot));
        for (slot, account) in self.sessions.accounts.iter_mut().enumerate() {
            account.close();
            if let Some((_, counters)) = entry(&self.table, slot, self.sessions.lane) {
                counters.lost.of(Lost::Unseen).set(account.unseen());
            }
        }
    }
}

impl Sessions {
    fn datagram(&mut self, table: &Table, delivery: &Delivery<'_>) {
        let Some((entry, counters)) = entry(table, delivery.slot, self.lane) else { return };
        let id = delivery.head.session;
        let Some(session) = session(&mut self.by_id, id, delivery.slot) else {
            return counters.refused.add(ReceiveRefused::SessionLimit, u64::from(delivery.turn != Turn::AfterEarly));
        };
        (session.last_at, session.last_heard) = (self.now, self.heard.now());
        if delivery.turn != Turn::Early {
            let Heard::Next { missing } = track(session, delivery).datagram(delivery.head.sequence) else { return };
            missing_records(&mut self.accounts, delivery, counters, Lost::Gap, missing);
        }
        if delivery.turn == Turn::AfterEarly {
            return;
        }
        if session.exit.is_none() && !self.open(id, delivery.slot, entry, counters) {
            return;
        }
        let (recovered, payload) = (delivery.recovered, delivery.payload);
        self.send(entry, counters, Outgoing { slot: delivery.slot, session: id, recovered, payload });
    }

    /// Sends a datagram of a session that has a way out, and counts what became of it.
    fn send(&mut self, entry: &Entry, counters: &ReceiveStream, datagram: Outgoing<'_>) {
        let Some(exit) = self.by_id.get_mut(&datagram.session).and_then(|session| session.exit.as_mut()) else {
            return;
        };
        match self.egress.send(self.now, exit, entry, datagram) {
            Err(reason) => counters.refused.add(reason, 1),
            Ok(Fate::Waits) => {}
            Ok(Fate::Sent) => counters.deliver(datagram.payload.len(), datagram.recovered),
        }
    }

    /// Opens a session's way out; a failure is counted and told.
    fn open(&mut self, id: SessionId, slot: usize, entry: &Entry, counters: &ReceiveStream) -> bool {
        self.make_room(slot, entry.max_sessions as usize);
        match self.egress.open(entry.destination) {
            Ok(exit) => {
                if let Some(session) = self.by_id.get_mut(&id) {
                    self.exits.open(session, exit);
                }
                true
            }
            Err(error) => {
                counters.refused.add(ReceiveRefused::SendError, 1);
                let (stream, session) = (entry.name.clone(), session::display(id).to_string());
                let error = format!("{error}; check the route and the limit of open files");
                self.tell(Notice::SessionFailed { stream, session, error });
                false
            }
        }
    }

    /// If the stream has as many sessions as it may, the one that is idle longest loses its way out. BLUE keeps the
    /// limit: that RED sees more can only be because an end was lost.
    fn make_room(&mut self, slot: usize, max_sessions: usize) {
        if self.exits.count(slot) < max_sessions {
            return;
        }
        let open = self.by_id.iter().filter(|(_, session)| session.slot == slot && session.exit.is_some());
        let idlest = open.min_by_key(|(_, session)| session.last_at).map(|(id, _)| *id);
        if let Some(session) = idlest.and_then(|id| self.by_id.get_mut(&id)) {
            self.exits.close(session);
        }
    }

    /// Sends, in order, what waited for a neighbour's address that is known by now, and drops what waited too long.
    fn send_waiting(&mut self, table: &Table) {
        for slot in 0..self.egress.waiting_slots() {
            if !self.egress.waits(slot) {
                continue;
            }
            let Some((entry, counters)) = entry(table, slot, self.lane) else { continue };
            let next_hop = entry.next_hop.as_ref();
            let waits = |hop: &NextHop| hop.mac().is_none() && hop.state() != NextHopState::OtherInterface;
            if next_hop.is_some_and(|next_hop| waits(next_hop)) {
                counters.refused.add(ReceiveRefused::NoNeighbour, self.egress.give_up(self.now, slot));
                continue;
            }
            for datagram in self.egress.take_waiting(slot) {
                self.send_waited(slot, entry, counters, &datagram);
            }
        }
    }

    fn send_waited(&mut self, slot: usize, entry: &Entry, counters: &ReceiveStream, datagram: &Waiting) {
        let &Waiting { session: id, recovered, ref payload, .. } = datagram;
        let Some(session) = self.by_id.get(&id) else {
            // BLUE has started anew meanwhile.
            return counters.refused.add(ReceiveRefused::NoNeighbour, 1);
        };
        let ended = session.ended;
        if session.exit.is_none() && !self.open(id, slot, entry, counters) {
            return;
        }
        self.send(entry, counters, Outgoing { slot, session: id, recovered, payload });
        if ended
            && !self.egress.waits(slot)
            && let Some(session) = self.by_id.get_mut(&id)
        {
            self.exits.close(session);
        }
    }

    fn abandon_waiting(&mut self, table: &Table, slot: usize) {
        let count = self.egress.take_waiting(slot).len() as u64;
        if let Some((_, counters)) = entry(table, slot, self.lane) {
            counters.refused.add(ReceiveRefused::NoNeighbour, count);
        }
    }

    fn mark(&mut self, table: &Table, delivery: &Delivery<'_>) {
        let Some((_, counters)) = entry(table, delivery.slot, self.lane) else { return };
        let Some(session) = session(&mut self.by_id, delivery.head.session, delivery.slot) else { return };
        let missing = track(session, delivery).mark(delivery.head.sequence);
        if !session.ended {
            (session.last_at, session.last_heard) = (self.now, self.heard.now());
        }
        if delivery.head.flags & FLAG_END != 0 {
            session.ended = true;
            // What waits for a neighbour still leaves by it.
            if !self.egress.waits(delivery.slot) {
                self.exits.close(session);
            }
        }
        missing_records(&mut self.accounts, delivery, counters, Lost::Tail, missing);
    }

    fn settle(&mut self, table: &Table, settled: &Settled) {
        let account = account(&mut self.accounts, settled.slot);
        account.settle(settled);
        if let Some((_, counters)) = entry(table, settled.slot, self.lane) {
            counters.lost.of(Lost::Unseen).set(account.unseen());
            counters.lost.of(Lost::BeforeJoin).set(account.before_join());
        }
    }

    fn sweep(&mut self, table: &Table) {
        let (heard, exits) = (&self.heard, &mut self.exits);
        self.by_id.retain(|_, session| {
            let idle_ns = table.get(session.slot).filter(|_| !session.ended).map_or(0, |entry| entry.idle_ns);
            let keep = heard.remembers(session.last_heard, idle_ns);
            if !keep {
                exits.close(session);
            }
            keep
        });
    }

    fn tell(&self, notice: Notice) {
        // A full queue means that the log is behind already; the counters have everything.
        let _ = self.notices.try_send(notice);
    }
}

impl Sink for Replay {
    fn record(&mut self, delivery: &Delivery<'_>) {
        if self.table.get(delivery.slot).is_some_and(|entry| entry.kind.is_bytes()) {
            return self.tcp.record(self.sessions.heard.now(), &self.table, delivery);
        }
        match delivery.head.kind {
            RecordType::Datagram => self.sessions.datagram(&self.table, delivery),
            RecordType::Mark if delivery.turn != Turn::Early => self.sessions.mark(&self.table, delivery),
            // Of no meaning for datagrams.
            _ => {}
        }
    }

    fn settled(&mut self, settled: &Settled) {
        self.sessions.settle(&self.table, settled);
    }

    fn new_epoch(&mut self, epoch: u32) {
        self.sessions.by_id.clear();
        self.sessions.exits = Exits::default();
        self.tcp.forget_all(&self.table);
        self.sessions.accounts.iter_mut().for_each(Account::new_epoch);
        self.sessions.tell(Notice::NewEpoch(epoch));
    }

    fn stream_mismatch(&mut self, channel: u16, theirs: u8, ours: Option<u8>) {
        self.sessions.tell(Notice::Mismatch { channel, theirs, ours });
    }

    fn tables_differ(&mut self, digest: u64) {
        self.sessions.tell(Notice::TablesDiffer(digest));
    }

    fn stopping(&mut self) {
        self.sessions.tell(Notice::Stopping);
    }
}

/// The session of a record, begun if it is new; `None` if the lane knows too many already.
fn session(by_id: &mut FxHashMap<SessionId, Session>, id: SessionId, slot: usize) -> Option<&mut Session> {
    let has_room = by_id.len() < SESSIONS_MAX;
    match by_id.entry(id) {
        Occupied(known) => Some(known.into_mut()),
        Vacant(new) => has_room
            .then(|| new.insert(Session { slot, track: None, exit: None, last_at: 0, last_heard: 0, ended: false })),
    }
}

fn account(accounts: &mut Vec<Account>, slot: usize) -> &mut Account {
    if accounts.len() <= slot {
        accounts.resize_with(slot + 1, Account::default);
    }
    &mut accounts[slot]
}

fn missing_records(
    accounts: &mut Vec<Account>,
    delivery: &Delivery<'_>,
    counters: &ReceiveStream,
    reason: Lost,
    missing: u32,
) {
    if missing > 0 {
        let account = account(accounts, delivery.slot);
        account.attribute(delivery.lane, u64::from(missing));
        counters.lost.add(reason, u64::from(missing));
        counters.lost.of(Lost::Unseen).set(account.unseen());
    }
}

fn entry(table: &Table, slot: usize, lane: usize) -> Option<(&Entry, &ReceiveStream)> {
    let entry = table.get(slot)?;
    Some((entry, entry.counters.lane(lane)?))
}

/// The session's sequence account. One that RED hears of only after it joined may have had earlier records.
fn track<'a>(session: &'a mut Session, delivery: &Delivery<'_>) -> &'a mut Track {
    let first = if delivery.from_start { 0 } else { delivery.head.sequence };
    session.track.get_or_insert(Track::starting_at(first))
}
