//! `relay check`: the site file's errors, or a short account of what it would do.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use crate::config::{self, Files, Loaded, Place, Purpose, Site, Stream};

/// Checks the site file of `path`, shows what was found and gives the exit code.
pub(super) fn check(path: &Path) -> ExitCode {
    match config::load(path, Purpose::Check) {
        Ok(Loaded { site, warnings }) => {
            // A reader that has seen enough (`| head`) does not change the verdict.
            let _ = write!(std::io::stderr(), "{}", config::render(&warnings, super::colourful()));
            let _ = write!(std::io::stdout(), "{}", account(path, &site, warnings.len()));
            ExitCode::SUCCESS
        }
        Err(errors) => super::refuse(path, &errors),
    }
}

/// What the file says, in a line and one more per stream and files table.
fn account(path: &Path, site: &Site, warnings: usize) -> String {
    let seal = if site.link.key_file.is_some() { "sealed" } else { "not sealed" };
    let mut text = format!(
        "{}: usable, {}, link {} -> {} {seal}, {warnings} warning{}\n",
        path.display(),
        contents(site),
        site.link.blue.address,
        site.link.red.address,
        plural(warnings),
    );
    for stream in &site.streams {
        let _ = writeln!(text, "  {}", stream_line(stream));
    }
    for files in &site.files {
        let _ = writeln!(text, "  {}", files_line(files));
    }
    text
}

/// "1 stream, 2 files tables".
fn contents(site: &Site) -> String {
    let (streams, files) = (site.streams.len(), site.files.len());
    let streams = (streams > 0).then(|| format!("{streams} stream{}", plural(streams)));
    let files = (files > 0).then(|| format!("{files} files table{}", plural(files)));
    streams.into_iter().chain(files).collect::<Vec<_>>().join(", ")
}

fn files_line(files: &Files) -> String {
    let off = if files.enabled { "" } else { ", off" };
    let (blue, red) = (place(&files.blue.place), place(&files.red.place));
    format!("channel {} {}: files from {blue} to {red}{off}", files.channel, files.name)
}

fn place(place: &Place) -> String {
    let Place { kind, server, port, share, path, .. } = place;
    let folder: Vec<&str> =
        [share.as_str(), path.trim_start_matches('/')].into_iter().filter(|part| !part.is_empty()).collect();
    let folder = folder.join("/");
    match server.as_str() {
        "" => format!("{} /{folder}", kind.name()),
        server => format!("{} {server} port {port} /{folder}", kind.name()),
    }
}

fn stream_line(stream: &Stream) -> String {
    // A long source list would hide the rest of the line.
    const SHOWN: usize = 3;
    let mut sources: Vec<String> = stream.sources.iter().take(SHOWN).map(ToString::to_string).collect();
    if stream.sources.len() > SHOWN {
        sources.push(format!("and {} more", stream.sources.len() - SHOWN));
    }
    format!(
        "channel {} {}: {} port {} from {} to {}",
        stream.channel,
        stream.name,
        stream.kind.name(),
        stream.source_port,
        sources.join(", "),
        stream.destination,
    )
}

const fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
