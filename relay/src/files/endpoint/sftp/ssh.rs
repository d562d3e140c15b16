//! The SSH connection under SFTP: the server's key is checked before anything is told to it, then the login, then the
//! channel of the SFTP subsystem.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse, Msg};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, MethodKind, Preferred, cipher};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Place;
use crate::files::endpoint::{EndpointError, Trouble};

/// Three tries of TCP's (0, 1 and 3 s) and an answer that is slow; more often, nobody is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Key exchange and login: a server that looks its client up in the DNS may take ten seconds over it, and one that refuses
/// a password some more.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection on which nothing has come for so long is asked for a sign of life, three times, so that a firewall keeps
/// it and a dead server is noticed.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Twice of what we ever have under way: the server need never wait for a window update.
const WINDOW_BYTES: u32 = 2 * super::transfer::UNDER_WAY_BYTES_MAX;
/// The longest packet that every SSH takes (RFC 4253, section 6.1) is 35,000; OpenSSH fills what we allow.
const PACKET_BYTES_MAX: u32 = 32 * 1024;
/// AES-GCM first: with the processor's own instructions it is several times faster than the others.
const CIPHERS: [cipher::Name; 6] = [
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];
/// A server that asks more often than this is not asking for a password.
const PROMPTS_MAX: usize = 4;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It broke, or the two do not agree on how to talk.
    #[error("{0}")]
    Ssh(#[from] russh::Error),
    /// The site file says nothing of the server's key.
    #[error(
        "its host key is not known: {seen}; if `ssh-keygen -lf` shows the same on the server, put it into the site file: host_key = \"{}\"",
        fingerprint(.seen)
    )]
    UnknownKey {
        /// The fingerprint of the server's key, and the key's type.
        seen: String,
    },
    /// The site file says something else of it.
    #[error(
        "its host key is {seen}, and the site file has host_key = \"{expected}\": another server, or its key was changed"
    )]
    WrongKey {
        /// As above.
        seen: String,
        /// The fingerprint in the site file.
        expected: String,
    },
}

/// The fingerprint without the key's type.
fn fingerprint(seen: &str) -> &str {
    seen.split(' ').next().unwrap_or_default()
}

/// Checks the server's key.
pub struct HostKey {
    expected: Option<String>,
}

impl client::Handler for HostKey {
    type Error = Refusal;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Refusal> {
        // Certificates are not asked for.
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        let print = key.fingerprint(HashAlg::Sha256).to_string();
        let seen = format!("{print} ({})", key.algorithm());
        match &self.expected {
            Some(expected) if *expected == print => Ok(true),
            Some(expected) => Err(Refusal::WrongKey { seen, expected: expected.clone() }),
            None => Err(Refusal::UnknownKey { seen }),
        }
    }
}

/// A connection that is logged in.
pub struct Session {
    /// Ends the connection when it is dropped, together with the channel.
    _handle: Handle<HostKey>,
}

/// Connects, logs in, and opens the channel.
pub async fn connect(place: &Place, password: Option<&str>) -> Result<(Session, Channel<Msg>), EndpointError> {
    let what = format!("connect to {}:{} by SFTP", place.server, place.port);
    let gone = |why: &str| EndpointError::new(Trouble::Gone, &what, why);
    let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect((place.server.as_str(), place.port))).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(gone(&error.to_string())),
        Err(_) => return Err(gone(&format!("nobody answers within {} s", CONNECT_TIMEOUT.as_secs()))),
    };
    // Requests are small, and each is waited for.
    stream.set_nodelay(true).map_err(|error| gone(&error.to_string()))?;
    let login = async {
        let host_key = HostKey { expected: place.host_key.clone() };
        let mut handle = client::connect_stream(Arc::new(config()), stream, host_key).await.map_err(|refusal| {
            let trouble = if matches!(refusal, Refusal::Ssh(_)) { Trouble::Gone } else { Trouble::Login };
            EndpointError::new(trouble, &what, refusal)
        })?;
        log_in(&mut handle, place, password).await?;
        let channel = subsystem(&handle).await.map_err(|error| gone(&error))?;
        Ok((Session { _handle: handle }, channel))
    };
    timeout(LOGIN_TIMEOUT, login)
        .await
        .unwrap_or_else(|_| Err(gone(&format!("it does not let us in within {} s", LOGIN_TIMEOUT.as_secs()))))
}

