//! A control connection, logged in: single commands, each with its time limit, and what their replies mean.
//!
//! Does no more than one command at a time and remembers nothing of files; [`super::tree`] and [`super`] put commands together.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, SystemTime};

use suppaftp::tokio::{AsyncRustlsFtpStream, AsyncRustlsStream, TransferStream};
use suppaftp::types::{FileType, Mode, Response};
use suppaftp::{FtpError, FtpResult, Status};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::super::{Attributes, EndpointError, Trouble};
use super::listing::{self, Kind};
use super::path::{Bytes, Login, argument, as_text};
use super::reply::{Fault, Refusal, unless_broken, unless_hidden};
use super::{time, tls};
use crate::config::{Place, PlaceKind};
use crate::files::FileName;

/// The data connection of a file or listing.
pub type Transfer = TransferStream<AsyncRustlsStream>;

/// A server on a working network accepts within a second; this is three of the kernel's attempts (after 1, 3, and 7 s).
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// After so much silence the kernel asks whether the server is still there. Less than firewalls remember a quiet connection
/// for, which the control connection is during a long transfer.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// A control connection.
pub struct Session {
    ftp: AsyncRustlsFtpStream,
    /// For errors: "10.0.0.1:21 by FTP".
    server: String,
    /// The place's folder as an argument of commands, without a separator at its end.
    base: String,
    /// Extensions that the server has (RFC 2389), in capitals.
    offers: BTreeSet<String>,
    answer_max: Duration,
}

/// Waits for a step, `limit` at most.
pub async fn within<T>(limit: Duration, step: impl Future<Output = FtpResult<T>>) -> Result<T, Fault> {
    match tokio::time::timeout(limit, step).await {
        Ok(result) => result.map_err(Fault::from),
        Err(_) => Err(Fault::Broken(format!("no answer within {limit:?}"))),
    }
}

impl Session {
    /// Connects, logs in, and goes to the place's folder.
    pub async fn start(
        place: &Place,
        password: Zeroizing<String>,
        answer_max: Duration,
    ) -> Result<Self, EndpointError> {
        let server = format!("{}:{} by {}", place.server, place.port, place.kind.name().to_uppercase());
        let ftp = reach(place, &server, answer_max).await?;
        let mut session = Self { ftp, server, base: String::new(), offers: BTreeSet::new(), answer_max };
        session.log_in(&place.user, password).await?;
        session.agree().await?;
        session.enter(&place.path).await?;
        Ok(session)
    }

    async fn log_in(&mut self, user: &str, password: Zeroizing<String>) -> Result<(), EndpointError> {
        let what = format!("log in as {} on {}", user.escape_debug(), self.server);
        if user.contains(['\r', '\n', '\0']) || password.contains(['\r', '\n', '\0', '\u{FF}']) {
            return Err(EndpointError::new(Trouble::Login, what, "FTP has no such users or passwords"));
        }
        self.ftp.set_encoding(Login(password.clone())).await;
        let result = within(self.answer_max, self.ftp.login(user, Login::PASSWORD)).await;
        self.ftp.set_encoding(Bytes).await;
        result.map_err(|fault| match fault {
            Fault::Refused(refusal) if !password.is_empty() && refusal.words.contains(password.as_str()) => {
                EndpointError::new(Trouble::Login, &what, "the server's words hold the password")
            }
            Fault::Refused(refusal) => {
                let trouble = if refusal.code == 421 { Trouble::Gone } else { Trouble::Login };
                EndpointError::new(trouble, &what, refusal.words)
            }
            Fault::Broken(why) => EndpointError::new(Trouble::Gone, &what, why),
        })
    }

    /// Binary transfers over passive connections, names in UTF-8.
    async fn agree(&mut self) -> Result<(), EndpointError> {
        let what = format!("agree with {}", self.server);
        match within(self.answer_max, self.ftp.feat()).await {
            Ok(features) => self.offers = features.into_keys().map(|name| name.to_ascii_uppercase()).collect(),
            // It has none.
            Err(Fault::Refused(_)) => {}
            Err(fault) => return Err(fault.during(what)),
        }
        if self.offers("UTF8") {
            // Many servers take it as their only choice and refuse to be told.
            let told = within(self.answer_max, self.ftp.opts("UTF8", Some("ON"))).await;
            unless_broken(told, &what)?;
        }
        let is_v6 = self.ftp.get_ref().await.peer_addr().is_ok_and(|peer| peer.is_ipv6());
        // PASV cannot say an IPv6 address (RFC 2428).
        self.ftp.set_mode(if is_v6 || self.offers("EPSV") { Mode::ExtendedPassive } else { Mode::Passive });
        // Whatever address a server gives for the data, it is the one that we have reached.
        self.ftp.set_passive_nat_workaround(true);
        let binary = within(self.answer_max, self.ftp.transfer_type(FileType::Binary)).await;
        binary.map_err(|fault| fault.during(what))
    }

