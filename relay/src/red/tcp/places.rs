//! How many sessions of a stream RED has at a time. BLUE keeps the stream's limit; this bounds what a BLUE that does not can
//! take of RED's memory and files.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel};

/// BLUE frees a client's place when the client is gone, RED when its destination is: until then a stream may have so many
/// times its `max_sessions` here ...
const FACTOR: usize = 2;
/// ... and a few more, for streams of one session.
const MORE: usize = 8;

/// A stream's places.
#[derive(Clone, Debug)]
pub struct Places {
    taken: Arc<AtomicUsize>,
    max: usize,
}

/// One of them, free again when this is dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Places {
    /// For a stream with `max_sessions` on BLUE. Those that are taken of `before` stay taken.
    pub fn new(max_sessions: u32, before: Option<&Places>) -> Self {
        let taken = before.map(|before| Arc::clone(&before.taken)).unwrap_or_default();
        Self { taken, max: (max_sessions as usize).saturating_mul(FACTOR).saturating_add(MORE) }
    }

    /// Takes a place; `None` if there is none left.
    pub fn enter(&self) -> Option<Place> {
        let place = Place(Arc::clone(&self.taken));
        // Counted first: the place that is too much is given back as it is dropped.
        (place.0.fetch_add(1, AcqRel) < self.max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back_and_outlive_a_reload() {
        let places = Places::new(1, None);
        let taken: Vec<_> = std::iter::from_fn(|| places.enter()).collect();
        assert_eq!(taken.len(), 10);
        let reloaded = Places::new(2, Some(&places));
        let more: Vec<_> = std::iter::from_fn(|| reloaded.enter()).collect();
        assert_eq!(more.len(), 2);
        drop(taken);
        assert!(places.enter().is_some());
    }
}
