//! Tells RED every now and then which files were sent, so that it knows what never arrived.

use std::time::{Duration, Instant, SystemTime};

use super::source::{Rules, Source};
use super::transfer::{Attempt, Content, Transfer};
use crate::files::frame::{Head, Kind};
use crate::files::manifest::{self, Sent};
use crate::files::{Attributes, FileName, new_file, session_of};

/// A manifest tells of files sent during so many of its periods: one that is lost costs nothing.
const PERIODS: u32 = 3;

/// The manifests of one channel.
pub struct Manifests {
    /// When the last one was sent, of so many since the start.
    sent: Option<Instant>,
    count: u32,
    /// When a file was last sent before the start.
    last_run: Option<SystemTime>,
}

impl Manifests {
    /// None yet; the first ones go on where those of the last run ended.
    pub fn after_last_run(source: &Source) -> Self {
        let last_run = source.ledger().iter().filter_map(|(_, known)| Some(known.sent?.1)).max();
        Self { sent: None, count: 0, last_run }
    }

    /// Tells RED which files were sent lately, if it is time to: at the start, and then in every period.
    pub async fn tell(&mut self, source: &Source) {
        let rules = source.rules();
        let period = rules.files.manifest;
        if self.sent.is_some_and(|sent| sent.elapsed() < period) {
            return;
        }
        self.sent = Some(Instant::now());
        let since = since(SystemTime::now(), self.last_run, self.count, period);
        self.count = self.count.saturating_add(1);
        let sent: Vec<Sent> = since
            .map(|since| source.sent_since(since))
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(file, known)| {
                let (hash, at) = known.sent?;
                let sent_ms = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
                Some(Sent { file, name: known.name, size_bytes: known.attributes.size_bytes, hash: hash.0, sent_ms })
            })
            .collect();
        let mut rest = &sent[..];
        while !rest.is_empty() {
            let Ok((wire, left)) = manifest::to_wire(rest) else { return };
            if !matches!(send(source, &rules, wire).await, Attempt::Sent(_)) {
                // The next one says the same.
                return;
            }
            rest = left;
        }
    }
}

/// A manifest at `now`, before which there were `count` since the start, tells of files sent since then. Of the last files of the
/// last run RED may have heard nothing, however long ago that was.
fn since(now: SystemTime, last_run: Option<SystemTime>, count: u32, period: Duration) -> Option<SystemTime> {
    let end = last_run.filter(|last| *last < now && count < PERIODS);
    end.unwrap_or(now).checked_sub(period * PERIODS)
}

async fn send(source: &Source, rules: &Rules, wire: Vec<u8>) -> Attempt {
    let Ok(name) = FileName::new("manifest") else { return Attempt::Changed };
    let attributes = Attributes { size_bytes: wire.len() as u64, ..Attributes::default() };
    let file = new_file();
    let active = source.progress.begin(&name, attributes.size_bytes);
    let head = Head { file: file.into_bytes(), kind: Kind::Manifest, name, attributes };
    let session = session_of(file, source.next_attempt());
    Transfer { link: &rules.link, session, head, active }.run(Content::Bytes(wire.into())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_manifests_of_a_run_tell_of_the_end_of_the_last() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let since = |last_run, count| since(at(10_000), last_run, count, Duration::from_mins(1));
        for count in 0..PERIODS {
            assert_eq!(since(Some(at(5_000)), count), Some(at(5_000 - 180)));
            assert_eq!(since(None, count), Some(at(10_000 - 180)));
            // A clock that was set back.
            assert_eq!(since(Some(at(20_000)), count), Some(at(10_000 - 180)));
        }
        assert_eq!(since(Some(at(5_000)), PERIODS), Some(at(10_000 - 180)));
    }
}
