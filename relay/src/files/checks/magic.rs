//! Does the content begin as the extension says?
//!
//! The extension is what follows the last dot of the name's last part, in letters of either case; a name that only begins with
//! a dot has none. Of the content the first [`super::FIRST_BYTES`] count.
//!
//! | extension | passes |
//! | --- | --- |
//! | of [`TEXTS`]: `.txt`, `.csv`, `.log`, ... | unless it begins as a format of [`FORMATS`] does. A magic made of letters (`MZ`, `BM`, `BZh`) is no such beginning where the content is plain text; `%PDF`, `{\rtf` and `%!PS` are, they are formats made of text |
//! | of [`EXPECTED`]: `.png`, `.pdf`, `.zip`, ... | if it begins as one of the formats that go by this extension does |
//! | any other, or none | always: what may cross at all is for `include` to say |
//!
//! An empty file passes. Owns its tables; it opens no archive and looks at no file beyond its beginning.

use async_trait::async_trait;

use super::{Check, Subject, Verdict};
use crate::files::FileName;

/// Blocks content that is not what its name says.
pub(super) struct Magic;

#[async_trait]
impl Check for Magic {
    fn name(&self) -> &'static str {
        "magic"
    }

    async fn check(&self, subject: &mut Subject<'_>) -> Verdict {
        let Some(extension) = extension_of(subject.name()) else { return Verdict::Pass };
        let Some(rule) = Rule::of(&extension) else { return Verdict::Pass };
        match subject.first_bytes().await {
            Ok(first) => rule.judge(&extension, &first),
            Err(error) => Verdict::Fail(error.to_string()),
        }
    }
}

/// Extensions of files that hold text.
const TEXTS: [&str; 34] = [
    "asc",
    "cfg",
    "conf",
    "css",
    "csv",
    "eml",
    "htm",
    "html",
    "ics",
    "ini",
    "js",
    "json",
    "jsonl",
    "log",
    "md",
    "ndjson",
    "pem",
    "properties",
    "rst",
    "sql",
    "srt",
    "svg",
    "tex",
    "text",
    "toml",
    "tsv",
    "txt",
    "vcf",
    "vtt",
    "xml",
    "xsd",
    "xsl",
    "yaml",
    "yml",
];

/// A format and what its files begin with.
struct Format {
    name: &'static str,
    /// Where the magic stands, bytes.
    at: usize,
    magic: &'static [u8],
}

const fn format(name: &'static str, magic: &'static [u8]) -> Format {
    Format { name, at: 0, magic }
}

