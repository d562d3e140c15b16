//! Datagrams into the link: who sends, may it, and as which record. No I/O.

use std::net::SocketAddr;
use std::sync::Arc;

use super::ingress::Arrival;
use super::notice::Notice;
use super::source::Shared;
use super::table::Table;
use crate::link::{Nanos, PushError, Sender, TxPort};
use crate::session::{FlowKey, FlowTable, OpenError};
use crate::tcp::Feed;
use crate::telemetry::reasons::SendRefused;
use crate::wire::{FLAG_END, RecordHead, RecordType};

/// The datagram side of one lane.
#[derive(Debug)]
pub struct UdpIngress {
    lane: usize,
    table: Arc<Table>,
    flows: FlowTable,
    /// The sender's slot of every slot of the table.
    sender_slots: Vec<Option<usize>>,
    shared: Arc<Shared>,
    notices: crossbeam_channel::Sender<Notice>,
}

impl UdpIngress {
    /// For lane number `lane`; knows no stream before [`UdpIngress::set_table`].
    pub fn new(
        lane: usize,
        table: Arc<Table>,
        shared: Arc<Shared>,
        notices: crossbeam_channel::Sender<Notice>,
    ) -> Self {
        Self { lane, table, flows: FlowTable::default(), sender_slots: Vec::new(), shared, notices }
    }

    /// Takes a new table, after the sender took the same one. Sessions of streams that it has not end here, not at the next
    /// heartbeat: by then the stream may be back, with a limit that never counted them.
    pub fn set_table<P: TxPort>(&mut self, now: Nanos, table: Arc<Table>, sender: &Sender<P>) {
        self.flows.expire(now, &*table, |_, _| ());
        self.sender_slots = vec![None; table.slots()];
        for (slot, entry) in table.iter() {
            self.sender_slots[usize::from(slot)] = sender.slot(entry.channel);
        }
        self.table = table;
    }

    /// Takes a datagram.
    pub fn datagram<P: TxPort>(&mut self, now: Nanos, sender: &mut Sender<P>, arrival: &Arrival<'_>) {
        let &Arrival { source, port, payload, checked } = arrival;
        let Some((slot, entry)) = self.table.by_port(port) else { return };
        let Some(counters) = entry.counters.lane(self.lane) else { return };
        if checked {
            self.shared.from_queues[usize::from(slot)].add(1);
        } else if !entry.allows(source.ip()) {
            counters.refused.add(SendRefused::Source, 1);
            self.tell(slot, source, SendRefused::Source);
            return;
        }
        counters.received.add(1);
        counters.received_bytes.add(payload.len() as u64);
        let sender_slot = self.sender_slots.get(usize::from(slot)).copied().flatten();
        let forwarded = sender_slot.ok_or(SendRefused::LinkFull).and_then(|sender_slot| {
            if !sender.has_room(payload.len()) {
                return Err(SendRefused::LinkFull);
            }
            let key = FlowKey { source, slot };
            let head = datagram_head(&mut self.flows, now, key, &self.table)?;
            let in_rate = entry.rate.as_ref().is_none_or(|rate| rate.admit(now, payload.len()));
            let pushed = if in_rate {
                sender.push(now, sender_slot, &head, payload).map_err(refusal)
            } else {
                Err(SendRefused::Rate)
            };
            // What does not go out leaves no gap.
            pushed.inspect_err(|_| self.flows.undo(key))
        });
        match forwarded {
            Ok(()) => counters.sent.add(1),
            Err(reason) => {
                counters.refused.add(reason, 1);
                if reason == SendRefused::SessionLimit {
                    self.tell(slot, source, reason);
                }
            }
        }
    }

    /// Ends idle sessions and announces where every session stands. For every heartbeat.
    pub fn heartbeat<P: TxPort>(&mut self, now: Nanos, feed: &mut Feed, sender: &mut Sender<P>) {
        self.flows.expire(now, &*self.table, |_, _| ());
        let sender_slots = &self.sender_slots;
        let mut mark = |slot: u16, head: &RecordHead, payload: &[u8]| {
            let Some(sender_slot) = sender_slots.get(usize::from(slot)).copied().flatten() else { return true };
            sender.push(now, sender_slot, head, payload).is_ok()
        };
        self.flows.marks(|slot, session, sequence, ended| {
            let flags = if ended { FLAG_END } else { 0 };
            mark(slot, &RecordHead { kind: RecordType::Mark, flags, session, sequence }, &[])
        });
        feed.marks(mark);
    }

