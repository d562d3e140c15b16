//! FTP servers (RFC 959, 3659), in the clear or over explicit TLS (RFC 4217): passive, binary, names as bytes.
//!
//! ```text
//! FtpEndpoint --take--> Session (control connection) ---- commands, replies ----> server
//!      |                   put back when the step has ended in order
//!      +--- Open: Transfer (data connection) ------------- a file's bytes ------->
//! ```
//!
//! A step takes the [`Session`] and gives it back at its end. One that breaks, runs out of time, or is dropped half-way
//! does not give it back, so that no reply is ever taken for another's; the next step then connects anew.
//!
//! What FTP cannot do:
//! - **No fsync.** [`Endpoint::sync`] has the server's word that it took everything, and its size.
//! - **RNTO replaces silently on most servers.** [`Endpoint::commit`] looks for the target first. Who stores a file of that
//!   name between the look and the renaming, one round trip, loses it: let nobody else write into the target place.
//! - **Times** are whole seconds when set; modes are told by servers with MLST only. Without MLSD (vsftpd) `list` asks for
//!   each file's time, one round trip each, and the server decides whether names with a leading dot are shown.
//! - **Names** with a line end, a byte FF, or a blank at the end cannot be asked for. Those with a line end some servers show
//!   in part, others not at all.
//! - **TLS**: transfers resume the control connection's session, as vsftpd's `require_ssl_reuse` wants it.

mod listing;
mod path;
mod reply;
mod session;
#[cfg(test)]
mod tests;
mod time;
mod tls;
mod tree;

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut as _, Bytes, BytesMut};
use suppaftp::{FtpError, FtpResult};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zeroize::Zeroizing;

use self::listing::Kind;
use self::reply::Fault;
use self::session::{Session, Transfer, within};
use super::{Attributes, Endpoint, EndpointError, Found, Trouble};
use crate::config::Place;
use crate::files::FileName;

/// A server that says nothing for so long is gone. Longer than servers wait for a name server that does not know us (20 s)
/// and for a slow disk; shorter than the 5 minutes after which they themselves give up (RFC 1123, section 4.1.3.2).
const ANSWER_MAX: Duration = Duration::from_mins(1);
/// Read at a time, bytes: fills many segments, and is small beside what a file may have in memory.
const CHUNK_BYTES: usize = 256 << 10;

/// A file that is abandoned is read so much further: shorter ones cost no new connection. It takes about as long as one.
const RUN_OUT_BYTES_MAX: u64 = 1 << 20;

/// A place on an FTP server.
pub struct FtpEndpoint {
    place: Place,
    password: Zeroizing<String>,
    answer_max: Duration,
    session: Option<Session>,
    open: Option<Open>,
}

/// The file that is open.
struct Open {
    transfer: Transfer,
    /// For errors: "read a.txt on 10.0.0.1:21 by FTP".
    what: String,
    name: FileName,
    /// Is it written?
    writing: bool,
    /// Where in the file the transfer is, bytes.
    position_bytes: u64,
}

impl FtpEndpoint {
    /// Connects, logs in, and looks whether the place's folder is there.
    ///
    /// # Errors
    /// The server cannot be reached, does not let us in, or has no such folder.
    pub async fn connect(place: &Place, password: Option<&str>) -> Result<Self, EndpointError> {
        Self::connect_within(place, password, ANSWER_MAX).await
    }

    async fn connect_within(
        place: &Place,
        password: Option<&str>,
        answer_max: Duration,
    ) -> Result<Self, EndpointError> {
        let password = Zeroizing::new(password.unwrap_or_default().to_owned());
        let session = Some(Session::start(place, password.clone(), answer_max).await?);
        Ok(Self { place: place.clone(), password, answer_max, session, open: None })
    }

    /// The session, taken out, with no file open: [`FtpEndpoint::keep`] puts it back.
    async fn take(&mut self) -> Result<Session, EndpointError> {
        if let Some(open) = self.open.take() {
            let session = self.session.take();
            if self.is_over(open).await {
                self.session = session;
            }
        }
        match self.session.take() {
            Some(session) => Ok(session),
            None => Session::start(&self.place, self.password.clone(), self.answer_max).await,
        }
    }

