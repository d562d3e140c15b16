//! More loss than the link's protection takes.

use lab::{Loss, Site, require_root};

use super::rig::{self, Back, Folders, PATIENCE, Random, Tree};

/// Files of this test, of some 40 frames each.
const FILES: usize = 40;
/// Of 100 files of so many frames 33 lose one at 1% loss.
const BYTES: usize = 50_000;

fn unprotected() -> Site {
    rig::site().scheme("none")
}

fn files(seed: u64) -> Tree {
    let mut random = Random::new(seed);
    (0..FILES).map(|number| (format!("file-{number}").into_bytes(), random.bytes(BYTES))).collect()
}

#[test]
fn copies_make_up_for_loss_where_nobody_answers() {
    require_root!();
    let folders = Folders::new();
    let table = folders.table("repeat = 2", "", "");
    let path = rig::ground(unprotected(), Back::No, Loss::percent(1.0), &table).start();
    let files = files(1);
    rig::place(&folders.blue(), &files);
    rig::counted(&path.blue, |count| count("sent") == FILES as u64);
    // Every session that RED has heard of was stored, was a copy, or has failed; few were not heard of at all.
    rig::counted(&path.red, |count| count("stored") + count("copies") + count("failed") >= 3 * FILES as u64 - 6);
    rig::wait(&path, PATIENCE, "no temporary", || rig::temporaries(&folders.red()).is_empty());
    let stored = rig::tree(&folders.red());
    rig::counted(&path.red, |count| count("stored") == stored.len() as u64 && count("copies") > 0);
    // One copy alone would bring 27 of 40; of three, all are lost for one file in 30.
    assert!(stored.len() >= FILES - 8, "{} came\n{}", stored.len(), rig::logs(&path));
    assert!(stored.iter().all(|(name, content)| files.get(name) == Some(content)), "{:?}", rig::shown(&stored));
    rig::wait(&path, PATIENCE, "originals gone", || rig::count(&folders.blue()) == 0);
    path.end();
}

#[test]
fn everything_arrives_in_the_end_where_red_answers() {
    require_root!();
    let folders = Folders::new();
    let table = folders.table("attempts = 200\nparallel = 16", "", "");
    let path = rig::ground(unprotected(), Back::Status, Loss::percent(1.0), &table).start();
    let files = files(2);
    rig::place(&folders.blue(), &files);
    rig::arrives(path, &folders, &files);
}
