//! Site file -> validated [`Site`], or every error at once with file, line, cause and remedy.
//!
//! ```text
//! text --toml--> spanned tables --section--> Site with places --rules--> Site, warnings
//!                  |                |                            |
//!                  +----------------+------- problems -----------+--> SiteErrors
//! ```
//!
//! Owns the site file, the key file and the comparison of two sites. It looks at no interface and
//! opens no socket: a file can be checked on any machine.

mod diff;
mod fec;
mod files;
pub mod key;
mod problem;
mod rules;
mod section;
mod site;
mod streams;
mod tables;
#[cfg(test)]
mod tests;
mod text;
mod values;

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use toml::de::DeTable;

pub use diff::{Change, StreamChange, diff};
pub use files::{After, Files, FilesSource, FilesTarget, Place, PlaceKind};
pub use problem::{Problem, SiteErrors, render};
pub use site::{
    Driver, Encapsulation, Endpoint, Fec, Host, Impersonate, LEAST_ROOM_BYTES, Link, Network, Protection, ReturnLink,
    ReturnMode, Role, Scheme, Site, Stream, StreamKind, Syslog, Transmit, Unmatched,
};
pub use tables::default_burst_bytes;
pub use text::{probability_of, rate_of};

use key::KeyError;
use problem::{Class, Text};
use section::{Notes, Section};

/// The place that problems of the key file point to.
const KEY_FILE: &str = "link.key_file";
/// A site file of thousands of streams fits; whatever is larger is not a site file.
const MOST_FILE_BYTES: u64 = 4 << 20;

/// What a site file is loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be checked, perhaps on a third machine: a key file that cannot be read is a warning.
    Check,
    /// To be run: a key file that cannot be read is an error.
    Run(Role),
}

/// A usable site, with what is questionable about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The validated site.
    pub site: Site,
    /// To be shown to the operator; by place in the file.
    pub warnings: Vec<Problem>,
}

/// Reads, validates and returns the site of `path`.
///
/// # Errors
/// Every problem of the file at once, errors and warnings.
pub fn load(path: &Path, purpose: Purpose) -> Result<Loaded, SiteErrors> {
    let text = read(path).map_err(|problem| SiteErrors { problems: vec![*problem] })?;
    examine(path, &text, Some(purpose))
}

/// Validates `text` as the site file `path`, without touching the file system: key files are not
/// looked at.
///
/// # Errors
/// Every problem of the text at once, errors and warnings.
pub fn parse(path: &Path, text: &str) -> Result<Loaded, SiteErrors> {
    examine(path, text, None)
}

