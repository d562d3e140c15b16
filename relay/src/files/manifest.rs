//! A manifest: the list of files that BLUE says it has sent.
//!
//! ```text
//! {"relay_manifest":1}
//! {"file":"018f...","name":"a/b.csv","size_bytes":12,"hash":"af13...","sent_ms":1760000000000}
//! ```
//!
//! JSON lines, in a session of their own of kind [`super::frame::Kind::Manifest`]. A manifest may be lost as any session may:
//! BLUE says the same again in later ones. Owns the bytes; what RED makes of them is [`super::missing`].

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::name::FileName;

/// Most files in one manifest: bounds what RED does for one.
pub const MANIFEST_FILES_MAX: usize = 10_000;
/// Longest manifest, bytes: 10,000 files with names of up to 250 bytes. RED holds no more of one in memory.
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Longest line: a name of 3,072 bytes takes at most 4 characters for each, or 6 where it is text of control characters.
const LINE_BYTES_MAX: usize = 20 << 10;
const VERSION: u32 = 1;

/// A file that BLUE has sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// Its UUID, that of its head.
    pub file: Uuid,
    /// Its name under BLUE's place.
    pub name: FileName,
    /// Its size.
    pub size_bytes: u64,
    /// BLAKE3 of its content.
    #[serde(with = "hex")]
    pub hash: [u8; 32],
    /// When its tail was sent the first time, by BLUE's clock, ms since 1970.
    pub sent_ms: u64,
}

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Title {
    relay_manifest: u32,
}

/// Why bytes are no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestFault {
    /// More than [`MANIFEST_BYTES_MAX`] or [`MANIFEST_FILES_MAX`], or a line that no file needs.
    #[error("the manifest is larger than one can be")]
    TooLarge,
    /// Of another version of the relay.
    #[error("the manifest is of version {0}, this relay knows {VERSION}")]
    Version(u32),
    /// A line is no file.
    #[error("line {line} of the manifest cannot be read: {source}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

/// Writes a manifest of the first files of `sent`, as many as fit, and gives the rest for the next one.
///
/// # Errors
/// A file cannot be written as JSON, which no file is known to be.
pub fn to_wire(sent: &[Sent]) -> Result<(Vec<u8>, &[Sent]), serde_json::Error> {
    let mut wire = serde_json::to_vec(&Title { relay_manifest: VERSION })?;
    wire.push(b'\n');
    for (at, file) in sent.iter().enumerate() {
        let before = wire.len();
        serde_json::to_writer(&mut wire, file)?;
        wire.push(b'\n');
        if wire.len() > MANIFEST_BYTES_MAX || at == MANIFEST_FILES_MAX {
            wire.truncate(before);
            return Ok((wire, &sent[at..]));
        }
    }
    Ok((wire, &[]))
}

/// Reads a manifest.
///
/// # Errors
/// It is none, or larger than one can be. A manifest is taken whole or not at all.
pub fn from_wire(wire: &[u8]) -> Result<Vec<Sent>, ManifestFault> {
    if wire.len() > MANIFEST_BYTES_MAX {
        return Err(ManifestFault::TooLarge);
    }
    let mut lines = wire.strip_suffix(b"\n").unwrap_or(wire).split(|byte| *byte == b'\n');
    let title: Title = read_line(1, lines.next().unwrap_or_default())?;
    if title.relay_manifest != VERSION {
        return Err(ManifestFault::Version(title.relay_manifest));
    }
    let mut sent = Vec::new();
    for (at, line) in lines.enumerate() {
        if at == MANIFEST_FILES_MAX {
            return Err(ManifestFault::TooLarge);
        }
        sent.push(read_line(at + 2, line)?);
    }
    Ok(sent)
}

fn read_line<'a, T: Deserialize<'a>>(number: usize, line: &'a [u8]) -> Result<T, ManifestFault> {
    if line.len() > LINE_BYTES_MAX {
        return Err(ManifestFault::TooLarge);
    }
    serde_json::from_slice(line).map_err(|source| ManifestFault::Line { line: number, source })
}

