//! What RED sends on the return link: what deliveries hand over, and nothing else.

use std::io;
use std::sync::Arc;

use super::table::Table;
use crate::host::Readiness;
use crate::lane::Sends;
use crate::link::{Nanos, Sender, TxPort};
use crate::tcp::Feed;
use crate::telemetry::counters::SendLink;

/// The return link has one lane: statuses are few, and one lane carries the answers of many sessions.
const LANE: usize = 0;

/// The return lane's source.
pub struct Returns {
    table: Arc<Table>,
    feed: Feed,
    /// The sender's slot of every slot of the table.
    sender_slots: Vec<Option<usize>>,
}

impl Returns {
    /// What `feed` gets.
    pub fn new(table: Arc<Table>, feed: Feed) -> Self {
        Self { table, feed, sender_slots: Vec::new() }
    }

    fn sender_slot(sender_slots: &[Option<usize>], slot: u16) -> Option<usize> {
        sender_slots.get(usize::from(slot)).copied().flatten()
    }
}

impl Sends for Returns {
    type Table = Table;

    fn register(&self, _: &Readiness) -> io::Result<()> {
        Ok(())
    }

    fn set_table<P: TxPort>(&mut self, _: Nanos, table: &Arc<Table>, sender: &Sender<P>) -> io::Result<()> {
        self.sender_slots = (0..table.slots())
            .map(|slot| sender.slot(table.get(usize::from(slot))?.returns.as_ref()?.0.channel))
            .collect();
        self.table = Arc::clone(table);
        Ok(())
    }

    fn receive<P: TxPort>(&mut self, _: Nanos, _: &mut Sender<P>) -> usize {
        0
    }

    fn feed(&mut self) -> &mut Feed {
        &mut self.feed
    }

    fn pump<P: TxPort>(&mut self, now: Nanos, sender: &mut Sender<P>) -> bool {
        let (table, sender_slots) = (&self.table, &self.sender_slots);
        self.feed.pump(now, sender, |slot| {
            let (_, counters) = table.get(usize::from(slot))?.returns.as_ref()?;
            Some((Self::sender_slot(sender_slots, slot)?, counters.lane(LANE)?))
        })
    }

    fn mark<P: TxPort>(&mut self, now: Nanos, sender: &mut Sender<P>) {
        let sender_slots = &self.sender_slots;
        self.feed.marks(|slot, head, payload| {
            Self::sender_slot(sender_slots, slot).is_none_or(|slot| sender.push(now, slot, head, payload).is_ok())
        });
    }

    fn end_all(&mut self) {
        self.feed.abort_all();
    }

    fn publish(&self, _: &SendLink) {}
}
