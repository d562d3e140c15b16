//! The layout of a file in its session, whole and broken.

use proptest::prelude::*;

use super::*;

fn head() -> Head {
    Head {
        file: std::array::from_fn(|at| at as u8 + 0x40),
        kind: Kind::File,
        name: FileName::new("a/b.csv").expect("a name"),
        attributes: Attributes {
            size_bytes: 3,
            modified: Some(UNIX_EPOCH + Duration::new(0x0102_0304, 5)),
            mode: Some(0o640),
        },
    }
}

/// A whole file as its session carries it.
fn session(head: &Head, content: &[u8]) -> Vec<u8> {
    let tail = Tail { size_bytes: content.len() as u64, hash: *blake3::hash(content).as_bytes() };
    [&head.to_wire(), content, &tail.to_wire()].concat()
}

/// What a parser tells of bytes that come in pieces of `step` bytes.
fn parsed(bytes: &[u8], step: usize) -> Result<Vec<Piece>, FrameFault> {
    let mut parser = Parser::new();
    let mut pieces = Vec::new();
    for chunk in bytes.chunks(step) {
        pieces.extend(parser.push(Bytes::copy_from_slice(chunk))?);
    }
    Ok(pieces)
}

fn content_of(pieces: &[Piece]) -> Vec<u8> {
    let content = pieces.iter().filter_map(|piece| if let Piece::Content(bytes) = piece { Some(bytes) } else { None });
    content.flatten().copied().collect()
}

