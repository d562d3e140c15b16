//! `relay missing` and `relay resend`: what the hosts' journals of files know, and orders to BLUE.
//!
//! Reads journals as they are on disk, also while a relay writes them, and changes nothing but BLUE's folder of orders.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use uuid::Uuid;

use crate::blue::files::{Known, Ledger, Order, Stage, order};
use crate::config::{self, Files, Loaded, Purpose, Site};
use crate::files::journal;
use crate::files::missing::table;
use crate::{blue, red};

pub(super) const MISSING_HELP: &str = "\
Run it on RED, as root or as the relay's user. A file is missing if BLUE's manifests name it and RED
has waited for it for two manifest periods (`manifest` in [[files]]). It is listed until it arrives,
or until BLUE cannot send it again (`retain`). Whether RED runs makes no difference to the list, but
only a running RED brings it up to date.

Exit codes: 0 the list was shown, also if it is empty; 1 a journal cannot be read; 2 bad usage or
site file.";

pub(super) const RESEND_HELP: &str = "\
Run it on BLUE, as root or as the relay's user. A running BLUE sends the file within `poll`, one that
is stopped after its next start. Only what BLUE still has can be sent: set `after` to \"move:FOLDER\" or
\"keep\" in [files.blue], and `retain` in [[files]] for how long. RED ignores a file that it has.

A name means the newest file of that name; `relay missing` on RED shows UUIDs and names.

Exit codes: 0 all will be sent again, 1 one cannot be, 2 bad usage or site file.";

#[derive(Debug, Args)]
pub(super) struct MissingArguments {
    #[command(flatten)]
    file: super::SiteFile,
    #[command(flatten)]
    channels: Channels,
}

#[derive(Debug, Args)]
pub(super) struct ResendArguments {
    #[command(flatten)]
    file: super::SiteFile,
    #[command(flatten)]
    channels: Channels,
    /// UUIDs or names of files
    #[arg(value_name = "WHAT", required = true)]
    what: Vec<OsString>,
}

/// Which of the site's `[[files]]`.
#[derive(Debug, Args)]
struct Channels {
    /// Only the files of this channel
    #[arg(long, value_name = "NUMBER", conflicts_with = "name")]
    channel: Option<u16>,
    /// Only the files of the channel with this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl Channels {
    /// The chosen ones of `site`; at least one.
    fn of<'a>(&self, site: &'a Site) -> Result<Vec<&'a Files>> {
        let wanted = |files: &&Files| {
            self.channel.is_none_or(|channel| files.channel == channel)
                && self.name.as_ref().is_none_or(|name| files.name == *name)
        };
        let chosen: Vec<&Files> = site.files.iter().filter(wanted).collect();
        if chosen.is_empty() {
            let all: Vec<String> =
                site.files.iter().map(|files| format!("{} (channel {})", files.name, files.channel)).collect();
            let all = if all.is_empty() { "no [[files]] at all".to_owned() } else { all.join(", ") };
            bail!("there is no such [[files]] in the site file, which has {all}");
        }
        Ok(chosen)
    }
}

/// Shows the missing files of RED's journals.
pub(super) fn missing(arguments: &MissingArguments) -> ExitCode {
    with_channels("missing", &arguments.file.config, &arguments.channels, |site, chosen| {
        let (mut text, mut failed) = (String::new(), false);
        for files in chosen {
            match missing_of(site, files) {
                Ok(one) => text += &one,
                Err(error) => {
                    eprintln!("relay missing: {error:#}");
                    failed = true;
                }
            }
        }
        // A reader that has seen enough (`| head`) does not change the outcome.
        let _ = write!(std::io::stdout(), "{text}");
        !failed
    })
}

fn missing_of(site: &Site, files: &Files) -> Result<String> {
    let title = format!("{}, channel {}", files.name, files.channel);
    let path = red::files::journal_of(&red::files::folder(&site.red.state_dir, files.channel));
    if !path.try_exists().with_context(|| format!("cannot look for {}", path.display()))? {
        return Ok(format!("{title}: RED has not run with these files yet, there is no {}\n", path.display()));
    }
    let state = red::files::State::of(journal::read_only(&path)?, SystemTime::now());
    let (told, waited): (Vec<_>, Vec<_>) = state.absent.iter().partition(|absent| absent.told);
    let waited = match waited.len() {
        0 => String::new(),
        count => format!(" ({count} sent lately may still be on the way)"),
    };
    Ok(match told.len() {
        0 => format!("{title}: no file is missing{waited}\n"),
        count => {
            format!("{title}: {count} file{} missing{waited}\n{}", if count == 1 { "" } else { "s" }, table(told))
        }
    })
}

