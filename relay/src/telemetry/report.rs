//! Counter lines: one per stream, one per link, the same for every occasion.
//!
//! ```text
//! stats role=blue stream=video channel=1 received=42 received_bytes=58800 sent=41 ... refused.source=1
//! summary role=red link=forward accepted=46 heartbeats=4 blocks_complete=1 ... dropped.bad_tag=2
//! stats role=red stream=database channel=2 link=return received=7 ...
//! ```
//!
//! A stream's line names its link only where that is the return link.
//!
//! Owns the format, which scripts parse: counts are since the relay's start, plain counts always
//! there, reasons only when not zero, unknown keys to be expected. It never measures or prints.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::counters::{Key, LinkName, Sample, Subject};

/// The occasion of a line, its first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// `stats`: an interval has passed, or SIGUSR1 came.
    Stats,
    /// `summary`: the relay ends.
    Summary,
}

impl Occasion {
    /// The line's first word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stats => "stats",
            Self::Summary => "summary",
        }
    }
}

/// One line for `sample`, without a line break.
pub fn line(occasion: Occasion, sample: &Sample) -> String {
    let mut line = format!("{} role={}", occasion.name(), sample.role);
    // Writing to a String cannot fail.
    let _ = match &sample.subject {
        Subject::Stream { name, channel } => write!(line, " stream={name} channel={channel}"),
        Subject::Link => Ok(()),
    };
    if sample.subject == Subject::Link || sample.link == LinkName::Return {
        let _ = write!(line, " link={}", sample.link.name());
    }
    for (key, count) in &sample.counts {
        if *count > 0 || matches!(key, Key::Count(_)) {
            let _ = write!(line, " {key}={count}");
        }
    }
    line
}

/// The lines of all `samples`.
pub fn lines(occasion: Occasion, samples: &[Sample]) -> impl Iterator<Item = String> {
    samples.iter().map(move |sample| line(occasion, sample))
}

/// A counter line, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its occasion.
    pub occasion: Occasion,
    /// Every `key=value` of it.
    pub fields: BTreeMap<String, String>,
}

impl Line {
    /// Reads a counter line, also behind the time and level of a log line. `None` for other lines.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let occasion = loop {
            match words.next()? {
                "stats" => break Occasion::Stats,
                "summary" => break Occasion::Summary,
                _ => {}
            }
        };
        let fields: Option<BTreeMap<String, String>> =
            words.map(|word| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))).collect();
        fields.filter(|fields| fields.contains_key("role")).map(|fields| Self { occasion, fields })
    }

    /// The value of `key`, if the line has it: `role`, `stream`, `link`.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.fields.get(key).map(String::as_str)
    }

    /// The count of `key`; 0 where the line omits it.
    pub fn count(&self, key: &str) -> u64 {
        self.text(key).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// The sum over the reasons of a group: `refused`, `lost`, `dropped`.
    pub fn total(&self, group: &str) -> u64 {
        let reasons =
            self.fields.keys().filter(|key| key.strip_prefix(group).is_some_and(|rest| rest.starts_with('.')));
        reasons.map(|key| self.count(key)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;
    use crate::telemetry::counters::{ReceiveCounters, SendCounters};
    use crate::telemetry::reasons::{FrameDropped, SendRefused};

    #[test]
    fn a_stream_line_omits_reasons_of_zero_only() {
        let registry = SendCounters::new(Role::Blue, LinkName::Forward, 1);
        let stream = registry.stream(1, "video");
        let lane = stream.lane(0).unwrap();
        lane.received.add(42);
        lane.received_bytes.add(58_800);
        lane.refused.add(SendRefused::Source, 1);
        assert_eq!(
            line(Occasion::Stats, &registry.samples()[0]),
            "stats role=blue stream=video channel=1 received=42 received_bytes=58800 sent=0 sessions=0 sessions_aborted=0 refused.source=1"
        );
    }

    #[test]
    fn a_link_line_reads_back_behind_a_log_prefix() {
        let registry = ReceiveCounters::new(Role::Red, LinkName::Forward, 1);
        registry.link().lane(0).unwrap().accepted.add(7);
        registry.link().lane(0).unwrap().dropped.add(FrameDropped::BadTag, 2);
        registry.link().lane(0).unwrap().dropped.add(FrameDropped::Version, 3);
        let lines: Vec<String> = lines(Occasion::Summary, &registry.samples()).collect();
        let logged = format!("2026-01-01T00:00:00Z  INFO relay::red: {}", lines[0]);
        let read = Line::parse(&logged).unwrap();
        assert_eq!(read.occasion, Occasion::Summary);
        assert_eq!((read.text("role"), read.text("link")), (Some("red"), Some("forward")));
        assert_eq!((read.count("accepted"), read.count("dropped.bad_tag")), (7, 2));
        assert_eq!((read.total("dropped"), read.count("no_such")), (5, 0));
    }

    #[test]
    fn lines_of_the_return_link_say_so() {
        let sent = SendCounters::new(Role::Red, LinkName::Return, 1);
        sent.stream(2, "database").lane(0).unwrap().received.add(7);
        let returned = ReceiveCounters::new(Role::Blue, LinkName::Return, 1);
        returned.link().lane(0).unwrap().accepted.add(9);
        let texts: Vec<String> =
            [sent.samples(), returned.samples()].iter().flat_map(|samples| lines(Occasion::Stats, samples)).collect();
        assert_eq!(
            texts[0],
            "stats role=red stream=database channel=2 link=return received=7 received_bytes=0 sent=0 sessions=0 sessions_aborted=0"
        );
        assert!(texts[1].starts_with("stats role=red link=return source_frames=0 "), "{}", texts[1]);
        assert!(texts[2].starts_with("stats role=blue link=return accepted=9 "), "{}", texts[2]);
        let stream = Line::parse(&texts[0]).unwrap();
        assert_eq!((stream.text("stream"), stream.text("link")), (Some("database"), Some("return")));
        assert_eq!(Line::parse(&texts[2]).unwrap().text("stream"), None);
    }

    #[test]
    fn other_lines_are_not_counter_lines() {
        for text in ["", "ready", "INFO stats are fine", "stats", "stats stream=video", "summary role"] {
            assert_eq!(Line::parse(text), None, "{text}");
        }
    }
}
