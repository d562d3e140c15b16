//! BLUE and RED with different files: RED tells, and nothing gets through that should not.

use lab::{Options, RelayProcess, Role, Site, TempDir, address, require_root};

use super::rig::{ARRIVES, Rig, await_stats, client, crosses, logs, numbers, server, socket, stop, stream, value};
use lab::path::{Ground, PORT, Path5, relay};

/// Both sides with a file of their own.
fn start(rig: Rig, blue: &Site, red: &Site) -> (Path5, TempDir) {
    let red_folder = TempDir::new().expect("a folder");
    let site_file = blue.write(rig.folder.path()).expect("a site file");
    let red_file = red.write(red_folder.path()).expect("a site file");
    let red = RelayProcess::start(relay(), Role::Red, &rig.lab.red, &red_file).expect("RED starts");
    let blue = RelayProcess::start(relay(), Role::Blue, &rig.lab.blue, &site_file).expect("BLUE starts");
    (Path5 { ground: Ground::of(rig.lab, rig.folder, site_file), blue, red }, red_folder)
}

#[test]
fn equal_files_are_no_mismatch() {
    require_root!();
    let site = Site::new("xdp").stream(numbers()).stream(stream(7, "more", 5007, (address::SERVER, 5007)));
    let path = Rig::new(&Options::default()).start(&site);
    let server = server(&path.ground.lab);
    crosses(&path, &client(&path.ground.lab, PORT), &server, b"a stream");
    await_stats(&path.red, |line| value(line, "heartbeats") > 2);
    let (_, red) = stop(path);
    assert!(!red.log.text().contains("same site file"), "{}", red.log.text());
}

#[test]
fn a_stream_that_red_does_not_have() {
    require_root!();
    let site = Site::new("xdp").stream(numbers());
    let more = site.clone().stream(stream(7, "more", 5007, (address::SERVER, 5007)));
    let (path, _folder) = start(Rig::new(&Options::default()), &more, &site);
    let (numbers, other) = (server(&path.ground.lab), socket(&path.ground.lab.server, (address::SERVER, 5007)));
    client(&path.ground.lab, 5007).send(b"into the void").unwrap();
    path.red.wait_for_line(0, ARRIVES, |line| line.contains("channel=7") && line.contains("same site file")).unwrap();
    crosses(&path, &client(&path.ground.lab, PORT), &numbers, b"the other stream works");
    other.set_nonblocking(true).unwrap();
    assert!(other.recv(&mut [0; 64]).is_err(), "{}", logs(&path));
    stop(path);
}

#[test]
fn a_stream_that_blue_does_not_have() {
    require_root!();
    let site = Site::new("socket").stream(numbers());
    let more = site.clone().stream(stream(7, "more", 5007, (address::SERVER, 5007)));
    let (path, _folder) = start(Rig::new(&Options::default()), &site, &more);
    path.red
        .wait_for_line(0, ARRIVES, |line| line.contains("streams differ") && line.contains("same site file"))
        .unwrap();
    crosses(&path, &client(&path.ground.lab, PORT), &server(&path.ground.lab), b"the other stream works");
    stop(path);
}

/// Nothing is delivered, and RED counts why.
fn keys(blue_key: bool, red_key: Option<bool>, reason: &str) {
    let rig = Rig::new(&Options::default());
    let site = Site::new("xdp").stream(numbers());
    let other_key = rig.folder.path().join("other.key");
    let made = std::process::Command::new(relay()).arg("keygen").arg(&other_key).output().unwrap();
    assert!(made.status.success());
    let blue = if blue_key { site.clone().key_file(&rig.key()) } else { site.clone() };
    let red = match red_key {
        None => site,
        Some(same) => site.key_file(&if same { rig.key() } else { other_key }),
    };
    let (path, _folder) = start(rig, &blue, &red);
    let server = server(&path.ground.lab);
    client(&path.ground.lab, PORT).send(b"unreadable").unwrap();
    let key = format!("dropped.{reason}");
    await_stats(&path.red, |line| value(line, &key) > 1);
    server.set_nonblocking(true).unwrap();
    assert!(server.recv(&mut [0; 64]).is_err(), "{}", logs(&path));
    let (_, red) = stop(path);
    assert_eq!(super::rig::count(&red, "numbers", "delivered"), 0);
}

#[test]
fn another_key() {
    require_root!();
    keys(true, Some(false), "bad_tag");
}

#[test]
fn no_key_on_blue() {
    require_root!();
    keys(false, Some(true), "unsealed");
}

#[test]
fn no_key_on_red() {
    require_root!();
    keys(true, None, "sealed_without_key");
}
