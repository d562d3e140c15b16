//! What keeps a relay from starting, and how it says so.

use std::net::Ipv4Addr;

use lab::{Host, Options, RelayProcess, Role, Site, address, require_root};

use super::rig::{Rig, numbers, socket};
use lab::path::{PORT, relay};

/// Starts one side with the site's text changed, which must fail; gives what it wrote.
fn fails(rig: &Rig, role: Role, site: &Site, change: (&str, &str), code: i32) -> String {
    let file = site.write(rig.folder.path()).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(change.0), "{} is not in\n{text}", change.0);
    std::fs::write(&file, text.replace(change.0, change.1)).unwrap();
    let host: &Host = if role == Role::Blue { &rig.lab.blue } else { &rig.lab.red };
    let stopped = RelayProcess::launch(relay(), role, host, &file).unwrap().wait().unwrap();
    let text = stopped.log.text();
    assert_eq!(stopped.status.code(), Some(code), "{text}");
    assert!(!stopped.log.lines().iter().any(|line| line.trim() == "ready"), "{text}");
    text
}

fn says(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
    }
}

#[test]
fn a_bad_file_names_every_error() {
    require_root!();
    let rig = Rig::new(&Options::default());
    let site = Site::new("xdp").link("rate = \"fast\"").fec("deadline = \"never\"").stream(numbers().line("wrong = 1"));
    for role in [Role::Blue, Role::Red] {
        let text = fails(&rig, role, &site, ("[blue]", "[blue]"), 2);
        says(&text, &["rate", "deadline", "wrong", "3 errors", "nothing was started"]);
    }
}

#[test]
fn a_missing_interface() {
    require_root!();
    let rig = Rig::new(&Options::default());
    let site = Site::new("socket").stream(numbers());
    says(&fails(&rig, Role::Blue, &site, ("\"blu0\"", "\"gone0\""), 1), &["gone0", "check that the interface exists"]);
    let site = Site::new("xdp").stream(numbers());
    for (role, interface, section) in [
        (Role::Blue, "blu0", "[blue] interface"),
        (Role::Blue, "blu1", "[link.blue] interface"),
        (Role::Red, "red0", "[red] interface"),
        (Role::Red, "red1", "[link.red] interface"),
    ] {
        let text = fails(&rig, role, &site, (&format!("\"{interface}\""), "\"gone0\""), 1);
        says(&text, &[section, "gone0", "no such interface", "ip link"]);
    }
}

#[test]
fn an_address_that_the_host_does_not_have() {
    require_root!();
    let rig = Rig::new(&Options::default());
    let site = Site::new("socket").stream(numbers());
    let blue = address::BLUE_LINK.to_string();
    says(&fails(&rig, Role::Blue, &site, (&blue, "10.71.2.77"), 1), &["10.71.2.77", "[link.blue] address", "blu1"]);
    let red = address::RED_LINK.to_string();
    says(&fails(&rig, Role::Red, &site, (&red, "10.71.2.77"), 1), &["10.71.2.77", "[link.red] address", "red1"]);
}

#[test]
fn an_mtu_that_the_link_does_not_have() {
    require_root!();
    let rig = Rig::new(&Options::default());
    for driver in ["xdp", "socket"] {
        let site = Site::new(driver).link("mtu = 9000").stream(numbers());
        says(&fails(&rig, Role::Blue, &site, ("[blue]", "[blue]"), 1), &["mtu = 9000", "1500", "blu1"]);
        says(&fails(&rig, Role::Red, &site, ("[red]", "[red]"), 1), &["mtu = 9000", "1500", "red1"]);
    }
}

#[test]
fn a_port_in_use() {
    require_root!();
    let rig = Rig::new(&Options::default());
    let any = Ipv4Addr::UNSPECIFIED;
    let _blue = socket(&rig.lab.blue, (any, PORT));
    let _red = socket(&rig.lab.red, (any, 7400));
    for driver in ["xdp", "socket"] {
        let site = Site::new(driver).stream(numbers());
        says(&fails(&rig, Role::Blue, &site, ("[blue]", "[blue]"), 1), &["5000", "in use", "stop it"]);
    }
    let site = Site::new("socket").stream(numbers());
    says(&fails(&rig, Role::Red, &site, ("[red]", "[red]"), 1), &["7400", "in use"]);
}

#[test]
fn a_second_relay_on_the_same_interface() {
    require_root!();
    let rig = Rig::new(&Options::default());
    let site = Site::new("xdp").stream(numbers());
    let file = site.write(rig.folder.path()).unwrap();
    let _first = RelayProcess::start(relay(), Role::Red, &rig.lab.red, &file).unwrap();
    says(&fails(&rig, Role::Red, &site, ("[red]", "[red]"), 1), &["red1", "another XDP program", "xdp off"]);
}
