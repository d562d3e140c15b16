//! From folder to folder: everything arrives, and originals go.

use std::time::Duration;

use lab::{Loss, Site, require_root};

use super::rig::{self, Back, Folders};

/// Much more than a few megabytes take.
const PATIENCE: Duration = Duration::from_mins(1);

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
