//! SIGHUP with files waiting: tables are added, changed, disabled, removed and brought back.

use std::fs;
use std::path::{Path, PathBuf};

use lab::path::{Path5, relay};
use lab::{Loss, require_root};

use super::rig::{self, Back, CHANNEL, Folders, PATIENCE, SOON, Tree};

/// A path whose site file changes.
struct Changing {
    path: Path5,
    folders: Folders,
    back: Back,
}

impl Changing {
    fn start(back: Back, tables: impl FnOnce(&Folders) -> String) -> Self {
        let folders = Folders::new();
        for name in ["blue-other", "red-other", "red-new"] {
            fs::create_dir(folders.all.path().join(name)).expect("a folder");
        }
        let path = rig::ground(rig::site(), back, Loss::None, &tables(&folders)).start();
        Self { path, folders, back }
    }

    /// Both hosts take these tables; each must say so.
    fn reload(&self, tables: &str) {
        let folder = self.path.ground.folder.path();
        let site = if self.back == Back::Status { rig::site().return_link("status") } else { rig::site() };
        let site = site.tables(tables).key_file(&folder.join("link.key"));
        site.write(folder).expect("a site file");
        for relay in [&self.path.red, &self.path.blue] {
            let from = relay.log().len();
            relay.signal(libc::SIGHUP).expect("it runs");
            let taken = relay.wait_for_line(from, SOON, |line| line.contains("in force") || line.contains("refused"));
            assert!(taken.is_ok_and(|line| line.contains("in force")), "{}", rig::logs(&self.path));
        }
    }

    /// Places one file in the other table's folder and waits until it has arrived: what was to happen before has.
    fn other_crosses(&self, name: &str) {
        rig::place(&self.other("blue"), &rig::one(name, name.as_bytes()));
        rig::wait(&self.path, PATIENCE, name, || {
            self.other("red").join(name).exists() && rig::count(&self.other("blue")) == 0
        });
    }

    fn other(&self, side: &str) -> PathBuf {
        self.folders.all.path().join(format!("{side}-other"))
    }
}

/// The table of the channel under test, with RED's folder.
fn reports(folders: &Folders, lines: &str, red: &Path) -> String {
    between(lines, &folders.blue(), red)
}

/// The same, with BLUE's folder too.
fn between(lines: &str, blue: &Path, red: &Path) -> String {
    let lines = format!("channel = {CHANNEL}\nname = \"reports\"\n{lines}");
    rig::table(&lines, (blue, ""), (red, ""))
}

/// The other table.
fn other(folders: &Folders) -> String {
    let at = |name: &str| folders.all.path().join(name);
    rig::table("channel = 10\nname = \"other\"", (&at("blue-other"), ""), (&at("red-other"), ""))
}

#[test]
fn tables_are_added_disabled_removed_and_brought_back_with_files_waiting() {
    require_root!();
    let changing = Changing::start(Back::Status, |folders| folders.table("", "", ""));
    let folders = &changing.folders;
    let on = reports(folders, "", &folders.red()) + &other(folders);
    changing.reload(&on);
    changing.other_crosses("added");

    changing.reload(&(reports(folders, "enabled = false", &folders.red()) + &other(folders)));
    let mut files = rig::one("while-disabled", b"1");
    rig::place(&folders.blue(), &files);
    changing.other_crosses("disabled");
    assert_eq!((rig::count(&folders.blue()), rig::count(&folders.red())), (1, 0), "{}", rig::logs(&changing.path));
    changing.reload(&on);
    rig::wait(&changing.path, PATIENCE, "enabled again", || rig::tree(&folders.red()) == files);

    // Taken, on their way, and then nobody's.
    let diode = &changing.path.ground.lab.diode;
    diode.set_loss(Loss::All).expect("possible");
    let waiting = rig::files(1, 6, 100_000);
    rig::place(&folders.blue(), &waiting);
    rig::counted(&changing.path.blue, |count| count("taken") == 7);
    changing.reload(&other(folders));
    diode.set_loss(Loss::None).expect("possible");
    changing.other_crosses("removed");
    assert!(rig::tree(&folders.blue()) == waiting, "{}", rig::logs(&changing.path));
    assert_eq!(rig::tree(&folders.red()), files);

    changing.reload(&on);
    files.extend(waiting);
    changing.other_crosses("back");
    let Changing { path, folders, .. } = changing;
    rig::wait(&path, PATIENCE, "back", || rig::count(&folders.red()) == files.len());
    rig::counted(&path.red, |count| count("stored") == 7);
    rig::arrives(path, &folders, &files);
}