/// The drawing in the module's head, byte for byte.
#[test]
fn layout_is_the_documented_one() {
    let wire = head().to_wire();
    assert_eq!(wire[..16], [b'r', b'l', b'y', b'f', 1, 1, 3, 0, 0, 55, 0x01, 0xA0, 0, 0, 0, 5]);
    assert_eq!(wire[16..32], head().file);
    assert_eq!(wire[32..48], [0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 1, 2, 3, 4]);
    assert_eq!(&wire[48..], b"a/b.csv");
    let tail = Tail { size_bytes: 0x0102, hash: [7; 32] }.to_wire();
    assert_eq!(tail[..12], [b'r', b'l', b'y', b't', 0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(tail[12..], [7; 32]);
}

#[test]
fn content_is_a_slice_of_what_was_pushed() {
    let bytes = Bytes::from(session(&head(), b"xyz"));
    let whole = bytes.as_ptr_range();
    let pieces: Vec<Piece> = Parser::new().push(bytes.clone()).expect("a file").collect();
    let [Piece::Head(told), Piece::Content(content), Piece::Tail(tail)] = &pieces[..] else { panic!("{pieces:?}") };
    assert_eq!((told, &content[..], tail.size_bytes), (&head(), &b"xyz"[..], 3));
    assert!(whole.contains(&content.as_ptr()), "copied");
}

#[test]
fn an_empty_file_has_no_content() {
    let mut empty = head();
    empty.attributes.size_bytes = 0;
    let pieces = parsed(&session(&empty, b""), 1).expect("a file");
    assert!(matches!(pieces[..], [Piece::Head(_), Piece::Tail(_)]), "{pieces:?}");
}

#[test]
fn a_parser_knows_how_far_it_is() {
    let bytes = Bytes::from(session(&head(), b"xyz"));
    let mut parser = Parser::new();
    let mut after = |range: std::ops::Range<usize>| {
        let count = parser.push(bytes.slice(range)).expect("a file").count();
        (count, parser.content_bytes(), parser.is_done())
    };
    assert_eq!(after(0..10), (0, 0, false));
    assert_eq!(after(10..57), (2, 2, false));
    assert_eq!(after(57..58), (1, 3, false));
    assert_eq!(after(58..bytes.len()), (1, 3, true));
}

#[test]
fn what_is_no_file_is_refused_with_its_reason() {
    let good = session(&head(), b"xyz");
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        parsed(&bytes, 7).map(|pieces| pieces.len())
    };
    assert_eq!(with(0, b'X'), Err(FrameFault::NoHead));
    assert_eq!(with(4, 2), Err(FrameFault::Version(2)));
    for (at, byte, what) in [
        (5, 0, "no kind"),
        (5, 3, "a kind that nobody knows"),
        (6, 7, "a flag that nobody knows"),
        (6, 1, "a mode that is not known"),
        (6, 2, "a time that is not known"),
        (7, 1, "the reserved byte"),
        (8, 0xFF, "a longer head than there can be"),
        (9, 47, "a shorter head than there can be"),
        (10, 0x08, "a set-user-ID bit"),
        (10, 0x10, "more than permission bits"),
        (12, 0x3C, "more than a second of nanoseconds"),
    ] {
        assert_eq!(with(at, byte), Err(FrameFault::Malformed), "{what}");
    }
    assert_eq!(with(48, b'/'), Err(FrameFault::Name(NameFault::Absolute)));
    assert_eq!(with(58, b'X'), Err(FrameFault::NoTail));
    assert_eq!(with(69, 4), Err(FrameFault::Size { head_bytes: 3, tail_bytes: 4 }));
    assert_eq!(parsed(&[&good[..], b"!"].concat(), 5), Err(FrameFault::TooMuch));
}

#[test]
fn a_manifest_is_bounded_and_a_file_is_not() {
    let of = |kind, size_bytes| {
        let attributes = Attributes { size_bytes, ..Attributes::default() };
        parsed(&Head { kind, attributes, ..head() }.to_wire(), 100).map(|pieces| pieces.len())
    };
    let most = MANIFEST_BYTES_MAX as u64;
    assert_eq!(of(Kind::Manifest, most), Ok(1));
    assert_eq!(of(Kind::Manifest, most + 1), Err(FrameFault::Malformed));
    assert_eq!(of(Kind::File, u64::MAX), Ok(1));
}

/// Power on RED does not cross with a file.
#[test]
fn set_user_id_and_set_group_id_are_not_sent() {
    let attributes = Attributes { mode: Some(0o6751), ..head().attributes };
    let told = parsed(&Head { attributes, ..head() }.to_wire(), 100).expect("a head");
    let Some(Piece::Head(told)) = told.first() else { panic!("{told:?}") };
    assert_eq!(told.attributes.mode, Some(0o751));
}

#[test]
fn a_wrong_beginning_is_refused_at_its_first_byte() {
    let mut parser = Parser::new();
    assert_eq!(parser.push(Bytes::from_static(b"G")).map(Iterator::count), Err(FrameFault::NoHead));
    let good = Bytes::from(session(&head(), b"xyz"));
    assert_eq!(parser.push(good).map(Iterator::count), Err(FrameFault::NoHead), "it stays broken");
}

fn any_attributes(size_bytes: u64) -> impl Strategy<Value = Attributes> {
    // As far as a SystemTime goes on Linux, and around 1970.
    let seconds = prop_oneof![any::<i64>(), -3..3_i64];
    let time = (seconds, 0..NANOS_PER_S)
        .prop_map(|(seconds, nanos)| modified(true, seconds, nanos).expect("a time that Linux can hold"));
    (prop_oneof![Just(None), time], proptest::option::of(0..=MODE_BITS)).prop_map(move |(modified, mode)| Attributes {
        size_bytes,
        modified,
        mode,
    })
}

fn any_head(size_bytes: u64) -> impl Strategy<Value = Head> {
    let name = prop_oneof![
        "[a-z/.]{1,40}",
        proptest::collection::vec(any::<u8>(), 1..60).prop_map(|bytes| { bytes.escape_ascii().to_string() })
    ];
    let name = name.prop_filter_map("a name", |name| FileName::new(name).ok());
    (any::<[u8; 16]>(), any::<bool>(), name, any_attributes(size_bytes)).prop_map(
        |(file, is_file, name, attributes)| Head {
            file,
            kind: if is_file { Kind::File } else { Kind::Manifest },
            name,
            attributes,
        },
    )
}

proptest! {
    #[test]
    fn every_file_comes_out_as_it_went_in(
        (content, head) in proptest::collection::vec(any::<u8>(), 0..200)
            .prop_flat_map(|content| { let size = content.len() as u64; (Just(content), any_head(size)) }),
        step in 1..400_usize,
    ) {
        let pieces = parsed(&session(&head, &content), step).expect("a file");
        prop_assert_eq!(pieces.first(), Some(&Piece::Head(head)));
        prop_assert_eq!(content_of(&pieces), content.clone());
        let hash = *blake3::hash(&content).as_bytes();
        prop_assert_eq!(pieces.last(), Some(&Piece::Tail(Tail { size_bytes: content.len() as u64, hash })));
    }

    /// However bytes come apart, they mean the same.
    #[test]
    fn damage_is_the_same_in_any_pieces(at in 0..110_usize, byte in any::<u8>(), step in 1..60_usize) {
        let mut bytes = session(&head(), b"xyz");
        let at = at % bytes.len();
        bytes[at] = byte;
        let whole = parsed(&bytes, bytes.len());
        let apart = parsed(&bytes, step);
        prop_assert_eq!(whole.as_ref().err(), apart.as_ref().err());
        if let Ok(pieces) = apart {
            prop_assert_eq!(content_of(&pieces), content_of(&whole.expect("both are files")));
        }
    }

    /// There is one way to write a head: whatever is taken would be written so again.
    #[test]
    fn arbitrary_bytes_are_refused_or_a_file(
        fixed in proptest::collection::vec(any::<u8>(), 0..100),
        magic in any::<bool>(),
        step in 1..100_usize,
    ) {
        let mut bytes = fixed;
        if magic && bytes.len() > 10 {
            bytes[..5].copy_from_slice(b"rlyf\x01");
            (bytes[8], bytes[9]) = (0, bytes[9] % 64);
        }
        if let Ok(pieces) = parsed(&bytes, step)
            && let Some(Piece::Head(head)) = pieces.first()
        {
            prop_assert!(bytes.starts_with(&head.to_wire()));
        }
    }
}
