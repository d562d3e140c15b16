//! One thread that writes a journal for many tasks: what waits together goes to disk together.
//!
//! It alone knows what is in the journal, so it is the one that makes it short again when it has grown: an entry that somebody
//! has written is in the short one, too, whatever its writer has made of it by then.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::journal::Journal;

/// Entries that go to disk with one call at most.
const BATCH_MAX: usize = 256;

/// A journal is made short again when it is twice as long as it was then, but not before it has grown by so many bytes: some
/// ten thousand entries, which are read and written in a fraction of a second.
const GROWTH_BYTES_MIN: u64 = 4 << 20;

struct Order<E> {
    entries: Vec<E>,
    done: Option<oneshot::Sender<bool>>,
}

/// The journal did not take an entry; the log says why.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the state could not be written to disk")]
pub struct Unwritten;

/// Writes a journal. Dropping it waits until everything is on disk.
#[derive(Debug)]
pub struct Scribe<E> {
    orders: Option<Sender<Order<E>>>,
    thread: Option<JoinHandle<()>>,
}

impl<E: Serialize + DeserializeOwned + Send + 'static> Scribe<E> {
    /// Starts the thread. `shortest` gives the fewest entries that say the same.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(journal: Journal<E>, shortest: fn(Vec<E>) -> Vec<E>) -> std::io::Result<Self> {
        let (orders, received) = channel();
        let serve = move || serve(journal, &received, shortest, GROWTH_BYTES_MIN);
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(serve)?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Writes entries, in this order; returns once they are on disk.
    ///
    /// # Errors
    /// They are not.
    pub async fn write(&self, entries: Vec<E>) -> Result<(), Unwritten> {
        let (done, written) = oneshot::channel();
        self.order(Order { entries, done: Some(done) });
        if written.await == Ok(true) { Ok(()) } else { Err(Unwritten) }
    }

    /// Writes an entry some time soon, after all before it.
    pub fn note(&self, entry: E) {
        self.order(Order { entries: vec![entry], done: None });
    }

    fn order(&self, order: Order<E>) {
        if let Some(orders) = &self.orders {
            // A thread that is gone has said why; whoever waits hears nothing and takes that for an error.
            let _ = orders.send(order);
        }
    }
}

impl<E> Drop for Scribe<E> {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It has told of every error.
            let _ = thread.join();
        }
    }
}

fn serve<E: Serialize + DeserializeOwned>(
    mut journal: Journal<E>,
    orders: &Receiver<Order<E>>,
    shortest: fn(Vec<E>) -> Vec<E>,
    growth_bytes_min: u64,
) {
    let long = |len_bytes: u64| (2 * len_bytes).max(len_bytes + growth_bytes_min);
    let mut long_bytes = long(journal.len_bytes());
    while let Ok(order) = orders.recv() {
        let (mut entries, mut waiting) = (Vec::new(), Vec::new());
        let mut next = Some(order);
        while let Some(Order { entries: more, done }) = next.take() {
            entries.extend(more);
            waiting.extend(done);
            if entries.len() < BATCH_MAX {
                next = orders.try_recv().ok();
            }
        }
        let written = tell(&journal.append(&entries));
        for done in waiting {
            // Who does not wait any more does not need to know.
            let _ = done.send(written);
        }
        if written && journal.len_bytes() > long_bytes {
            tell(&journal.compact(shortest));
            // After an error it is as long as before, and is not tried with every entry.
            long_bytes = long(journal.len_bytes());
        }
    }
}

fn tell(written: &Result<(), super::journal::JournalError>) -> bool {
    if let Err(error) = written {
        tracing::error!("{error}");
    }
    written.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::journal::read_only;

    #[tokio::test]
    async fn what_many_write_is_on_disk_once_each_when_they_hear_of_it() {
        let path = std::env::temp_dir().join(format!("relay-scribe-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let (journal, before) = Journal::<u32>::open(&path).expect("a journal");
        assert!(before.is_empty());
        let scribe = std::sync::Arc::new(Scribe::start(journal, |all| all).expect("a thread"));
        let tasks: Vec<_> = (0..100)
            .map(|number| {
                let scribe = std::sync::Arc::clone(&scribe);
                tokio::spawn(async move { scribe.write(vec![number, number]).await })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic").expect("written");
        }
        let mut found: Vec<u32> = read_only(&path).expect("readable");
        found.sort_unstable();
        assert_eq!(found, (0..100).flat_map(|number| [number, number]).collect::<Vec<_>>());
        std::fs::remove_file(&path).expect("it was there");
    }

    /// Whatever is written, for however long.
    #[test]
    fn a_journal_that_has_grown_is_made_short_while_it_is_written() {
        let path = std::env::temp_dir().join(format!("relay-scribe-growing-{}", std::process::id()));
        let (journal, _) = Journal::<u32>::open(&path).expect("a journal");
        let (orders, received) = channel();
        for number in 0..10_000 {
            orders.send(Order { entries: vec![number], done: None }).expect("taken");
        }
        drop(orders);
        serve(journal, &received, |all| all.into_iter().rev().take(1).collect(), 500);
        let found = read_only::<u32>(&path).expect("readable");
        let len_bytes = std::fs::metadata(&path).expect("there").len();
        std::fs::remove_file(&path).expect("it was there");
        assert_eq!(found.last(), Some(&9_999));
        assert!(len_bytes < 5_000, "{len_bytes} bytes: one batch more than it may grow by");
    }
}
