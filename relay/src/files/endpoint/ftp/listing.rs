//! Lines of listings: the facts of MLSD and MLST (RFC 3659, section 7), and what LIST shows, which no standard fixes.
//!
//! Pure: bytes in, entries out. A line that is neither is no entry.

use std::time::SystemTime;

use super::time;

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// The folder itself, the one above it, a link, a device, or what the server calls otherwise.
    Other,
}

/// One line of a listing.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name, as the server shows it.
    pub name: &'a [u8],
    /// What it is.
    pub kind: Kind,
    /// Its size, bytes, where the line says it.
    pub size_bytes: Option<u64>,
    /// When it was last written, where the line says it exactly.
    pub modified: Option<SystemTime>,
    /// Its permission bits, where a fact says them.
    pub mode: Option<u32>,
}

/// The lines of a listing, without their ends.
pub fn lines(listing: &[u8]) -> impl Iterator<Item = &[u8]> {
    let without_end = |line| <[u8]>::strip_suffix(line, b"\r").unwrap_or(line);
    listing.split(|byte| *byte == b'\n').map(without_end).filter(|line| !line.is_empty())
}

/// `type=file;size=12;modify=20261120184500; the name`: facts, one blank, and the rest is the name.
pub fn facts(line: &[u8]) -> Option<Entry<'_>> {
    let blank = line.iter().position(|byte| *byte == b' ')?;
    let mut entry = Entry { name: &line[blank + 1..], kind: Kind::Other, size_bytes: None, modified: None, mode: None };
    for fact in line[..blank].split(|byte| *byte == b';').filter(|fact| !fact.is_empty()) {
        let equals = fact.iter().position(|byte| *byte == b'=')?;
        let value = &fact[equals + 1..];
        match fact[..equals].to_ascii_lowercase().as_slice() {
            b"type" => entry.kind = kind(value),
            b"size" => entry.size_bytes = number(value),
            b"modify" => entry.modified = time::parse(value),
            b"unix.mode" => entry.mode = octal(value),
            _ => {}
        }
    }
    (!entry.name.is_empty()).then_some(entry)
}

fn kind(value: &[u8]) -> Kind {
    match value.to_ascii_lowercase().as_slice() {
        b"file" => Kind::File,
        b"dir" => Kind::Folder,
        _ => Kind::Other,
    }
}

/// A line of LIST in the manner of `ls -l` or of DOS. Their times are coarse and of an unknown zone: none is given.
pub fn listed(line: &[u8]) -> Option<Entry<'_>> {
    unix(line).or_else(|| dos(line))
}

/// `-rw-r--r--    1 user     group          12 Nov 20 18:45 the name`, where the name begins one blank after the date.
fn unix(line: &[u8]) -> Option<Entry<'_>> {
    let kind = match line.first()? {
        b'-' => Kind::File,
        b'd' => Kind::Folder,
        b'l' | b'b' | b'c' | b'p' | b's' => Kind::Other,
        _ => return None,
    };
    let mut rest = line;
    let _permissions = column(&mut rest).filter(|column| column.len() >= 10)?;
    let _links = column(&mut rest).filter(|column| number(column).is_some())?;
    let (_user, _group) = (column(&mut rest)?, column(&mut rest)?);
    let mut size = column(&mut rest)?;
    if kind == Kind::Other && size.ends_with(b",") {
        // A device has two numbers instead.
        size = column(&mut rest)?;
    }
    let size_bytes = Some(number(size)?);
    let _month = column(&mut rest).filter(|column| column.len() >= 3)?;
    let _day = column(&mut rest).filter(|column| number(column).is_some_and(|day| day <= 31))?;
    let _time_or_year = column(&mut rest).filter(|column| column.first().is_some_and(u8::is_ascii_digit))?;
    let name = rest.strip_prefix(b" ").filter(|name| !name.is_empty())?;
    Some(Entry { name, kind, size_bytes, modified: None, mode: None })
}