#[test]
fn a_target_that_changes_while_a_file_waits_for_it_gets_the_file() {
    require_root!();
    waits_for_a_target_that_changes(Back::Status);
}

/// RED alone has the file by then.
#[test]
fn a_target_that_changes_while_a_file_waits_for_it_gets_the_file_without_a_return_link() {
    require_root!();
    waits_for_a_target_that_changes(Back::No);
}

fn waits_for_a_target_that_changes(back: Back) {
    let changing = Changing::start(back, |folders| folders.table("", "", "") + &other(folders));
    let folders = &changing.folders;
    let (theirs, ours) = (rig::one("a.bin", b"theirs"), rig::one("a.bin", b"ours"));
    rig::place(&folders.red(), &theirs);
    rig::place(&folders.blue(), &ours);
    rig::told(&changing.path.red, &["a.bin is here and waits to be stored"]);
    if back == Back::No {
        rig::wait(&changing.path, PATIENCE, "BLUE to be done", || rig::count(&folders.blue()) == 0);
    }
    let new = folders.all.path().join("red-new");
    changing.reload(&(reports(folders, "", &new) + &other(folders)));
    rig::wait(&changing.path, PATIENCE, "the file at its new place", || rig::tree(&new) == ours);
    rig::wait(&changing.path, PATIENCE, "no original", || rig::tree(&folders.blue()) == Tree::new());
    assert_eq!(rig::tree(&folders.red()), theirs);
    let temporaries = [rig::temporaries(&folders.red()), rig::temporaries(&new)].concat();
    assert_eq!(temporaries, Vec::<PathBuf>::new(), "{}", rig::logs(&changing.path));
    changing.path.end();
}

/// Both hosts have connections to the places of before.
#[test]
fn places_that_change_are_the_only_ones_that_count() {
    require_root!();
    let changing = Changing::start(Back::Status, |folders| folders.table("", "", ""));
    let folders = &changing.folders;
    let at = |name: &str| folders.all.path().join(name);
    let before = rig::one("before", b"1");
    rig::place(&folders.blue(), &before);
    rig::wait(&changing.path, PATIENCE, "the first file", || {
        rig::tree(&folders.red()) == before && rig::count(&folders.blue()) == 0
    });
    changing.reload(&between("", &at("blue-other"), &at("red-new")));
    let (stays, crosses) = (rig::one("stays", b"2"), rig::one("crosses", b"3"));
    rig::place(&folders.blue(), &stays);
    rig::place(&at("blue-other"), &crosses);
    rig::wait(&changing.path, PATIENCE, "the file of the new place", || {
        rig::tree(&at("red-new")) == crosses && rig::count(&at("blue-other")) == 0
    });
    assert_eq!((rig::tree(&folders.blue()), rig::tree(&folders.red())), (stays, before));
    changing.path.end();
}

/// A rule that has changed since counts for what is sent again.
#[test]
fn a_file_that_was_kept_is_not_sent_again_against_a_new_rule() {
    require_root!();
    let table = |folders: &Folders, rule: &str| folders.table("", &format!("after = \"move:sent\"\n{rule}"), "");
    let changing = Changing::start(Back::Status, |folders| table(folders, ""));
    let (path, folders) = (&changing.path, &changing.folders);
    let kept = folders.blue().join("sent/a.txt");
    rig::place(&folders.blue(), &rig::one("a.txt", b"text"));
    rig::wait(path, PATIENCE, "it is kept", || kept.exists());
    fs::remove_file(folders.red().join("a.txt")).expect("there");
    changing.reload(&table(folders, "exclude = [\"*.txt\"]"));
    rig::counted(&path.blue, |count| count("sent") == 1);
    let site_file = path.ground.site_file.display().to_string();
    rig::command(&[&relay().display().to_string(), "resend", "--config", &site_file, "a.txt"]);
    rig::told(&path.blue, &["a.txt is blocked", "excluded by", "it is not sent again"]);
    rig::counted(&path.blue, |count| count("sent") == 1 && count("blocked") == 1);
    assert!(kept.exists() && rig::count(&folders.red()) == 0, "{}", rig::logs(path));
    changing.path.end();
}
