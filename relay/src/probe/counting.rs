//! What becomes of a receiving lane's records in a measurement: they are counted.

use std::sync::{Arc, Mutex, PoisonError};

use super::message::{self, StepHead};
use super::tally::{Noted, Tally};
use crate::lane::Receives;
use crate::link::{Delivery, Nanos, Settled, Sink};
use crate::wire::{FLAG_END, RecordType};

/// Where all lanes' counts meet. A lane holds it for a few additions once a batch.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedTally(Arc<Mutex<Tally>>);

impl SharedTally {
    /// Works on it.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Tally) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One lane's counts of the batch at hand.
pub(super) struct Counting {
    tally: SharedTally,
    batch: Vec<Noted>,
}

impl Counting {
    pub(super) fn new(tally: SharedTally) -> Self {
        Self { tally, batch: Vec::new() }
    }

    fn flush(&mut self) {
        if !self.batch.is_empty() {
            let batch = &mut self.batch;
            self.tally.with(|tally| batch.drain(..).for_each(|noted| tally.note(&noted)));
        }
    }

    /// The batch's count of this delivery's step and lane.
    fn noted(&mut self, delivery: &Delivery<'_>, head: StepHead) -> &mut Noted {
        let run = delivery.head.session;
        let same = |noted: &Noted| (noted.run, noted.head, noted.lane) == (run, head, delivery.lane);
        // Nearly always the first: a lane of the sender keeps to a queue, and so to a lane here.
        let index = self.batch.iter().position(same).unwrap_or(self.batch.len());
        if index == self.batch.len() {
            self.batch.push(Noted {
                run,
                head,
                lane: delivery.lane,
                received: 0,
                recovered: 0,
                next_record: 0,
                from_start: delivery.from_start,
                sent: None,
                last: false,
            });
        }
        &mut self.batch[index]
    }
}

impl Receives for Counting {
    type Table = ();

    fn set_table(&mut self, _: Arc<()>) {}

    fn begin(&mut self, _: Nanos, _: Option<Nanos>, _: Nanos) {}

    fn gone(&mut self) {}

    fn end(&mut self) -> anyhow::Result<bool> {
        self.flush();
        Ok(false)
    }

    fn stop(&mut self) {
        self.flush();
    }
}

impl Sink for Counting {
    fn record(&mut self, delivery: &Delivery<'_>) {
        let (Some(head), Some(records)) = (StepHead::read(delivery.payload), message::read_records(delivery.payload))
        else {
            return;
        };
        match delivery.head.kind {
            RecordType::Datagram => {
                let noted = self.noted(delivery, head);
                noted.received += 1;
                noted.recovered += u64::from(delivery.recovered);
                noted.next_record = noted.next_record.max(records.saturating_add(1));
            }
            RecordType::Mark => {
                let noted = self.noted(delivery, head);
                noted.sent = message::read_mark(delivery.payload).or(noted.sent);
                noted.last |= delivery.head.flags & FLAG_END != 0;
            }
            _ => {}
        }
    }

    fn settled(&mut self, _: &Settled) {}

    fn new_epoch(&mut self, _: u32) {}

    fn stream_mismatch(&mut self, _: u16, _: u8, _: Option<u8>) {}

    fn tables_differ(&mut self, _: u64) {
        self.tally.with(Tally::foreign);
    }

    fn stopping(&mut self) {
        self.flush();
        self.tally.with(Tally::stopping);
    }
}
