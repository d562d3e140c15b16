//! Names as SMB has them: text, without what Windows reserves. No I/O.

use crate::files::name::FileName;

/// Reserved in names by MS-FSCC 2.1.5, besides control characters and the separator `/`.
const RESERVED: [char; 8] = ['\\', ':', '*', '?', '"', '<', '>', '|'];

/// A folder as a site file has it, with separators of either kind; empty: the share's own.
pub fn base(path: &str) -> String {
    path.replace('\\', "/").trim_matches('/').to_owned()
}

/// The path of a name below a base.
///
/// # Errors
/// Why SMB cannot hold such a name.
pub fn path(base: &str, name: &FileName) -> Result<String, &'static str> {
    let name = name.as_text().ok_or("SMB has no names that are not text (UTF-8)")?;
    for part in name.split('/') {
        if part.chars().any(|c| c.is_control() || RESERVED.contains(&c)) {
            return Err("SMB has no control characters in names, and none of \\ : * ? \" < > |");
        }
        if part.ends_with(['.', ' ']) {
            return Err("SMB has no names that end with a dot or a blank");
        }
    }
    Ok(if base.is_empty() { name.to_owned() } else { format!("{base}/{name}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(base: &str, name: &[u8]) -> Result<String, &'static str> {
        path(base, &FileName::new(name).expect("a name"))
    }

    #[test]
    fn names_are_joined_to_their_base() {
        assert_eq!(base("/a\\b/"), "a/b");
        assert_eq!(below("a/b", b"c/d e.txt").as_deref(), Ok("a/b/c/d e.txt"));
        assert_eq!(below(&base("\\"), b"c").as_deref(), Ok("c"));
        assert_eq!(below("", "\u{5831}.pdf".as_bytes()).as_deref(), Ok("\u{5831}.pdf"));
        assert_eq!(below("", b" .x y").as_deref(), Ok(" .x y"));
    }

    #[test]
    fn what_smb_cannot_hold_is_refused_in_every_part() {
        for name in [
            &b"a\\b"[..],
            b"a:b",
            b"a*",
            b"?",
            b"\"a\"",
            b"a<b",
            b"a>b",
            b"a|b",
            b"a\nb",
            b"a\x7F",
            b"a.",
            b"a ",
            b"\xFF",
        ] {
            assert!(below("", name).is_err(), "{}", name.escape_ascii());
            assert!(below("x", &[name, b"/file"].concat()).is_err(), "{}", name.escape_ascii());
        }
    }
}
