//! Reads the `[[files]]` tables.

use std::path::Path;
use std::time::Duration;

use super::place;
use super::types::{After, Files, FilesSource, FilesTarget, Place};
use super::words::{after, folder, pattern};
use crate::config::fec;
use crate::config::section::{Notes, Section};
use crate::config::site::{Fec, LEAST_ROOM_BYTES};
use crate::config::streams::{DEFAULT_BUFFER_BYTES, MOST_BUFFER_BYTES};
use crate::config::values::{Fault, boolean, duration, line, rate, size, stream_name, whole};
use crate::files::checks::PATTERNS_MAX;

/// Listing a folder on a server every two seconds is no load, and adds little to the time that a file takes to settle.
const DEFAULT_POLL: Duration = Duration::from_secs(2);
/// More often, listing a large folder takes longer than that.
const LEAST_POLL: Duration = Duration::from_millis(100);
/// Longer than the pauses of programs that write a file in one go.
const DEFAULT_SETTLE: Duration = Duration::from_secs(2);
/// Under that, times of files with the resolution of some servers cannot tell a change.
const LEAST_SETTLE: Duration = Duration::from_millis(100);
/// Longest `poll` and `settle`: who waits for longer wants another tool.
const MOST_WAIT: Duration = Duration::from_hours(1);
/// Four hide the time between two files from the link.
const DEFAULT_PARALLEL: u32 = 4;
/// A server grants few connections to one user.
const MOST_PARALLEL: u32 = 64;
/// With half of the attempts lost, one file in a thousand fails ten times.
const DEFAULT_ATTEMPTS: u32 = 10;
/// The number of an attempt is one byte on the wire, with room for resending by hand.
const MOST_ATTEMPTS: u32 = 200;
/// Without a return link nothing is repeated unless asked for: the link's protection is meant to be enough.
const DEFAULT_REPEAT: u32 = 0;
/// More would leave no number for resending by hand.
const MOST_REPEAT: u32 = 100;
/// A file that never arrived is known within minutes, at a few hundred bytes a file.
const DEFAULT_MANIFEST: Duration = Duration::from_mins(1);
/// More often than every second it would crowd out files.
const LEAST_MANIFEST: Duration = Duration::from_secs(1);
/// A day between two would report a loss when its file is forgotten.
const MOST_MANIFEST: Duration = Duration::from_hours(24);
/// An operator sees an alarm of the night in the morning and can still send the file again.
const DEFAULT_RETAIN: Duration = Duration::from_hours(24);
/// Files that are known for less than a minute cannot be resent by anybody.
const LEAST_RETAIN: Duration = Duration::from_mins(1);
/// Thirty days: the journal holds every file of that time.
const MOST_RETAIN: Duration = Duration::from_hours(30 * 24);
/// Larger than any file that is meant to cross; what is larger is more likely a slip.
const DEFAULT_MAX_BYTES: u64 = 64 << 30;
/// The largest file of the usual file systems (ext4, 4 KiB blocks).
const MOST_MAX_BYTES: u64 = 16 << 40;

/// Reads every `[[files]]`. Paths of this host's files are resolved against `folder`.
pub(in crate::config) fn all(
    notes: &mut Notes,
    root: &mut Section<'_, '_>,
    link_fec: &Fec,
    folder: &Path,
) -> Vec<Files> {
    const REMEDY: &str =
        "write `[[files]]` with `[files.blue]` and `[files.red]` below it; config/reference.toml has one";
    let (sections, all) = root.tables(notes, "files", "files tables", REMEDY);
    let files = sections.into_iter().map(|section| files(notes, section, link_fec, folder)).collect();
    // Rules find files by their place in the file's list: no half lists.
    if all { files } else { Vec::new() }
}