/// Hashes as 64 hexadecimal digits.
mod hex {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(hash: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(blake3::Hash::from_bytes(*hash).to_hex().as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let digits = String::deserialize(from)?;
        blake3::Hash::from_hex(digits).map(Into::into).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sent(number: u128, name: impl Into<Vec<u8>>) -> Sent {
        Sent {
            file: Uuid::from_u128(number),
            name: FileName::new(name).expect("a name"),
            size_bytes: 12,
            hash: [0xAF; 32],
            sent_ms: 1_760_000_000_000,
        }
    }

    #[test]
    fn it_is_written_as_drawn() {
        let files = [sent(1, "a/b.csv")];
        let (wire, rest) = to_wire(&files).expect("JSON");
        let expected = format!(
            "{{\"relay_manifest\":1}}\n{{\"file\":\"00000000-0000-0000-0000-000000000001\",\"name\":\"a/b.csv\",\
             \"size_bytes\":12,\"hash\":\"{}\",\"sent_ms\":1760000000000}}\n",
            "af".repeat(32)
        );
        assert_eq!((String::from_utf8(wire).expect("text"), rest.len()), (expected, 0));
    }

    #[test]
    fn what_does_not_fit_goes_into_the_next() {
        let many: Vec<Sent> = (0..MANIFEST_FILES_MAX as u128 + 2).map(|number| sent(number, "a")).collect();
        let (wire, rest) = to_wire(&many).expect("JSON");
        assert_eq!(rest, &many[MANIFEST_FILES_MAX..]);
        assert_eq!(from_wire(&wire).expect("a manifest"), many[..MANIFEST_FILES_MAX]);

        let longest = [[vec![1; 255], vec![b'/']].concat().repeat(11), vec![1; 255]].concat();
        let long = vec![sent(1, longest); 300];
        let (wire, rest) = to_wire(&long).expect("JSON");
        assert!(wire.len() <= MANIFEST_BYTES_MAX && !rest.is_empty());
        let read = from_wire(&wire).expect("a manifest");
        assert_eq!(read.len() + rest.len(), long.len());
    }

    #[test]
    fn what_is_too_large_or_no_manifest_is_refused() {
        let files = [sent(1, "a")];
        let (good, _) = to_wire(&files).expect("JSON");
        let with = |from: &str, to: &str| {
            from_wire(String::from_utf8(good.clone()).expect("text").replace(from, to).as_bytes())
        };
        assert!(matches!(with("manifest\":1", "manifest\":2"), Err(ManifestFault::Version(2))));
        for (from, to) in [
            ("\"a\"", "\"../a\""),
            ("\"af", "\"xf"),
            ("12", "-1"),
            ("12", "1e99"),
            ("\"size_bytes\"", "\"bytes\""),
            ("{\"relay", "{\"delay"),
            ("}\n", "}"),
        ] {
            assert!(matches!(with(from, to), Err(ManifestFault::Line { .. })), "{from} -> {to}");
        }
        assert!(matches!(with("\"a\"", &format!("\"{}\"", "a".repeat(LINE_BYTES_MAX))), Err(ManifestFault::TooLarge)));
        assert!(matches!(from_wire(&vec![b'\n'; MANIFEST_BYTES_MAX + 1]), Err(ManifestFault::TooLarge)));
        assert!(from_wire(&[]).is_err());
        let line = &good[good.iter().position(|byte| *byte == b'\n').expect("two lines") + 1..];
        let crowd = [&good[..], &line.repeat(MANIFEST_FILES_MAX)].concat();
        assert!(matches!(from_wire(&crowd), Err(ManifestFault::TooLarge)));
    }

    proptest! {
        #[test]
        fn a_manifest_says_what_it_was_made_of(
            files in proptest::collection::vec(
                (any::<u128>(), proptest::collection::vec(any::<u8>(), 1..30), any::<[u8; 32]>(), any::<u64>(), any::<u64>()),
                0..5,
            )
        ) {
            let files: Vec<Sent> = files
                .into_iter()
                .filter_map(|(file, name, hash, size_bytes, sent_ms)| {
                    let name = FileName::new(name).ok()?;
                    Some(Sent { file: Uuid::from_u128(file), name, size_bytes, hash, sent_ms })
                })
                .collect();
            let (wire, rest) = to_wire(&files).expect("JSON");
            prop_assert!(rest.is_empty());
            prop_assert_eq!(from_wire(&wire).expect("a manifest"), files);
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_a_manifest(bytes in proptest::collection::vec(any::<u8>(), 0..200), title in any::<bool>()) {
            let title: &[u8] = if title { b"{\"relay_manifest\":1}\n" } else { b"" };
            let _ = from_wire(&[title, &bytes].concat());
        }
    }
}
