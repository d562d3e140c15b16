//! Reads a place: which keys it has depends on its kind.

use std::path::Path;

use super::types::{Place, PlaceKind};
use super::words::{host_key, path, server, share, user};
use crate::config::section::{Notes, Section};
use crate::config::values::{self, boolean, one_of, whole};

const KINDS: &[(&str, PlaceKind)] = &[
    ("dir", PlaceKind::Dir),
    ("ftp", PlaceKind::Ftp),
    ("ftps", PlaceKind::Ftps),
    ("smb", PlaceKind::Smb),
    ("sftp", PlaceKind::Sftp),
];

const SERVERS: &[PlaceKind] = &[PlaceKind::Ftp, PlaceKind::Ftps, PlaceKind::Smb, PlaceKind::Sftp];

/// A key of a place, besides `kind`.
struct Key {
    name: &'static str,
    /// Kinds that may have it.
    of: &'static [PlaceKind],
    /// Kinds that must.
    needed: &'static [PlaceKind],
    example: &'static str,
}

const KEYS: [Key; 9] = [
    Key {
        name: "path",
        of: &[PlaceKind::Dir, PlaceKind::Ftp, PlaceKind::Ftps, PlaceKind::Smb, PlaceKind::Sftp],
        needed: &[PlaceKind::Dir],
        example: "\"/srv/files\"",
    },
    Key { name: "server", of: SERVERS, needed: SERVERS, example: "\"192.168.50.25\"" },
    Key { name: "port", of: SERVERS, needed: &[], example: "" },
    Key { name: "user", of: SERVERS, needed: SERVERS, example: "\"relay\"" },
    Key {
        name: "password_file",
        of: SERVERS,
        needed: &[PlaceKind::Ftp, PlaceKind::Ftps, PlaceKind::Smb],
        example: "\"server.password\"",
    },
    Key { name: "key_file", of: &[PlaceKind::Sftp], needed: &[], example: "" },
    Key {
        name: "host_key",
        of: &[PlaceKind::Sftp],
        needed: &[PlaceKind::Sftp],
        example: "\"SHA256:...\", as `ssh-keygen -lf` shows the server's key",
    },
    Key { name: "share", of: &[PlaceKind::Smb], needed: &[PlaceKind::Smb], example: "\"exchange\"" },
    Key { name: "tls", of: &[PlaceKind::Ftps], needed: &[], example: "" },
];

/// Reads the keys of a place from a table that may have others. Paths of this host's files are resolved against `folder`.
pub(super) fn read(notes: &mut Notes, s: &mut Section<'_, '_>, folder: &Path) -> Place {
    if !s.has("kind") {
        s.missing(notes, "kind", "\"dir\"");
    }
    let kind = s.get(notes, "kind", one_of(KINDS));
    if let Some(kind) = kind {
        for key in &KEYS {
            fits(notes, s, key, kind);
        }
        login(notes, s, kind);
    }
    values_of(notes, s, kind, folder)
}

/// Notes a key that its kind of place must have and has not, or has and must not have.
fn fits(notes: &mut Notes, s: &mut Section<'_, '_>, key: &Key, kind: PlaceKind) {
    if !key.of.contains(&kind) {
        let kinds: Vec<String> = key.of.iter().map(|kind| format!("\"{}\"", kind.name())).collect();
        let what = format!("is for places of kind {}", kinds.join(", "));
        let remedy = format!("remove `{}`, or set another `kind`", key.name);
        s.foreign(notes, key.name, &format!("the kind is \"{}\"", kind.name()), &what, remedy);
    } else if key.needed.contains(&kind) && !s.has(key.name) {
        s.missing(notes, key.name, key.example);
    }
}

/// SFTP takes a password or a key: one, so that it is clear who logs in.
fn login(notes: &mut Notes, s: &mut Section<'_, '_>, kind: PlaceKind) {
    if kind != PlaceKind::Sftp {
        return;
    }
    match (s.has("key_file"), s.has("password_file")) {
        (false, false) => s.missing(notes, "key_file", "\"sftp.key\"` or `password_file = \"sftp.password\""),
        (true, true) => {
            let remedy = "keep one of the two".to_owned();
            s.foreign(notes, "password_file", "`key_file` is set as well", "excludes `key_file`", remedy);
        }
        _ => {}
    }
}

/// The values of the keys that a place of `kind` may have; all, if the kind is not known.
fn values_of(notes: &mut Notes, s: &mut Section<'_, '_>, kind: Option<PlaceKind>, folder: &Path) -> Place {
    let has = |name: &str| KEYS.iter().any(|key| key.name == name && kind.is_none_or(|kind| key.of.contains(&kind)));
    let local = kind == Some(PlaceKind::Dir);
    let mut place = Place { kind: kind.unwrap_or(PlaceKind::Dir), ..Place::folder("") };
    place.port = place.kind.default_port();
    place.path = s.get(notes, "path", path(local)).unwrap_or_default();
    if has("server") {
        place.server = s.get(notes, "server", server).unwrap_or_default();
        place.port = s.get(notes, "port", whole(1..=65535)).unwrap_or(place.port);
        place.user = s.get(notes, "user", user).unwrap_or_default();
        place.password_file = s.get(notes, "password_file", values::path).map(|file| folder.join(file));
    }
    if has("key_file") {
        place.key_file = s.get(notes, "key_file", values::path).map(|file| folder.join(file));
        place.host_key = s.get(notes, "host_key", host_key);
    }
    if has("share") {
        place.share = s.get(notes, "share", share).unwrap_or_default();
    }
    if has("tls")
        && let Some(mut tls) = s.table(notes, "tls")
    {
        place.ca_file = tls.get(notes, "ca_file", values::path).map(|file| folder.join(file));
        place.verify = tls.get(notes, "verify", boolean).unwrap_or(true);
        tls.finish(notes);
    }
    place
}
