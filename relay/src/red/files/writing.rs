//! A temporary file that is being written, and its hash.

use bytes::BytesMut;

use crate::files::{Connection, ContentHash, EndpointError, FileName, Pool};

/// Bytes written at a time: a lane hands over a few frames at a time, and a write is a visit to another thread.
const WRITE_BYTES: usize = 512 << 10;

/// Content on its way into a temporary file.
pub(super) struct Writing {
    shelf: Connection,
    hasher: Box<blake3::Hasher>,
    /// Bytes that have come and are not written yet.
    waiting: BytesMut,
}

/// Content that is written, and not yet on disk.
pub(super) struct Written {
    /// Where it is open.
    pub shelf: Connection,
    /// Its hash.
    pub hash: ContentHash,
}

impl Writing {
    /// Begins the file `temporary`.
    pub async fn begin(pool: &Pool, temporary: &FileName) -> Result<Self, EndpointError> {
        let mut shelf = pool.take().await?;
        shelf.create(temporary).await?;
        Ok(Self { shelf, hasher: Box::default(), waiting: BytesMut::new() })
    }

    /// Takes more content.
    pub async fn append(&mut self, bytes: &[u8]) -> Result<(), EndpointError> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= WRITE_BYTES { self.write().await } else { Ok(()) }
    }

    async fn write(&mut self) -> Result<(), EndpointError> {
        self.hasher.update(&self.waiting);
        self.shelf.append(self.waiting.split().freeze()).await
    }

    /// All content has come.
    pub async fn finish(mut self) -> Result<Written, EndpointError> {
        if !self.waiting.is_empty() {
            self.write().await?;
        }
        Ok(Written { shelf: self.shelf, hash: self.hasher.finalize().into() })
    }
}
