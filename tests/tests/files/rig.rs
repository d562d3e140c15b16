//! A path whose hosts have a folder each, and files in them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lab::path::{Ground, Path5, relay};
use lab::{Loss, Options, RelayProcess, Role, Site, Syslog, TempDir};

/// The channel of the files.
pub const CHANNEL: u16 = 9;
/// Much more than anything takes that is not to be waited for.
pub const SOON: Duration = Duration::from_secs(20);
/// Much more than a few megabytes take, with pauses between attempts.
pub const PATIENCE: Duration = Duration::from_mins(1);
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
        let lines = format!("channel = {CHANNEL}\nname = \"reports\"\n{lines}");
        table(&lines, (&self.blue(), blue), (&self.red(), red))
    }
}

/// A `[[files]]` table from folder to folder that wastes no time.
pub fn table(lines: &str, (from, blue): (&Path, &str), (to, red): (&Path, &str)) -> String {
    let settle = if lines.contains("settle") { "" } else { "settle = \"100ms\"" };
    format!(
        "[[files]]\npoll = \"200ms\"\n{settle}\n{lines}\n\
         [files.blue]\nkind = \"dir\"\npath = \"{}\"\n{blue}\n[files.red]\nkind = \"dir\"\npath = \"{}\"\n{red}\n",
        from.display(),
        to.display(),
    )
}

/// A file system of its own in a folder, so that it can be full or read-only; gone with this, whatever happens.
pub struct Mount {
    folder: PathBuf,
}

impl Mount {
    /// Memory with room for so many KiB. Mounted before a relay starts, the relay sees it.
    pub fn memory(folder: &Path, kib: u32) -> Self {
        let options = format!("size={kib}k,mode=0755");
        command(&["mount", "-t", "tmpfs", "-o", &options, "relay-lab", &folder.display().to_string()]);
        Self { folder: folder.to_owned() }
    }

    /// Another file in the place of `file`, which is there.
    pub fn over(file: &Path, other: &str) -> Self {
        command(&["mount", "--bind", other, &file.display().to_string()]);
        Self { folder: file.to_owned() }
    }

    /// Room for so many KiB from now on.
    pub fn resize(&self, kib: u32) {
        command(&["mount", "-o", &format!("remount,size={kib}k"), &self.folder.display().to_string()]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Also while a relay has files open in it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}

/// Runs a command of the system; a panic with what it said when it fails.
pub fn command(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output().expect("it starts");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
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

/// A site for both relays' kernels, at a rate that leaves time to interfere, which tells syslog.
pub fn site() -> Site {
    let syslog = format!("syslog = \"{}\"", Syslog::TARGET);
    Site::new("socket").link("rate = \"200Mbit/s\"").blue(&syslog).red(&syslog)
}

/// Both relays at work with a return link and one `[[files]]` table, on a link without loss.
pub fn start(table: &str) -> Path5 {
    ground(site(), Back::Status, Loss::None, table).start()
}

/// A program in `folder` that runs the relay by another command, such as `setpriv` or `env` with their arguments.
pub fn program(folder: &Path, by: &str) -> PathBuf {
    let program = folder.join("relay-so");
    std::fs::write(&program, format!("#!/bin/sh\nexec {by} {} \"$@\"\n", relay().display())).expect("written");
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("possible");
    program
}

/// Kills one relay and starts it again.
pub fn kill(path: Path5, role: Role) -> Path5 {
    let Path5 { ground, blue, red } = path;
    match role {
        Role::Blue => {
            blue.kill();
            Path5 { blue: ground.relay(role), red, ground }
        }
        Role::Red => {
            red.kill();
            Path5 { red: ground.relay(role), blue, ground }
        }
    }
}

/// Both logs.
pub fn logs(path: &Path5) -> String {
    format!("BLUE:\n{}\nRED:\n{}", path.blue.log().text(), path.red.log().text())
}

/// Waits until a relay has said a line with all of these words.
pub fn told(relay: &RelayProcess, words: &[&str]) {
    let found = relay.wait_for_line(0, SOON, |line| words.iter().all(|word| line.contains(word)));
    found.unwrap_or_else(|error| panic!("{words:?}: {error:#}\n{}", relay.log().text()));
}

/// Waits until the counters of a relay's files are so: `look` gets a count by its key.
pub fn counted(relay: &RelayProcess, look: impl Fn(&dyn Fn(&str) -> u64) -> bool) {
    let deadline = Instant::now() + SOON;
    let accepts = |line: &str| {
        let count = |key: &str| {
            let found = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            found.and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        line.contains(" files=reports ") && line.contains("stats ") && look(&count)
    };
    loop {
        let from = relay.log().len();
        relay.signal(libc::SIGUSR1).expect("it runs");
        if relay.wait_for_line(from, Duration::from_millis(150), accepts).is_ok() {
            return;
        }
        assert!(Instant::now() < deadline, "no such counters:\n{}", relay.log().text());
    }
}

/// One file.
pub fn one(name: &str, content: &[u8]) -> Tree {
    Tree::from([(name.as_bytes().to_vec(), content.to_vec())])
}

/// Waits until everything is on RED's side, and nothing else, and no original is left; then ends it all. What arrived is as
/// it was sent, and no temporary is left.
pub fn arrives(path: Path5, folders: &Folders, files: &Tree) {
    wait(&path, PATIENCE, "all files", || count(&folders.red()) == files.len() && count(&folders.blue()) == 0);
    let found = tree(&folders.red());
    assert!(&found == files, "contents differ: {:?}\n{}", shown(&found), logs(&path));
    assert_eq!(temporaries(&folders.red()), Vec::<PathBuf>::new(), "{}", logs(&path));
    path.end();
}

/// For people.
pub fn shown(tree: &Tree) -> Vec<String> {
    tree.iter().map(|(name, content)| format!("{} {} bytes", name.escape_ascii(), content.len())).collect()
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

/// So many bytes from a seed.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    Random::new(seed).bytes(bytes)
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
        assert!(Instant::now() < deadline, "{what}: not in time\n{}", logs(path));
        std::thread::sleep(LOOK_PERIOD);
    }
}
