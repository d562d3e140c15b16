//! Holds back repetitions: a scan or a flood must not become a flood of messages.
//!
//! Owns a bounded table of (kind, reason, stream, source). Of each, the first [`BURST`] events of a
//! [`WINDOW`] pass and the rest are counted. Pure: time comes from outside, nothing is sent.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Kind;

/// Events of one key that pass in a window: enough to see a pattern of retries.
pub const BURST: u32 = 3;
/// The window: with [`MOST_KEYS`] keys, at most about 300 messages a second in the worst flood.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Keys in the table. Further sources share one entry per reason and stream, so that forged source
/// addresses can neither fill the memory nor pass the limit.
pub const MOST_KEYS: usize = 1024;

/// What counts as the same event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub kind: Kind,
    pub reason: &'static str,
    pub stream: Option<String>,
    /// `None` also stands for all sources that found no place in the table.
    pub source: Option<IpAddr>,
}

/// One key's current window.
#[derive(Debug)]
struct Window {
    begun: Instant,
    passed: u32,
    held: u64,
}

/// The table.
#[derive(Debug, Default)]
pub struct Limiter {
    windows: HashMap<Key, Window>,
}

impl Limiter {
    /// Whether an event of `key` passes at `now`; if not, it is counted for the follow-up.
    pub fn admit(&mut self, mut key: Key, now: Instant) -> bool {
        if self.windows.len() >= MOST_KEYS && !self.windows.contains_key(&key) {
            // One entry for the rest; reasons and streams are few, so the table stays bounded.
            key.source = None;
        }
        let fresh = || Window { begun: now, passed: 0, held: 0 };
        let window = self.windows.entry(key).or_insert_with(fresh);
        if window.passed < BURST {
            window.passed += 1;
            return true;
        }
        window.held += 1;
        false
    }

    /// Ends the windows that are over at `now` (all of them for `None`) and tells those in which
    /// events were held back, with their number.
    pub fn close(&mut self, now: Option<Instant>) -> Vec<(Key, u64)> {
        let over = |window: &Window| now.is_none_or(|now| now.duration_since(window.begun) >= WINDOW);
        let ended = self.windows.extract_if(|_, window| over(window));
        ended.filter(|(_, window)| window.held > 0).map(|(key, window)| (key, window.held)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn key(source: u32) -> Key {
        Key {
            kind: Kind::Drop,
            reason: "source",
            stream: Some("video".to_owned()),
            source: Some(Ipv4Addr::from_bits(source).into()),
        }
    }

    #[test]
    fn the_first_few_pass_and_the_rest_are_told_when_the_window_ends() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        let passed = (0..10).filter(|_| limiter.admit(key(1), start)).count();
        assert_eq!(passed, BURST as usize);
        assert!(limiter.close(Some(start + WINDOW / 2)).is_empty());
        assert_eq!(limiter.close(Some(start + WINDOW)), [(key(1), 7)]);
        assert!(limiter.close(None).is_empty(), "told once");
        assert!(limiter.admit(key(1), start + WINDOW), "a new window begins");
    }

    #[test]
    fn another_source_stream_or_reason_is_limited_on_its_own() {
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        while limiter.admit(key(1), now) {}
        assert!(limiter.admit(key(2), now));
        assert!(limiter.admit(Key { stream: None, ..key(1) }, now));
        assert!(limiter.admit(Key { reason: "rate", ..key(1) }, now));
    }

    #[test]
    fn forged_sources_fill_neither_the_table_nor_the_log() {
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        let passed = (0..100_000).filter(|source| limiter.admit(key(*source), now)).count();
        assert_eq!(passed, MOST_KEYS + BURST as usize);
        assert_eq!(limiter.windows.len(), MOST_KEYS + 1);
        let told = limiter.close(None);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0.source, None);
        assert_eq!(told[0].1 as usize, 100_000 - passed);
    }

    #[test]
    fn an_end_tells_windows_that_are_still_open() {
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        for _ in 0..=BURST {
            limiter.admit(key(1), now);
        }
        assert_eq!(limiter.close(None), [(key(1), 1)]);
    }
}
