//! What a check blocks stays on BLUE's side, all of it.

use std::fs::{self, FileTimes};
use std::time::{Duration, UNIX_EPOCH};

use lab::path::Ground;
use lab::{Loss, Options, Syslog, Tap, address, require_root};

use super::rig::{self, Folders, PATIENCE, Random, SOON, Tree};

#[test]
fn a_program_that_calls_itself_text_is_quarantined_and_nothing_of_it_crosses() {
    require_root!();
    let folders = Folders::new();
    let table = folders.table("", "magic = true\nquarantine = \"bad\"", "");
    // In the clear, so that a tap on the link can tell what crosses.
    let site = rig::site().return_link("status").tables(&table);
    let options = Options { return_loss: Some(Loss::None), ..Options::default() };
    let ground = Ground::plain(&options, &site);
    let syslog = Syslog::start(&ground.lab.blue);
    let tap = Tap::listen(&ground.lab.red, address::RED_LINK_IF).expect("a tap");
    let path = ground.start();
    let (marker, known) = (Random::new(1).bytes(64), Random::new(2).bytes(64));
    let program = [b"MZ\x90\x00", &marker[..]].concat();
    rig::place(&folders.blue(), &rig::one("holiday.txt", &program));
    rig::told(&path.blue, &["holiday.txt is blocked", "bad/holiday.txt"]);
    let told = syslog.until(SOON, |message| message.contains("holiday.txt is blocked"));
    assert!(told.is_ok_and(|messages| messages.iter().any(|message| message.contains("file_blocked"))));
    rig::place(&folders.blue(), &rig::one("note.txt", &known));
    rig::wait(&path, PATIENCE, "the other file", || rig::count(&folders.red()) == 1);
    rig::wait(&path, PATIENCE, "its original is gone", || rig::count(&folders.blue()) == 1);
    rig::counted(&path.blue, |count| count("blocked") == 1 && count("taken") == 1);
    let frames = tap.take().expect("frames");
    let holds = |part: &[u8]| frames.iter().any(|frame| frame.windows(part.len()).any(|window| window == part));
    assert!(holds(&known), "the tap hears what crosses");
    assert!(!holds(&marker) && !holds(b"holiday"), "{}", rig::logs(&path));
    assert_eq!(rig::tree(&folders.blue()), rig::one("bad/holiday.txt", &program));
    path.end();
}

#[test]
fn patterns_and_sizes_decide() {
    require_root!();
    let folders = Folders::new();
    let rules = "include = [\"*.csv\", \"in/**\"]\nexclude = [\"*secret*\"]\nmax_size = \"10KiB\"";
    let path = rig::start(&folders.table("", rules, ""));
    let passes = ["a.csv", "deep/er/B.CSV", "in/any.bin"];
    let blocked = ["a.txt", "secret.csv", "in/SECRETS/a.csv.d/x-secret", "out/any.bin"];
    let of = |names: &[&str]| -> Tree {
        names.iter().map(|name| (name.as_bytes().to_vec(), name.as_bytes().to_vec())).collect()
    };
    let (mut files, mut stays) = (of(&passes), of(&blocked));
    files.extend(rig::one("just.csv", &[1; 10 << 10]));
    stays.extend(rig::one("large.csv", &[1; (10 << 10) + 1]));
    rig::place(&folders.blue(), &files);
    rig::place(&folders.blue(), &stays);
    for name in rig::names(&folders.blue()).iter().filter(|name| stays.contains_key(*name)) {
        let name = String::from_utf8_lossy(name).into_owned();
        rig::told(&path.blue, &[&format!("file {name} is blocked"), "stays where it is"]);
    }
    rig::wait(&path, PATIENCE, "what passes", || rig::tree(&folders.red()) == files);
    rig::wait(&path, PATIENCE, "what is blocked stays", || rig::tree(&folders.blue()) == stays);
    rig::counted(&path.blue, |count| count("blocked") == stays.len() as u64);
    path.end();
}

#[test]
fn a_quarantine_that_cannot_be_made_holds_up_no_other_file() {
    require_root!();
    let folders = Folders::new();
    let path = rig::start(&folders.table("", "exclude = [\"*.exe\"]\nquarantine = \"bad\"", ""));
    // A file where the folder should be; it is older, but is itself taken away only once it has crossed.
    rig::place(&folders.blue(), &rig::one("bad.tmp", b"in the way"));
    std::fs::rename(folders.blue().join("bad.tmp"), folders.blue().join("bad")).expect("there");
    let held = std::fs::File::options().append(true).open(folders.blue().join("bad")).expect("there");
    rig::place(&folders.blue(), &rig::one("a.exe", b"program"));
    rig::told(&path.blue, &["a.exe is not taken", "tried again"]);
    let mut files = rig::files(3, 6, 10_000);
    rig::place(&folders.blue(), &files);
    rig::wait(&path, PATIENCE, "the others", || rig::tree(&folders.red()) == files);
    drop(held);
    files.extend(rig::one("bad", b"in the way"));
    rig::wait(&path, PATIENCE, "the file in the way", || rig::tree(&folders.red()) == files);
    rig::wait(&path, PATIENCE, "the quarantine", || rig::tree(&folders.blue()) == rig::one("bad/a.exe", b"program"));
    path.end();
}

/// A file that waits for RED becomes another, of the same size and time.
#[test]
fn what_is_sent_is_what_was_checked() {
    require_root!();
    let folders = Folders::new();
    fs::remove_dir(folders.red()).expect("empty");
    let path = rig::start(&folders.table("", "quarantine = \"bad\"", ""));
    let (text, program) = ([b'a'; 100], [&b"MZ\x90\x00"[..], &[0; 96]].concat());
    let modified = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let put = |content: &[u8]| {
        let (early, own) = (folders.blue().join("note.tmp"), folders.blue().join("note.txt"));
        fs::write(&early, content).expect("written");
        let file = fs::File::open(&early).expect("there");
        file.set_times(FileTimes::new().set_modified(modified)).expect("set");
        fs::rename(early, own).expect("placed");
    };
    put(&text);
    rig::told(&path.blue, &["note.txt", "RED could not store it"]);
    put(&program);
    fs::create_dir(folders.red()).expect("possible");
    rig::told(&path.blue, &["note.txt is blocked", "bad/note.txt"]);
    rig::counted(&path.blue, |count| count("taken") == 1 && count("blocked") == 1 && count("sent") == 0);
    assert_eq!(rig::tree(&folders.blue()), rig::one("bad/note.txt", &program));
    assert_eq!(rig::count(&folders.red()), 0, "{}", rig::logs(&path));
    path.end();
}
