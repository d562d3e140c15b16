//! Trouble with places, files and names: it is told, and nothing is lost.

use std::fs;
use std::io::Write as _;

use lab::{Loss, require_root};

use super::rig::{self, Back, Folders, Mount, PATIENCE, Random, Tree};

/// Content that takes a while on the link of these tests: 8 MB at 200 Mbit/s are 0.3 s.
fn large(seed: u64) -> Vec<u8> {
    Random::new(seed).bytes(8 << 20)
}

#[test]
fn a_target_that_is_made_later_gets_everything() {
    require_root!();
    let folders = Folders::new();
    fs::remove_dir(folders.red()).expect("empty");
    let path = rig::start(&folders.table("", "", ""));
    let files = rig::files(1, 6, 10_000);
    rig::place(&folders.blue(), &files);
    rig::told(&path.red, &["cannot enter folder", "No such file"]);
    rig::told(&path.blue, &["RED could not store it"]);
    assert_eq!(rig::count(&folders.blue()), files.len());
    fs::create_dir(folders.red()).expect("possible");
    rig::arrives(path, &folders, &files);
}

#[test]
fn a_target_that_is_read_only_for_a_while_loses_nothing() {
    require_root!();
    let folders = Folders::new();
    let _mount = Mount::memory(&folders.red(), 8 << 10);
    let red = folders.red().display().to_string();
    // Nobody, not even root, makes files in an immutable folder.
    rig::command(&["chattr", "+i", &red]);
    let path = rig::start(&folders.table("", "", ""));
    let files = rig::one("a.bin", b"content");
    rig::place(&folders.blue(), &files);
    rig::told(&path.red, &["was not stored", "cannot create", "not permitted"]);
    rig::told(&path.blue, &["RED could not store it"]);
    assert_eq!(rig::count(&folders.blue()), 1);
    rig::command(&["chattr", "-i", &red]);
    rig::arrives(path, &folders, &files);
}

#[test]
fn a_full_target_takes_what_it_can_and_later_the_rest() {
    require_root!();
    let folders = Folders::new();
    let mount = Mount::memory(&folders.red(), 2 << 10);
    let path = rig::start(&folders.table("", "", ""));
    let mut files = rig::one("large.bin", &large(2));
    rig::place(&folders.blue(), &files);
    rig::told(&path.red, &["large.bin was not stored", "cannot write", "No space left"]);
    rig::told(&path.blue, &["large.bin", "RED could not store it"]);
    let small = rig::one("small.bin", b"fits");
    rig::place(&folders.blue(), &small);
    rig::wait(&path, PATIENCE, "the small file", || rig::tree(&folders.red()) == small);
    files.extend(small);
    mount.resize(32 << 10);
    rig::arrives(path, &folders, &files);
}

#[test]
fn a_file_of_the_same_name_is_never_replaced() {
    require_root!();
    let folders = Folders::new();
    rig::place(&folders.red(), &rig::one("a.bin", b"theirs"));
    let path = rig::start(&folders.table("", "", ""));
    rig::place(&folders.blue(), &rig::one("a.bin", b"ours"));
    rig::told(&path.red, &["a.bin is here and waits to be stored", "File exists"]);
    rig::told(&path.blue, &["a.bin", "RED could not store it"]);
    assert_eq!(rig::tree(&folders.red()), rig::one("a.bin", b"theirs"));
    assert_eq!(rig::tree(&folders.blue()), rig::one("a.bin", b"ours"));
    fs::remove_file(folders.red().join("a.bin")).expect("it was there");
    rig::arrives(path, &folders, &rig::one("a.bin", b"ours"));
}

#[test]
fn the_same_file_that_is_there_already_counts_as_stored() {
    require_root!();
    let folders = Folders::new();
    rig::place(&folders.red(), &rig::one("a.bin", b"the same"));
    let path = rig::start(&folders.table("", "", ""));
    rig::place(&folders.blue(), &rig::one("a.bin", b"the same"));
    rig::told(&path.red, &["a.bin is there already, with this content"]);
    rig::arrives(path, &folders, &rig::one("a.bin", b"the same"));
}