/// Leaves orders for BLUE.
pub(super) fn resend(arguments: &ResendArguments) -> ExitCode {
    with_channels("resend", &arguments.file.config, &arguments.channels, |site, chosen| {
        let ledgers = chosen.iter().map(|files| Sendable::of(site, files)).collect::<Result<Vec<_>>>();
        let ledgers = match ledgers {
            Ok(ledgers) => ledgers,
            Err(error) => {
                eprintln!("relay resend: {error:#}");
                return false;
            }
        };
        let mut all = true;
        for what in &arguments.what {
            match resend_one(&ledgers, what) {
                // As above.
                Ok(told) => drop(writeln!(std::io::stdout(), "{told}")),
                Err(error) => {
                    eprintln!("relay resend: {error:#}");
                    all = false;
                }
            }
        }
        all
    })
}

/// What BLUE knows of a channel's files.
struct Sendable<'a> {
    files: &'a Files,
    folder: PathBuf,
    ledger: Ledger,
}

impl<'a> Sendable<'a> {
    /// Nothing if BLUE has not run yet.
    fn of(site: &Site, files: &'a Files) -> Result<Self> {
        let folder = blue::files::folder(&site.blue.state_dir, files.channel);
        let path = blue::files::journal_of(&folder);
        let there = path.try_exists().with_context(|| format!("cannot look for {}", path.display()))?;
        let entries = if there { journal::read_only(&path)? } else { Vec::new() };
        Ok(Self { files, folder, ledger: Ledger::of(entries) })
    }

    /// The file with this UUID, or the newest of this name.
    fn find(&self, what: &OsStr) -> Option<(Uuid, &Known)> {
        let by_uuid = what.to_str().and_then(|text| text.parse().ok());
        if let Some((file, known)) = by_uuid.and_then(|file| Some((file, self.ledger.get(file)?))) {
            return Some((file, known));
        }
        // As it is, or as logs and `relay missing` show it. UUIDs of version 7 begin with the time (RFC 9562, 5.7).
        let is_it = |known: &Known| known.name.as_bytes() == what.as_bytes() || *what == *known.name.to_string();
        self.ledger.iter().filter(|(_, known)| is_it(known)).max_by_key(|(file, _)| *file)
    }
}

fn resend_one(ledgers: &[Sendable<'_>], what: &OsStr) -> Result<String> {
    let found = ledgers.iter().filter_map(|one| one.find(what).map(|(file, known)| (one, file, known)));
    let found: Vec<_> = found.collect();
    let shown = what.to_string_lossy();
    let (sendable, file, known) = match found[..] {
        [] => bail!(
            "{}: BLUE does not know it; it was never taken, or sent longer than `retain` ago",
            shown.escape_debug()
        ),
        [one] => one,
        _ => bail!("{}: files of several channels have this name; choose with --channel", shown.escape_debug()),
    };
    let name = format!("file {file} {}", known.name);
    if let Some(why) = refusal(known) {
        bail!("{name} {why}");
    }
    let orders = sendable.folder.join(blue::files::ORDERS);
    order(&orders, Order::Resend(file))
        .with_context(|| format!("{name}: cannot leave an order in {}", orders.display()))?;
    let poll = sendable.files.poll;
    Ok(format!("{name} is sent again: within {poll:?} if BLUE runs, else after its next start"))
}

/// Why BLUE cannot send a file again.
fn refusal(known: &Known) -> Option<&'static str> {
    match (known.stage, &known.at) {
        (Stage::Pending, _) if known.sent.is_some() => Some("is being sent again already"),
        (Stage::Pending, _) => Some("is not sent yet; it goes by itself"),
        (Stage::Sent, _) => Some("was sent just now, and its original is not put away yet; try again in a moment"),
        (Stage::Done | Stage::Failed, None) => {
            Some("is not kept any more; [files.blue] `after` = \"move:FOLDER\" or \"keep\" keeps what was sent")
        }
        (Stage::Done | Stage::Failed, Some(_)) => None,
    }
}

/// Loads the site, chooses among its files and does `work`, which says whether all is well.
fn with_channels(
    command: &str,
    path: &Path,
    channels: &Channels,
    work: impl FnOnce(&Site, &[&Files]) -> bool,
) -> ExitCode {
    // Neither keys nor passwords are needed.
    let Loaded { site, .. } = match config::load(path, Purpose::Check) {
        Ok(loaded) => loaded,
        Err(errors) => return super::refuse(path, &errors),
    };
    match channels.of(&site) {
        Ok(chosen) if work(&site, &chosen) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(super::EXIT_FAILED),
        Err(error) => {
            eprintln!("relay {command}: {error}");
            ExitCode::from(super::EXIT_USAGE)
        }
    }
}
