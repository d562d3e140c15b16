//! Log set-up: events to standard error, one line each, fields as `key=value`.
//!
//! Owns the process-wide subscriber. `RELAY_LOG` chooses what is logged; colours are for terminals
//! only; line breaks and control characters inside a value are escaped, so that no payload or error
//! text can start a line of its own.

use std::fmt;
use std::io::IsTerminal as _;

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

/// The environment variable that chooses what is logged.
pub const FILTER_VARIABLE: &str = "RELAY_LOG";
/// What is logged without it.
const DEFAULT_FILTER: &str = "info";
/// Libraries that log what their errors say too, and much else of every connection. Who names one gets it.
const QUIET: &str = "russh=error,smb2=error,suppaftp=error";

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `RELAY_LOG` has no meaning.
    #[error(
        "{FILTER_VARIABLE}={filter} is not a log filter: {cause}; set it to error, warn, info, debug or trace, or by module: info,relay::link=debug"
    )]
    Filter {
        /// The variable's value.
        filter: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Logging was set up before.
    #[error("logging was set up twice in this process")]
    Twice,
}

/// Sets logging up for the whole process.
///
/// # Errors
/// [`LoggingError::Filter`] for a bad `RELAY_LOG`, [`LoggingError::Twice`] on a second call.
pub fn start() -> Result<(), LoggingError> {
    let given = std::env::var(FILTER_VARIABLE).unwrap_or_default();
    let filter = parse_filter(&given)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .fmt_fields(debug_fn(write_field).delimited(" "))
        .try_init()
        .map_err(|_| LoggingError::Twice)
}

fn parse_filter(given: &str) -> Result<EnvFilter, LoggingError> {
    let filter = if given.trim().is_empty() { DEFAULT_FILTER } else { given };
    EnvFilter::try_new(format!("{QUIET},{filter}"))
        .map_err(|error| LoggingError::Filter { filter: given.escape_debug().to_string(), cause: error.to_string() })
}

/// Writes the message as it is and every other field as `key=value`, all on one line.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = format!("{value:?}");
    if field.name() == "message" {
        return one_line(writer, &value);
    }
    write!(writer, "{}=", field.name())?;
    let quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
    if quoted || !value.contains([' ', '=', '"']) { one_line(writer, &value) } else { write!(writer, "{value:?}") }
}

/// Writes `text` with its control characters escaped.
fn one_line(writer: &mut impl fmt::Write, text: &str) -> fmt::Result {
    for c in text.chars() {
        if c.is_control() {
            write!(writer, "{}", c.escape_default())?;
        } else {
            writer.write_char(c)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Collects what a subscriber writes.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(events: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .fmt_fields(debug_fn(write_field).delimited(" "))
            .finish();
        tracing::subscriber::with_default(subscriber, events);
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn an_event_is_one_line_of_message_and_fields() {
        let text = logged(|| tracing::info!(stream = %"video", port = 5004, why = "a b", "refused"));
        assert!(text.ends_with("refused stream=video port=5004 why=\"a b\"\n"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn no_value_starts_a_line_of_its_own() {
        let text = logged(|| {
            tracing::info!(name = %"x\nINFO forged", raw = "y\r\nz", "first\nsecond\u{1b}[31m");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\r'), "{text}");
    }

    #[test]
    fn a_bad_filter_is_named_with_the_remedy() {
        let error = parse_filter("relay=loud").unwrap_err().to_string();
        assert!(error.contains("relay=loud") && error.contains("info"), "{error}");
        assert_eq!(directives(""), ["info", "russh=error", "smb2=error", "suppaftp=error"]);
        assert_eq!(directives("warn"), ["russh=error", "smb2=error", "suppaftp=error", "warn"]);
        assert_eq!(directives("warn,russh=debug"), ["russh=debug", "smb2=error", "suppaftp=error", "warn"]);
    }

    /// What a filter consists of, sorted.
    fn directives(given: &str) -> Vec<String> {
        let filter = parse_filter(given).unwrap().to_string();
        let mut directives: Vec<String> = filter.split(',').map(str::to_owned).collect();
        directives.sort();
        directives
    }
}
