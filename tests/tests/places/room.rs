//! Servers whose disks are full.

use lab::require_root;

use super::rig;
use super::scene::{PATIENCE, Stage};
use super::zone::{Kind, SERVERS};

#[test]
fn a_full_target_takes_what_it_can_and_later_the_rest() {
    require_root!();
    let scene = Stage::with_room(&SERVERS.map(|kind| (Kind::Dir, kind)), Some(2 << 10)).start("");
    let mut files = rig::one("large.bin", &rig::noise(1, 8 << 20));
    scene.place(&files);
    for channel in &scene.channels {
        let words = ["large.bin", "waits to be stored", "cannot"].map(str::to_owned);
        scene.told_of(&scene.path.red, channel, &words);
    }
    let small = rig::one("small.bin", b"fits");
    scene.place(&small);
    for channel in &scene.channels {
        // The small one's original goes a moment after it is there.
        rig::wait(&scene.path, PATIENCE, &channel.name, || {
            rig::tree(&channel.target) == small && rig::names(&channel.source) == [b"large.bin"]
        });
    }
    files.extend(small);
    for kind in SERVERS {
        scene.red.resize(kind, 32 << 10);
    }
    scene.arrives(&files);
}
