//! Readers of single values of a `[[files]]` table: servers, folders, patterns.

use toml::de::DeValue;

use super::types::After;
use crate::config::section::nearest;
use crate::config::values::{Fault, Read, text_of};
use crate::files::FileName;
use crate::files::checks::Pattern;

/// Name or address of a server (RFC 1123, section 2.1).
pub(super) fn server(value: &DeValue<'_>) -> Read<String> {
    // RFC 1035, section 2.3.4.
    const MOST_BYTES: usize = 253;
    let text = text_of(value, "the name or address of a server", "\"192.168.50.25\"")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    // With colons it is an IPv6 address, and nothing else: a port has a key of its own.
    let is_one = !text.contains(':') || text.parse::<std::net::Ipv6Addr>().is_ok();
    if (1..=MOST_BYTES).contains(&text.len()) && text.chars().all(allowed) && is_one {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        "is not a server",
        "expected a name or an address, without a port or a path",
        "write it like \"192.168.50.25\" or \"files.example.org\"; `port` and `path` are keys of their own",
    ))
}

/// Who logs in.
pub(super) fn user(value: &DeValue<'_>) -> Read<String> {
    // Longest in Active Directory with its domain; others are shorter.
    const MOST_CHARS: usize = 256;
    let text = text_of(value, "the name of a user", "\"relay\"")?;
    if (1..=MOST_CHARS).contains(&text.chars().count()) && !text.contains(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        "is not a user",
        format!("allowed: 1 to {MOST_CHARS} characters on one line"),
        "write it like \"relay\" or \"DOMAIN\\\\relay\"",
    ))
}

/// Fingerprint of an SSH server's key: SHA-256 in base64 without padding, as `ssh-keygen -l` shows it.
pub(super) fn host_key(value: &DeValue<'_>) -> Read<String> {
    /// 32 bytes in base64.
    const DIGITS: usize = 43;
    const EXAMPLE: &str = "\"SHA256:\" and 43 characters";
    let text = text_of(value, "a fingerprint", EXAMPLE)?;
    let digits = text.strip_prefix("SHA256:").unwrap_or_default();
    if digits.len() == DIGITS && digits.chars().all(|c| c.is_ascii_alphanumeric() || "+/".contains(c)) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        "is not a fingerprint",
        format!("expected {EXAMPLE}"),
        "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the server shows it",
    ))
}

/// Name of an SMB share (MS-FSCC, section 2.1.6).
pub(super) fn share(value: &DeValue<'_>) -> Read<String> {
    const MOST_CHARS: usize = 80;
    let text = text_of(value, "the name of a share", "\"exchange\"")?;
    let forbidden = |c: char| c.is_control() || "\\/[]:|<>+=;,*?\"".contains(c);
    if (1..=MOST_CHARS).contains(&text.chars().count()) && !text.contains(forbidden) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        "is not a share",
        format!("allowed: 1 to {MOST_CHARS} characters, none of \\ / [ ] : | < > + = ; , * ? \""),
        "write the share's name alone, like \"exchange\"; `path` is the folder in it",
    ))
}

/// The folder of a place: absolute on this host (`local`), as the server takes it elsewhere.
pub(super) fn path(local: bool) -> impl Fn(&DeValue<'_>) -> Read<String> {
    /// Leaves room under `PATH_MAX` of linux/limits.h for the names of files.
    const MOST_BYTES: usize = 1000;
    move |value| {
        let text = text_of(value, "a folder", "\"/srv/files\"")?;
        let cause = if text.is_empty() || text.len() > MOST_BYTES {
            format!("allowed: 1 to {MOST_BYTES} bytes")
        } else if text.contains(char::is_control) {
            "it has a control character".to_owned()
        } else if text.split('/').any(|part| part == "..") {
            "it has a part `..`".to_owned()
        } else if local && !text.starts_with('/') {
            "a folder of this host must be absolute".to_owned()
        } else {
            return Ok(text.to_owned());
        };
        Err(Fault::new("is not a folder", cause, "write it like \"/srv/files\""))
    }
}

/// A folder inside of the place, by its name under it.
pub(super) fn folder(value: &DeValue<'_>) -> Read<String> {
    let text = text_of(value, "a folder of the place", "\"quarantine\"")?;
    inside(text, "\"quarantine\"")
}

fn inside(text: &str, example: &str) -> Read<String> {
    let fault = |cause: String| {
        let remedy = format!("name a folder inside of the place, like {example}");
        Fault::new("is not a folder of the place", cause, remedy)
    };
    if text.contains(char::is_control) {
        return Err(fault("it has a control character".to_owned()));
    }
    FileName::new(text).map(|_| text.to_owned()).map_err(|bad| fault(bad.to_string()))
}

/// `delete`, `keep`, or `move:FOLDER`.
pub(super) fn after(value: &DeValue<'_>) -> Read<After> {
    const EXAMPLE: &str = "\"delete\", \"keep\" or \"move:sent\"";
    let text = text_of(value, "what becomes of a file that was sent", EXAMPLE)?;
    match text.split_once(':') {
        None if text == "delete" => Ok(After::Delete),
        None if text == "keep" => Ok(After::Keep),
        Some(("move", folder)) => inside(folder, "\"move:sent\"").map(After::Move),
        _ => {
            let remedy = nearest(text, ["delete", "keep", "move"].into_iter())
                .filter(|word| *word != "move")
                .map_or_else(|| format!("set one of {EXAMPLE}"), |word| format!("did you mean \"{word}\"?"));
            Err(Fault::new("is unknown", format!("allowed: {EXAMPLE}"), remedy))
        }
    }
}

/// A pattern of names.
pub(super) fn pattern(value: &DeValue<'_>) -> Read<String> {
    const EXAMPLE: &str = "\"*.csv\"";
    let text = text_of(value, "a pattern", EXAMPLE)?;
    let remedy = "write it like \"*.csv\", \"reports/*.pdf\" or \"**/out/*\"";
    Pattern::new(text)
        .map(|_| text.to_owned())
        .map_err(|bad| Fault::new(format!("has a bad pattern `{}`", text.escape_debug()), bad.why, remedy))
}