/// `11-20-26  06:45PM       <DIR>          the name`, or a size where the folder's mark is.
fn dos(line: &[u8]) -> Option<Entry<'_>> {
    let mut rest = line;
    let _date = column(&mut rest).filter(|date| date.len() >= 8 && date[2] == b'-' && date[5] == b'-')?;
    let _time = column(&mut rest).filter(|time| time.get(2) == Some(&b':'))?;
    let size = column(&mut rest)?;
    let (kind, size_bytes, name) = if size == b"<DIR>" {
        (Kind::Folder, None, rest.trim_ascii_start())
    } else {
        (Kind::File, Some(number(size)?), rest.strip_prefix(b" ")?)
    };
    (!name.is_empty()).then_some(Entry { name, kind, size_bytes, modified: None, mode: None })
}

/// Takes the next column and the blanks before it.
fn column<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let line = rest.trim_ascii_start();
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (column, after) = line.split_at(end);
    *rest = after;
    (!column.is_empty()).then_some(column)
}

/// A decimal number, all of it.
pub fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn octal(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok().map(|mode| mode & 0o7777)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "it is what the parsers give")]
    fn entry(name: &str, kind: Kind, size_bytes: Option<u64>) -> Option<Entry<'_>> {
        Some(Entry { name: name.as_bytes(), kind, size_bytes, modified: None, mode: None })
    }

    #[test]
    fn facts_are_those_of_the_standard() {
        let line = b"Type=file;Size=1025990;modify=19700101000002;UNIX.mode=0644;unique=8g1; two; words ";
        let modified = Some(UNIX_EPOCH + Duration::from_secs(2));
        let expected =
            Entry { name: b"two; words ", kind: Kind::File, size_bytes: Some(1_025_990), modified, mode: Some(0o644) };
        assert_eq!(facts(line), Some(expected));
        assert_eq!(facts(b"type=dir; sub"), entry("sub", Kind::Folder, None));
        for other in ["cdir", "pdir", "OS.unix=slink:/etc"] {
            assert_eq!(facts(format!("type={other}; x").as_bytes()), entry("x", Kind::Other, None));
        }
        assert_eq!(facts(b" no facts"), entry("no facts", Kind::Other, None));
        assert_eq!((facts(b"type=file;size=1;"), facts(b"second line of a name")), (None, None));
    }

    #[test]
    fn lists_in_the_manner_of_ls() {
        let file = |name, size| entry(name, Kind::File, Some(size));
        assert_eq!(listed(b"-rw-r--r--    1 1000     1000           12 Nov 20 18:45 a.txt"), file("a.txt", 12));
        assert_eq!(
            listed(b"-rw-r--r-- 1 u g 5000000000 Feb  3  2021  two  words "),
            file(" two  words ", 5_000_000_000)
        );
        assert_eq!(listed(b"drwxr-xr-x+ 2 u g 4096 Jan 1 00:00 sub"), entry("sub", Kind::Folder, Some(4096)));
        assert_eq!(listed(b"lrwxrwxrwx 1 u g 7 Jan 1 00:00 a -> b"), entry("a -> b", Kind::Other, Some(7)));
        assert_eq!(listed(b"crw-rw-rw- 1 root root 1, 3 Jan 1 00:00 null"), entry("null", Kind::Other, Some(3)));
        for none in ["total 12", "second line of a name", "-rw-r--r--", "-rw-r--r-- 1 u g 12 Nov 20 18:45", ""] {
            assert_eq!(listed(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn lists_in_the_manner_of_dos() {
        assert_eq!(
            listed(b"11-20-26  06:45PM              1403 read me.txt"),
            entry("read me.txt", Kind::File, Some(1403))
        );
        assert_eq!(listed(b"11-20-2026  06:45PM       <DIR>          sub"), entry("sub", Kind::Folder, None));
    }

    #[test]
    fn lines_end_with_either_end() {
        assert_eq!(lines(b"a\r\nb\n\r\n c \r\n").collect::<Vec<_>>(), [&b"a"[..], b"b", b" c "]);
    }

    proptest! {
        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            facts(&line);
            listed(&line);
        }

        #[test]
        fn every_name_comes_back(name in proptest::collection::vec(any::<u8>().prop_filter("line ends", |byte| !b"\r\n".contains(byte)), 1..40)) {
            let line = [b"type=file;size=1; ", name.as_slice()].concat();
            prop_assert_eq!(facts(&line).map(|entry| entry.name), Some(name.as_slice()));
            let line = [b"-rw------- 1 u g 1 Jan 1 2026 ", name.as_slice()].concat();
            prop_assert_eq!(listed(&line).map(|entry| entry.name), Some(name.as_slice()));
        }
    }
}
