//! `relay check`: the site file's errors, or a short account of what it would do.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use crate::config::{self, Loaded, Purpose, Site, Stream};

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

/// What the file says, in a line and one more per stream.
fn account(path: &Path, site: &Site, warnings: usize) -> String {
    let seal = if site.link.key_file.is_some() { "sealed" } else { "not sealed" };
    let mut text = format!(
        "{}: usable, {} stream{}, link {} -> {} {seal}, {warnings} warning{}\n",
        path.display(),
        site.streams.len(),
        plural(site.streams.len()),
        site.link.blue.address,
        site.link.red.address,
        plural(warnings),
    );
    for stream in &site.streams {
        let _ = writeln!(text, "  {}", stream_line(stream));
    }
    text
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