    /// Ends a file that is abandoned. Is the server done with it, so that the session can go on?
    async fn is_over(&self, mut open: Open) -> bool {
        // Of what one writes the server takes what has come; in the middle of what it sends, not every one gives an answer.
        let ended = open.writing || within(self.answer_max, run_out(&mut open.transfer)).await.unwrap_or(false);
        ended && matches!(within(self.answer_max, open.transfer.finish()).await, Ok(()) | Err(Fault::Refused(_)))
    }

    /// Puts a session back unless it broke.
    fn keep<T>(&mut self, session: Session, result: Result<T, EndpointError>) -> Result<T, EndpointError> {
        if !result.as_ref().is_err_and(|error| error.trouble == Trouble::Gone) {
            self.session = Some(session);
        }
        result
    }

    /// The open file, taken out.
    fn take_open(&mut self, writing: bool) -> Result<Open, EndpointError> {
        let open = self.open.take().filter(|open| open.writing == writing);
        let what = if writing { "write" } else { "read" };
        open.ok_or_else(|| EndpointError::new(Trouble::Other, what, "no file is open for that"))
    }

    /// Why a file cannot be written: the server tells it on the control connection. That has to be made anew.
    async fn broken_write(&mut self, open: Open, error: &io::Error) -> EndpointError {
        let refusal = match self.session.take() {
            Some(session) => session.last_words().await,
            None => None,
        };
        match refusal {
            Some(refusal) => EndpointError::new(refusal.trouble().unwrap_or(Trouble::Other), &open.what, refusal.words),
            None => EndpointError::new(Trouble::Gone, &open.what, error),
        }
    }

    /// The end of a file that was read: what the server says of it.
    async fn end_read(&mut self, open: Open, is_clean: bool) -> Result<(), EndpointError> {
        let Some(mut session) = self.session.take() else {
            return Err(EndpointError::new(Trouble::Gone, &open.what, "the connection broke"));
        };
        let mut result =
            within(self.answer_max, open.transfer.finish()).await.map_err(|fault| fault.during(&open.what));
        if result.is_ok() && !is_clean {
            // TLS was cut off: by a server that ends it so, or by somebody who wants the file to end here.
            result = is_whole(&mut session, &open.name, open.position_bytes, &open.what).await;
        }
        self.keep(session, result)
    }
}

/// Reads on to the end; false if that is further than [`RUN_OUT_BYTES_MAX`].
async fn run_out(transfer: &mut Transfer) -> FtpResult<bool> {
    let mut sink = tokio::io::sink();
    let read = tokio::io::copy(&mut transfer.take(RUN_OUT_BYTES_MAX), &mut sink).await;
    read.map(|read| read < RUN_OUT_BYTES_MAX).map_err(FtpError::ConnectionError)
}

/// Checks that a file has no more bytes than these.
async fn is_whole(session: &mut Session, name: &FileName, bytes: u64, what: &str) -> Result<(), EndpointError> {
    let argument = session.argument(name)?;
    match session.size(&argument, what).await? {
        Some(size) if size == bytes => Ok(()),
        size => {
            let size = size.map_or_else(|| "an unknown number of".to_owned(), |size| size.to_string());
            Err(EndpointError::new(Trouble::Gone, what, format_args!("it was cut off after {bytes} of {size} bytes")))
        }
    }
}

#[async_trait]
impl Endpoint for FtpEndpoint {
    async fn list(&mut self, unusable: &mut (dyn FnMut(String) + Send)) -> Result<Vec<Found>, EndpointError> {
        let mut session = self.take().await?;
        let found = tree::list(&mut session, unusable).await;
        self.keep(session, found)
    }

    async fn stat(&mut self, name: &FileName) -> Result<Option<Attributes>, EndpointError> {
        let mut session = self.take().await?;
        let known = session.look(name).await;
        let known = self.keep(session, known)?;
        Ok(known.filter(|(kind, _)| *kind == Kind::File).map(|(_, attributes)| attributes))
    }