/// Formats that are told by their magic, each as its own specification or file(1) has it.
const FORMATS: [Format; 57] = [
    // Programs.
    format("a Windows program", b"MZ"),
    format("an ELF program", b"\x7FELF"),
    format("a Mach-O program", b"\xFE\xED\xFA\xCE"),
    format("a Mach-O program", b"\xFE\xED\xFA\xCF"),
    format("a Mach-O program", b"\xCE\xFA\xED\xFE"),
    format("a Mach-O program", b"\xCF\xFA\xED\xFE"),
    format("a Java class", b"\xCA\xFE\xBA\xBE"),
    format("a WebAssembly module", b"\0asm"),
    format("an Android program", b"dex\n03"),
    format("a Windows shortcut", b"L\0\0\0\x01\x14\x02\0"),
    // Archives.
    format("ZIP", b"PK\x03\x04"),
    format("ZIP", b"PK\x05\x06"),
    format("ZIP", b"PK\x07\x08"),
    format("gzip", b"\x1F\x8B"),
    format("compress", b"\x1F\x9D"),
    format("bzip2", b"BZh"),
    format("xz", b"\xFD7zXZ\0"),
    format("lzip", b"LZIP"),
    format("Zstandard", b"\x28\xB5\x2F\xFD"),
    format("LZ4", b"\x04\x22\x4D\x18"),
    format("7z", b"7z\xBC\xAF\x27\x1C"),
    format("RAR", b"Rar!\x1A\x07"),
    format("CAB", b"MSCF\0\0\0\0"),
    format("ar", b"!<arch>\n"),
    format("RPM", b"\xED\xAB\xEE\xDB"),
    Format { name: "tar", at: 257, magic: b"ustar" },
    // Documents and data.
    format("PDF", b"%PDF-"),
    format("RTF", b"{\\rtf"),
    format("PostScript", b"%!PS"),
    format("OLE2", b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"),
    format("SQLite", b"SQLite format 3\0"),
    format("DjVu", b"AT&TFORM"),
    // Pictures.
    format("PNG", b"\x89PNG\r\n\x1A\n"),
    format("JPEG", b"\xFF\xD8\xFF"),
    format("GIF", b"GIF87a"),
    format("GIF", b"GIF89a"),
    format("BMP", b"BM"),
    format("TIFF", b"II*\0"),
    format("TIFF", b"MM\0*"),
    format("TIFF", b"II+\0"),
    format("TIFF", b"MM\0+"),
    format("ICO", b"\0\0\x01\0"),
    format("Photoshop", b"8BPS\0"),
    Format { name: "WebP", at: 8, magic: b"WEBP" },
    Format { name: "HEIF", at: 4, magic: b"ftypheic" },
    Format { name: "AVIF", at: 4, magic: b"ftypavif" },
    // Sound and films.
    Format { name: "WAVE", at: 8, magic: b"WAVEfmt " },
    Format { name: "AVI", at: 8, magic: b"AVI LIST" },
    Format { name: "MP4", at: 4, magic: b"ftyp" },
    format("FLAC", b"fLaC"),
    format("Ogg", b"OggS\0"),
    format("Matroska", b"\x1A\x45\xDF\xA3"),
    format("MP3", b"ID3"),
    format("MIDI", b"MThd\0"),
    // Fonts.
    format("WOFF", b"wOFF"),
    format("WOFF2", b"wOF2"),
    format("OpenType", b"OTTO\0"),
];

/// Formats whose files may be plain text from beginning to end.
const MADE_OF_TEXT: [&str; 3] = ["PDF", "RTF", "PostScript"];

/// Extensions and the formats that go by them.
const EXPECTED: [(&[&str], &[&str]); 38] = [
    (&["exe", "dll", "sys", "scr", "ocx"], &["a Windows program"]),
    (&["so", "elf"], &["an ELF program"]),
    (&["class"], &["a Java class"]),
    (&["wasm"], &["a WebAssembly module"]),
    (&["lnk"], &["a Windows shortcut"]),
    (&["zip", "jar", "apk", "epub"], &["ZIP"]),
    (&["odt", "ods", "odp", "odg"], &["ZIP"]),
    // With a password they are OLE2.
    (&["docx", "docm", "xlsx", "xlsm", "pptx", "pptm"], &["ZIP", "OLE2"]),
    (&["gz", "tgz"], &["gzip"]),
    (&["z"], &["compress"]),
    (&["bz2", "tbz", "tbz2"], &["bzip2"]),
    (&["xz", "txz"], &["xz"]),
    (&["lz"], &["lzip"]),
    (&["zst", "tzst"], &["Zstandard"]),
    (&["lz4"], &["LZ4"]),
    (&["7z"], &["7z"]),
    (&["rar"], &["RAR"]),
    (&["cab"], &["CAB"]),
    (&["deb"], &["ar"]),
    (&["rpm"], &["RPM"]),
    (&["tar"], &["tar"]),
    (&["pdf"], &["PDF"]),
    (&["rtf"], &["RTF"]),
    (&["ps"], &["PostScript"]),
    // Word writes RTF under its own extension too.
    (&["doc", "dot"], &["OLE2", "RTF"]),
    (&["xls", "ppt", "msi", "msg"], &["OLE2"]),
    (&["png"], &["PNG"]),
    (&["jpg", "jpeg", "jpe"], &["JPEG"]),
    (&["gif"], &["GIF"]),
    (&["bmp", "dib"], &["BMP"]),
    (&["tif", "tiff"], &["TIFF"]),
    (&["ico"], &["ICO"]),
    (&["psd"], &["Photoshop"]),
    (&["webp"], &["WebP"]),
    (&["wav"], &["WAVE"]),
    (&["flac"], &["FLAC"]),
    (&["ogg", "oga", "ogv", "opus"], &["Ogg"]),
    (&["mkv", "webm"], &["Matroska"]),
];

/// What an extension asks of the content.
enum Rule {
    Text,
    OneOf(&'static [&'static str]),
}

impl Rule {
    fn of(extension: &[u8]) -> Option<Self> {
        let is = |known: &&str| known.as_bytes() == extension;
        if TEXTS.iter().any(is) {
            return Some(Self::Text);
        }
        EXPECTED.iter().find(|(extensions, _)| extensions.iter().any(is)).map(|(_, formats)| Self::OneOf(formats))
    }

    fn judge(&self, extension: &[u8], first: &[u8]) -> Verdict {
        if first.is_empty() {
            return Verdict::Pass;
        }
        match self {
            Self::Text => match formats_of(first).find(|name| MADE_OF_TEXT.contains(name) || !is_plain_text(first)) {
                Some(found) => {
                    Verdict::Block(format!("named .{}, it begins as {found} does", extension.escape_ascii()))
                }
                None => Verdict::Pass,
            },
            Self::OneOf(expected) if formats_of(first).any(|name| expected.contains(&name)) => Verdict::Pass,
            Self::OneOf(expected) => Verdict::Block(format!(
                "named .{}, it does not begin as {} does",
                extension.escape_ascii(),
                expected.join(" or ")
            )),
        }
    }
}

fn extension_of(name: &FileName) -> Option<Vec<u8>> {
    let last = name.last();
    let dot = last.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0)?;
    Some(last[dot + 1..].to_ascii_lowercase())
}

/// All formats that files may have that begin so.
fn formats_of(first: &[u8]) -> impl Iterator<Item = &'static str> {
    let begins = |format: &&Format| first.get(format.at..).is_some_and(|rest| rest.starts_with(format.magic));
    FORMATS.iter().filter(begins).map(|format| format.name)
}

