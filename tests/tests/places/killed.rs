//! Servers, and relays that store on servers, that are killed and started again.

use std::time::Duration;

use lab::path::is_soak;
use lab::{Role, require_root};

use super::rig::{self, Random, Tree};
use super::scene::{PATIENCE, Scene, Stage};
use super::zone::{self, Kind, SERVERS};

/// Enough that a server can be killed while it has a part of it only.
const LARGE_BYTES: usize = 48 << 20;
/// Files placed before each kill.
const BATCH: u64 = 4;

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

/// A RED that is killed while files wait for their names finds others under these, of the same sizes.
#[test]
fn anothers_file_of_the_same_size_does_not_count_as_stored() {
    require_root!();
    let scene = Stage::new(&SERVERS.map(|kind| (Kind::Dir, kind))).start("");
    let (ours, theirs) = (rig::one("a.bin", b"ours!!"), rig::one("a.bin", b"theirs"));
    for channel in &scene.channels {
        zone::place(&channel.target, &theirs);
        channel.place(&ours);
    }
    let waits = |scene: &Scene| {
        for channel in &scene.channels {
            scene.told_of(&scene.path.red, channel, &["a.bin is here and waits to be stored".to_owned()]);
            assert!(rig::tree(&channel.target) == theirs && rig::tree(&channel.source) == ours, "{}", channel.name);
        }
    };
    waits(&scene);
    let scene = scene.kill(Role::Red);
    waits(&scene);
    for channel in &scene.channels {
        std::fs::remove_file(channel.target.join("a.bin")).expect("there");
    }
    scene.arrives(&ours);
}

/// Kills of either relay at any moment, with files on their way to servers.
#[test]
fn kills_of_relays_lose_nothing_on_its_way_to_a_server() {
    require_root!();
    let mut scene = Stage::new(&[Kind::Sftp, Kind::Ftp].map(|kind| (Kind::Dir, kind))).start("");
    let mut random = Random::new(0xd1ce);
    let mut files = Tree::new();
    for number in 0..if is_soak() { 40 } else { 6 } {
        let batch = (0..BATCH).map(|file| {
            let bytes = random.below(if file == 0 { 8 << 20 } else { 100_000 }) as usize;
            (format!("{number}-{file}.bin").into_bytes(), random.bytes(bytes))
        });
        let batch: Tree = batch.collect();
        scene.place(&batch);
        files.extend(batch);
        // Some moment of their way.
        std::thread::sleep(Duration::from_millis(random.below(900)));
        scene = scene.kill(if random.below(3) == 0 { Role::Blue } else { Role::Red });
    }
    scene.arrives_uncounted(&files);
}
