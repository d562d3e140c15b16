//! `cargo xtask demo --files`: from folder to folder over a diode that loses frames, with a second one for status.

use std::fs;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lab::{Counters, Lab, Loss, Options, RelayProcess, Role, Site, Stopped, TempDir};

use super::report::lines;

/// What the diode loses; the site promises to survive it.
const LOSS_PERCENT: f64 = 2.0;
/// Many small files ...
const SMALL_COUNT: u64 = 500;
/// ... of up to so many bytes, some in folders ...
const SMALL_BYTES_MAX: u64 = 64 << 10;
/// ... and a large one: long enough on its way for a look at the bar.
const LARGE_BYTES: u64 = 256 << 20;
/// Bytes made, and compared, at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// Nothing new for so long: it does not come any more. Longer than several attempts take.
const STALLED: Duration = Duration::from_mins(1);
/// Letters of the bar.
const BAR_LETTERS: u64 = 30;

/// One file of the demo.
struct Sample {
    /// Relative to its folder.
    name: PathBuf,
    bytes: u64,
    seed: u64,
}

/// What came out.
struct Outcome {
    samples: Vec<Sample>,
    took: Duration,
    /// Contents that are what was sent.
    equal: usize,
    /// Originals that are still there.
    left: usize,
    diode: Counters,
    blue: Stopped,
    red: Stopped,
}

/// How far it is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Arrived {
    files: u64,
    /// With what has come of files on their way.
    bytes: u64,
}

/// Runs the demo with this relay and driver; an error unless every file arrived as it was and every original is gone.
pub(super) fn run(relay: &Path, driver: &str) -> Result<()> {
    let outcome = carry(relay, driver)?;
    println!("\n{}", table(&outcome));
    verdict(&outcome)
}

fn carry(relay: &Path, driver: &str) -> Result<Outcome> {
    let folder = TempDir::new()?;
    let at = |name: &str| folder.path().join(name);
    for name in ["outgoing", "incoming", "staging"] {
        fs::create_dir(at(name))?;
    }
    let samples = samples();
    let total = Arrived { files: samples.len() as u64, bytes: samples.iter().map(|sample| sample.bytes).sum() };
    println!("making {} files, {} MB ...", total.files, total.bytes / 1_000_000);
    for sample in &samples {
        sample.make(&at("staging")).with_context(|| format!("cannot make {}", sample.name.display()))?;
    }
    let loss = Loss::percent(LOSS_PERCENT);
    let lab = Lab::new(&Options { loss, return_loss: Some(Loss::None), ..Options::default() })?;
    println!("hosts: blue - diode ({LOSS_PERCENT}% loss, one way) - red, and a second diode back for status");
    let mut keygen = Command::new(relay);
    keygen.arg("keygen").arg(at("link.key"));
    lab.blue.output(keygen, "")?;
    let site = site(driver, folder.path()).write(folder.path())?;
    let red = RelayProcess::start(relay, Role::Red, &lab.red, &site)?;
    let blue = RelayProcess::start(relay, Role::Blue, &lab.blue, &site)?;
    println!("relays: both ready, driver = \"{driver}\", sealed, RaptorQ");

    let start = Instant::now();
    // Whole at once, as a program should place files: by rename.
    fs::rename(at("staging"), at("outgoing").join("day"))?;
    show_progress(&at("incoming"), &at("outgoing"), total, start)?;
    let took = start.elapsed();
    let equal = samples.iter().filter(|sample| sample.is_in(&at("incoming").join("day")).unwrap_or(false)).count();
    let left = look(&at("outgoing"))?.files as usize;
    let (blue, red) = (blue.stop()?, red.stop()?);
    Ok(Outcome { samples, took, equal, left, diode: lab.diode.counters()?, blue, red })
}