/// No control character but those that texts have: tabs, ends of lines and pages, and the escapes of terminals.
fn is_plain_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| !byte.is_ascii_control() || b"\t\n\r\x0C\x1B".contains(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROGRAM: &[u8] = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xFF\xFF\0\0";

    fn judged(name: &str, first: &[u8]) -> Verdict {
        let extension = extension_of(&FileName::new(name).expect("a name"));
        extension
            .and_then(|extension| Rule::of(&extension).map(|rule| rule.judge(&extension, first)))
            .unwrap_or(Verdict::Pass)
    }

    #[test]
    fn a_program_named_as_text_is_blocked() {
        let expected = Verdict::Block("named .txt, it begins as a Windows program does".to_owned());
        assert_eq!(judged("a/readme.TXT", PROGRAM), expected);
        for (name, first) in [
            ("a.csv", &b"\x7FELF\x02\x01\x01\0"[..]),
            ("a.log", b"PK\x03\x04\x14\0"),
            ("a.json", b"\x1F\x8B\x08\0"),
            ("a.xml", b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR"),
            ("a.txt", b"%PDF-1.7\nplain"),
            ("a.txt", b"{\\rtf1 plain}"),
            ("a.txt", b"%!PS-Adobe-3.0"),
        ] {
            assert!(matches!(judged(name, first), Verdict::Block(_)), "{name} {first:?}");
        }
        let tar = [&b"name"[..], &[0; 253], b"ustar\x0000"].concat();
        assert!(matches!(judged("a.txt", &tar), Verdict::Block(_)));
    }

    #[test]
    fn text_that_only_looks_like_a_magic_passes() {
        for text in [
            "BMW;320;2026\n",
            "MZUMBA\tLimited\r\n",
            "BZh\u{e4}user, 12",
            "ID3,a,b\n",
            "GIF87a is a format",
            "\u{1b}[1mbold",
        ] {
            assert_eq!(judged("a.csv", text.as_bytes()), Verdict::Pass, "{text}");
        }
        let utf16: Vec<u8> = "\u{feff}BM, MZ".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(judged("a.txt", &utf16), Verdict::Pass);
        assert_eq!(judged("a.xml", b"<?xml version=\"1.0\"?>"), Verdict::Pass);
        assert_eq!(judged("a.txt", b"#!/bin/sh\n"), Verdict::Pass);
    }

    #[test]
    fn an_extension_with_a_format_of_its_own_asks_for_it() {
        assert_eq!(judged("a.png", b"\x89PNG\r\n\x1A\n"), Verdict::Pass);
        let expected = Verdict::Block("named .docx, it does not begin as ZIP or OLE2 does".to_owned());
        assert_eq!(judged("a.docx", b"plain text"), expected);
        assert_eq!(judged("a.docx", b"PK\x03\x04"), Verdict::Pass);
        assert_eq!(judged("a.webp", b"RIFF\x10\0\0\0WEBPVP8 "), Verdict::Pass);
        assert!(matches!(judged("a.jpg", b"\x89PNG\r\n\x1A\n"), Verdict::Block(_)));
        assert!(matches!(judged("a.pdf.exe", b"%PDF-1.4"), Verdict::Block(_)), "the last extension counts");
    }

    #[test]
    fn nothing_is_asked_of_other_extensions_and_empty_files() {
        for name in ["a", "a.dat", ".txt", "a.", "a.txt/b"] {
            assert_eq!(judged(name, PROGRAM), Verdict::Pass, "{name}");
        }
        assert_eq!(judged("a.txt", b""), Verdict::Pass);
        assert_eq!(judged("a.png", b""), Verdict::Pass);
    }

    #[test]
    fn the_tables_agree() {
        for (extensions, formats) in &EXPECTED {
            for name in *formats {
                assert!(FORMATS.iter().any(|format| format.name == *name), "{name}");
            }
            for extension in *extensions {
                assert!(!TEXTS.contains(extension), "{extension} is in both");
                let rules = EXPECTED.iter().filter(|(extensions, _)| extensions.contains(extension)).count();
                assert_eq!(rules, 1, "{extension}");
            }
        }
        assert!(MADE_OF_TEXT.iter().all(|name| FORMATS.iter().any(|format| format.name == *name)));
        let end = FORMATS.iter().map(|format| format.at + format.magic.len()).max();
        assert!(end <= Some(512), "as FIRST_BYTES says");
    }

    proptest! {
        #[test]
        fn plain_text_of_no_textual_format_passes_as_text(text in "[\\t\\n -~\u{e0}-\u{ff}]{0,300}") {
            let textual = ["%PDF-", "{\\rtf", "%!PS"].iter().any(|magic| text.starts_with(magic));
            prop_assert_eq!(judged("a.txt", text.as_bytes()) == Verdict::Pass, !textual);
        }

        #[test]
        fn any_content_is_judged(content in proptest::collection::vec(any::<u8>(), 0..600)) {
            for name in ["a.txt", "a.tar", "a.webp"] {
                let _ = judged(name, &content);
            }
        }
    }
}