    async fn open(&mut self, name: &FileName, offset_bytes: u64) -> Result<(), EndpointError> {
        let mut session = self.take().await?;
        let what = format!("read {name} on {}", session.server());
        let transfer = retrieve(&mut session, name, offset_bytes, &what).await;
        let transfer = self.keep(session, transfer)?;
        self.open = Some(Open { transfer, what, name: name.clone(), writing: false, position_bytes: offset_bytes });
        Ok(())
    }

    async fn read(&mut self, bytes_max: usize) -> Result<Bytes, EndpointError> {
        let mut open = self.take_open(false)?;
        let chunk = bytes_max.min(CHUNK_BYTES);
        let mut bytes = BytesMut::with_capacity(chunk);
        let mut room = (&mut bytes).limit(chunk);
        let read = tokio::time::timeout(self.answer_max, open.transfer.read_buf(&mut room)).await;
        match read {
            Ok(Ok(0)) => self.end_read(open, true).await.map(|()| Bytes::new()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.end_read(open, false).await.map(|()| Bytes::new())
            }
            Ok(Ok(read)) => {
                open.position_bytes += read as u64;
                self.open = Some(open);
                Ok(bytes.freeze())
            }
            Ok(Err(error)) => {
                self.session = None;
                Err(EndpointError::new(Trouble::Gone, &open.what, error))
            }
            Err(_) => {
                self.session = None;
                Err(EndpointError::new(
                    Trouble::Gone,
                    &open.what,
                    format_args!("nothing came for {:?}", self.answer_max),
                ))
            }
        }
    }

    async fn create(&mut self, name: &FileName) -> Result<(), EndpointError> {
        let mut session = self.take().await?;
        let what = format!("write {name} on {}", session.server());
        let transfer = store(&mut session, name, &what).await;
        let transfer = self.keep(session, transfer)?;
        self.open = Some(Open { transfer, what, name: name.clone(), writing: true, position_bytes: 0 });
        Ok(())
    }

    async fn append(&mut self, mut bytes: Bytes) -> Result<(), EndpointError> {
        let mut open = self.take_open(true)?;
        while !bytes.is_empty() {
            match tokio::time::timeout(self.answer_max, open.transfer.write_buf(&mut bytes)).await {
                Ok(Ok(written)) if written > 0 => open.position_bytes += written as u64,
                Ok(Ok(_)) => return Err(self.broken_write(open, &io::ErrorKind::WriteZero.into()).await),
                Ok(Err(error)) => return Err(self.broken_write(open, &error).await),
                Err(_) => {
                    self.session = None;
                    let why = format!("nothing was taken for {:?}", self.answer_max);
                    return Err(EndpointError::new(Trouble::Gone, &open.what, why));
                }
            }
        }
        self.open = Some(open);
        Ok(())
    }

    async fn sync(&mut self, attributes: &Attributes) -> Result<(), EndpointError> {
        let mut open = self.take_open(true)?;
        match tokio::time::timeout(self.answer_max, open.transfer.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.broken_write(open, &error).await),
            // What it says, it says to `finish`.
            Err(_) => self.session = None,
        }
        let Some(mut session) = self.session.take() else {
            return Err(EndpointError::new(Trouble::Gone, &open.what, "the connection broke"));
        };
        let Open { transfer, what, name, position_bytes, .. } = open;
        let finished = within(self.answer_max, transfer.finish()).await.map_err(|fault| fault.during(&what));
        let result = match finished {
            Ok(()) => settle(&mut session, &name, position_bytes, attributes, &what).await,
            Err(error) => Err(error),
        };
        self.keep(session, result)
    }

    async fn commit(&mut self, from: &FileName, to: &FileName) -> Result<(), EndpointError> {
        let mut session = self.take().await?;
        let renamed = rename(&mut session, from, to).await;
        self.keep(session, renamed)
    }

    async fn delete(&mut self, name: &FileName) -> Result<(), EndpointError> {
        let mut session = self.take().await?;
        let deleted = delete(&mut session, name).await;
        self.keep(session, deleted)
    }
}