fn site(driver: &str, folder: &Path) -> Site {
    let folder_of = |name: &str| folder.join(name).display().to_string();
    // With a status link nothing overruns: no rate is needed.
    Site::new(driver)
        .return_link("status")
        .protect(&format!("{LOSS_PERCENT}%"), "1e-9", 0)
        .key_file(&folder.join("link.key"))
        .tables(&format!(
            "[[files]]\nchannel = 1\nname = \"day\"\npoll = \"200ms\"\nsettle = \"200ms\"\n\
             [files.blue]\nkind = \"dir\"\npath = \"{}\"\n[files.red]\nkind = \"dir\"\npath = \"{}\"\n",
            folder_of("outgoing"),
            folder_of("incoming"),
        ))
}

fn samples() -> Vec<Sample> {
    let small = (0..SMALL_COUNT).map(|number| {
        let folder = ["", "a", "a/b"][number as usize % 3];
        let name = Path::new(folder).join(format!("file-{number}.bin"));
        // Any spread over the sizes will do.
        Sample { name, bytes: number * 7919 % SMALL_BYTES_MAX + 1, seed: number + 1 }
    });
    let large = Sample { name: "large.bin".into(), bytes: LARGE_BYTES, seed: SMALL_COUNT + 1 };
    small.chain([large]).collect()
}

impl Sample {
    /// Its content, always the same.
    fn content(&self) -> impl Iterator<Item = Vec<u8>> {
        // Xorshift: no two files, and no two parts of one, are alike.
        let mut state = self.seed;
        let mut left = self.bytes as usize;
        std::iter::from_fn(move || {
            let mut chunk = vec![0; left.min(CHUNK_BYTES)];
            for word in chunk.chunks_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
            }
            left -= chunk.len();
            (!chunk.is_empty()).then_some(chunk)
        })
    }

    fn make(&self, folder: &Path) -> Result<()> {
        let path = folder.join(&self.name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        let mut file = fs::File::create(path)?;
        for chunk in self.content() {
            file.write_all(&chunk)?;
        }
        Ok(())
    }

    /// Is it there, with its content and nothing more?
    fn is_in(&self, folder: &Path) -> Result<bool> {
        let mut file = fs::File::open(folder.join(&self.name))?;
        if file.metadata()?.len() != self.bytes {
            return Ok(false);
        }
        for chunk in self.content() {
            let mut found = vec![0; chunk.len()];
            file.read_exact(&mut found)?;
            if found != chunk {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Shows how far it is until everything is there and all originals are gone: a bar on a terminal, else a line every two
/// seconds. Also ends when nothing moves any more.
fn show_progress(incoming: &Path, outgoing: &Path, total: Arrived, start: Instant) -> Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let period = Duration::from_millis(if terminal { 200 } else { 2000 });
    let (mut last, mut moved, mut shown) = (Arrived::default(), Instant::now(), Instant::now());
    loop {
        // Often, so that the end is noticed when it comes.
        std::thread::sleep(Duration::from_millis(50));
        let (arrived, left) = (look(incoming)?, look(outgoing)?.files);
        if arrived != last {
            (last, moved) = (arrived, Instant::now());
        }
        let done = arrived.files == total.files && left == 0;
        if done || shown.elapsed() >= period {
            shown = Instant::now();
            let line = line(arrived, total, start.elapsed(), terminal);
            print!("{line}{}", if terminal { "\x1b[K\r" } else { "\n" });
            std::io::stdout().flush()?;
        }
        if done || moved.elapsed() > STALLED {
            break;
        }
    }
    if terminal {
        println!();
    }
    Ok(())
}

/// "[=======>      ] 43%  120 of 272 MB, 210 of 501 files, 1.02 Gb/s".
fn line(arrived: Arrived, total: Arrived, elapsed: Duration, bar: bool) -> String {
    let share = |of: u64| (arrived.bytes.min(total.bytes) * of).checked_div(total.bytes).unwrap_or(of);
    let bar = if bar {
        let (full, width) = ("=".repeat(share(BAR_LETTERS) as usize) + ">", BAR_LETTERS as usize + 1);
        format!("[{full:<width$}] ")
    } else {
        format!("{:5.1} s: ", elapsed.as_secs_f64())
    };
    format!(
        "{bar}{:3}%  {} of {} MB, {} of {} files, {:.2} Gb/s",
        share(100),
        arrived.bytes / 1_000_000,
        total.bytes / 1_000_000,
        arrived.files,
        total.files,
        gigabits(arrived.bytes, elapsed),
    )
}

fn gigabits(bytes: u64, time: Duration) -> f64 {
    bytes as f64 * 8.0 / 1e9 / time.as_secs_f64()
}

/// What is below a folder; of temporaries only the bytes count. What goes while it looks counts as gone.
fn look(folder: &Path) -> Result<Arrived> {
    let mut arrived = Arrived::default();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let entries = match fs::read_dir(&next) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("cannot look into {}", next.display()))?,
        };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => {
                    arrived.files += u64::from(!entry.file_name().as_encoded_bytes().starts_with(b"."));
                    arrived.bytes += found.len();
                }
                Err(_) => {}
            }
        }
    }
    Ok(arrived)
}