fn config() -> client::Config {
    client::Config {
        window_size: WINDOW_BYTES,
        maximum_packet_size: PACKET_BYTES_MAX,
        preferred: Preferred { cipher: Cow::Borrowed(&CIPHERS), ..Preferred::DEFAULT },
        keepalive_interval: Some(KEEPALIVE),
        ..client::Config::default()
    }
}

/// With the key if there is one, otherwise with the password.
async fn log_in(handle: &mut Handle<HostKey>, place: &Place, password: Option<&str>) -> Result<(), EndpointError> {
    let what = format!("log in as {} on {}:{} by SFTP", place.user, place.server, place.port);
    let refused = |why: &str| EndpointError::new(Trouble::Login, &what, why);
    let result = match (&place.key_file, password) {
        (Some(_), _) => {
            let key = private_key(place, password).map_err(|why| refused(&why))?;
            let how = "the server does not accept the key in key_file";
            with_key(handle, &place.user, key).await.map(|accepted| (accepted, how))
        }
        (None, Some(password)) => {
            let how = "the server does not accept the password";
            with_password(handle, &place.user, password).await.map(|accepted| (accepted, how))
        }
        (None, None) => return Err(refused("the site file has neither password_file nor key_file")),
    };
    match result {
        Ok((true, _)) => Ok(()),
        // The library says "no" for a connection that broke, too.
        Ok((false, _)) if handle.is_closed() => {
            Err(EndpointError::new(Trouble::Gone, &what, "the server closed the connection"))
        }
        Ok((false, why)) => Err(refused(why)),
        Err(error) => Err(EndpointError::new(Trouble::Gone, &what, error)),
    }
}

/// The key in `key_file`; the password, if there is one, decrypts it.
fn private_key(place: &Place, password: Option<&str>) -> Result<PrivateKey, String> {
    let Some(path) = &place.key_file else { return Err("there is no key_file".to_owned()) };
    match russh::keys::load_secret_key(path, password) {
        Ok(key) => Ok(key),
        Err(russh::keys::Error::KeyIsEncrypted) => {
            Err(format!("key_file {} is encrypted; give its passphrase in password_file", path.display()))
        }
        Err(error) => Err(format!("key_file {}: {error}", path.display())),
    }
}

async fn with_key(handle: &mut Handle<HostKey>, user: &str, key: PrivateKey) -> Result<bool, russh::Error> {
    let hash = if key.algorithm().is_rsa() { handle.best_supported_rsa_hash().await?.flatten() } else { None };
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
    Ok(handle.authenticate_publickey(user, key).await?.success())
}

/// As a password, or, where the server takes none, as the answer to its question.
async fn with_password(handle: &mut Handle<HostKey>, user: &str, password: &str) -> Result<bool, russh::Error> {
    match handle.authenticate_password(user, password).await? {
        AuthResult::Success => Ok(true),
        AuthResult::Failure { remaining_methods, .. } => {
            let asks = remaining_methods.contains(&MethodKind::KeyboardInteractive);
            // Where it takes passwords this one was wrong, and a second try would only be counted against the user.
            if asks && !remaining_methods.contains(&MethodKind::Password) {
                return with_answers(handle, user, password).await;
            }
            Ok(false)
        }
    }
}

/// RFC 4256: the one question whose answer is not to be shown is for the password.
async fn with_answers(handle: &mut Handle<HostKey>, user: &str, password: &str) -> Result<bool, russh::Error> {
    let mut response = handle.authenticate_keyboard_interactive_start(user, None).await?;
    for _ in 0..PROMPTS_MAX {
        let prompts = match response {
            KeyboardInteractiveAuthResponse::Success => return Ok(true),
            KeyboardInteractiveAuthResponse::Failure { .. } => return Ok(false),
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts,
        };
        if prompts.len() > 1 || prompts.iter().any(|prompt| prompt.echo) {
            return Ok(false);
        }
        let answers = prompts.iter().map(|_| password.to_owned()).collect();
        response = handle.authenticate_keyboard_interactive_respond(answers).await?;
    }
    Ok(false)
}

/// A channel with the SFTP subsystem.
async fn subsystem(handle: &Handle<HostKey>) -> Result<Channel<Msg>, String> {
    let mut channel = handle.channel_open_session().await.map_err(|error| error.to_string())?;
    channel.request_subsystem(true, "sftp").await.map_err(|error| error.to_string())?;
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => return Ok(channel),
            Some(ChannelMsg::Failure) => return Err("the server has no SFTP".to_owned()),
            Some(ChannelMsg::Close | ChannelMsg::Eof) | None => {
                return Err("the server closed the connection".to_owned());
            }
            Some(_) => {}
        }
    }
}
