//! One file on its way from its session to a temporary file.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use uuid::Uuid;

use super::keeper;
use super::state::{Entry, Whole};
use super::store::{Standing, Store, is_reserved};
use super::writing::{Writing, Written};
use crate::files::frame::{FrameFault, Head, Kind, Parser, Piece, Tail, head_bytes};
use crate::files::missing::{Why, content_ranges, shown};
use crate::files::{Active, ContentHash, EndpointError, FileName, NameFault, Unwritten, file_of};
use crate::session::SessionId;
use crate::tcp::{Arrived, Failure, Peer, Reporter, WayEnd};
use crate::wire;

/// Longest manifest, bytes: ten thousand files.
const MANIFEST_BYTES_MAX: usize = 4 << 20;

/// Why a file was not stored.
#[derive(Debug, thiserror::Error)]
pub enum Unstored {
    /// The place, or the state folder.
    #[error("{0}")]
    Place(#[from] EndpointError),
    /// The journal.
    #[error("{0}")]
    Unwritten(#[from] Unwritten),
    /// What came is no file.
    #[error("{0}")]
    Frame(#[from] FrameFault),
    /// Its temporary would have no possible name.
    #[error("{0}")]
    Name(#[from] NameFault),
    /// Its name is one that the relay gives to files in the making.
    #[error("its name is kept for files that the relay has not finished; rename it")]
    Reserved,
    /// It is larger than RED's site file allows.
    #[error("it has {size_bytes} bytes; at most {max_bytes} are taken (`max_size` in [files.red])")]
    TooLarge {
        /// Its size, by its head.
        size_bytes: u64,
        /// What is allowed.
        max_bytes: u64,
    },
    /// Not everything came: these bytes of its content, none if only its tail is missing.
    #[error("{}", never_came(.0))]
    Missing(Vec<Range<u64>>),
    /// These bytes of its session never came, its head among them.
    #[error("these bytes of its session, its head among them, never came over the link: {}", shown(.0))]
    Headless(Vec<Range<u64>>),
    /// The session ended before the file did.
    #[error("its session ended after {0} bytes of content")]
    CutShort(u64),
    /// The content is not what BLUE read.
    #[error("its content is wrong: BLAKE3 {found}, BLUE says {told}")]
    Hash {
        /// Of what has come.
        found: ContentHash,
        /// Of what BLUE read.
        told: ContentHash,
    },
    /// The lane, or BLUE, has broken it off.
    #[error("{0}")]
    Given(Failure),
    /// It is whole, but the place does not take it before somebody acts.
    #[error("it waits until somebody acts")]
    Stuck,
    /// A list of what BLUE has sent, and it cannot be.
    #[error("it is no manifest")]
    Manifest,
    /// RED stops.
    #[error("the relay stops")]
    Stopping,
}

fn never_came(missing: &[Range<u64>]) -> String {
    if missing.is_empty() {
        return "its end, with its hash, never came over the link".to_owned();
    }
    format!("these bytes of it never came over the link: {}", shown(missing))
}

/// One session of a files channel.
pub struct Reception {
    store: Arc<Store>,
    session: SessionId,
    file: Uuid,
    peer: Arc<Peer>,
    way: WayEnd,
    reporter: Option<Reporter>,
    parser: Parser,
    /// Once the head has come.
    incoming: Option<Incoming>,
    /// The temporary, if there is one, is this session's to delete.
    owns: bool,
}

/// A file whose head has come.
struct Incoming {
    head: Head,
    temporary: FileName,
    active: Active,
    sink: Sink,
}

/// Where its content goes.
enum Sink {
    File(Writing),
    /// It is here already, in whatever stage.
    Known,
    /// A list of what BLUE has sent.
    Manifest(Vec<u8>),
}

impl Reception {
    /// A session whose bytes come over `way`.
    pub fn new(
        store: Arc<Store>,
        session: SessionId,
        peer: Arc<Peer>,
        way: WayEnd,
        reporter: Option<Reporter>,
    ) -> Self {
        let file = file_of(session);
        Self { store, session, file, peer, way, reporter, parser: Parser::new(), incoming: None, owns: false }
    }

    /// Receives the file and, if BLUE is to be told, waits until it has its name.
    ///
    /// # Errors
    /// It has not; what there was of it is deleted, unless it is whole.
    pub async fn run(mut self) -> Result<(), Unstored> {
        self.store.ready().await;
        tell(self.reporter.as_ref(), wire::Standing::Good).await;
        let peer = Arc::clone(&self.peer);
        let received = tokio::select! {
            biased;
            why = peer.failed() => Err(Unstored::Given(why)),
            received = self.receive() => received,
        };
        if let Err(why) = &received {
            self.discard(why).await;
            // The lane takes nothing more for it.
            self.peer.fail(Failure::Socket);
        }
        let standing = match received {
            Ok(()) => wire::Standing::Closed,
            // The file is not to blame: BLUE learns that this host is gone, and tries again.
            Err(Unstored::Stopping) => return received,
            Err(_) => wire::Standing::Failed,
        };
        tell(self.reporter.as_ref(), standing).await;
        received
    }

    async fn receive(&mut self) -> Result<(), Unstored> {
        loop {
            match self.way.next().await.ok_or(Unstored::Stopping)? {
                Arrived::Data(bytes) => {
                    let taken = bytes.len();
                    if !matches!(self.incoming, Some(Incoming { sink: Sink::Known, .. })) {
                        for piece in self.parser.push(bytes)? {
                            self.piece(piece).await?;
                        }
                    }
                    self.way.taken(taken);
                    if let Some(reporter) = &self.reporter {
                        reporter.consumed(taken as u64).await;
                    }
                }
                Arrived::Incomplete(missing) => return Err(self.incomplete(missing)),
                Arrived::Close => break,
            }
        }
        let (is_here, is_manifest) = match self.incoming.as_ref().map(|incoming| &incoming.sink) {
            Some(Sink::Known) => (true, false),
            Some(Sink::Manifest(_)) => (false, self.parser.is_done()),
            Some(Sink::File(_)) | None => (false, false),
        };
        if is_here && self.reporter.is_some() && !self.store.stored(self.file).await {
            return Err(Unstored::Stuck);
        }
        if is_here || is_manifest { Ok(()) } else { Err(Unstored::CutShort(self.parser.content_bytes())) }
    }

    /// What these missing bytes of the session are of the file.
    fn incomplete(&self, missing: Vec<Range<u64>>) -> Unstored {
        match &self.incoming {
            None => Unstored::Headless(missing),
            Some(Incoming { head, .. }) => {
                Unstored::Missing(content_ranges(&missing, head_bytes(&head.name), head.attributes.size_bytes))
            }
        }
    }

    /// What the account of missing files is to say of it; `None`: nothing new.
    fn account(&self, why: &Unstored) -> Option<Why> {
        let head = self.incoming.as_ref().map(|incoming| &incoming.head);
        if head.is_some_and(|head| head.kind == Kind::Manifest) {
            return None;
        }
        Some(match why {
            Unstored::Stuck | Unstored::Stopping => return None,
            Unstored::Missing(ranges) => Why::incomplete(ranges.iter().cloned()),
            Unstored::Headless(ranges) => Why::headless(ranges.iter().cloned()),
            Unstored::CutShort(_) | Unstored::Given(_) => {
                let rest = head.map(|head| self.parser.content_bytes()..head.attributes.size_bytes);
                Why::incomplete(rest.filter(|rest| !rest.is_empty()))
            }
            Unstored::Hash { .. } => Why::WrongHash,
            why => Why::NotKept(why.to_string()),
        })
    }

    async fn piece(&mut self, piece: Piece) -> Result<(), Unstored> {
        match piece {
            Piece::Head(head) => self.begin(head).await,
            Piece::Content(bytes) => self.content(bytes).await,
            Piece::Tail(tail) => self.end(tail).await,
        }
    }

    async fn begin(&mut self, head: Head) -> Result<(), Unstored> {
        let active = self.store.progress.begin(&head.name, head.attributes.size_bytes);
        let temporary = self.store.temporary(self.session, &head.name)?;
        let kind = head.kind;
        let incoming = self.incoming.insert(Incoming { head, temporary, active, sink: Sink::Known });
        if kind == Kind::Manifest {
            incoming.sink = Sink::Manifest(Vec::new());
            return Ok(());
        }
        if is_reserved(&incoming.head.name) {
            return Err(Unstored::Reserved);
        }
        let (size_bytes, max_bytes) = (incoming.head.attributes.size_bytes, self.store.max_bytes());
        if size_bytes > max_bytes && !self.store.has(self.file) {
            return Err(Unstored::TooLarge { size_bytes, max_bytes });
        }
        self.store.clean().await?;
        match self.store.enter(self.file) {
            Standing::Known => {
                self.store.counts.copies.fetch_add(1, Relaxed);
                if self.store.has_stored(self.file) {
                    // BLUE needs to send no more of it.
                    tell(self.reporter.as_ref(), wire::Standing::Closed).await;
                }
            }
            Standing::New => {
                self.owns = true;
                incoming.sink = Sink::File(Writing::begin(self.store.shelf(), &incoming.temporary).await?);
            }
        }
        Ok(())
    }

    async fn content(&mut self, bytes: Bytes) -> Result<(), Unstored> {
        let Some(Incoming { active, sink, .. }) = &mut self.incoming else { return Ok(()) };
        active.advance(bytes.len() as u64);
        match sink {
            Sink::Known => {}
            Sink::Manifest(text) if text.len() + bytes.len() > MANIFEST_BYTES_MAX => return Err(Unstored::Manifest),
            Sink::Manifest(text) => text.extend_from_slice(&bytes),
            Sink::File(writing) => writing.append(&bytes).await?,
        }
        Ok(())
    }

    async fn end(&mut self, tail: Tail) -> Result<(), Unstored> {
        let Some(incoming) = &mut self.incoming else { return Ok(()) };
        if let Sink::Manifest(text) = &incoming.sink {
            return self.store.manifest(text).map_err(|_| Unstored::Manifest);
        }
        let Sink::File(writing) = std::mem::replace(&mut incoming.sink, Sink::Known) else { return Ok(()) };
        let Written { mut shelf, hash: found } = writing.finish().await?;
        let told = ContentHash(tail.hash);
        if found != told {
            return Err(Unstored::Hash { found, told });
        }
        let shelved = self.store.shelved(&shelf, &incoming.head.attributes);
        shelf.sync(&shelved).await?;
        let folder = shelf.folder_mark(&incoming.temporary).await?;
        let Head { name, attributes, .. } = incoming.head.clone();
        let temporary = incoming.temporary.clone();
        let place = shelf.place().path.clone();
        let whole = Arc::new(Whole { file: self.file, name, attributes, hash: found, temporary, place, folder });
        self.owns = false;
        if !self.store.claim(&whole) {
            // Another session was faster: this is one more copy.
            self.store.counts.copies.fetch_add(1, Relaxed);
            shelf.delete(&whole.temporary).await?;
        } else if let Err(unwritten) = self.store.scribe.write(vec![Entry::Whole((*whole).clone())]).await {
            self.store.forget(self.file);
            shelf.delete(&whole.temporary).await?;
            return Err(unwritten.into());
        } else {
            self.store.arrive(&whole);
            tokio::spawn(keeper::keep(Arc::clone(&self.store), whole, false));
        }
        self.store.shelf().give_back(shelf);
        Ok(())
    }

    /// Leaves nothing of a file that did not become whole, and tells why.
    async fn discard(&mut self, why: &Unstored) {
        if let Some(why) = self.account(why) {
            self.store.account.broke(&self.store.scribe, self.file, why);
        }
        let incoming = self.incoming.take();
        let name = incoming.as_ref().map_or_else(|| "of unknown name".to_owned(), |one| one.head.name.to_string());
        if let Some(Incoming { temporary, sink, .. }) = incoming.filter(|_| self.owns) {
            drop(sink);
            if let Ok(mut shelf) = self.store.shelf().take().await {
                // What cannot be deleted now is at the next start.
                let _ = shelf.delete(&temporary).await;
            }
            self.store.leave(self.file);
        }
        self.store.counts.failed.fetch_add(1, Relaxed);
        self.store.tell("file_failed", format!("file {} {name} was not stored: {why}", self.file));
    }
}

async fn tell(reporter: Option<&Reporter>, standing: wire::Standing) {
    if let Some(reporter) = reporter {
        reporter.tell(standing).await;
    }
}

#[cfg(test)]
mod tests;
