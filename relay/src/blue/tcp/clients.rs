//! What became of clients: counted by connections' tasks, read by the control thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::telemetry::counters::SendStream;
use crate::telemetry::reasons::SendRefused;

/// The reasons for which a client is refused when it connects.
const REASONS: [SendRefused; 4] =
    [SendRefused::Source, SendRefused::SessionLimit, SendRefused::OpenFailed, SendRefused::OpenTimeout];

/// Counts of one stream's clients. Many tasks write them, a client at a time.
#[derive(Debug, Default)]
pub struct ClientCounts {
    refused: [AtomicU64; REASONS.len()],
    sessions: AtomicU64,
    aborted: AtomicU64,
}

impl ClientCounts {
    /// A client was refused, for one of the reasons there are for that.
    pub fn refuse(&self, reason: SendRefused) {
        for (known, count) in REASONS.iter().zip(&self.refused) {
            count.fetch_add(u64::from(*known == reason), Relaxed);
        }
    }

    /// A session has begun.
    pub fn begin(&self) {
        self.sessions.fetch_add(1, Relaxed);
    }

    /// A session was broken off.
    pub fn abort(&self) {
        self.aborted.fetch_add(1, Relaxed);
    }

    /// Takes the counts over into the control thread's counters. `sources_refused` more packets or datagrams were refused
    /// for their source elsewhere.
    pub fn publish(&self, to: &SendStream, sources_refused: u64) {
        for (reason, count) in REASONS.iter().zip(&self.refused) {
            let elsewhere = if *reason == SendRefused::Source { sources_refused } else { 0 };
            to.refused.of(*reason).set(count.load(Relaxed) + elsewhere);
        }
        to.sessions.set(self.sessions.load(Relaxed));
        to.sessions_aborted.set(self.aborted.load(Relaxed));
    }
}
