//! Requests on their way to an SFTP server, and the replies to them, in whatever order they come.
//!
//! Owns the SSH channel. Several requests may be under way; who sends them sees to it that they are not too many: neither
//! side may be waiting for the other to read.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::time::timeout;

use super::wire::{self, Inbox, Malformed, Reply, Request, status};
use crate::files::endpoint::Trouble;

/// A server that has not answered for so long will not: disks that sleep wake up within some ten seconds, and a full
/// write-back cache on a slow one empties in less.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// The most bytes that one read or write asks of a server which has not said more: what all servers can do (section 3 of
/// the draft).
const PIECE_BYTES_MIN: u32 = 32 * 1024;
/// And of one which has: larger ones are no faster, and a few of them are on their way at a time.
const PIECE_BYTES_MAX: u64 = 128 * 1024;

/// What became of a request instead of what was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The connection is of no more use.
    #[error("{0}")]
    Gone(String),
    /// The server says no.
    #[error("{}", said(*.code, .words))]
    Status {
        /// Its code.
        code: u32,
        /// Its words.
        words: Bytes,
    },
}

impl Fault {
    /// What kind of trouble it is, as far as the code says.
    pub const fn trouble(&self) -> Trouble {
        match self {
            Self::Gone(_) => Trouble::Gone,
            Self::Status { code, .. } => match *code {
                status::NO_SUCH_FILE => Trouble::Missing,
                status::PERMISSION_DENIED => Trouble::Denied,
                status::BAD_MESSAGE => Trouble::Name,
                _ => Trouble::Other,
            },
        }
    }

    /// Is it this status?
    pub const fn is(&self, expected: u32) -> bool {
        matches!(self, Self::Status { code, .. } if *code == expected)
    }

    fn gone(why: impl Into<String>) -> Self {
        Self::Gone(why.into())
    }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Gone(malformed.to_string())
    }
}

fn said(code: u32, words: &Bytes) -> String {
    format!("{} (SFTP status {code})", words.escape_ascii())
}

/// An SFTP session, ready.
pub struct Requests {
    to: ChannelWriteHalf<Msg>,
    from: ChannelReadHalf,
    inbox: Inbox,
    next_id: u32,
    /// Replies to requests that nobody has waited for yet.
    early: HashMap<u32, Reply>,
    /// Nobody will wait for these.
    forgotten: HashSet<u32>,
    extensions: HashSet<Bytes>,
    /// Why there is no use in going on.
    broken: Option<String>,
    /// The most bytes of one read.
    pub read_bytes_max: u32,
    /// The most bytes of one write.
    pub write_bytes_max: u32,
}

impl Requests {
    /// Agrees with the server on version and limits, on a channel that has its SFTP subsystem.
    pub async fn start(channel: Channel<Msg>) -> Result<Self, Fault> {
        let (from, to) = channel.split();
        let mut requests = Self {
            to,
            from,
            inbox: Inbox::default(),
            next_id: 0,
            early: HashMap::new(),
            forgotten: HashSet::new(),
            extensions: HashSet::new(),
            broken: None,
            read_bytes_max: PIECE_BYTES_MIN,
            write_bytes_max: PIECE_BYTES_MIN,
        };
        requests.write(Request::Init.packet(0)).await?;
        match requests.next().await? {
            (None, Reply::Version { extensions }) => requests.extensions = extensions.into_iter().collect(),
            _ => return Err(Malformed.into()),
        }
        if requests.has("limits@openssh.com") {
            let limits = Request::Extended { name: "limits@openssh.com", argument: None };
            if let Reply::Extended(answer) = requests.ask(&limits).await? {
                requests.limit(&answer);
            }
        }
        Ok(requests)
    }

    fn limit(&mut self, answer: &Bytes) {
        let piece = |said: u64| match said {
            0 => PIECE_BYTES_MIN,
            said => said.min(PIECE_BYTES_MAX) as u32,
        };
        if let Some((read, write)) = wire::limits(answer) {
            (self.read_bytes_max, self.write_bytes_max) = (piece(read), piece(write));
        }
    }