fn table(outcome: &Outcome) -> String {
    let Outcome { samples, took, equal, left, diode, red, .. } = outcome;
    let bytes: u64 = samples.iter().map(|sample| sample.bytes).sum();
    let link = |key| red.summary.link("forward").and_then(|line| line.number(key));
    let recovered = link("symbols_recovered").map_or_else(|_| "not told by RED".to_owned(), |count| count.to_string());
    let rows = [
        ("files", format!("{}, {bytes} bytes", samples.len())),
        ("time", format!("{:.1} s, from placing them to the last original gone", took.as_secs_f64())),
        ("rate", format!("{:.2} Gb/s", gigabits(bytes, *took))),
        ("equal", format!("{equal} of {}: RED checked each BLAKE3 hash, the demo every byte", samples.len())),
        ("originals left", left.to_string()),
        (
            "frames on the link",
            format!("{}, of which the diode lost {}", diode.forwarded + diode.dropped, diode.dropped),
        ),
        ("recovered by FEC", format!("{recovered} frames")),
        ("frames that came back", format!("{} over the first diode", diode.came_back)),
    ];
    lines(&rows)
}

fn verdict(outcome: &Outcome) -> Result<()> {
    let Outcome { samples, equal, left, diode, blue, red, .. } = outcome;
    let ended = blue.status.success() && red.status.success();
    if *equal != samples.len() || *left > 0 || diode.came_back > 0 || !ended {
        bail!("the demo shows a fault; BLUE said:\n{}\nRED said:\n{}", blue.log.text(), red.log.text());
    }
    ensure!(diode.dropped > 0, "the diode lost nothing: the demo proves nothing");
    println!("Every file crossed a link that lost {} frames, and its original is gone.", diode.dropped);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_found_again_and_nothing_else_is_taken_for_it() {
        let folder = TempDir::new().expect("a folder");
        let sample = |seed| Sample { name: "a/b.bin".into(), bytes: CHUNK_BYTES as u64 + 3, seed };
        sample(1).make(folder.path()).expect("made");
        fs::write(folder.path().join("a/.relay-1-x.part"), "part").expect("written");
        assert!(sample(1).is_in(folder.path()).expect("read"));
        assert!(!sample(2).is_in(folder.path()).expect("read"));
        assert!(!Sample { bytes: 7, ..sample(1) }.is_in(folder.path()).expect("read"));
        let found = look(folder.path()).expect("looked");
        assert_eq!((found.files, found.bytes), (1, CHUNK_BYTES as u64 + 7));
    }

    #[test]
    fn the_bar_has_one_width() {
        let total = Arrived { files: 4, bytes: 4_000_000 };
        let at = |bytes| line(Arrived { files: 1, bytes }, total, Duration::from_millis(10), true);
        assert!(
            at(1_000_000).starts_with("[=======>                       ]  25%  1 of 4 MB, 1 of 4 files, 0.80 Gb/s")
        );
        for bytes in [0, 4_000_000, 5_000_000] {
            assert_eq!(at(bytes).find(']'), Some(BAR_LETTERS as usize + 2), "{}", at(bytes));
        }
    }
}
