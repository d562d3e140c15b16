//! A path whose hosts have a folder each, and files in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lab::path::{Ground, Path5};
use lab::{Loss, Options, Site, TempDir};

/// The channel of the files.
pub const CHANNEL: u16 = 9;
/// Between two looks at a folder.
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// Content by name, relative to its folder.
pub type Tree = BTreeMap<Vec<u8>, Vec<u8>>;

/// Two folders.
pub struct Folders {
    /// Holds both, and is gone afterwards.
    pub all: TempDir,
}

impl Folders {
    /// Empty ones.
    pub fn new() -> Self {
        let all = TempDir::new().expect("a folder");
        for name in ["blue", "red"] {
            std::fs::create_dir(all.path().join(name)).expect("a folder");
        }
        Self { all }
    }

    /// Where files are placed.
    pub fn blue(&self) -> PathBuf {
        self.all.path().join("blue")
    }

    /// Where they appear.
    pub fn red(&self) -> PathBuf {
        self.all.path().join("red")
    }

    /// The `[[files]]` table for both, with further lines for it, for BLUE's end and for RED's.
    pub fn table(&self, lines: &str, blue: &str, red: &str) -> String {
        format!(
            "[[files]]\nchannel = {CHANNEL}\nname = \"reports\"\npoll = \"200ms\"\nsettle = \"100ms\"\n{lines}\n\
             [files.blue]\nkind = \"dir\"\npath = \"{}\"\n{blue}\n[files.red]\nkind = \"dir\"\npath = \"{}\"\n{red}\n",
            self.blue().display(),
            self.red().display(),
        )
    }
}

/// Whether there is a return link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// None.
    No,
    /// For status, without loss.
    Status,
}

/// Hosts and links for a site with one `[[files]]` table.
pub fn ground(site: Site, back: Back, loss: Loss, table: &str) -> Ground {
    let site = if back == Back::Status { site.return_link("status") } else { site };
    let return_loss = (back == Back::Status).then_some(Loss::None);
    Ground::sealed(&Options { loss, return_loss, ..Options::default() }, &site.tables(table))
}

/// Every file under `folder`, temporaries left out.
pub fn tree(folder: &Path) -> Tree {
    use std::os::unix::ffi::OsStrExt as _;
    let mut tree = Tree::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let entries = std::fs::read_dir(&next).unwrap_or_else(|error| panic!("{}: {error}", next.display()));
        for entry in entries.map(|entry| entry.expect("readable")) {
            let name = entry.path().strip_prefix(folder).expect("inside").as_os_str().as_bytes().to_vec();
            // It may get its name, or go, just now.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) if entry.file_name().as_bytes().starts_with(b".relay-") => {}
                _ => drop(std::fs::read(entry.path()).map(|content| tree.insert(name, content))),
            }
        }
    }
    tree
}

/// Places files, whole at once.
pub fn place(folder: &Path, files: &Tree) {
    use std::os::unix::ffi::OsStrExt as _;
    for (name, content) in files {
        let path = folder.join(std::ffi::OsStr::from_bytes(name));
        std::fs::create_dir_all(path.parent().expect("in a folder")).expect("a folder");
        std::fs::write(path, content).expect("written");
    }
}

/// Bytes of the temporaries directly under `folder` or in its folders.
pub fn part_bytes(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        // It may go just now.
        match entry.metadata() {
            Ok(found) if found.is_dir() => bytes += part_bytes(&entry.path()),
            Ok(found) if entry.file_name().as_encoded_bytes().starts_with(b".relay-") => bytes += found.len(),
            _ => {}
        }
    }
    bytes
}

/// Numbers from a seed that look random.
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

fn fill(bytes: usize, mut next: impl FnMut() -> u64) -> Vec<u8> {
    let mut content = vec![0; bytes];
    for chunk in content.chunks_mut(8) {
        chunk.copy_from_slice(&next().to_le_bytes()[..chunk.len()]);
    }
    content
}

/// So many bytes from a seed.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    fill(bytes, numbers(seed))
}

/// `count` files of up to `bytes_max` bytes, some in folders, one empty, from a seed.
pub fn files(seed: u64, count: usize, bytes_max: usize) -> Tree {
    let mut next = numbers(seed);
    (0..count)
        .map(|number| {
            let folder = ["", "a/", "a/b/"][number % 3];
            let bytes = if number == 0 { 0 } else { next() as usize % bytes_max + 1 };
            (format!("{folder}file-{number}.bin").into_bytes(), fill(bytes, &mut next))
        })
        .collect()
}

/// Waits until `look` is content; a panic with both logs when it is not in time.
pub fn wait(path: &Path5, patience: Duration, what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !look() {
        assert!(
            Instant::now() < deadline,
            "{what}: not in time\nBLUE:\n{}\nRED:\n{}",
            path.blue.log().text(),
            path.red.log().text()
        );
        std::thread::sleep(LOOK_PERIOD);
    }
}

/// How many files `folder` has.
pub fn count(folder: &Path) -> usize {
    tree(folder).len()
}
