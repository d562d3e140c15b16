//! Names that deceive whoever reads them, and names of files in the making.

use async_trait::async_trait;

use super::{Check, Subject, Verdict};
use crate::files::FileName;

/// Blocks names with control characters, which break lines and terminals, and with marks that turn the direction of text,
/// which show an extension that is not there (UAX #9, "explicit directional formatting characters"). Bytes that are no text
/// are looked at one by one.
pub(super) struct Name;

#[async_trait]
impl Check for Name {
    fn name(&self) -> &'static str {
        "name"
    }

    async fn check(&self, subject: &mut Subject<'_>) -> Verdict {
        let name = subject.name();
        let deceives = match name.as_text() {
            Some(text) => text.contains(|c: char| c.is_control() || turns_text(c)),
            None => name.as_bytes().iter().any(u8::is_ascii_control),
        };
        if deceives { Verdict::Block("it has a control character".to_owned()) } else { Verdict::Pass }
    }
}

const fn turns_text(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Is this a name that programs give to files that they have not finished: `.tmp`, `.part` (in letters of either case), or
/// `~` at the end, or a file or folder that begins with a dot?
pub fn is_temporary(name: &FileName) -> bool {
    let last = name.last().to_ascii_lowercase();
    let ends = [&b"~"[..], b".tmp", b".part"].iter().any(|end| last.ends_with(end));
    ends || name.parts().any(|part| part.starts_with(b"."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_in_the_making_are_known() {
        let is = |name: &str| is_temporary(&FileName::new(name).expect("a name"));
        for name in ["a.tmp", "b/A.TMP", "a.csv.part", "a~", ".a", "b/.a.csv", ".b/a.csv", "x/.y/z"] {
            assert!(is(name), "{name}");
        }
        for name in ["a", "a.tmp.csv", "tmp", "part", "~a", "a~/b", "a.part/b", "a..b"] {
            assert!(!is(name), "{name}");
        }
    }
}
