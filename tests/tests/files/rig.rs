//! A path whose hosts have a folder each, and files in them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
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

/// Every file under `folder`.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        // One that goes just now hides nothing.
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => files.push(entry.path()),
            }
        }
    }
    files
}

fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().starts_with(b".relay-"))
}

/// Every file under `folder` by its name, temporaries of the relay left out.
pub fn names(folder: &Path) -> Vec<Vec<u8>> {
    let files = walk(folder).into_iter().filter(|path| !is_temporary(path));
    files.map(|path| path.strip_prefix(folder).expect("inside").as_os_str().as_bytes().to_vec()).collect()
}

/// Every file under `folder`, temporaries of the relay left out.
pub fn tree(folder: &Path) -> Tree {
    let names = names(folder).into_iter();
    // One may go just now.
    names.filter_map(|name| Some((name.clone(), std::fs::read(inside(folder, &name)).ok()?))).collect()
}

/// How many files `folder` has.
pub fn count(folder: &Path) -> usize {
    names(folder).len()
}

/// Temporaries of the relay anywhere under `folder`.
pub fn temporaries(folder: &Path) -> Vec<PathBuf> {
    walk(folder).into_iter().filter(|path| is_temporary(path)).collect()
}

/// The path of a name in a folder.
pub fn inside(folder: &Path, name: &[u8]) -> PathBuf {
    folder.join(OsStr::from_bytes(name))
}

/// Places files, whole at once.
pub fn place(folder: &Path, files: &Tree) {
    for (name, content) in files {
        let path = inside(folder, name);
        std::fs::create_dir_all(path.parent().expect("in a folder")).expect("a folder");
        std::fs::write(path, content).expect("written");
    }
}

/// Numbers from a seed (xorshift): the same in every run.
pub struct Random(u64);

impl Random {
    /// Numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One of `0..end`.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }

    /// So many bytes that no code shortens.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        bytes
    }
}

/// `count` files of up to `bytes_max` bytes, some in folders, one empty, from a seed.
pub fn files(seed: u64, count: usize, bytes_max: usize) -> Tree {
    let mut random = Random::new(seed);
    (0..count)
        .map(|number| {
            let folder = ["", "a/", "a/b/"][number % 3];
            let bytes = if number == 0 { 0 } else { random.below(bytes_max as u64) as usize + 1 };
            (format!("{folder}file-{number}.bin").into_bytes(), random.bytes(bytes))
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