    /// Puts what connections have handed over into the link. Returns whether there was anything.
    pub fn pump<P: TxPort>(&mut self, now: Nanos, feed: &mut Feed, sender: &mut Sender<P>) -> bool {
        feed.pump(now, sender, |slot| {
            let sender_slot = self.sender_slots.get(usize::from(slot)).copied().flatten()?;
            Some((sender_slot, self.table.get(slot)?.counters.lane(self.lane)?))
        })
    }

    /// Ends every session, for the last heartbeats.
    pub fn end_all(&mut self) {
        self.flows.end_all();
    }

    fn tell(&self, slot: u16, source: SocketAddr, reason: SendRefused) {
        // A full queue means that the log is behind already; the counter has it.
        let _ = self.notices.try_send(Notice::Refused { slot, source, reason });
    }
}

fn datagram_head(flows: &mut FlowTable, now: Nanos, key: FlowKey, table: &Table) -> Result<RecordHead, SendRefused> {
    let (session, sequence, _) = flows.next(now, key, table).map_err(|error| match error {
        OpenError::Limit => SendRefused::SessionLimit,
        OpenError::NoStream => SendRefused::Source,
    })?;
    Ok(RecordHead { kind: RecordType::Datagram, flags: 0, session, sequence })
}

fn refusal(error: PushError) -> SendRefused {
    match error {
        PushError::Busy => SendRefused::LinkFull,
        PushError::Oversize => SendRefused::Oversize,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Role;
    use crate::link::SenderConfig;
    use crate::link::memory::{Faults, MemoryLink};
    use crate::tcp::Carries;
    use crate::telemetry::counters::{LinkName, SendCounters};
    use crate::wire::{Direction, LinkKey};

    const HEAD: &str = r#"
        [link]
        blue = { interface = "b", address = "10.0.0.1" }
        red = { interface = "r", address = "10.0.0.2" }
        [blue]
        interface = "z"
        [red]
        interface = "y"
    "#;

    fn stream(channel: u16) -> String {
        format!(
            "[[stream]]\nchannel = {channel}\nname = \"s{channel}\"\ntype = \"udp-unilateral\"\nsource_ip = [\"10.1.0.0/16\"]\n\
             source_port = {}\ndestination_ip = \"10.2.0.1\"\ndestination_port = 9\nidle = \"1s\"\n",
            5000 + channel
        )
    }

    fn table(streams: &[u16], before: Option<&Table>, counters: &SendCounters) -> Arc<Table> {
        let text = streams.iter().fold(HEAD.to_owned(), |text, channel| text + &stream(*channel));
        let site = crate::config::parse(Path::new("site.toml"), &text).expect("valid").site;
        Arc::new(Table::new(&site, before, counters, None).expect("possible"))
    }

    fn send(udp: &mut UdpIngress, sender: &mut Sender<MemoryLink>, port: u16) {
        let source = SocketAddr::from(([10, 1, 0, 1], 1));
        udp.datagram(0, sender, &Arrival { source, port, payload: b"x", checked: true });
    }

    /// Removed and back before any heartbeat: the stream's new limit has not counted the old session.
    #[test]
    fn a_stream_that_comes_back_counts_its_sessions_anew() {
        let counters = SendCounters::new(Role::Blue, LinkName::Forward, 1);
        let both = table(&[1, 2], None, &counters);
        let config = SenderConfig {
            lane: 0,
            epoch: 1,
            direction: Direction::Forward,
            key: LinkKey::unsealed(),
            symbol_bytes: 1400,
            heartbeat_ns: 1_000_000_000,
            rate: None,
        };
        let mut sender = Sender::new(config, MemoryLink::new(1500, 4096, Faults::default(), 1));
        let (notices, _here) = crossbeam_channel::bounded(8);
        let mut udp = UdpIngress::new(0, Arc::clone(&both), Arc::default(), notices);
        let first = table(&[1], Some(&both), &counters);
        let again = table(&[1, 2], Some(&first), &counters);
        for table in [&both, &first, &again] {
            sender.set_channels(0, table.sender_channels(), table.encoder());
            udp.set_table(0, Arc::clone(table), &sender);
            send(&mut udp, &mut sender, 5002);
        }
        let (_, entry) = again.by_port(5002).expect("there");
        assert_eq!(entry.limit.live(), 1);
        let (_, mut feed) = crate::tcp::feed(Carries::Everything, None).expect("two sockets");
        udp.heartbeat(10_000_000_000, &mut feed, &mut sender);
        assert_eq!(entry.limit.live(), 0, "each session ends once");
        send(&mut udp, &mut sender, 5002);
        assert_eq!(counters.samples().iter().map(|sample| sample.total("refused")).sum::<u64>(), 0);
        assert_eq!(entry.counters.lane(0).expect("there").sent.get(), 3);
    }
}
