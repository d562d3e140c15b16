//! What a server's refusal means. Codes alone do not say (RFC 959, section 4.2: 550 is a missing file, a forbidden one, and
//! more), so the words of common servers are looked at as well.

use std::fmt::Display;

use suppaftp::types::Response;
use suppaftp::{FtpError, Status};

use super::super::{EndpointError, Trouble};

/// Longest words of a server that an error repeats, characters.
const WORDS_MAX: usize = 300;
/// In a line of pure-ftpd about how long a transfer took. It would make every failure look new.
const MEASURED: &str = "(measured here)";

/// Words, in lower case, and what they mean. The first that fits counts.
const MEANINGS: [(&str, Trouble); 27] = [
    ("name too long", Trouble::Name),
    ("file name not allowed", Trouble::Name),
    ("prohibited file name", Trouble::Name),
    ("invalid name", Trouble::Name),
    ("illegal name", Trouble::Name),
    ("no such file", Trouble::Missing),
    ("no such dir", Trouble::Missing),
    ("not found", Trouble::Missing),
    ("does not exist", Trouble::Missing),
    ("doesn't exist", Trouble::Missing),
    ("cannot find", Trouble::Missing),
    ("failed to change directory", Trouble::Missing),
    ("no space", Trouble::Full),
    ("disk full", Trouble::Full),
    ("disk is full", Trouble::Full),
    ("quota", Trouble::Full),
    ("storage allocation", Trouble::Full),
    // All that vsftpd says when the kernel refuses what it writes.
    ("failure writing to local file", Trouble::Full),
    // The same of pure-ftpd.
    ("error during write to file", Trouble::Full),
    ("already exists", Trouble::Exists),
    ("file exists", Trouble::Exists),
    ("permission denied", Trouble::Denied),
    ("denied", Trouble::Denied),
    ("not permitted", Trouble::Denied),
    ("read-only", Trouble::Denied),
    ("read only", Trouble::Denied),
    ("forbidden", Trouble::Denied),
];

/// What a step ended with instead of success.
#[derive(Debug)]
pub enum Fault {
    /// The server answered, and refused. The connection is in order.
    Refused(Refusal),
    /// There is no connection any more, or none that makes sense.
    Broken(String),
}

impl Fault {
    /// The error of what was tried; a refusal that does not say why is of no particular kind.
    pub fn during(self, what: impl Display) -> EndpointError {
        self.during_or(Trouble::Other, what)
    }

    /// The error of what was tried; a refusal that does not say why is `otherwise`.
    pub fn during_or(self, otherwise: Trouble, what: impl Display) -> EndpointError {
        match self {
            Self::Refused(refusal) => EndpointError::new(refusal.trouble().unwrap_or(otherwise), what, refusal.words),
            Self::Broken(why) => EndpointError::new(Trouble::Gone, what, why),
        }
    }
}

/// The success of a step that may be refused.
pub fn unless_broken<T>(result: Result<T, Fault>, what: &str) -> Result<Option<T>, EndpointError> {
    match result {
        Err(Fault::Refused(refusal)) if refusal.trouble() != Some(Trouble::Gone) => Ok(None),
        other => other.map(Some).map_err(|fault| fault.during(what)),
    }
}

/// The success of a look; `None` where the server says that nothing is there, or does not say why it refuses.
pub fn unless_hidden<T>(result: Result<T, Fault>, what: &str) -> Result<Option<T>, EndpointError> {
    match result {
        Err(Fault::Refused(refusal)) if refusal.is_hidden() => Ok(None),
        other => other.map(Some).map_err(|fault| fault.during(what)),
    }
}

/// A refusal.
#[derive(Debug)]
pub struct Refusal {
    /// The reply's code.
    pub code: u32,
    /// The server's words, on one line.
    pub words: String,
}

impl Refusal {
    /// What it means; `None` if it does not say.
    pub fn trouble(&self) -> Option<Trouble> {
        match self.code {
            // The server closes the connection, or has none for the data: 522 where TLS cannot resume its session.
            421 | 425 | 522 => return Some(Trouble::Gone),
            430 | 530 => return Some(Trouble::Login),
            _ => {}
        }
        let words = self.words.to_ascii_lowercase();
        let meaning = MEANINGS.iter().find(|(meaning, _)| words.contains(meaning)).map(|(_, trouble)| *trouble);
        meaning.or(match self.code {
            426 => Some(Trouble::Gone),
            452 | 552 => Some(Trouble::Full),
            532 | 553 => Some(Trouble::Denied),
            _ => None,
        })
    }

    /// There is nothing of that name, or it does not say. 500 to 504: it does not know the command.
    fn is_hidden(&self) -> bool {
        matches!(self.trouble(), None | Some(Trouble::Missing)) && !matches!(self.code, 500..=504)
    }
}

impl From<Response> for Refusal {
    fn from(response: Response) -> Self {
        let text = String::from_utf8_lossy(&response.body);
        let lines: String = text.split_inclusive('\n').filter(|line| !line.contains(MEASURED)).collect();
        let words: String = lines
            .trim_matches(|c: char| c.is_control() || c == ' ')
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(WORDS_MAX)
            .collect();
        let code = match response.status {
            // One that the library does not know.
            Status::Unknown => words.get(..3).and_then(|code| code.parse().ok()).unwrap_or_default(),
            status => status.code(),
        };
        Self { code, words }
    }
}

impl From<FtpError> for Fault {
    fn from(error: FtpError) -> Self {
        match error {
            FtpError::UnexpectedResponse(response) => Self::Refused(response.into()),
            other => Self::Broken(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(status: u32, body: &str) -> Option<Trouble> {
        Refusal::from(Response::new(Status::from(status), body.as_bytes().to_vec())).trouble()
    }

    #[test]
    fn words_of_servers_are_understood() {
        for (status, body, expected) in [
            (550, "550 Failed to open file.", None),
            (550, "550 Permission denied.", Some(Trouble::Denied)),
            (550, "550 No such file or directory", Some(Trouble::Missing)),
            (550, "550 The system cannot find the file specified. ", Some(Trouble::Missing)),
            (553, "553 Could not create file.", Some(Trouble::Denied)),
            (553, "553 Can't open that file: No space left on device", Some(Trouble::Full)),
            (553, "553 Can't open that file: File name too long", Some(Trouble::Name)),
            (451, "451-Error during write to file\r\n451 0.1 seconds", Some(Trouble::Full)),
            (451, "451 Failure writing to local file.", Some(Trouble::Full)),
            (426, "426 Failure writing network stream.", Some(Trouble::Gone)),
            (552, "552 Over it", Some(Trouble::Full)),
            (421, "421 Timeout.", Some(Trouble::Gone)),
            (530, "530 Login incorrect.", Some(Trouble::Login)),
        ] {
            assert_eq!(trouble(status, body), expected, "{body}");
        }
    }

    #[test]
    fn a_refusal_is_one_line_with_its_code() {
        let refusal = Refusal::from(Response::new(Status::Unknown, b"522-Two\r\n522 lines\x1b\r\n".to_vec()));
        assert_eq!((refusal.code, refusal.words.as_str()), (522, "522-Two  522 lines"));
        let body = "451-Error during write to file\r\n451-Transfer aborted\r\n451 0.005 seconds (measured here), 9 Mbytes per second";
        let refusal = Refusal::from(Response::new(Status::from(451), body.into()));
        assert_eq!(refusal.words, "451-Error during write to file  451-Transfer aborted");
    }
}