    /// Does the server have this extension?
    pub fn has(&self, extension: &str) -> bool {
        self.extensions.contains(extension.as_bytes())
    }

    /// Sends a request; its reply is to be awaited or forgotten.
    pub async fn send(&mut self, request: &Request<'_>) -> Result<u32, Fault> {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.write(request.packet(id)).await?;
        Ok(id)
    }

    /// The reply to a request that was sent. A status other than OK is a fault.
    pub async fn reply(&mut self, id: u32) -> Result<Reply, Fault> {
        let reply = loop {
            if let Some(reply) = self.early.remove(&id) {
                break reply;
            }
            match self.next().await? {
                (Some(other), reply) if other == id => break reply,
                (Some(other), reply) if !self.forgotten.remove(&other) => {
                    self.early.insert(other, reply);
                }
                _ => {}
            }
        };
        match reply {
            Reply::Status { code, words } if code != status::OK => Err(Fault::Status { code, words }),
            reply => Ok(reply),
        }
    }

    /// Nobody will wait for the reply to this request.
    pub fn forget(&mut self, id: u32) {
        if self.early.remove(&id).is_none() {
            self.forgotten.insert(id);
        }
    }

    /// Sends a request and awaits its reply.
    pub async fn ask(&mut self, request: &Request<'_>) -> Result<Reply, Fault> {
        let id = self.send(request).await?;
        self.reply(id).await
    }

    /// Asks for a handle.
    pub async fn handle(&mut self, request: &Request<'_>) -> Result<Bytes, Fault> {
        match self.ask(request).await? {
            Reply::Handle(handle) => Ok(handle),
            _ => Err(Malformed.into()),
        }
    }

    /// Asks what is known of a file.
    pub async fn stat(&mut self, request: &Request<'_>) -> Result<wire::Stat, Fault> {
        match self.ask(request).await? {
            Reply::Attributes(stat) => Ok(stat),
            _ => Err(Malformed.into()),
        }
    }

    /// Closes what is open, without waiting.
    pub async fn close(&mut self, handle: &[u8]) -> Result<(), Fault> {
        let id = self.send(&Request::Close { handle }).await?;
        self.forget(id);
        Ok(())
    }

    /// The next reply, whoever waits for it.
    async fn next(&mut self) -> Result<(Option<u32>, Reply), Fault> {
        loop {
            match self.inbox.pop() {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(malformed) => return Err(self.break_off(&malformed.to_string())),
            }
            match timeout(ANSWER_TIMEOUT, self.from.wait()).await {
                Ok(Some(ChannelMsg::Data { data })) => self.inbox.push(&data),
                Ok(Some(ChannelMsg::Eof | ChannelMsg::Close) | None) => {
                    return Err(self.break_off("the server closed the connection"));
                }
                Ok(Some(_)) => {}
                Err(_) => {
                    let why = format!("the server has not answered for {} s", ANSWER_TIMEOUT.as_secs());
                    return Err(self.break_off(&why));
                }
            }
        }
    }

    /// Writes a whole packet. Whoever is interrupted here leaves half of one, after which the server understands nothing.
    async fn write(&mut self, packet: Bytes) -> Result<(), Fault> {
        if let Some(why) = &self.broken {
            return Err(Fault::gone(why.clone()));
        }
        self.broken = Some("a request was cut off".to_owned());
        match timeout(ANSWER_TIMEOUT, self.to.data_bytes(packet)).await {
            Ok(Ok(())) => {
                self.broken = None;
                Ok(())
            }
            Ok(Err(error)) => Err(self.break_off(&error.to_string())),
            Err(_) => {
                let why = format!("the server has not taken a request for {} s", ANSWER_TIMEOUT.as_secs());
                Err(self.break_off(&why))
            }
        }
    }

    fn break_off(&mut self, why: &str) -> Fault {
        self.broken = Some(why.to_owned());
        Fault::gone(why)
    }
}
