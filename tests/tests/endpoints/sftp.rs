//! SFTP, on `OpenSSH`'s server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lab::apps::Sshd;
use lab::apps::enclosed::{PASSWORD, USER, USER_ID};
use lab::{Host, TempDir, require_root};
use relay::config::{Place, PlaceKind};
use relay::files::endpoint::connect;
use relay::files::{FileName, Trouble};

use crate::contract::{ODD_NAMES, Subject};
use crate::idle;
use crate::passwords;
use crate::rate;
use crate::stage::Stage;

const PORT: u16 = 22;
/// Names that Linux holds besides those of other systems.
const LINUX_NAMES: [&[u8]; 4] = [b"not\xFFtext", b"two\nlines", b"a\x07bell", b"trailing dot."];

fn place(server: &Sshd, path: &str, password: &Path) -> Place {
    Place {
        kind: PlaceKind::Sftp,
        server: "127.0.0.1".to_owned(),
        port: PORT,
        user: USER.to_owned(),
        password_file: Some(password.to_owned()),
        key_file: None,
        host_key: Some(server.fingerprint().to_owned()),
        share: String::new(),
        path: path.to_owned(),
        ca_file: None,
        verify: true,
    }
}

fn names<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Vec<FileName> {
    names.into_iter().map(|name| FileName::new(name).expect("a name")).collect()
}

fn subject(server: &Arc<Sshd>, folder: &Path) -> Subject {
    let password = passwords::file(folder, "right", PASSWORD);
    let at = |path| place(server, path, &password);
    let dying = Arc::clone(server);
    Subject {
        owner: Some((USER_ID, USER_ID)),
        keeps_modified: Some(Duration::from_secs(1)),
        keeps_mode: true,
        odd: names(ODD_NAMES.into_iter().chain(LINUX_NAMES)),
        wrong_password: Some(place(server, "/mnt/place", &passwords::file(folder, "wrong", "wrong horse"))),
        nobody_there: Some(Place { port: PORT + 1, ..at("/mnt/place") }),
        no_folder: Some(at("/mnt/nowhere")),
        read_only: Some(at("/mnt/locked")),
        small: Some(at("/mnt/small")),
        kill: Some(Box::new(move || dying.server().end_at_once().expect("it ends"))),
        ..Subject::plain(at("/mnt/place"), server.place())
    }
}

/// A host with a server on it.
struct Ground {
    host: Host,
    folder: TempDir,
    server: Arc<Sshd>,
}

fn ground() -> Ground {
    let (host, folder) = (Host::new("sftp").expect("a host"), TempDir::new().expect("a folder"));
    let server = Sshd::start(&host, folder.path(), PORT).unwrap_or_else(|error| panic!("{error:#}"));
    Ground { host, folder, server: Arc::new(server) }
}

fn stage() -> Stage {
    let Ground { host, folder, server } = ground();
    let subject = subject(&server, folder.path());
    Stage::new(host, folder, Some(Box::new(server)), subject)
}

/// What a place that is no good says of itself, and what trouble that is.
fn refusal(ground: &Ground, place: &Place) -> (Trouble, String) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let connected = ground.host.run(|| runtime().block_on(connect(place))).expect("a host");
    let error = connected.err().expect("it is no good");
    (error.trouble, error.to_string())
}

fn with_key(ground: &Ground, key: PathBuf) -> Place {
    let none = ground.folder.path().join("none");
    Place { key_file: Some(key), password_file: None, ..place(&ground.server, "/mnt/place", &none) }
}

contract!(stage);

#[test]
fn a_dropped_connection_is_closed() {
    require_root!();
    stage().run(idle::a_dropped_connection_is_closed);
}

#[test]
#[ignore = "a measurement"]
fn rate() {
    require_root!();
    stage().run(rate::print);
}

#[test]
fn without_a_host_key_the_one_seen_is_told() {
    require_root!();
    let ground = ground();
    let password = passwords::file(ground.folder.path(), "right", PASSWORD);
    let unknown = Place { host_key: None, ..place(&ground.server, "/mnt/place", &password) };
    let (trouble, text) = refusal(&ground, &unknown);
    assert_eq!(trouble, Trouble::Login, "{text}");
    let line = format!("host_key = \"{}\"", ground.server.fingerprint());
    assert!(text.contains(&line) && text.contains("site file"), "{text}");
}

#[test]
fn another_host_key_is_refused_before_the_password_is_sent() {
    require_root!();
    let ground = ground();
    let password = passwords::file(ground.folder.path(), "right", PASSWORD);
    let other = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let wrong = Place { host_key: Some(other.to_owned()), ..place(&ground.server, "/mnt/place", &password) };
    let (trouble, text) = refusal(&ground, &wrong);
    assert_eq!(trouble, Trouble::Login, "{text}");
    assert!(text.contains(other) && text.contains(ground.server.fingerprint()), "{text}");
    let log = ground.server.server().log().text();
    assert!(!log.contains("Accepted") && !log.contains("Failed password"), "{log}");
}

#[test]
fn keys_let_in() {
    require_root!();
    let ground = ground();
    let place = with_key(&ground, ground.server.user_key());
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let listed = async {
        let mut endpoint = connect(&place).await?;
        endpoint.list(&mut |_| {}).await
    };
    let listed = ground.host.run(|| runtime().block_on(listed)).expect("a host");
    assert_eq!(listed.unwrap_or_else(|error| panic!("{error}")), []);
}

#[test]
fn keys_that_are_no_good_say_why() {
    require_root!();
    let ground = ground();
    let (trouble, text) = refusal(&ground, &with_key(&ground, ground.server.locked_key()));
    assert!(trouble == Trouble::Login && text.contains("encrypted") && text.contains("password_file"), "{text}");
    // Whether it is decrypted shows in what the server says of it: it does not know this one.
    let passphrase = passwords::file(ground.folder.path(), "passphrase", "passphrase");
    let opened = Place { password_file: Some(passphrase), ..with_key(&ground, ground.server.locked_key()) };
    let (trouble, text) = refusal(&ground, &opened);
    assert!(trouble == Trouble::Login && text.contains("does not accept the key"), "{text}");
    let nothing = ground.folder.path().join("nothing");
    let (trouble, text) = refusal(&ground, &with_key(&ground, nothing.clone()));
    assert!(trouble == Trouble::Login && text.contains(&nothing.display().to_string()), "{text}");
}
