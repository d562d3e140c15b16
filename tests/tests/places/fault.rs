//! Servers that do not let the relay in, or have no such place: told, mended while the relays run, nothing lost.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use lab::apps::enclosed::{PASSWORD, USER};
use lab::{address, require_root};

use super::rig;
use super::scene::{Channel, Stage};
use super::zone::{self, Kind, SERVERS};

const WRONG_PASSWORD: &str = "wrong horse";

/// From each server to a folder, and from a folder to each server.
fn both_ways() -> Vec<(Kind, Kind)> {
    let ways = |kind| [(kind, Kind::Dir), (Kind::Dir, kind)];
    SERVERS.into_iter().flat_map(ways).collect()
}

fn words<const COUNT: usize>(words: [&str; COUNT]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// The kind with a server, and where that server is.
fn end(channel: &Channel) -> (Kind, String) {
    let (kind, address) = match channel.from {
        Kind::Dir => (channel.to, address::SERVER),
        from => (from, address::CLIENT),
    };
    (kind, format!("{address}:{}", kind.port()))
}

#[test]
fn a_wrong_password_is_told_and_a_corrected_one_taken() {
    require_root!();
    let stage = Stage::new(&both_ways());
    for zone in [&stage.blue, &stage.red] {
        zone.set_password(WRONG_PASSWORD);
    }
    let scene = stage.start("");
    let files = rig::files(1, 6, 20_000);
    scene.place(&files);
    for channel in &scene.channels {
        let relay = if channel.from == Kind::Dir { &scene.path.red } else { &scene.path.blue };
        scene.told_of(relay, channel, &[format!("cannot log in as {USER} on {} by", end(channel).1)]);
        assert_eq!(rig::count(&channel.source), files.len(), "{}", channel.name);
    }
    for zone in [&scene.blue, &scene.red] {
        zone.set_password(PASSWORD);
    }
    let logs = scene.arrives(&files);
    assert!(!logs.contains("horse"), "a password in a log:\n{logs}");
}

/// Libraries that log what they send and get are asked to by name; else they are silent.
#[test]
fn a_log_of_everything_has_no_password() {
    require_root!();
    let scene = Stage::new(&both_ways()).start("");
    let everything = "env RELAY_LOG=trace,russh=trace,smb2=trace,suppaftp=trace";
    let program = rig::program(scene.path.ground.folder.path(), everything);
    let scene = scene.restart_as(&program);
    let files = rig::one("a.bin", b"content");
    scene.place(&files);
    let logs = scene.arrives(&files);
    for library in ["suppaftp", "smb2", "russh"] {
        assert!(logs.contains(&format!("TRACE {library}")) || logs.contains(&format!("DEBUG {library}")), "{library}");
    }
    assert!(!logs.contains(PASSWORD), "a password in a log");
}

#[test]
fn a_folder_that_is_made_later_is_taken() {
    require_root!();
    let stage = Stage::new(&both_ways());
    for channel in &stage.channels {
        let served = if channel.from == Kind::Dir { &channel.target } else { &channel.source };
        fs::remove_dir(served).expect("empty");
    }
    let scene = stage.start("");
    let files = rig::files(2, 6, 20_000);
    let (sending, storing): (Vec<&Channel>, Vec<&Channel>) =
        scene.channels.iter().partition(|channel| channel.to == Kind::Dir);
    for channel in storing {
        channel.place(&files);
        scene.told_of(
            &scene.path.red,
            channel,
            &words(["cannot", &format!("{} by", end(channel).1), "waits to be stored"]),
        );
        zone::make_folder(&channel.target);
    }
    for channel in sending {
        scene.told_of(&scene.path.blue, channel, &words(["cannot", &format!("{} by", end(channel).1), "tried again"]));
        zone::make_folder(&channel.source);
        channel.place(&files);
    }
    scene.arrives(&files);
}

#[test]
fn a_share_that_is_made_later_is_taken() {
    require_root!();
    let pair = (Kind::Smb, Kind::Smb);
    let mut stage = Stage::new(&[pair]);
    let name = stage.channels[0].name.clone();
    // A share of its own, which is a folder of the other.
    let tables = stage.tables("").replace(&format!("share = \"place\"\npath = \"{name}\""), "share = \"later\"");
    let roots = [stage.blue.root(Kind::Smb).join("later"), stage.red.root(Kind::Smb).join("later")];
    [stage.channels[0].source, stage.channels[0].target] = roots;
    let scene = stage.start_with(&rig::site(), &tables);
    let channel = &scene.channels[0];
    scene.told_of(&scene.path.blue, channel, &words(["the share later", &end(channel).1, "tried again"]));
    zone::make_folder(&channel.source);
    let files = rig::files(3, 6, 20_000);
    channel.place(&files);
    let server = address::SERVER.to_string();
    scene.told_of(&scene.path.red, channel, &words(["the share later", &server, "waits to be stored"]));
    zone::make_folder(&channel.target);
    scene.arrives(&files);
}

#[test]
fn a_target_that_is_read_only_for_a_while_loses_nothing() {
    require_root!();
    let scene = Stage::new(&SERVERS.map(|kind| (Kind::Dir, kind))).start("");
    let allow = |mode: u32| {
        for channel in &scene.channels {
            fs::set_permissions(&channel.target, fs::Permissions::from_mode(mode)).expect("possible");
        }
    };
    allow(0o555);
    let files = rig::files(4, 6, 20_000);
    scene.place(&files);
    for channel in &scene.channels {
        scene.told_of(
            &scene.path.red,
            channel,
            &words(["cannot", &format!("{} by", end(channel).1), "waits to be stored"]),
        );
        assert_eq!(rig::count(&channel.source), files.len(), "{}", channel.name);
    }
    allow(0o755);
    scene.arrives(&files);
}