fn files(notes: &mut Notes, mut section: Section<'_, '_>, link_fec: &Fec, folder: &Path) -> Files {
    let s = &mut section;
    let blue = source(notes, s, folder);
    let red = target(notes, s, folder, blue.max_bytes);
    let files = Files {
        channel: s.need(notes, "channel", "3", 0, whole(1..=65535)),
        name: s.need(notes, "name", "\"reports\"", String::new(), stream_name),
        description: s.get(notes, "description", line).unwrap_or_default(),
        enabled: s.get(notes, "enabled", boolean).unwrap_or(true),
        poll: s.get(notes, "poll", duration(LEAST_POLL, MOST_WAIT)).unwrap_or(DEFAULT_POLL),
        settle: s.get(notes, "settle", duration(LEAST_SETTLE, MOST_WAIT)).unwrap_or(DEFAULT_SETTLE),
        parallel: s.get(notes, "parallel", whole(1..=MOST_PARALLEL)).unwrap_or(DEFAULT_PARALLEL),
        attempts: s.get(notes, "attempts", whole(1..=MOST_ATTEMPTS)).unwrap_or(DEFAULT_ATTEMPTS),
        repeat: s.get(notes, "repeat", whole(0..=MOST_REPEAT)).unwrap_or(DEFAULT_REPEAT),
        manifest: s.get(notes, "manifest", duration(LEAST_MANIFEST, MOST_MANIFEST)).unwrap_or(DEFAULT_MANIFEST),
        retain: s.get(notes, "retain", duration(LEAST_RETAIN, MOST_RETAIN)).unwrap_or(DEFAULT_RETAIN),
        rate_bps: s.get(notes, "rate", rate),
        fec: match s.table(notes, "fec") {
            Some(table) => fec::read(notes, table, link_fec),
            None => link_fec.clone(),
        },
        buffer_bytes: s.get(notes, "buffer", size(LEAST_ROOM_BYTES, MOST_BUFFER_BYTES)).unwrap_or(DEFAULT_BUFFER_BYTES),
        blue,
        red,
    };
    section.finish(notes);
    files
}

fn source(notes: &mut Notes, parent: &mut Section<'_, '_>, site_folder: &Path) -> FilesSource {
    const EXAMPLE: &str = "`kind = \"dir\"` and `path = \"/srv/outgoing\"`";
    let mut source = FilesSource {
        place: Place::folder(""),
        include: Vec::new(),
        exclude: Vec::new(),
        temporary: false,
        max_bytes: DEFAULT_MAX_BYTES,
        magic: true,
        quarantine: None,
        after: After::Delete,
    };
    let Some(mut section) = parent.need_table(notes, "blue", EXAMPLE) else { return source };
    let s = &mut section;
    source.place = place::read(notes, s, site_folder);
    source.include = patterns(notes, s, "include");
    source.exclude = patterns(notes, s, "exclude");
    source.temporary = s.get(notes, "temporary", boolean).unwrap_or(source.temporary);
    source.max_bytes = s.get(notes, "max_size", size(1_u64, MOST_MAX_BYTES)).unwrap_or(source.max_bytes);
    source.magic = s.get(notes, "magic", boolean).unwrap_or(source.magic);
    source.quarantine = s.get(notes, "quarantine", folder);
    source.after = s.get(notes, "after", after).unwrap_or(source.after);
    section.finish(notes);
    source
}

/// Without a limit of its own RED takes what BLUE is to let pass.
fn target(notes: &mut Notes, parent: &mut Section<'_, '_>, site_folder: &Path, blue_max_bytes: u64) -> FilesTarget {
    const EXAMPLE: &str = "`kind = \"dir\"` and `path = \"/srv/incoming\"`";
    let mut target = FilesTarget { place: Place::folder(""), max_bytes: blue_max_bytes };
    let Some(mut section) = parent.need_table(notes, "red", EXAMPLE) else { return target };
    let s = &mut section;
    target.place = place::read(notes, s, site_folder);
    target.max_bytes = s.get(notes, "max_size", size(1_u64, MOST_MAX_BYTES)).unwrap_or(target.max_bytes);
    section.finish(notes);
    target
}

fn patterns(notes: &mut Notes, s: &mut Section<'_, '_>, key: &'static str) -> Vec<String> {
    let list = s.list(notes, key, "[\"*.csv\", \"reports/*.pdf\"]", pattern);
    if list.len() > PATTERNS_MAX
        && let Some(value) = s.raw(key)
    {
        let cause = format!("{} patterns; at most {PATTERNS_MAX}", list.len());
        let remedy = "put several into one: \"*.{csv,txt}\"";
        s.fault(notes, key, value.span(), Fault::new("is too long", cause, remedy));
    }
    list
}