    /// Goes to a folder and remembers its absolute path.
    async fn enter(&mut self, path: &str) -> Result<(), EndpointError> {
        let what = format!("enter the folder {} on {}", path.escape_debug(), self.server);
        if path.contains(['\r', '\n']) {
            return Err(EndpointError::new(Trouble::Name, what, "FTP has no such folders"));
        }
        if !path.is_empty() {
            let entered = within(self.answer_max, self.ftp.cwd(as_text(path.as_bytes()))).await;
            entered.map_err(|fault| fault.during_or(Trouble::Missing, &what))?;
        }
        let base = within(self.answer_max, self.ftp.pwd()).await.map_err(|fault| fault.during(what))?;
        // A quote is doubled within quotes (RFC 959, appendix II).
        self.base = base.replace("\"\"", "\"");
        self.base.truncate(self.base.trim_end_matches('/').len());
        Ok(())
    }

    /// The server, for errors.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// How long to wait for an answer.
    pub fn answer_max(&self) -> Duration {
        self.answer_max
    }

    fn offers(&self, extension: &str) -> bool {
        self.offers.contains(extension)
    }

    /// Whether listings have exact facts.
    pub fn has_facts(&self) -> bool {
        self.offers("MLST")
    }

    /// The path of a file, or of a folder, as an argument.
    pub fn argument(&self, name: &FileName) -> Result<String, EndpointError> {
        argument(&self.base, name)
    }

    /// The path of a folder of the place, or of the place itself.
    pub fn folder_argument(&self, folder: Option<&FileName>) -> Result<String, EndpointError> {
        match folder {
            Some(folder) => self.argument(folder),
            None if self.base.is_empty() => Ok("/".to_owned()),
            None => Ok(self.base.clone()),
        }
    }

    /// One command, its reply expected to be one of `expected`.
    pub async fn command(&mut self, command: String, expected: &[Status]) -> Result<Response, Fault> {
        within(self.answer_max, self.ftp.custom_command(command, expected)).await
    }

    /// A command that brings bytes over a connection of their own.
    pub async fn download(&mut self, command: String) -> Result<Transfer, Fault> {
        let expected = [Status::AboutToSend, Status::AlreadyOpen];
        Ok(within(self.answer_max, self.ftp.custom_data_command(command, &expected)).await?.1)
    }

    /// RETR, from an offset on.
    pub async fn retrieve(&mut self, argument: &str, offset_bytes: u64) -> Result<Transfer, Fault> {
        let offset = usize::try_from(offset_bytes).map_err(|_| Fault::Broken("the offset is too large".to_owned()))?;
        within(self.answer_max, self.ftp.resume_transfer(offset)).await?;
        within(self.answer_max, self.ftp.retr_as_stream(argument)).await
    }

    /// STOR.
    pub async fn store(&mut self, argument: &str) -> Result<Transfer, Fault> {
        within(self.answer_max, self.ftp.put_with_stream(argument)).await
    }

    /// What the server says of a transfer that broke, while that is still held. The session is of no more use then.
    pub async fn last_words(mut self) -> Option<Refusal> {
        match within(self.answer_max, self.ftp.read_response_in(&[])).await {
            Err(Fault::Refused(refusal)) if refusal.code >= 400 => Some(refusal),
            _ => None,
        }
    }

    /// Makes the folders of a name, as far as they are missing. Gives why the last cannot be made.
    pub async fn make_folders(&mut self, name: &FileName) -> Result<Option<Refusal>, EndpointError> {
        let mut folders: Vec<FileName> = std::iter::successors(name.folder(), FileName::folder).collect();
        folders.reverse();
        let mut refused = None;
        for folder in folders {
            let argument = self.argument(&folder)?;
            match within(self.answer_max, self.ftp.mkdir(argument)).await {
                Ok(()) => refused = None,
                Err(Fault::Refused(refusal)) if refusal.trouble() != Some(Trouble::Gone) => {
                    // It may be there, or cannot be because the one above cannot.
                    let tells = !matches!(refusal.trouble(), None | Some(Trouble::Exists | Trouble::Missing));
                    refused = if tells { Some(refusal) } else { refused };
                }
                Err(fault) => return Err(fault.during(format_args!("make the folder {folder} on {}", self.server))),
            }
        }
        Ok(refused)
    }

    /// Is there a folder of this path?
    pub async fn is_folder(&mut self, argument: &str) -> Result<bool, EndpointError> {
        let entered = within(self.answer_max, self.ftp.cwd(argument)).await;
        Ok(unless_broken(entered, &format!("look on {}", self.server))?.is_some())
    }

