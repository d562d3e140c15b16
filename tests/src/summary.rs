//! The relay's final `summary` lines: `summary role=red stream=video channel=1 delivered=123 lost.gap=4`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// One line's keys and values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    values: BTreeMap<String, String>,
}

impl Line {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// A key's value as a number; an error that shows the line when it is missing or none.
    pub fn number(&self, key: &str) -> Result<u64> {
        self.get(key).and_then(|value| value.parse().ok()).with_context(|| format!("no number {key} in {self:?}"))
    }

    /// The sum of `prefix` itself and of every number whose key starts with `prefix` and a dot: `lost` adds up
    /// `lost.gap`, `lost.late` and so on. 0 when there is none.
    pub fn total(&self, prefix: &str) -> u64 {
        let belongs = |key: &str| key.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.values.iter().filter(|(key, _)| belongs(key)).filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
    }

    /// Reads a `stats` line, which has the same keys as a `summary`.
    pub fn parse_stats(text: &str) -> Option<Self> {
        Self::parse_after("stats ", text)
    }

    fn parse(text: &str) -> Option<Self> {
        Self::parse_after("summary ", text)
    }

    fn parse_after(word: &str, text: &str) -> Option<Self> {
        let (_, pairs) =
            text.split_once(word).filter(|(before, _)| before.is_empty() || before.ends_with([' ', ':']))?;
        let values: BTreeMap<_, _> = words(pairs)
            .iter()
            .filter_map(|word| word.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        (!values.is_empty()).then_some(Self { values })
    }
}

/// Splits at blanks outside of double quotes, which are taken off.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().into_iter().for_each(|word| word.push(letter)),
        }
    }
    words
}

/// All summary lines of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// In the order in which they were written.
    pub lines: Vec<Line>,
}

impl Summary {
    /// Picks the summary lines out of a log.
    pub fn parse<'a>(log: impl IntoIterator<Item = &'a str>) -> Self {
        Self { lines: log.into_iter().filter_map(Line::parse).collect() }
    }

    /// The line of a stream on the forward link, which is the one that names no link; an error that shows what there is.
    pub fn stream(&self, name: &str) -> Result<&Line> {
        self.last("stream", name, "link")
    }

    /// The same by the stream's channel: a reload may give its name to another.
    pub fn channel(&self, number: u16) -> Result<&Line> {
        self.last("channel", &number.to_string(), "link")
    }

    /// The line of a link, `forward` or `return`; an error that shows what there is.
    pub fn link(&self, name: &str) -> Result<&Line> {
        self.last("link", name, "stream")
    }

    /// The last line with this value of this key, and without the key `without`.
    fn last(&self, key: &str, value: &str, without: &str) -> Result<&Line> {
        let wanted = |line: &&Line| line.get(key) == Some(value) && line.get(without).is_none();
        let found = self.lines.iter().rev().find(wanted);
        found.with_context(|| {
            format!("no summary line with {key}={value} and no {without}; there are: {:#?}", self.lines)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_maps() {
        let log = [
            "ready",
            "summary role=red stream=video channel=1 delivered=123 lost.gap=4 lost.late=2 lostness=9",
            "2026-01-01T00:00:00Z  INFO relay: summary role=red stream=\"two words\" delivered=7",
            "this summary has no pairs",
        ];
        let summary = Summary::parse(log);
        assert_eq!(summary.lines.len(), 2);
        let video = summary.stream("video").unwrap();
        assert_eq!((video.number("delivered").unwrap(), video.number("lost.gap").unwrap()), (123, 4));
        assert_eq!((video.total("lost"), video.total("none")), (6, 0));
        assert!(video.number("role").is_err());
        assert_eq!(summary.stream("two words").unwrap().get("delivered"), Some("7"));
        assert!(summary.stream("absent").is_err());
    }

    #[test]
    fn a_stream_is_found_on_the_forward_link() {
        let summary = Summary::parse([
            "summary role=red stream=db channel=1 delivered=5",
            "summary role=red link=forward accepted=9",
            "summary role=red stream=db channel=1 link=return sent=6",
            "summary role=red link=return source_frames=8",
            "summary role=red stream=back channel=2 link=return sent=1",
        ]);
        assert_eq!(summary.stream("db").unwrap().get("delivered"), Some("5"));
        assert_eq!(summary.channel(1).unwrap().get("delivered"), Some("5"));
        assert!(summary.stream("back").is_err(), "there is no forward line of it");
        assert_eq!(summary.link("forward").unwrap().get("accepted"), Some("9"));
        assert_eq!(summary.link("return").unwrap().get("source_frames"), Some("8"));
    }
}
