//! Events as RFC 5424 messages.
//!
//! Owns MSGIDs, severities and the structured data `[relay@32473 ...]`. 32473 is the enterprise
//! number that RFC 5612 reserves for documentation: replace it where an organisation has its own.

use std::sync::LazyLock;

use fasyslog::format::SyslogContext;
use fasyslog::{Facility, SDElement, Severity};

use super::limit::{Key, WINDOW};
use super::{Event, Kind};

/// SD-ID of every message (RFC 5424, section 6.3.2).
const SD_ID: &str = "relay@32473";
/// Longest text: keeps a message within the 1,024 bytes that any receiver takes in practice (RFC
/// 5424, section 6.1 asks for 480 at least and 2,048 where possible).
const MOST_TEXT_CHARS: usize = 400;

/// Host name and process, looked up once.
static CONTEXT: LazyLock<SyslogContext> = LazyLock::new(|| {
    let mut context = SyslogContext::new();
    context.facility(Facility::DAEMON).appname("relay");
    context
});

impl Kind {
    /// MSGID of RFC 5424, section 6.2.7.
    const fn message_id(self) -> &'static str {
        match self {
            Self::Drop => "DROP",
            Self::SessionOpened | Self::SessionClosed | Self::SessionAborted => "SESSION",
            Self::File | Self::FileMissing | Self::FileArrived => "FILE",
            Self::LinkDown | Self::LinkUp => "LINK",
            Self::Relay => "RELAY",
        }
    }

    const fn severity(self) -> Severity {
        match self {
            Self::Drop | Self::SessionAborted | Self::File => Severity::WARNING,
            Self::SessionOpened | Self::SessionClosed => Severity::INFORMATIONAL,
            Self::LinkDown | Self::FileMissing => Severity::ERROR,
            Self::LinkUp | Self::Relay | Self::FileArrived => Severity::NOTICE,
        }
    }
}

/// The message of `event`.
pub fn of(event: &Event) -> String {
    let port = event.port.map(|port| port.to_string()).unwrap_or_default();
    format(&event.key(), &[("port", &port)], &event.text)
}

/// The message that tells of `count` suppressed events.
pub fn follow_up(key: &Key, count: u64) -> String {
    let who = match key.source {
        Some(source) => format!(" from {source}"),
        None => String::new(),
    };
    let text = format!("{count} more suppressed{who} within {} s: {}", WINDOW.as_secs(), key.reason);
    format(key, &[("port", ""), ("suppressed", &count.to_string())], &text)
}

fn format(key: &Key, more: &[(&str, &str)], text: &str) -> String {
    let source = key.source.map(|source| source.to_string()).unwrap_or_default();
    let stream = key.stream.as_deref().unwrap_or_default();
    let mut params = vec![("stream", stream), ("source", &source), ("reason", key.reason)];
    params.splice(2..2, more.iter().copied());
    let (id, severity) = (key.kind.message_id(), key.kind.severity());
    let data = structured(&params).into_iter().collect();
    CONTEXT.format_rfc5424(severity, Some(id), data, Some(plain(text))).to_string()
}

/// The structured data; `None` only if a name broke the rules of RFC 5424, which a test rules out.
fn structured(params: &[(&str, &str)]) -> Option<SDElement> {
    let mut element = SDElement::new(SD_ID).ok()?;
    for (name, value) in params {
        element.add_param(*name, plain(value)).ok()?;
    }
    Some(element)
}

/// `text` in one line of bounded length: nothing from outside starts a message of its own.
fn plain(text: &str) -> String {
    text.chars().take(MOST_TEXT_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Event {
        Event {
            stream: Some("video".to_owned()),
            source: Some("192.0.2.7".parse().unwrap()),
            port: Some(5004),
            ..Event::new(Kind::Drop, "source", "source is not allowed")
        }
    }

    #[test]
    fn a_message_has_the_form_of_rfc_5424() {
        let message = of(&refused());
        let words: Vec<&str> = message.splitn(7, ' ').collect();
        // Facility 3 (daemon) * 8 + severity 4 (warning) = 28; version 1.
        assert_eq!(words[0], "<28>1", "{message}");
        assert!(words[1].ends_with('Z') && words[1].contains('T'), "{message}");
        assert_eq!(words[3], "relay", "{message}");
        assert_eq!(words[4], std::process::id().to_string(), "{message}");
        assert_eq!(words[5], "DROP", "{message}");
        assert_eq!(
            words[6],
            "[relay@32473 stream=\"video\" source=\"192.0.2.7\" port=\"5004\" reason=\"source\"] \
             source is not allowed"
        );
    }

    #[test]
    fn every_kind_has_its_severity_and_id() {
        for (kind, start, id) in [
            (Kind::SessionOpened, "<30>1 ", " SESSION "),
            (Kind::SessionClosed, "<30>1 ", " SESSION "),
            (Kind::SessionAborted, "<28>1 ", " SESSION "),
            (Kind::File, "<28>1 ", " FILE "),
            (Kind::FileMissing, "<27>1 ", " FILE "),
            (Kind::FileArrived, "<29>1 ", " FILE "),
            (Kind::LinkDown, "<27>1 ", " LINK "),
            (Kind::LinkUp, "<29>1 ", " LINK "),
            (Kind::Relay, "<29>1 ", " RELAY "),
        ] {
            let message = of(&Event::new(kind, "test", "text"));
            assert!(message.starts_with(start) && message.contains(id), "{message}");
            assert!(message.contains("[relay@32473 stream=\"\" source=\"\" port=\"\" "), "{message}");
        }
    }

    #[test]
    fn text_from_outside_stays_one_bounded_message() {
        let mut event = refused();
        event.text = format!("a\n<0>1 forged\u{0}{}", "x".repeat(10_000));
        event.stream = Some("v\"]\\\n".to_owned());
        let message = of(&event);
        assert!(message.len() < 1024, "{}", message.len());
        assert!(!message.contains(|c: char| c.is_control()), "{message}");
        assert!(message.contains("stream=\"v\\\"\\]\\\\ \""), "{message}");
    }

    #[test]
    fn a_follow_up_tells_how_many() {
        let message = follow_up(&refused().key(), 12);
        assert!(message.contains("suppressed=\"12\""), "{message}");
        assert!(message.ends_with("12 more suppressed from 192.0.2.7 within 10 s: source"), "{message}");
    }
}