async fn retrieve(
    session: &mut Session,
    name: &FileName,
    offset_bytes: u64,
    what: &str,
) -> Result<Transfer, EndpointError> {
    let argument = session.argument(name)?;
    match session.retrieve(&argument, offset_bytes).await {
        Ok(transfer) => Ok(transfer),
        Err(Fault::Refused(refusal)) if refusal.trouble().is_none() => {
            let known = session.look(name).await?;
            let trouble = match known {
                None => Trouble::Missing,
                Some(_) if refusal.code == 550 => Trouble::Denied,
                Some(_) => Trouble::Other,
            };
            Err(EndpointError::new(trouble, what, refusal.words))
        }
        Err(fault) => Err(fault.during(what)),
    }
}

/// Begins to write a file; if that is refused, once more after its folders were made.
async fn store(session: &mut Session, name: &FileName, what: &str) -> Result<Transfer, EndpointError> {
    let argument = session.argument(name)?;
    let mut stored = session.store(&argument).await;
    if name.folder().is_some() && matches!(stored, Err(Fault::Refused(_))) {
        let refusal = session.make_folders(name).await?;
        // Why a folder could not be made says more than that it is missing.
        stored = session.store(&argument).await.map_err(|fault| refusal.map_or(fault, Fault::Refused));
    }
    stored.map_err(|fault| fault.during_or(Trouble::Denied, what))
}

/// Checks that a file has arrived, and gives it its attributes.
async fn settle(
    session: &mut Session,
    name: &FileName,
    written_bytes: u64,
    attributes: &Attributes,
    what: &str,
) -> Result<(), EndpointError> {
    let argument = session.argument(name)?;
    if let Some(size) = session.size(&argument, what).await?.filter(|size| *size != written_bytes) {
        let why = format!("{written_bytes} bytes were sent, and the server has {size}");
        return Err(EndpointError::new(Trouble::Other, what, why));
    }
    session.attribute(&argument, attributes, what).await
}

async fn rename(session: &mut Session, from: &FileName, to: &FileName) -> Result<(), EndpointError> {
    let what = format!("rename {from} to {to} on {}", session.server());
    let (source, target) = (session.argument(from)?, session.argument(to)?);
    let exists = |words: &str| EndpointError::new(Trouble::Exists, &what, words);
    if session.look(to).await?.is_some() {
        return Err(exists("there is something of this name"));
    }
    let mut renamed = session.rename(&source, &target).await;
    if to.folder().is_some() && matches!(renamed, Err(Fault::Refused(_))) {
        session.make_folders(to).await?;
        renamed = session.rename(&source, &target).await;
    }
    match renamed {
        Ok(()) => Ok(()),
        Err(Fault::Refused(refusal)) if refusal.trouble().is_none_or(|trouble| trouble == Trouble::Missing) => {
            if session.look(from).await?.is_none() {
                Err(EndpointError::new(Trouble::Missing, &what, refusal.words))
            } else if session.is_folder(&target).await? {
                Err(exists(&refusal.words))
            } else {
                Err(EndpointError::new(Trouble::Denied, &what, refusal.words))
            }
        }
        Err(fault) => Err(fault.during(&what)),
    }
}

async fn delete(session: &mut Session, name: &FileName) -> Result<(), EndpointError> {
    let what = format!("delete {name} on {}", session.server());
    let argument = session.argument(name)?;
    match session.delete(&argument).await {
        Ok(()) => Ok(()),
        Err(Fault::Refused(refusal)) if refusal.trouble().is_none_or(|trouble| trouble == Trouble::Missing) => {
            match session.look(name).await? {
                None => Ok(()),
                Some(_) => Err(EndpointError::new(Trouble::Denied, what, refusal.words)),
            }
        }
        Err(fault) => Err(fault.during(what)),
    }
}