#[test]
fn odd_names_cross_unchanged_or_are_told() {
    require_root!();
    let folders = Folders::new();
    let path = rig::start(&folders.table("", "", ""));
    let longest = vec![b'n'; 255];
    let odd: [&[u8]; 9] = [
        b"\"double\" and 'single'.txt",
        b"back\\slash",
        b" blanks at both ends ",
        b"-rf",
        b"no text \xFF\xFE.bin",
        "\u{e9}\u{4e2d}\u{1f4be}".as_bytes(),
        b"%00$(reboot);*?[a]",
        b"folder \xFF/with 'quotes'/a.txt",
        &longest,
    ];
    let files: Tree = odd.iter().map(|name| (name.to_vec(), name.to_vec())).collect();
    rig::place(&folders.blue(), &files);
    rig::wait(&path, PATIENCE, "odd names", || rig::count(&folders.red()) == files.len());
    // It would break lines: a check blocks it, and shows it on one line.
    let broken = rig::one("two\nlines", b"x");
    rig::place(&folders.blue(), &broken);
    rig::told(&path.blue, &["two\\nlines is blocked", "control character", "stays where it is"]);
    fs::rename(folders.blue().join("two\nlines"), folders.blue().join("one line")).expect("there");
    let mut all = files;
    all.extend(rig::one("one line", b"x"));
    rig::arrives(path, &folders, &all);
}

#[test]
fn a_name_too_long_for_a_temporary_is_told_on_both_sides() {
    require_root!();
    let folders = Folders::new();
    let path = rig::start(&folders.table("attempts = 2", "", ""));
    // Of 3,072 bytes a temporary's name would take more than this leaves.
    let folder = [[b'f'; 252], [b'g'; 252]].map(|part| part.to_vec()).join(&b'/');
    let name = [vec![folder; 6].join(&b'/'), b"a.bin".to_vec()].join(&b'/');
    let files = Tree::from([(name, b"deep".to_vec())]);
    rig::place(&folders.blue(), &files);
    rig::told(&path.red, &["was not stored", "too long"]);
    rig::told(&path.blue, &["is given up", "relay resend"]);
    assert!(rig::tree(&folders.blue()) == files);
    assert_eq!(rig::count(&folders.red()), 0);
    path.end();
}

#[test]
fn a_source_that_is_made_later_or_anew_is_watched() {
    require_root!();
    let folders = Folders::new();
    fs::remove_dir(folders.blue()).expect("empty");
    let path = rig::start(&folders.table("", "", ""));
    rig::told(&path.blue, &["cannot enter folder", "No such file", "tried again"]);
    let mut files = rig::files(3, 6, 10_000);
    rig::place(&folders.blue(), &files);
    rig::wait(&path, PATIENCE, "files of a new folder", || rig::count(&folders.red()) == files.len());
    // Between two looks: nothing but the folder itself tells that it is another.
    rig::wait(&path, PATIENCE, "originals gone", || rig::count(&folders.blue()) == 0);
    fs::rename(folders.blue(), folders.all.path().join("before")).expect("possible");
    let more = rig::one("after.bin", b"after");
    rig::place(&folders.blue(), &more);
    files.extend(more);
    rig::arrives(path, &folders, &files);
}

#[test]
fn a_target_that_was_replaced_gets_what_comes_then() {
    require_root!();
    let folders = Folders::new();
    let path = rig::start(&folders.table("", "", ""));
    rig::place(&folders.blue(), &rig::one("one.bin", b"one"));
    rig::wait(&path, PATIENCE, "a file", || rig::count(&folders.red()) == 1 && rig::count(&folders.blue()) == 0);
    let before = folders.all.path().join("before");
    fs::rename(folders.red(), &before).expect("possible");
    fs::create_dir(folders.red()).expect("possible");
    rig::place(&folders.blue(), &rig::one("two.bin", b"two"));
    rig::wait(&path, PATIENCE, "the other", || rig::count(&folders.red()) == 1);
    assert_eq!(rig::tree(&before), rig::one("one.bin", b"one"));
    rig::arrives(path, &folders, &rig::one("two.bin", b"two"));
}

#[test]
fn files_deleted_or_changed_before_they_are_sent_never_cross_half() {
    require_root!();
    let folders = Folders::new();
    let path = rig::start(&folders.table("parallel = 1\nrate = \"50Mbit/s\"", "", ""));
    let (first, second) = (large(4), large(5));
    rig::place(&folders.blue(), &rig::one("changes.bin", &first));
    rig::wait(&path, PATIENCE, "its first bytes", || !rig::temporaries(&folders.red()).is_empty());
    rig::place(&folders.blue(), &rig::one("goes.bin", b"nobody reads this"));
    rig::counted(&path.blue, |count| count("taken") == 2);
    fs::remove_file(folders.blue().join("goes.bin")).expect("there");
    let file = fs::File::options().append(true).open(folders.blue().join("changes.bin"));
    file.and_then(|mut file| file.write_all(&second)).expect("written");
    rig::told(&path.blue, &["goes.bin has changed or is gone"]);
    rig::told(&path.blue, &["changes.bin has changed or is gone"]);
    rig::arrives(path, &folders, &rig::one("changes.bin", &[first, second].concat()));
}

