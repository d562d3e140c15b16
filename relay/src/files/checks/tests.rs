//! The chain as a whole, on files in memory.

use std::time::SystemTime;

use bytes::Bytes;

use super::*;
use crate::config::{After, Place};
use crate::files::{Attributes, Endpoint, EndpointError, FileName, Found, Trouble};

/// A place with one file, which is read in small pieces; everything else is refused.
#[derive(Default)]
struct OneFile {
    content: Vec<u8>,
    broken: bool,
    at: usize,
    opened: u32,
}

fn refused<T>() -> Result<T, EndpointError> {
    Err(EndpointError::new(Trouble::Denied, "do that to a.txt", "it is only read here"))
}

#[async_trait]
impl Endpoint for OneFile {
    async fn list(&mut self, _unusable: &mut (dyn FnMut(String) + Send)) -> Result<Vec<Found>, EndpointError> {
        refused()
    }

    async fn stat(&mut self, _name: &FileName) -> Result<Option<Attributes>, EndpointError> {
        refused()
    }

    async fn open(&mut self, _name: &FileName, offset_bytes: u64) -> Result<(), EndpointError> {
        self.opened += 1;
        self.at = offset_bytes as usize;
        if self.broken { refused() } else { Ok(()) }
    }

    async fn read(&mut self, bytes_max: usize) -> Result<Bytes, EndpointError> {
        let from = self.at.min(self.content.len());
        let to = (from + bytes_max.min(1000)).min(self.content.len());
        self.at = to;
        Ok(Bytes::copy_from_slice(&self.content[from..to]))
    }

    async fn create(&mut self, _name: &FileName) -> Result<(), EndpointError> {
        refused()
    }

    async fn append(&mut self, _bytes: Bytes) -> Result<(), EndpointError> {
        refused()
    }

    async fn sync(&mut self, _attributes: &Attributes) -> Result<(), EndpointError> {
        refused()
    }

    async fn commit(&mut self, _from: &FileName, _to: &FileName) -> Result<(), EndpointError> {
        refused()
    }

    async fn delete(&mut self, _name: &FileName) -> Result<(), EndpointError> {
        refused()
    }
}

fn source() -> FilesSource {
    FilesSource {
        place: Place::folder("/srv/out"),
        include: Vec::new(),
        exclude: vec!["*.bak".to_owned()],
        temporary: false,
        max_bytes: 20_000,
        magic: true,
        quarantine: None,
        after: After::Delete,
    }
}

async fn verdict(source: &FilesSource, name: &[u8], endpoint: &mut OneFile) -> Verdict {
    let chain = Chain::new(source).expect("patterns");
    let attributes =
        Attributes { size_bytes: endpoint.content.len() as u64, modified: Some(SystemTime::UNIX_EPOCH), mode: None };
    let name = FileName::new(name).expect("a name");
    chain.check(&mut Subject::new(&name, &name, attributes, endpoint)).await
}

fn holding(content: impl Into<Vec<u8>>) -> OneFile {
    OneFile { content: content.into(), ..OneFile::default() }
}

#[tokio::test]
async fn the_first_objection_is_told_with_its_check() {
    let program = b"MZ\x90\0";
    for (name, content, why) in [
        (&b"a\nb.txt"[..], &program[..], "name: it has a control character"),
        ("a\u{202e}txt.exe".as_bytes(), program, "name: it has a control character"),
        (b"\xFF\x07", program, "name: it has a control character"),
        (b"a.bak", &vec![0; 20_001], "size: 20001 bytes; at most 20000 may pass (`max_size`)"),
        (b"b/A.Bak", program, "patterns: excluded by `*.bak`"),
        (b"a.txt", program, "magic: named .txt, it begins as a Windows program does"),
    ] {
        assert_eq!(verdict(&source(), name, &mut holding(content)).await, Verdict::Block(why.to_owned()));
    }
    for (name, content) in [(&b"a.exe"[..], &program[..]), ("\u{e4} '\"\\.txt".as_bytes(), b"text"), (b"\xFF", b"")] {
        assert_eq!(verdict(&source(), name, &mut holding(content)).await, Verdict::Pass);
    }
}

#[tokio::test]
async fn content_is_read_only_where_a_check_needs_it() {
    let mut untouched = holding(b"MZ\x90\0");
    assert!(matches!(verdict(&source(), b"a.bak", &mut untouched).await, Verdict::Block(_)));
    assert_eq!(verdict(&source(), b"a.dat", &mut untouched).await, Verdict::Pass);
    let unasked = FilesSource { magic: false, ..source() };
    assert_eq!(verdict(&unasked, b"a.txt", &mut untouched).await, Verdict::Pass);
    assert_eq!(untouched.opened, 0);
}

#[tokio::test]
async fn what_cannot_be_read_is_tried_again_later() {
    let mut broken = OneFile { broken: true, ..holding(b"text") };
    let why = "magic: cannot do that to a.txt: it is only read here".to_owned();
    assert_eq!(verdict(&source(), b"a.txt", &mut broken).await, Verdict::Fail(why));
}

#[tokio::test]
async fn the_beginning_is_read_once_and_the_whole_by_whoever_asks() {
    let content: Vec<u8> = (0..FIRST_BYTES + 500).map(|at| at as u8).collect();
    let mut endpoint = holding(content.clone());
    let name = FileName::new("a.txt").expect("a name");
    let mut subject = Subject::new(&name, &name, Attributes::default(), &mut endpoint);
    assert_eq!(subject.first_bytes().await.expect("readable"), content[..FIRST_BYTES]);
    subject.open().await.expect("readable");
    let mut whole = Vec::new();
    loop {
        let more = subject.read(700).await.expect("readable");
        if more.is_empty() {
            break;
        }
        whole.extend_from_slice(&more);
    }
    assert_eq!(whole, content);
    assert_eq!(subject.first_bytes().await.expect("kept"), content[..FIRST_BYTES]);
    assert_eq!(endpoint.opened, 2);
}

/// What was checked cannot be another file by the time that it is sent.
#[tokio::test]
async fn content_goes_on_behind_the_bytes_that_were_checked() {
    let name = FileName::new("a.txt").expect("a name");
    for (len, rest) in [(FIRST_BYTES - 1, Rest::None), (FIRST_BYTES + 500, Rest::Open)] {
        let mut endpoint = holding(vec![b'a'; len]);
        let mut subject = Subject::new(&name, &name, Attributes::default(), &mut endpoint);
        let first = subject.first_bytes().await.expect("readable");
        assert_eq!(subject.into_content().await.expect("open"), (first.clone(), rest));
        assert_eq!((endpoint.opened, endpoint.at), (1, first.len()));
    }
    let mut endpoint = holding("text");
    let mut subject = Subject::new(&name, &name, Attributes::default(), &mut endpoint);
    subject.first_bytes().await.expect("readable");
    subject.open().await.expect("readable");
    subject.read(2).await.expect("readable");
    assert_eq!(subject.into_content().await.expect("open"), (Bytes::new(), Rest::Open), "from the beginning");
    assert_eq!(endpoint.at, 0);
}

#[test]
fn a_pattern_that_is_none_is_refused() {
    let bad = FilesSource { include: vec!["[".to_owned()], ..source() };
    assert_eq!(Chain::new(&bad).err().map(|fault| fault.pattern), Some("[".to_owned()));
}
