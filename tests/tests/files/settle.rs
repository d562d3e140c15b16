//! Files that are still being written are not taken.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::chown;
use std::time::{Duration, Instant};

use lab::path::{Path5, is_soak};
use lab::{Loss, RelayProcess, Role, require_root};

use super::rig::{self, Back, Folders, PATIENCE, Random, Tree};

/// The settle time of these tests ...
const SETTLE: &str = "settle = \"700ms\"";
/// ... and a writer's pause, which a busy machine makes longer.
const PAUSE: Duration = Duration::from_millis(100);

#[test]
fn a_file_that_grows_arrives_once_and_whole() {
    require_root!();
    let folders = Folders::new();
    let path = rig::start(&folders.table(SETTLE, "", ""));
    let file = folders.blue().join("log.txt");
    let (mut random, mut content) = (Random::new(1), Vec::new());
    let end = Instant::now() + Duration::from_secs(if is_soak() { 10 } else { 3 });
    while Instant::now() < end {
        let piece = random.bytes(1000);
        // Closed each time: only its growing tells that it is not done.
        let open = File::options().create(true).append(true).open(&file);
        open.and_then(|mut open| open.write_all(&piece)).expect("written");
        content.extend(piece);
        std::thread::sleep(PAUSE);
    }
    rig::wait(&path, PATIENCE, "the file", || rig::count(&folders.red()) == 1);
    rig::counted(&path.red, |count| count("stored") == 1);
    rig::counted(&path.blue, |count| count("taken") == 1 && count("sent") == 1);
    rig::arrives(path, &folders, &rig::one("log.txt", &content));
}

#[test]
fn a_file_held_open_for_writing_is_taken_when_it_is_closed() {
    require_root!();
    let folders = Folders::new();
    let path = rig::start(&folders.table("", "", ""));
    let mut held = File::create(folders.blue().join("held.bin")).expect("made");
    held.write_all(b"half").expect("written");
    let mut files = others(&path, &folders);
    assert_eq!(rig::names(&folders.blue()), [b"held.bin"], "{}", rig::logs(&path));
    held.write_all(b" and half").expect("written");
    drop(held);
    files.extend(rig::one("held.bin", b"half and half"));
    rig::arrives(path, &folders, &files);
}

/// What is written to it then is not lost with it.
#[test]
fn an_original_that_is_opened_for_writing_is_not_deleted() {
    require_root!();
    let folders = Folders::new();
    fs::remove_dir(folders.red()).expect("empty");
    let path = rig::start(&folders.table("", "", ""));
    rig::place(&folders.blue(), &rig::one("a.bin", b"half"));
    rig::told(&path.blue, &["a.bin", "RED could not store it"]);
    let mut held = File::options().append(true).open(folders.blue().join("a.bin")).expect("there");
    fs::create_dir(folders.red()).expect("possible");
    rig::told(&path.blue, &["a.bin was sent, but its original stays", "somebody has it open for writing"]);
    assert_eq!(rig::tree(&folders.red()), rig::one("a.bin", b"half"));
    fs::remove_file(folders.red().join("a.bin")).expect("there");
    held.write_all(b" and half").expect("written");
    drop(held);
    rig::arrives(path, &folders, &rig::one("a.bin", b"half and half"));
}

/// As a service without `CAP_LEASE`, which the kernel does not tell of other users' files.
#[test]
fn a_place_whose_writers_are_not_told_is_told_once() {
    require_root!();
    let folders = Folders::new();
    let ground = rig::ground(rig::site(), Back::Status, Loss::None, &folders.table("", "", ""));
    let program = rig::program(ground.folder.path(), "setpriv --bounding-set=-lease");
    let red = ground.relay(Role::Red);
    let blue = RelayProcess::start(&program, Role::Blue, &ground.lab.blue, &ground.site_file).expect("a relay");
    let path = Path5 { ground, blue, red };
    let mut files = Tree::new();
    for name in ["first", "second"] {
        let (early, own) = (folders.blue().join("early.tmp"), folders.blue().join(name));
        fs::write(&early, name).expect("written");
        chown(&early, Some(65534), None).expect("possible");
        fs::rename(&early, &own).expect("there");
        files.extend(rig::one(name, name.as_bytes()));
        rig::wait(&path, PATIENCE, name, || rig::tree(&folders.red()) == files && !own.exists());
    }
    let told = path.blue.log().text().matches("the relay has no CAP_LEASE").count();
    assert_eq!(told, 1, "{}", rig::logs(&path));
    rig::arrives(path, &folders, &files);
}

#[test]
fn temporary_names_wait_for_their_own() {
    require_root!();
    let folders = Folders::new();
    let path = rig::start(&folders.table("", "", ""));
    let names = ["a.tmp", "A.PART", "b~", ".hidden", "c/.d/e"];
    let early: Tree = names.iter().map(|name| (name.as_bytes().to_vec(), name.as_bytes().to_vec())).collect();
    rig::place(&folders.blue(), &early);
    let mut files = others(&path, &folders);
    assert!(rig::tree(&folders.blue()) == early, "{}", rig::logs(&path));
    for (number, name) in names.iter().enumerate() {
        let own = format!("own-{number}");
        fs::rename(folders.blue().join(name), folders.blue().join(&own)).expect("there");
        files.extend(rig::one(&own, name.as_bytes()));
    }
    rig::arrives(path, &folders, &files);
}

/// Two files, one after the other: whatever was placed before has settled when the second arrives.
fn others(path: &Path5, folders: &Folders) -> Tree {
    let mut files = Tree::new();
    for name in ["first", "second"] {
        let other = rig::one(name, name.as_bytes());
        rig::place(&folders.blue(), &other);
        files.extend(other);
        rig::wait(path, PATIENCE, name, || rig::tree(&folders.red()) == files && !folders.blue().join(name).exists());
    }
    files
}
