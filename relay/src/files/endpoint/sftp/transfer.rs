//! One file being read or written over SFTP, with several requests under way.
//!
//! ```text
//! reading   | given | asked for ...... |            grows by one piece with each whole one, up to the bound
//! writing   | confirmed | under way .. |            no more than the bound
//! ```

use std::collections::VecDeque;

use bytes::Bytes;

use super::requests::{Fault, Requests};
use super::wire::{Malformed, Reply, Request, Stat, status};

/// Bytes under way: a link with 10 ms of delay is still good for 200 MB/s, and 64 files at a time take 128 MiB.
pub const UNDER_WAY_BYTES_MAX: u32 = 2 << 20;

/// A file being read.
pub struct Download {
    handle: Bytes,
    /// From here on nothing has been asked for.
    offset_bytes: u64,
    /// Requests under way, in order.
    asked: VecDeque<Asked>,
    /// So many may be. Starts low, so that a small file does not cost many requests behind its end.
    asked_max: usize,
    /// Came, and did not fit into what the caller wanted.
    rest: Bytes,
}

/// A read under way.
struct Asked {
    id: u32,
    offset_bytes: u64,
    bytes: u32,
}

/// A small file and its end come in one round trip.
const ASKED_AT_FIRST: usize = 2;

impl Download {
    /// Of an open file.
    pub fn new(handle: Bytes, offset_bytes: u64) -> Self {
        Self { handle, offset_bytes, asked: VecDeque::new(), asked_max: ASKED_AT_FIRST, rest: Bytes::new() }
    }

    /// Some more bytes, at most `bytes_max`; none at the end.
    pub async fn read(&mut self, requests: &mut Requests, bytes_max: usize) -> Result<Bytes, Fault> {
        while self.rest.is_empty() {
            self.ask(requests).await?;
            let Some(asked) = self.asked.pop_front() else { return Ok(Bytes::new()) };
            match requests.reply(asked.id).await {
                Ok(Reply::Data(content)) => self.take(requests, &asked, content)?,
                Ok(_) => return Err(Malformed.into()),
                Err(fault) if fault.is(status::EOF) => return Ok(Bytes::new()),
                Err(fault) => return Err(fault),
            }
        }
        Ok(self.rest.split_to(bytes_max.min(self.rest.len())))
    }

    /// Asks for what comes next, as far as more may be under way.
    async fn ask(&mut self, requests: &mut Requests) -> Result<(), Fault> {
        let bytes = requests.read_bytes_max;
        while self.asked.len() < self.asked_max {
            let request = Request::Read { handle: &self.handle, offset_bytes: self.offset_bytes, bytes_max: bytes };
            let id = requests.send(&request).await?;
            self.asked.push_back(Asked { id, offset_bytes: self.offset_bytes, bytes });
            self.offset_bytes += u64::from(bytes);
        }
        Ok(())
    }

    fn take(&mut self, requests: &mut Requests, asked: &Asked, content: Bytes) -> Result<(), Fault> {
        if content.is_empty() || content.len() > asked.bytes as usize {
            return Err(Malformed.into());
        }
        if content.len() == asked.bytes as usize {
            let most = (UNDER_WAY_BYTES_MAX / requests.read_bytes_max) as usize;
            self.asked_max = most.min(self.asked_max + 1).max(ASKED_AT_FIRST);
        } else {
            // The end, or a server that gives less than it is asked for: what comes next begins here.
            self.forget(requests);
            self.offset_bytes = asked.offset_bytes + content.len() as u64;
            self.asked_max = 1;
        }
        self.rest = content;
        Ok(())
    }

    fn forget(&mut self, requests: &mut Requests) {
        for asked in self.asked.drain(..) {
            requests.forget(asked.id);
        }
    }

    /// Closes the file, at whatever point it is.
    pub async fn close(mut self, requests: &mut Requests) -> Result<(), Fault> {
        self.forget(requests);
        requests.close(&self.handle).await
    }
}

/// A file being written.
pub struct Upload {
    handle: Bytes,
    offset_bytes: u64,
    /// Writes under way and their bytes, in order.
    sent: VecDeque<(u32, u32)>,
    sent_bytes: u32,
}

impl Upload {
    /// Of a file that is open and empty.
    pub const fn new(handle: Bytes) -> Self {
        Self { handle, offset_bytes: 0, sent: VecDeque::new(), sent_bytes: 0 }
    }

    /// Writes more; an earlier piece's fault may show here.
    pub async fn append(&mut self, requests: &mut Requests, content: &Bytes) -> Result<(), Fault> {
        for piece in content.chunks(requests.write_bytes_max as usize) {
            while self.sent_bytes > 0 && self.sent_bytes + piece.len() as u32 > UNDER_WAY_BYTES_MAX {
                self.confirm(requests).await?;
            }
            let request = Request::Write { handle: &self.handle, offset_bytes: self.offset_bytes, content: piece };
            let id = requests.send(&request).await?;
            self.sent.push_back((id, piece.len() as u32));
            self.sent_bytes += piece.len() as u32;
            self.offset_bytes += piece.len() as u64;
        }
        Ok(())
    }

    /// Awaits the oldest write's reply.
    async fn confirm(&mut self, requests: &mut Requests) -> Result<(), Fault> {
        if let Some((id, bytes)) = self.sent.pop_front() {
            self.sent_bytes -= bytes;
            requests.reply(id).await?;
        }
        Ok(())
    }

    /// Ends the writing: sets what the server lets us set, brings the file to disk where the server can, and closes it.
    /// The number of bytes that were written and that the file has.
    pub async fn finish(&mut self, requests: &mut Requests, stats: &[Stat]) -> Result<(u64, Option<u64>), Fault> {
        while !self.sent.is_empty() {
            self.confirm(requests).await?;
        }
        // In one round trip: the server does them in order.
        let mut set = Vec::with_capacity(stats.len());
        for stat in stats {
            set.push(requests.send(&Request::Fsetstat { handle: &self.handle, stat: *stat }).await?);
        }
        let known = requests.send(&Request::Fstat { handle: &self.handle }).await?;
        let fsync = Request::Extended { name: "fsync@openssh.com", argument: Some(&self.handle) };
        let synced = if requests.has("fsync@openssh.com") { Some(requests.send(&fsync).await?) } else { None };
        let closed = requests.send(&Request::Close { handle: &self.handle }).await?;
        for id in set {
            // Not every place can hold them, and not everybody may set them.
            if let Err(gone @ Fault::Gone(_)) = requests.reply(id).await {
                return Err(gone);
            }
        }
        let known = requests.reply(known).await;
        let synced = if let Some(id) = synced { requests.reply(id).await.err() } else { None };
        requests.reply(closed).await?;
        if let Some(fault) = synced {
            return Err(fault);
        }
        let Reply::Attributes(Stat { size_bytes, .. }) = known? else { return Err(Malformed.into()) };
        Ok((self.offset_bytes, size_bytes))
    }

    /// Closes the file as it is.
    pub async fn close(mut self, requests: &mut Requests) -> Result<(), Fault> {
        for (id, _) in self.sent.drain(..) {
            requests.forget(id);
        }
        requests.close(&self.handle).await
    }
}
