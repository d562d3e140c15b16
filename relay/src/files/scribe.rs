//! One thread that writes a journal for many tasks: what waits together goes to disk together.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::journal::Journal;

/// Entries that go to disk with one call at most.
const BATCH_MAX: usize = 256;

enum Order<E> {
    Write(Vec<E>, Option<oneshot::Sender<bool>>),
    Rewrite(Vec<E>),
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
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(journal: Journal<E>) -> std::io::Result<Self> {
        let (orders, received) = channel();
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || serve(journal, &received))?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Writes entries, in this order; returns once they are on disk.
    ///
    /// # Errors
    /// They are not.
    pub async fn write(&self, entries: Vec<E>) -> Result<(), Unwritten> {
        let (done, written) = oneshot::channel();
        self.order(Order::Write(entries, Some(done)));
        if written.await == Ok(true) { Ok(()) } else { Err(Unwritten) }
    }

    /// Writes an entry some time soon, after all before it.
    pub fn note(&self, entry: E) {
        self.order(Order::Write(vec![entry], None));
    }

    /// Replaces the whole journal by these entries.
    pub fn rewrite(&self, entries: Vec<E>) {
        self.order(Order::Rewrite(entries));
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

fn serve<E: Serialize + DeserializeOwned>(mut journal: Journal<E>, orders: &Receiver<Order<E>>) {
    while let Ok(order) = orders.recv() {
        let (mut entries, mut waiting) = (Vec::new(), Vec::new());
        let mut next = Some(order);
        let mut rewrite = None;
        while let Some(order) = next.take() {
            match order {
                Order::Write(more, done) => {
                    entries.extend(more);
                    waiting.extend(done);
                }
                Order::Rewrite(all) => {
                    rewrite = Some(all);
                    break;
                }
            }
            if entries.len() < BATCH_MAX {
                next = orders.try_recv().ok();
            }
        }
        let written = tell(&if entries.is_empty() { Ok(()) } else { journal.append(&entries) });
        for done in waiting {
            // Who does not wait any more does not need to know.
            let _ = done.send(written);
        }
        if let Some(all) = rewrite {
            tell(&journal.rewrite(all.into_iter()));
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
        let scribe = std::sync::Arc::new(Scribe::start(journal).expect("a thread"));
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
        scribe.rewrite(vec![7]);
        scribe.note(8);
        drop(scribe);
        assert_eq!(read_only::<u32>(&path).expect("readable"), [7, 8]);
        std::fs::remove_file(&path).expect("it was there");
    }
}
