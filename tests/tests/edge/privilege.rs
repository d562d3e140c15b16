//! Without privilege: an error that names the way out, and the way out.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use lab::{Options, RelayProcess, Role, Site, require_root};

use super::rig::{Rig, client, crosses, numbers, server, stop};
use lab::path::{Ground, PORT, Path5, relay};

/// The relay behind `setpriv`, as nobody; its folder belongs to nobody too.
fn as_nobody(rig: &Rig) -> PathBuf {
    let folder = rig.folder.path();
    let binary = folder.join("relay");
    std::fs::copy(relay(), &binary).unwrap();
    let script = folder.join("as-nobody");
    let line = format!(
        "#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all {} \"$@\"\n",
        binary.display()
    );
    std::fs::write(&script, line).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(folder).status().unwrap().success());
    script
}

#[test]
fn without_privilege_xdp_names_the_socket_driver() {
    require_root!();
    let rig = Rig::new(&Options::default());
    let file = Site::new("xdp").key_file(&rig.key()).stream(numbers()).write(rig.folder.path()).unwrap();
    let nobody = as_nobody(&rig);
    for (role, host) in [(Role::Blue, &rig.lab.blue), (Role::Red, &rig.lab.red)] {
        let stopped = RelayProcess::launch(&nobody, role, host, &file).unwrap().wait().unwrap();
        let text = stopped.log.text();
        assert_eq!(stopped.status.code(), Some(1), "{text}");
        for wanted in ["CAP_BPF", "CAP_NET_ADMIN", "driver = \"socket\""] {
            assert!(text.contains(wanted), "{wanted} is not in:\n{text}");
        }
    }
}

#[test]
fn without_privilege_the_socket_driver_works() {
    require_root!();
    let rig = Rig::new(&Options::default());
    let site_file = Site::new("socket").key_file(&rig.key()).stream(numbers()).write(rig.folder.path()).unwrap();
    let nobody = as_nobody(&rig);
    let red = RelayProcess::start(&nobody, Role::Red, &rig.lab.red, &site_file).unwrap();
    let blue = RelayProcess::start(&nobody, Role::Blue, &rig.lab.blue, &site_file).unwrap();
    let path = Path5 { ground: Ground::of(rig.lab, rig.folder, site_file), blue, red };
    crosses(&path, &client(&path.ground.lab, PORT), &server(&path.ground.lab), b"unprivileged");
    stop(path);
}

#[test]
fn a_state_folder_that_cannot_be_written() {
    require_root!();
    let rig = Rig::new(&Options::default());
    let file = Site::new("socket").key_file(&rig.key()).stream(numbers()).write(rig.folder.path()).unwrap();
    let nobody = as_nobody(&rig);
    for (role, host) in [(Role::Blue, &rig.lab.blue), (Role::Red, &rig.lab.red)] {
        let state = rig.folder.path().join(role.name());
        assert!(Command::new("chown").args(["0:0"]).arg(&state).status().unwrap().success());
        let stopped = RelayProcess::launch(&nobody, role, host, &file).unwrap().wait().unwrap();
        let text = stopped.log.text();
        assert_eq!(stopped.status.code(), Some(1), "{text}");
        assert!(text.contains("state_dir") && text.contains(&*state.to_string_lossy()), "{text}");
    }
}
