//! Log lines of the control thread.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::config::{Role, Site, SiteErrors};
use crate::files::Progress;
use crate::telemetry::counters::{Sample, Subject};
use crate::telemetry::report::{Occasion, line};
use crate::wire::LinkKey;

/// Logs the counters; on the last occasion it also prints them on standard output, for whoever started the relay.
pub fn print_report(occasion: Occasion, samples: &[Sample], obtained: &str) {
    for sample in samples {
        let mut text = line(occasion, sample);
        if sample.subject == Subject::Link {
            text = format!("{text} {obtained}");
        }
        match occasion {
            Occasion::Stats => tracing::info!("{text}"),
            // Whoever started the relay may have closed its end: no reason to fail while stopping.
            Occasion::Summary => drop(writeln!(std::io::stdout(), "{text}")),
        }
    }
}

/// Logs what became of a channel's files, and how far those on their way have come.
pub fn print_files(occasion: Occasion, role: Role, name: &str, counts: &[(&str, u64)], progress: &Progress) {
    let counts: Vec<String> = counts.iter().map(|(key, count)| format!("{key}={count}")).collect();
    let text = format!("{} role={role} files={name} {}", occasion.name(), counts.join(" "));
    match occasion {
        Occasion::Stats => tracing::info!("{text}"),
        // As above.
        Occasion::Summary => drop(writeln!(std::io::stdout(), "{text}")),
    }
    for line in progress.lines() {
        tracing::info!("progress role={role} files={name} {line}");
    }
}

/// The link's key, or a loud warning that there is none.
pub fn link_key(site: &Site) -> anyhow::Result<LinkKey> {
    let Some(path) = &site.link.key_file else {
        tracing::warn!(
            "THE LINK IS NOT SEALED: whoever reaches it can read and forge everything; run `relay keygen` and set [link] key_file on both hosts"
        );
        return Ok(LinkKey::unsealed());
    };
    let key = crate::config::key::load(path)?;
    Ok(LinkKey::sealed(*key.bytes()))
}

/// Says why a reload changed nothing: a line for each error of the site file.
pub fn log_refused_reload(error: &anyhow::Error) {
    tracing::error!("reload refused, the old configuration stays in force");
    match error.downcast_ref::<SiteErrors>() {
        None => tracing::error!("{error:#}"),
        Some(errors) => errors.problems.iter().for_each(|problem| tracing::error!("{}", problem.one_line())),
    }
}

/// Keeps log lines about single packets, sessions or files readable: so many per second, and then how many were left out.
#[derive(Debug)]
pub struct Chatter {
    lines_per_second: u32,
    since: Instant,
    lines: u32,
    left_out: u64,
}

/// About packets and sessions: a person can still follow them.
const LINES_PER_SECOND: u32 = 5;
/// About the files of one channel: each is told of once, and who looks for one must find it. More are a flood that would only
/// fill the log.
const FILE_LINES_PER_SECOND: u32 = 100;

impl Default for Chatter {
    fn default() -> Self {
        Self::new(LINES_PER_SECOND)
    }
}

impl Chatter {
    fn new(lines_per_second: u32) -> Self {
        Self { lines_per_second, since: Instant::now(), lines: 0, left_out: 0 }
    }

    /// May another line be written now?
    pub fn admit(&mut self) -> bool {
        if self.since.elapsed() >= Duration::from_secs(1) {
            let left_out = std::mem::take(&mut self.left_out);
            if left_out > 0 {
                tracing::warn!(left_out, "further lines of this kind were left out; the counters have them all");
            }
            self.since = Instant::now();
            self.lines = 0;
        }
        self.lines += 1;
        let admitted = self.lines <= self.lines_per_second;
        self.left_out += u64::from(!admitted);
        admitted
    }
}

/// The same for log lines about files: trouble in one channel silences no other.
#[derive(Debug, Default)]
pub struct FilesChatter {
    channels: HashMap<String, Chatter>,
}

impl FilesChatter {
    /// Writes a line about a file of a channel, unless there are too many.
    pub fn warn(&mut self, files: &str, text: &str) {
        let new = || Chatter::new(FILE_LINES_PER_SECOND);
        if self.channels.entry(files.to_owned()).or_insert_with(new).admit() {
            tracing::warn!(%files, "{text}");
        }
    }
}
