//! Files that BLUE would not send, from whoever holds the key.

use std::path::PathBuf;

use super::*;
use crate::config::{self, FilesTarget, Place};
use crate::files::{Attributes, new_file, session_of};
use crate::red::notice::Notice;
use crate::tcp::{Fate, Inflow, Memory, way};

/// More than any of these files needs.
const ROOM_BYTES: usize = 1 << 20;
/// What RED takes of one file.
const MAX_BYTES: u64 = 1000;

/// RED's end of a channel, whose place is a folder.
struct Red {
    folder: PathBuf,
    store: Arc<Store>,
    notices: crossbeam_channel::Receiver<Notice>,
}

impl Red {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("relay-reception-{name}-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("place")).expect("a folder");
        let path = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../config/files-ftp.toml"));
        let text = std::fs::read_to_string(path).expect("a ready site file");
        let mut site = config::parse(path, &text).expect("it is right").site;
        site.red.state_dir = folder.join("state");
        let place = Place::folder(&folder.join("place").to_string_lossy());
        site.files[0].red = FilesTarget { place, max_bytes: MAX_BYTES };
        let store = Arc::new(Store::open(&site, &site.files[0]).expect("a store"));
        let (sender, notices) = crossbeam_channel::unbounded();
        store.start(&tokio::runtime::Handle::current(), &sender);
        Self { folder, store, notices }
    }

    /// Receives a session of these bytes.
    async fn receive(&self, session: SessionId, bytes: &[u8]) -> Result<(), Unstored> {
        let (way, end) = way(&Memory::new(ROOM_BYTES as u64));
        let mut inflow = Inflow::new(way, ROOM_BYTES);
        assert_eq!(inflow.data(0, bytes), Fate::Taken);
        inflow.close();
        Reception::new(Arc::clone(&self.store), session, Arc::new(Peer::unhearable()), end, None).run().await
    }

    /// Everything that lies in the place.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.join("place")).expect("there");
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect()
    }

    /// What was told of files.
    fn told(&self) -> Vec<String> {
        let texts = self.notices.try_iter().filter_map(|notice| match notice {
            Notice::File { reason: "file_failed", text, .. } => Some(text),
            _ => None,
        });
        texts.collect()
    }

    fn counted(&self, key: &str) -> u64 {
        self.store.counts().into_iter().find(|(name, _)| *name == key).expect("counted").1
    }
}

impl Drop for Red {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn head(file: Uuid, size_bytes: u64) -> Vec<u8> {
    let name = FileName::new("a.bin").expect("a name");
    let attributes = Attributes { size_bytes, ..Attributes::default() };
    Head { file: file.into_bytes(), kind: Kind::File, name, attributes }.to_wire()
}

/// A whole session of a file, with the hash of `hashed`.
fn session(file: Uuid, content: &[u8], hashed: &[u8]) -> Vec<u8> {
    let size_bytes = content.len() as u64;
    let tail = Tail { size_bytes, hash: *blake3::hash(hashed).as_bytes() };
    [&head(file, size_bytes), content, &tail.to_wire()].concat()
}

#[tokio::test]
async fn content_with_another_hash_never_appears_and_the_right_one_does() {
    let red = Red::start("hash");
    let file = new_file();
    let wrong = red.receive(session_of(file, 0), &session(file, b"kontent", b"content")).await;
    assert!(matches!(wrong, Err(Unstored::Hash { .. })), "{wrong:?}");
    assert_eq!((red.names(), red.counted("failed"), red.counted("stored")), (vec![], 1, 0));
    let told = red.told();
    assert!(told.len() == 1 && told[0].contains("a.bin was not stored: its content is wrong"), "{told:?}");

    red.receive(session_of(file, 1), &session(file, b"content", b"content")).await.expect("right");
    assert!(red.store.stored(file).await);
    assert_eq!((red.names(), red.counted("failed"), red.counted("stored")), (vec!["a.bin".to_owned()], 1, 1));
    assert_eq!(std::fs::read(red.folder.join("place/a.bin")).expect("there"), b"content");
}

/// Refused at its head: nothing more of it has come here.
#[tokio::test]
async fn a_file_that_is_too_large_is_refused_before_its_content() {
    let red = Red::start("large");
    let file = new_file();
    let refused = red.receive(session_of(file, 0), &head(file, MAX_BYTES + 1)).await;
    assert!(matches!(refused, Err(Unstored::TooLarge { size_bytes: 1001, max_bytes: 1000 })), "{refused:?}");
    assert_eq!((red.names(), red.counted("failed")), (vec![], 1));
    let told = red.told();
    assert!(told.len() == 1 && told[0].contains("1001 bytes; at most 1000 are taken (`max_size`"), "{told:?}");
    let content = [7; MAX_BYTES as usize];
    red.receive(session_of(file, 1), &session(file, &content, &content)).await.expect("as large as may be");
    assert!(red.store.stored(file).await);
}
