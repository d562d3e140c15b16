//! From folder to folder: everything arrives, and originals go.

use std::fs::{self, FileTimes, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, UNIX_EPOCH};

use lab::{Loss, Site, require_root};

use super::rig::{self, Back, Folders, PATIENCE, Tree};

fn crosses(driver: &str, back: Back, loss: Loss, protection: (&str, &str, u32)) {
    let folders = Folders::new();
    let site = Site::new(driver).link("rate = \"400Mbit/s\"").protect(protection.0, protection.1, protection.2);
    let path = rig::ground(site, back, loss, &folders.table("", "", "")).start();
    let files = rig::files(7, 60, 300_000);
    rig::place(&folders.blue(), &files);
    rig::wait(&path, PATIENCE, "all files", || {
        rig::count(&folders.red()) == files.len() && rig::count(&folders.blue()) == 0
    });
    assert!(rig::tree(&folders.red()) == files, "contents differ");
    path.end();
}

#[test]
fn files_cross_with_a_return_link_xdp() {
    require_root!();
    crosses("xdp", Back::Status, Loss::None, ("0.1%", "1e-9", 4));
}

#[test]
fn files_cross_without_a_return_link_xdp() {
    require_root!();
    crosses("xdp", Back::No, Loss::None, ("0.1%", "1e-9", 4));
}

/// More files than RED has sessions for at a time, and faster than its disk takes them.
#[test]
fn many_small_files_cross_without_a_return_link() {
    require_root!();
    let folders = Folders::new();
    let site = Site::new("socket");
    let path = rig::ground(site, Back::No, Loss::None, &folders.table("parallel = 64", "", "")).start();
    let files: Tree = (0..1500_u32).map(|number| (format!("{number}").into_bytes(), vec![7; 100])).collect();
    rig::place(&folders.blue(), &files);
    rig::arrives(path, &folders, &files);
}

#[test]
fn what_a_file_is_crosses_with_it() {
    require_root!();
    let folders = Folders::new();
    let path = rig::start(&folders.table("", "", ""));
    let deep = ["d"; 10].join("/") + "/file";
    let before_1970 = UNIX_EPOCH - Duration::new(86_400, 250_000_000);
    let set = [
        ("empty", 0o600, UNIX_EPOCH + Duration::from_secs(1)),
        ("script", 0o6755, UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789)),
        (&*deep, 0o444, before_1970),
    ];
    let mut files = Tree::new();
    for (name, mode, modified) in set {
        let content = if name == "empty" { &b""[..] } else { name.as_bytes() };
        // Complete before it has a name that is taken.
        let (early, own) = (folders.blue().join("early.tmp"), folders.blue().join(name));
        fs::write(&early, content).expect("written");
        fs::set_permissions(&early, Permissions::from_mode(mode)).expect("set");
        let file = fs::File::open(&early).expect("there");
        file.set_times(FileTimes::new().set_modified(modified)).expect("set");
        fs::create_dir_all(own.parent().expect("in a folder")).expect("made");
        fs::rename(&early, &own).expect("there");
        files.extend(rig::one(name, content));
    }
    rig::wait(&path, PATIENCE, "the files", || rig::tree(&folders.red()) == files);
    for (name, mode, modified) in set {
        let found = fs::metadata(folders.red().join(name)).expect("there");
        // Without set-user-ID and set-group-ID.
        assert_eq!(found.mode() & 0o7777, mode & 0o777, "{name}");
        assert_eq!(found.modified().expect("known"), modified, "{name}");
    }
    rig::arrives(path, &folders, &files);
}

#[test]
fn how_far_a_file_has_come_is_told_while_it_is_on_its_way() {
    require_root!();
    let folders = Folders::new();
    let path = rig::start(&folders.table("rate = \"20Mbit/s\"", "", ""));
    let files = rig::one("large.bin", &rig::noise(5, 4 << 20));
    rig::place(&folders.blue(), &files);
    for (role, relay) in [("blue", &path.blue), ("red", &path.red)] {
        let line = format!("progress role={role} files=reports file=\"large.bin\" done=");
        rig::wait(&path, PATIENCE, role, || {
            let from = relay.log().len();
            relay.signal(libc::SIGUSR1).expect("it runs");
            let told = relay.wait_for_line(from, Duration::from_millis(150), |told| told.contains(&line));
            told.is_ok_and(|told| told.ends_with(&format!(" of={}", 4 << 20)))
        });
    }
    rig::arrives(path, &folders, &files);
}
