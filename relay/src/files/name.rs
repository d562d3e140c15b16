//! Names of files: paths under a place, made of checked parts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest part of a name, bytes (`NAME_MAX` of linux/limits.h, and SMB's and most servers' bound).
pub const PART_BYTES_MAX: usize = 255;
/// Longest name, bytes: under `PATH_MAX` of linux/limits.h, with room for the place's own path.
pub const NAME_BYTES_MAX: usize = 3072;

/// A file's name: its path under its place, parts separated by `/`. Bytes, as Linux has them; not always text.
///
/// No part is empty, `.`, or `..`, none holds a NUL: a name never leads out of its place.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct FileName(Vec<u8>);

/// A name in journals and manifests: text where it is text, else a list of bytes.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<FileName> for Written {
    fn from(name: FileName) -> Self {
        String::from_utf8(name.0).map_or_else(|error| Self::Bytes(error.into_bytes()), Self::Text)
    }
}

impl TryFrom<Written> for FileName {
    type Error = NameFault;

    fn try_from(written: Written) -> Result<Self, NameFault> {
        match written {
            Written::Text(text) => Self::new(text),
            Written::Bytes(bytes) => Self::new(bytes),
        }
    }
}

/// Why bytes are no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// Nothing, or nothing between two separators.
    #[error("a part of the name is empty")]
    Empty,
    /// Starts with a separator.
    #[error("the name is absolute")]
    Absolute,
    /// Has a part `.` or `..`.
    #[error("the name has a part `.` or `..`")]
    Dots,
    /// Has a NUL.
    #[error("the name has a NUL byte")]
    Nul,
    /// Longer than [`NAME_BYTES_MAX`], or a part longer than [`PART_BYTES_MAX`].
    #[error("the name, or a part of it, is too long")]
    Long,
}

impl FileName {
    /// The name that these bytes are.
    ///
    /// # Errors
    /// They lead out of the place, or no system could hold them.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, NameFault> {
        let bytes = bytes.into();
        if bytes.first() == Some(&b'/') {
            return Err(NameFault::Absolute);
        }
        if bytes.contains(&0) {
            return Err(NameFault::Nul);
        }
        if bytes.len() > NAME_BYTES_MAX {
            return Err(NameFault::Long);
        }
        for part in bytes.split(|byte| *byte == b'/') {
            match part {
                b"" => return Err(NameFault::Empty),
                b"." | b".." => return Err(NameFault::Dots),
                _ if part.len() > PART_BYTES_MAX => return Err(NameFault::Long),
                _ => {}
            }
        }
        Ok(Self(bytes))
    }

    /// The whole name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The whole name, if it is text.
    pub fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Its parts, folders first.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/')
    }

    /// The last part.
    pub fn last(&self) -> &[u8] {
        self.parts().next_back().unwrap_or_default()
    }

    /// The name of its folder; `None` directly under the place.
    pub fn folder(&self) -> Option<Self> {
        let end = self.0.iter().rposition(|byte| *byte == b'/')?;
        Some(Self(self.0[..end].to_vec()))
    }

    /// The name `part` in the same folder.
    ///
    /// # Errors
    /// As [`FileName::new`].
    pub fn beside(&self, part: &str) -> Result<Self, NameFault> {
        let folder = self.0.len() - self.last().len();
        Self::new([&self.0[..folder], part.as_bytes()].concat())
    }

    /// This name inside of `folder`.
    ///
    /// # Errors
    /// As [`FileName::new`].
    pub fn inside(&self, folder: &Self) -> Result<Self, NameFault> {
        Self::new([folder.as_bytes(), b"/", self.as_bytes()].concat())
    }

    /// Is it in `folder`, at any depth?
    pub fn is_inside(&self, folder: &Self) -> bool {
        self.0.strip_prefix(folder.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'/'))
    }
}

/// For logs: on one line, whatever bytes it has.
impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> FileName {
        FileName::new(text).expect("a name")
    }

    #[test]
    fn what_leads_out_of_the_place_is_no_name() {
        for (bytes, fault) in [
            ("", NameFault::Empty),
            ("a//b", NameFault::Empty),
            ("a/", NameFault::Empty),
            ("/etc/passwd", NameFault::Absolute),
            ("../a", NameFault::Dots),
            ("a/../../b", NameFault::Dots),
            ("a/./b", NameFault::Dots),
            ("a\0b", NameFault::Nul),
        ] {
            assert_eq!(FileName::new(bytes), Err(fault), "{bytes:?}");
        }
        assert_eq!(FileName::new(vec![b'a'; 256]), Err(NameFault::Long));
        assert!(FileName::new(vec![b'a'; 255]).is_ok());
        assert_eq!(FileName::new([b'a', b'/'].repeat(1536)), Err(NameFault::Empty));
        assert_eq!(FileName::new([b'a', b'/'].repeat(1537)), Err(NameFault::Long));
    }

    #[test]
    fn names_of_neighbours_and_folders() {
        let file = name("2026/november/report.csv");
        assert_eq!(file.last(), b"report.csv");
        assert_eq!(file.folder(), Some(name("2026/november")));
        assert_eq!(file.beside("x.part"), Ok(name("2026/november/x.part")));
        assert_eq!(name("top").folder(), None);
        assert_eq!(name("top").beside("x"), Ok(name("x")));
        assert_eq!(name("top").inside(&name("sent")), Ok(name("sent/top")));
        assert!(name("sent/top").is_inside(&name("sent")) && !name("sentence").is_inside(&name("sent")));
    }

    #[test]
    fn a_name_is_shown_on_one_line() {
        let odd = FileName::new(b"a\nb\"\xFF".to_vec()).expect("odd, but a name");
        assert_eq!(odd.to_string(), "a\\nb\\\"\\xff");
        assert_eq!(odd.as_text(), None);
    }

    #[test]
    fn what_is_no_name_is_not_read_from_json_either() {
        assert!(serde_json::from_str::<FileName>("\"../a\"").is_err());
        assert!(serde_json::from_str::<FileName>("[47]").is_err());
        assert_eq!(serde_json::to_string(&name("a/b")).expect("JSON"), "\"a/b\"");
    }

    proptest! {
        #[test]
        fn every_name_goes_through_json(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(name) = FileName::new(bytes) {
                let json = serde_json::to_string(&name).expect("JSON");
                prop_assert_eq!(serde_json::from_str::<FileName>(&json).expect("a name"), name);
            }
        }

        /// Whatever is taken, joined to a place, stays inside of it.
        #[test]
        fn no_name_leads_out(bytes in proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), any::<u8>()], 0..40)) {
            if let Ok(name) = FileName::new(bytes) {
                let depth = name.parts().fold(0_i32, |depth, part| depth + if part == b".." { -1 } else { 1 });
                prop_assert!(depth >= 1 && !name.as_bytes().starts_with(b"/"));
            }
        }
    }
}