#[test]
fn a_file_that_cannot_be_read_holds_up_no_other() {
    require_root!();
    let folders = Folders::new();
    let unreadable = folders.blue().join("unreadable");
    fs::write(&unreadable, "").expect("written");
    // Opened by everybody who may, read by nobody.
    let mount = Mount::over(&unreadable, "/proc/self/clear_refs");
    let path = rig::start(&folders.table("parallel = 1", "", ""));
    rig::told(&path.blue, &["unreadable", "cannot read"]);
    let files = rig::files(6, 6, 10_000);
    rig::place(&folders.blue(), &files);
    rig::wait(&path, PATIENCE, "the others", || rig::count(&folders.red()) == files.len());
    path.end();
    drop(mount);
    assert!(rig::tree(&folders.red()) == files);
    assert_eq!(rig::names(&folders.blue()), [b"unreadable"]);
}

#[test]
fn red_stopped_in_order_is_no_refusal() {
    require_root!();
    let folders = Folders::new();
    // One refusal would be the end of it.
    let path = rig::start(&folders.table("attempts = 1\nrate = \"50Mbit/s\"", "", ""));
    let files = rig::one("large.bin", &large(7));
    rig::place(&folders.blue(), &files);
    rig::wait(&path, PATIENCE, "its first bytes", || !rig::temporaries(&folders.red()).is_empty());
    let lab::path::Path5 { ground, blue, red } = path;
    let stopped = red.stop().expect("it stops");
    assert!(stopped.status.success(), "{}", stopped.log.text());
    assert_eq!(rig::temporaries(&folders.red()).len(), 0, "{}", stopped.log.text());
    let red = ground.relay(lab::Role::Red);
    rig::arrives(lab::path::Path5 { ground, blue, red }, &folders, &files);
}

#[test]
fn a_link_that_is_down_for_a_while_loses_nothing() {
    require_root!();
    let folders = Folders::new();
    let path = rig::ground(rig::site(), Back::Status, Loss::None, &folders.table("", "", "")).start();
    let mut files = rig::one("large.bin", &large(8));
    rig::place(&folders.blue(), &files);
    rig::wait(&path, PATIENCE, "its first bytes", || !rig::temporaries(&folders.red()).is_empty());
    path.ground.lab.diode.set_loss(Loss::All).expect("possible");
    let more = rig::files(9, 6, 10_000);
    rig::place(&folders.blue(), &more);
    files.extend(more);
    rig::told(&path.red, &["large.bin was not stored"]);
    path.ground.lab.diode.set_loss(Loss::None).expect("possible");
    rig::arrives(path, &folders, &files);
}

#[test]
fn full_state_folders_hold_files_up_and_lose_none() {
    require_root!();
    let folders = Folders::new();
    let ground = rig::ground(rig::site(), Back::Status, Loss::None, &folders.table("", "", ""));
    let states = ["blue", "red"].map(|side| ground.folder.path().join(side));
    let _mounts = [Mount::memory(&states[0], 1 << 10), Mount::memory(&states[1], 1 << 10)];
    let path = ground.start();
    let fill = |folder: &std::path::Path| {
        let mut file = fs::File::create(folder.join("filler")).expect("made");
        while file.write_all(&[7; 4096]).is_ok() {}
    };
    let mut files = Tree::new();
    for (number, (side, relay)) in states.iter().zip([&path.blue, &path.red]).enumerate() {
        fill(side);
        // Many, since a journal's last page has room for some.
        let more: Tree = (0..60).map(|file| (format!("{number}-{file}").into_bytes(), vec![7; 100])).collect();
        rig::place(&folders.blue(), &more);
        files.extend(more);
        rig::told(relay, &["journal", "No space left"]);
        fs::remove_file(side.join("filler")).expect("there");
        rig::wait(&path, PATIENCE, "room again", || rig::count(&folders.red()) == files.len());
    }
    rig::arrives(path, &folders, &files);
}
