//! Names as arguments of commands: bytes in both directions, and never a second command.

use std::fmt;
use std::io;

use suppaftp::Encoding;
use zeroize::Zeroizing;

use super::super::{EndpointError, Trouble};
use crate::files::FileName;

/// Bytes that no argument can have: they end a command, or mean something to Telnet, under which commands are (RFC 959,
/// section 3.1.1.5), and which servers treat differently.
const IMPOSSIBLE: [u8; 3] = [b'\r', b'\n', 0xFF];

/// Can a server be asked for a name of these bytes?
pub fn is_possible(bytes: &[u8]) -> bool {
    !bytes.iter().any(|byte| IMPOSSIBLE.contains(byte))
        // Servers cut off blanks around an argument.
        && !bytes.ends_with(b" ")
}

/// The absolute path of a file, or of a folder, as an argument.
///
/// # Errors
/// [`Trouble::Name`]: the server cannot be asked for it.
pub fn argument(base: &str, name: &FileName) -> Result<String, EndpointError> {
    if is_possible(name.as_bytes()) {
        Ok(format!("{base}/{}", as_text(name.as_bytes())))
    } else {
        let why = "FTP cannot ask for a name with a line end, a byte FF, or a blank at its end";
        Err(EndpointError::new(Trouble::Name, format_args!("use the name {name}"), why))
    }
}

/// Bytes as text for [`Bytes`]: each as the character of its number.
pub fn as_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Commands go out as the bytes that [`as_text`] was given.
#[derive(Debug)]
pub struct Bytes;

impl Encoding for Bytes {
    fn decode(&self, bytes: &[u8]) -> String {
        as_text(bytes)
    }

    fn encode(&self, text: &str) -> io::Result<Vec<u8>> {
        let byte = |character: char| u8::try_from(u32::from(character)).map_err(|_| io::ErrorKind::InvalidInput.into());
        text.chars().map(byte).collect()
    }
}

/// For logging in: the password takes its place only in the bytes that are sent. The library logs its commands as text.
pub struct Login(pub Zeroizing<String>);

impl Login {
    /// What stands for the password in a command. From Unicode's private use area: no user's name has it.
    pub const PASSWORD: &str = "\u{E000}";
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

impl Encoding for Login {
    fn decode(&self, bytes: &[u8]) -> String {
        as_text(bytes)
    }

    fn encode(&self, text: &str) -> io::Result<Vec<u8>> {
        Ok(text.replace(Self::PASSWORD, &self.0).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_bytes_on_the_server() {
        let name = FileName::new(b"M\xC3\xA4rz/caf\xE9 \x01".to_vec()).expect("a name");
        let argument = argument("/in", &name).expect("possible");
        assert_eq!(Bytes.encode(&argument).expect("bytes"), b"/in/M\xC3\xA4rz/caf\xE9 \x01");
    }

    #[test]
    fn no_name_is_a_second_command() {
        for bytes in [&b"a\r\nDELE b"[..], b"a\nb", b"a\rb", b"a\xFFb", b"a "] {
            let error = argument("", &FileName::new(bytes).expect("a name")).expect_err("impossible");
            assert_eq!(error.trouble, Trouble::Name);
        }
    }

    #[test]
    fn the_password_is_in_the_bytes_only() {
        let login = Login(Zeroizing::new("pa\u{DF}s".to_owned()));
        let command = format!("PASS {}\r\n", Login::PASSWORD);
        assert!(!command.contains("pa") && !format!("{login:?}").contains("pa"));
        assert_eq!(login.encode(&command).expect("bytes"), "PASS pa\u{DF}s\r\n".as_bytes());
    }
}
