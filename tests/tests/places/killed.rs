//! Servers that are killed in the middle of a file, and started again.

use lab::require_root;

use super::rig;
use super::scene::{PATIENCE, Stage};
use super::zone::{Kind, SERVERS};

/// Enough that a server can be killed while it has a part of it only.
const LARGE_BYTES: usize = 48 << 20;

#[test]
fn reds_server_killed_during_an_upload_has_the_file_once_it_is_back() {
    require_root!();
    let mut scene = Stage::new(&SERVERS.map(|kind| (Kind::Dir, kind))).start("");
    let mut files = rig::one("large.bin", &rig::noise(1, LARGE_BYTES));
    let more = rig::files(2, 6, 20_000);
    for channel in scene.channels.clone() {
        channel.place(&files);
        scene.catch(&channel, || rig::part_bytes(&channel.target) > 0);
        scene.red.kill(channel.to);
        assert_eq!(rig::count(&channel.target), 0, "{}: too late", channel.name);
        channel.place(&more);
        let words = ["large.bin", "waits to be stored", "cannot"].map(str::to_owned);
        scene.told_of(&scene.path.red, &channel, &words);
        assert_eq!(rig::count(&channel.source), 1 + more.len(), "{}", channel.name);
        scene.red.start_again(channel.to);
    }
    files.extend(more);
    scene.arrives(&files);
}

#[test]
fn blues_server_killed_during_a_read_gives_the_file_once_it_is_back() {
    require_root!();
    // Slow enough for every kind of server.
    let mut scene = Stage::new(&SERVERS.map(|kind| (kind, Kind::Dir))).start("rate = \"50Mbit/s\"");
    let mut files = rig::one("large.bin", &rig::noise(3, LARGE_BYTES / 16));
    let more = rig::files(4, 6, 20_000);
    for channel in scene.channels.clone() {
        channel.place(&files);
        scene.catch(&channel, || rig::part_bytes(&channel.target) > 0);
        scene.blue.kill(channel.from);
        channel.place(&more);
        let words = ["large.bin", "cannot", "it is tried again"].map(str::to_owned);
        scene.told_of(&scene.path.blue, &channel, &words);
        assert_eq!(rig::count(&channel.target), 0, "{}: too late", channel.name);
        scene.blue.start_again(channel.from);
    }
    files.extend(more);
    for channel in &scene.channels {
        rig::wait(&scene.path, PATIENCE, &channel.name, || rig::count(&channel.source) == 0);
    }
    scene.arrives(&files);
}
