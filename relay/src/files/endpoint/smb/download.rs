//! One file being read over SMB, with several reads under way.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use smb2::{Error, FileReader};
use tokio::task::JoinHandle;

/// The most bytes of one read, if the server allows as many: larger ones are no faster.
const PIECE_BYTES_MAX: u32 = 1 << 20;
/// Reads under way: 4 MiB of a file, which keeps a link with 10 ms of delay busy at 400 MB/s.
const UNDER_WAY_MAX: usize = 4;

/// A file being read.
pub struct Download {
    file: Arc<FileReader>,
    /// From here on nothing has been asked for.
    offset_bytes: u64,
    piece_bytes: u32,
    under_way: VecDeque<Piece>,
    /// Came, and did not fit into what the caller wanted.
    rest: Bytes,
}

/// A read under way. Left to itself it ends, and the file is closed after the last.
struct Piece {
    bytes: u64,
    reading: JoinHandle<Result<Vec<u8>, Error>>,
}

/// What became of a read.
pub enum Outcome {
    /// Some bytes; none at the end.
    Bytes(Bytes),
    /// The server gave fewer bytes than the file had when it was opened.
    Shortened,
}

impl Download {
    /// Of an open file, from an offset on; the server reads at most so much at a time.
    pub fn new(file: FileReader, offset_bytes: u64, read_bytes_max: u32) -> Self {
        let piece_bytes = PIECE_BYTES_MAX.min(read_bytes_max);
        Self { file: Arc::new(file), offset_bytes, piece_bytes, under_way: VecDeque::new(), rest: Bytes::new() }
    }

    /// Some more bytes, at most `bytes_max`.
    pub async fn read(&mut self, bytes_max: usize) -> Result<Outcome, Error> {
        while self.rest.is_empty() {
            self.ask();
            let Some(piece) = self.under_way.pop_front() else { return Ok(Outcome::Bytes(Bytes::new())) };
            // A task that did not end has no connection any more either.
            let content = piece.reading.await.map_err(|_| Error::Disconnected)??;
            if content.len() as u64 != piece.bytes {
                return Ok(Outcome::Shortened);
            }
            self.rest = content.into();
        }
        Ok(Outcome::Bytes(self.rest.split_to(bytes_max.min(self.rest.len()))))
    }

    /// Asks for what comes next, as far as the file goes.
    fn ask(&mut self) {
        while self.under_way.len() < UNDER_WAY_MAX && self.offset_bytes < self.file.size() {
            let bytes = u64::from(self.piece_bytes).min(self.file.size() - self.offset_bytes);
            let (file, offset_bytes) = (Arc::clone(&self.file), self.offset_bytes);
            let reading = tokio::spawn(async move { file.read_at(offset_bytes, bytes).await });
            self.under_way.push_back(Piece { bytes, reading });
            self.offset_bytes += bytes;
        }
    }
}