/// The file's text, or why there is none.
fn read(path: &Path) -> Result<String, Box<Problem>> {
    let name = path.display().to_string();
    let problem = |message: String, remedy: &str| Box::new(Problem::of_file(&name, message, remedy.to_owned()));
    let unreadable = |error: std::io::Error| {
        problem(
            format!("cannot read site file {name}: {error}"),
            "name a readable file with --config; config/minimal.toml is one to start from",
        )
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MOST_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > MOST_FILE_BYTES {
        let message = format!("{name} is larger than {} MiB", MOST_FILE_BYTES >> 20);
        return Err(problem(message, "name a site file with --config"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = String::from_utf8_lossy(&error.as_bytes()[..good]).matches('\n').count() + 1;
        problem(format!("line {line} of {name} is not UTF-8 text"), "save the file as UTF-8")
    })
}

fn examine(path: &Path, text: &str, purpose: Option<Purpose>) -> Result<Loaded, SiteErrors> {
    let source = Text { name: path.display().to_string(), text: text.to_owned() };
    let mut notes = Notes::new(Arc::new(source));
    let (document, broken) = DeTable::parse_recoverable(text);
    for error in &broken {
        syntax(&mut notes, text, error);
    }
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let site = site(&mut notes, document.get_ref(), folder);
    if broken.is_empty() {
        rules::check(&mut notes, &site);
        if let Some(purpose) = purpose {
            key_file(&mut notes, &site, purpose);
            files::credentials(&mut notes, &site, purpose);
        }
    }
    conclude(notes.problems, site, !broken.is_empty())
}

fn syntax(notes: &mut Notes, text: &str, error: &toml::de::Error) {
    let span = error.span().unwrap_or(text.len()..text.len());
    notes.error(
        Class::Syntax,
        span,
        "here",
        format!("not TOML: {}", error.message()),
        "write `key = value` below a `[table]`, text in double quotes; more may show once this is right".to_owned(),
    );
}

fn site(notes: &mut Notes, document: &DeTable<'_>, folder: &Path) -> Site {
    let mut root = Section::file(document);
    let link = tables::link(notes, &mut root, folder);
    let blue = tables::host(notes, &mut root, Role::Blue, &link, folder);
    let red = tables::host(notes, &mut root, Role::Red, &link, folder);
    let streams = streams::all(notes, &mut root, &link.fec);
    let files = files::all(notes, &mut root, &link.fec, folder);
    if !root.has("stream") && !root.has("files") {
        let message = "there is no [[stream]] and no [[files]]".to_owned();
        let remedy = "add a `[[stream]]` table, config/minimal.toml has one, or a `[[files]]` table".to_owned();
        notes.error(Class::Structure, None, "", message, remedy);
    }
    root.finish(notes);
    Site { link, blue, red, streams, files }
}

/// A key file that is missing, wrong, or open to others.
fn key_file(notes: &mut Notes, site: &Site, purpose: Purpose) {
    let Some(path) = &site.link.key_file else { return };
    let found = match key::load(path) {
        Ok(_) => open_to_others(notes, path),
        Err(error) => bad_key_file(notes, path, &error, purpose),
    };
    notes.problems.extend(found);
}

fn open_to_others(notes: &Notes, path: &Path) -> Option<Problem> {
    // A file that vanished since it was read is not open to anyone.
    let mode = key::exposed_mode(path).ok().flatten()?;
    let cause = format!("its mode is {mode:04o}");
    let message = format!("key file {} is open to other users", path.display());
    let remedy = "`chmod 600` it; make a new one if others had access";
    notes.about(KEY_FILE, &cause, message, remedy.to_owned()).map(Problem::warning)
}

fn bad_key_file(notes: &Notes, path: &Path, error: &KeyError, purpose: Purpose) -> Option<Problem> {
    let name = path.display();
    let (message, cause, remedy) = match error {
        KeyError::Missing(_) => (
            format!("key file {name} is missing"),
            "there is no such file".to_owned(),
            format!("`relay keygen {name}` writes one; both hosts need the same"),
        ),
        KeyError::Unreadable { source, .. } => (
            format!("cannot read key file {name}"),
            source.to_string(),
            "make it readable by the relay's user, and nobody else".to_owned(),
        ),
        other => (
            format!("{name} is not a key file"),
            match other {
                KeyError::Format { cause, .. } => cause.clone(),
                other => other.to_string(),
            },
            "it must hold one line of 64 hexadecimal digits; `relay keygen` writes one".to_owned(),
        ),
    };
    let problem = notes.about(KEY_FILE, &cause, message, remedy)?;
    let elsewhere = matches!(error, KeyError::Missing(_) | KeyError::Unreadable { .. });
    Some(if purpose == Purpose::Check && elsewhere { problem.warning() } else { problem })
}

/// Errors if there is any; of broken syntax only what surely is one.
fn conclude(mut problems: Vec<Problem>, site: Site, broken: bool) -> Result<Loaded, SiteErrors> {
    if broken {
        problems.retain(|problem| problem.class != Class::Structure);
    }
    problems.sort_by_key(Problem::rank);
    if problems.iter().all(Problem::is_warning) {
        Ok(Loaded { site, warnings: problems })
    } else {
        Err(SiteErrors { problems })
    }
}