    /// What is known of what has this name.
    pub async fn look(&mut self, name: &FileName) -> Result<Option<(Kind, Attributes)>, EndpointError> {
        let what = format!("look at {name} on {}", self.server);
        let argument = self.argument(name)?;
        if self.offers("MLST") {
            let line = within(self.answer_max, self.ftp.mlst(Some(&argument))).await;
            let Some(line) = unless_hidden(line, &what)? else { return Ok(None) };
            // One byte for each character: see `Bytes`.
            let line: Vec<u8> = line.chars().map(|byte| byte as u8).collect();
            let entry = listing::facts(&line).filter(|entry| entry.kind != Kind::File || entry.size_bytes.is_some());
            let entry =
                entry.ok_or_else(|| EndpointError::new(Trouble::Other, &what, "the server's facts are none"))?;
            let size_bytes = entry.size_bytes.unwrap_or_default();
            return Ok(Some((entry.kind, Attributes { size_bytes, modified: entry.modified, mode: entry.mode })));
        }
        let size = within(self.answer_max, self.ftp.size(&argument)).await;
        let Some(size) = unless_hidden(size, &what)? else { return Ok(None) };
        let modified = self.modified(&argument, &what).await?;
        Ok(Some((Kind::File, Attributes { size_bytes: size as u64, modified, mode: None })))
    }

    /// When a file was last written, if the server says it.
    pub async fn modified(&mut self, argument: &str, what: &str) -> Result<Option<SystemTime>, EndpointError> {
        if !self.offers("MDTM") {
            return Ok(None);
        }
        let reply = self.command(format!("MDTM {argument}"), &[Status::File]).await;
        let Some(reply) = unless_broken(reply, what)? else { return Ok(None) };
        Ok(reply.body.trim_ascii().rsplit(|byte| *byte == b' ').next().and_then(time::parse))
    }

    /// The size of a file, if the server says it.
    pub async fn size(&mut self, argument: &str, what: &str) -> Result<Option<u64>, EndpointError> {
        if !self.offers("SIZE") {
            return Ok(None);
        }
        let size = within(self.answer_max, self.ftp.size(argument)).await;
        Ok(unless_broken(size, what)?.map(|size| size as u64))
    }

    /// Gives a file a time and permissions, as far as the server takes them.
    pub async fn attribute(
        &mut self,
        argument: &str,
        attributes: &Attributes,
        what: &str,
    ) -> Result<(), EndpointError> {
        if let Some(time) = attributes.modified.and_then(time::format) {
            // Without MFMT: several servers set the time by MDTM with two arguments. Others look for a file of that name.
            let command = if self.offers("MFMT") { "MFMT" } else { "MDTM" };
            let set =
                self.command(format!("{command} {time} {argument}"), &[Status::File, Status::RequestedFileActionOk]);
            let set = set.await;
            unless_broken(set, what)?;
        }
        if let Some(mode) = attributes.mode {
            let accepted = [Status::CommandOk, Status::RequestedFileActionOk];
            let set = self.command(format!("SITE CHMOD {mode:o} {argument}"), &accepted).await;
            unless_broken(set, what)?;
        }
        Ok(())
    }

    /// RNFR and RNTO.
    pub async fn rename(&mut self, from: &str, to: &str) -> Result<(), Fault> {
        self.command(format!("RNFR {from}"), &[Status::RequestFilePending]).await?;
        self.command(format!("RNTO {to}"), &[Status::RequestedFileActionOk, Status::CommandOk]).await.map(drop)
    }

    /// DELE.
    pub async fn delete(&mut self, argument: &str) -> Result<(), Fault> {
        within(self.answer_max, self.ftp.rm(argument)).await
    }
}

/// Connects, and for FTPS turns TLS on before anything is said.
async fn reach(place: &Place, server: &str, answer_max: Duration) -> Result<AsyncRustlsFtpStream, EndpointError> {
    let gone = |why: &dyn Display| EndpointError::new(Trouble::Gone, format_args!("reach {server}"), why);
    let connect = tokio::time::timeout(CONNECT_MAX, TcpStream::connect((place.server.as_str(), place.port)));
    let stream = connect.await.map_err(|_| gone(&format_args!("no answer within {CONNECT_MAX:?}")))?;
    let stream = stream.map_err(|error| gone(&error))?;
    prepare(&stream).map_err(|error| gone(&error))?;
    let greeted = within(answer_max, AsyncRustlsFtpStream::connect_with_stream(stream)).await;
    let ftp = greeted.map_err(|fault| match fault {
        Fault::Refused(refusal) => gone(&refusal.words),
        Fault::Broken(why) => gone(&why),
    })?;
    if place.kind != PlaceKind::Ftps {
        return Ok(ftp);
    }
    let owned = place.clone();
    let connector =
        tokio::task::spawn_blocking(move || tls::connector(&owned)).await.map_err(|error| gone(&error))??;
    let secured = tokio::time::timeout(answer_max, ftp.into_secure(connector, &place.server));
    secured.await.map_err(|_| gone(&format_args!("no answer within {answer_max:?}")))?.map_err(|error| {
        let trouble = if matches!(error, FtpError::ConnectionError(_)) { Trouble::Gone } else { Trouble::Login };
        EndpointError::new(trouble, format_args!("use TLS with {server}"), error)
    })
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
