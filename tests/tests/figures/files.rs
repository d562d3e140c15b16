//! Files from folder to folder: how fast a large one crosses, and that many cross whole, in the temporary folder (`TMPDIR`).

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lab::path::{Ground, Path5};
use lab::{Loss, Options, RelayProcess, Site, TempDir, require_root, usage};

use super::rig;

/// Between two looks at RED's folder.
const LOOK_PERIOD: Duration = Duration::from_millis(5);
/// How long a file has not changed when it is taken.
const SETTLE: Duration = Duration::from_millis(100);
/// A bound for all of it, on a busy machine too.
const PATIENCE: Duration = Duration::from_mins(10);
/// Written and read at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// The large file's size.
const LARGE_BYTES: u64 = 2_000_000_000;
/// As many small files.
const SMALL: u64 = 10_000;
/// What a relay may have of memory.
const MEMORY_BYTES_MAX: u64 = 200_000_000;

/// Numbers that look random, the same for the same seed (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Passes `bytes` bytes on, in chunks.
    fn chunks(&mut self, bytes: u64, mut take: impl FnMut(&[u8])) {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut left = bytes;
        while left > 0 {
            for eight in chunk.chunks_exact_mut(8) {
                eight.copy_from_slice(&self.next().to_le_bytes());
            }
            let now = left.min(CHUNK_BYTES as u64);
            take(&chunk[..now as usize]);
            left -= now;
        }
    }
}

/// Writes the file of a seed outside of the watched folder, then places it there at once.
fn place(folders: &Folders, name: &str, seed: u64, bytes: u64) {
    let outside = folders.all.path().join("outside");
    let mut file = File::create(&outside).expect("a file");
    Numbers(seed).chunks(bytes, |chunk| file.write_all(chunk).expect("room"));
    drop(file);
    std::fs::rename(outside, folders.blue.join(name)).expect("placed");
}

fn assert_content(path: &Path, seed: u64, bytes: u64) {
    let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut found = vec![0; CHUNK_BYTES];
    Numbers(seed).chunks(bytes, |chunk| {
        let found = &mut found[..chunk.len()];
        file.read_exact(found).expect("as long");
        assert!(found == chunk, "{} differs", path.display());
    });
    assert_eq!(file.read(&mut found).expect("readable"), 0, "{} is longer", path.display());
}

/// The most memory that a relay ever had, MiB, which is within what it may have.
fn peak_mib(relay: &RelayProcess) -> u64 {
    let peak_bytes = relay.resident_peak_kib().expect("it runs") << 10;
    assert!(peak_bytes < MEMORY_BYTES_MAX, "{peak_bytes} bytes of memory");
    peak_bytes >> 20
}

/// BLUE's and RED's folder.
struct Folders {
    all: TempDir,
    blue: PathBuf,
    red: PathBuf,
}

fn start(site: Site, loss: Loss) -> (Folders, Path5) {
    let all = TempDir::new().expect("a folder");
    let (blue, red) = (all.path().join("blue"), all.path().join("red"));
    std::fs::create_dir(&blue).expect("a folder");
    std::fs::create_dir(&red).expect("a folder");
    let end = |side: &str, path: &Path| format!("[files.{side}]\nkind = \"dir\"\npath = \"{}\"\n", path.display());
    let head = format!("[[files]]\nchannel = 1\nname = \"files\"\nsettle = \"{}ms\"\n", SETTLE.as_millis());
    let table = format!("{head}{}{}", end("blue", &blue), end("red", &red));
    let options = Options { loss, return_loss: Some(Loss::None), ..Options::default() };
    let path = Ground::sealed(&options, &site.return_link("status").tables(&table)).start();
    rig::prepare_cards(&path);
    (Folders { all, blue, red }, path)
}

/// Files that have their names.
fn count(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).expect("there");
    entries
        .filter(|entry| entry.as_ref().is_ok_and(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".")))
        .count()
}

fn wait(path: &Path5, mut look: impl FnMut() -> bool) {
    let started = Instant::now();
    while !look() {
        assert!(started.elapsed() < PATIENCE, "{}\n{}", path.blue.log().text(), path.red.log().text());
        std::thread::sleep(LOOK_PERIOD);
    }
}

#[test]
#[ignore = "measures; see the crate's head"]
fn large() {
    require_root!();
    let (folders, path) = start(rig::site().scheme("raptorq").repair("2%"), Loss::None);
    place(&folders, "large", 7, LARGE_BYTES);
    let placed = Instant::now();
    wait(&path, || folders.red.join("large").exists());
    let took = placed.elapsed().saturating_sub(SETTLE);
    wait(&path, || count(&folders.blue) == 0);
    assert_content(&folders.red.join("large"), 7, LARGE_BYTES);
    let cpu = |relay: &RelayProcess| usage::cpu_time(relay.id()).expect("it runs").as_secs_f64();
    println!(
        "files, one of 2 GB: {:.2} Gb/s with hash, fsync and name | BLUE {:.2} CPU-s/GB, {} MiB | RED {:.2} CPU-s/GB, {} MiB",
        LARGE_BYTES as f64 * 8.0 / 1e9 / took.as_secs_f64(),
        cpu(&path.blue) * 1e9 / LARGE_BYTES as f64,
        peak_mib(&path.blue),
        cpu(&path.red) * 1e9 / LARGE_BYTES as f64,
        peak_mib(&path.red),
    );
    rig::stop(path);
}

fn many(what: &str, site: Site, loss: Loss) {
    let (folders, path) = start(site, loss);
    let size = |seed: u64| 1024 + Numbers(seed + 1).next() % (63 * 1024);
    let bytes: u64 = (0..SMALL).map(size).sum::<u64>() + LARGE_BYTES;
    let placed = Instant::now();
    place(&folders, "large", 7, LARGE_BYTES);
    for seed in 0..SMALL {
        place(&folders, &format!("small-{seed}"), seed + 1, size(seed));
    }
    wait(&path, || count(&folders.red) as u64 == SMALL + 1 && count(&folders.blue) == 0);
    let took = placed.elapsed();
    assert_content(&folders.red.join("large"), 7, LARGE_BYTES);
    for seed in 0..SMALL {
        assert_content(&folders.red.join(format!("small-{seed}")), seed + 1, size(seed));
    }
    println!(
        "files, {what}: {} of {} and originals gone, {:.1} s for {:.2} GB with their writing | BLUE {} MiB, RED {} MiB | {} frames lost",
        SMALL + 1,
        SMALL + 1,
        took.as_secs_f64(),
        bytes as f64 / 1e9,
        peak_mib(&path.blue),
        peak_mib(&path.red),
        path.ground.lab.diode.counters().unwrap().dropped,
    );
    rig::stop(path);
}

#[test]
#[ignore = "measures; see the crate's head"]
fn many_without_loss() {
    require_root!();
    many("no loss", rig::site(), Loss::None);
}

#[test]
#[ignore = "measures; see the crate's head"]
fn many_random() {
    require_root!();
    many("1% random", rig::site().protect("1%", "1e-9", 0), Loss::percent(1.0));
}

#[test]
#[ignore = "measures; see the crate's head"]
fn many_bursts() {
    require_root!();
    many("bursts of 12 in 900", rig::site().protect("0.01%", "1e-9", 12), Loss::Bursts { burst: 12, period: 900 });
}
