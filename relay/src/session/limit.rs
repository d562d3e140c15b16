//! How many sessions a stream may have at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A stream's places, counted over all lanes and connections.
#[derive(Debug)]
pub struct SessionLimit {
    max: u32,
    live: Arc<AtomicU32>,
}

/// One of them, free again when this is dropped, whatever has become of the stream by then.
#[derive(Debug)]
pub struct Place(Arc<AtomicU32>);

impl SessionLimit {
    /// At most `max`. Sessions that live in `before`, the same stream's limit before a reload, go on counting.
    pub fn new(max: u32, before: Option<&Self>) -> Self {
        Self { max, live: before.map(|before| Arc::clone(&before.live)).unwrap_or_default() }
    }

    /// The limit.
    pub fn max(&self) -> u32 {
        self.max
    }

    /// Sessions that live now.
    pub fn live(&self) -> u32 {
        self.live.load(Relaxed)
    }

    /// Takes a place; `None` if there is none left.
    pub fn enter(&self) -> Option<Place> {
        let entered = self.live.try_update(Relaxed, Relaxed, |live| (live < self.max).then_some(live + 1));
        entered.is_ok().then(|| Place(Arc::clone(&self.live)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(limit: &SessionLimit) -> Vec<Place> {
        std::iter::from_fn(|| limit.enter()).collect()
    }

    #[test]
    fn places_are_given_back_and_outlive_a_reload() {
        let limit = SessionLimit::new(10, None);
        let taken = all(&limit);
        assert_eq!(taken.len(), 10);
        let reloaded = SessionLimit::new(12, Some(&limit));
        let more = all(&reloaded);
        assert_eq!(more.len(), 2);
        drop(taken);
        assert!(limit.enter().is_some());
    }

    /// Its stream was removed and came back meanwhile, with a limit that never counted it.
    #[test]
    fn a_place_goes_back_to_where_it_was_taken() {
        let removed = SessionLimit::new(2, None);
        let place = removed.enter();
        let back = SessionLimit::new(2, None);
        drop(place);
        assert_eq!((removed.live(), back.live()), (0, 0));
        assert_eq!(all(&back).len(), 2);
    }
}
