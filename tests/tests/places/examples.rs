//! The ready site files, with the laboratory's addresses and paths: server to server, and originals deleted.

use lab::path::{Ground, key_file};
use lab::{Lab, Loss, Options, TempDir, address, require_root};

use super::rig::{self, Tree};
use super::scene::PATIENCE;
use super::zone::{self, Kind, Zone};

/// How many files ...
const COUNT: u64 = 100;
/// ... of how many bytes.
const BYTES: usize = 1_000_000;

#[test]
fn ftp_to_ftp() {
    require_root!();
    let places = [("blue_ftp", "/mnt/place"), ("red_ftp", "/mnt/place")];
    crosses(Kind::Ftp, include_str!("../../../config/files-ftp.toml"), &places);
}

#[test]
fn smb_to_smb() {
    require_root!();
    let places = [("blue_share", "place"), ("red_share", "place")];
    crosses(Kind::Smb, include_str!("../../../config/files-smb.toml"), &places);
}

/// The example with the laboratory's servers, and its state kept in `folder`.
fn adapted(example: &str, folder: &str, places: &[(&str, &str)]) -> String {
    let servers = [("192.168.100.10", address::CLIENT), ("192.168.50.125", address::SERVER)];
    let mut text = example.to_owned();
    let mut replace = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} is not in the example");
        text = text.replace(from, to);
    };
    for (from, to) in servers {
        replace(&format!("server = \"{from}\""), &format!("server = \"{to}\""));
    }
    for (from, to) in places {
        replace(&format!(" = \"{from}\"\n"), &format!(" = \"{to}\"\n"));
    }
    for side in ["blue", "red"] {
        replace(&format!("[{side}]\n"), &format!("[{side}]\nstate_dir = \"{folder}/{side}\"\n"));
    }
    text
}

fn crosses(kind: Kind, example: &str, places: &[(&str, &str)]) {
    let options = Options { return_loss: Some(Loss::None), ..Options::default() };
    let lab = Lab::new(&options).expect("a laboratory");
    let (site, zones) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let blue = Zone::start(&lab.client, address::CLIENT, &zones.path().join("blue"), &[kind], None);
    let red = Zone::start(&lab.server, address::SERVER, &zones.path().join("red"), &[kind], None);
    key_file(site.path(), "link.key");
    for side in ["blue", "red"] {
        let password = site.path().join(format!("{side}-{}.password", kind.name()));
        std::fs::rename(zones.path().join(side).join("password"), password).expect("possible");
        std::fs::create_dir(site.path().join(side)).expect("a folder");
    }
    let site_file = site.path().join("site.toml");
    std::fs::write(&site_file, adapted(example, &site.path().display().to_string(), places)).expect("written");
    let path = Ground::of(lab, site, site_file).start();
    let files: Tree =
        (0..COUNT).map(|number| (format!("file-{number}").into_bytes(), rig::noise(number + 1, BYTES))).collect();
    let (source, target) = (blue.root(kind), red.root(kind));
    zone::place(&source, &files);
    rig::wait(&path, PATIENCE, "all files", || rig::count(&target) == files.len() && rig::count(&source) == 0);
    path.end();
    assert!(rig::tree(&target) == files, "{:?}", rig::shown(&rig::tree(&target)));
    assert!(rig::temporaries(&target).is_empty());
}
