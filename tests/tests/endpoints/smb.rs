//! SMB, on Samba.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lab::apps::Samba;
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

const PORT: u16 = 445;
/// Names that only Linux and its like hold.
const LINUX_NAMES: [&[u8]; 6] =
    [b"not\xFFtext", b"two\nlines", b"a\x07bell", b"trailing dot.", b"trailing blank ", b"a|b"];

fn place(share: &str, path: &str, password: &Path) -> Place {
    Place {
        kind: PlaceKind::Smb,
        server: "127.0.0.1".to_owned(),
        port: PORT,
        user: USER.to_owned(),
        password_file: Some(password.to_owned()),
        key_file: None,
        host_key: None,
        share: share.to_owned(),
        path: path.to_owned(),
        ca_file: None,
        verify: true,
    }
}

/// Does Windows hold such a name?
fn is_possible(name: &&[u8]) -> bool {
    !name.iter().any(|byte| b"\\:*?\"<>|".contains(byte))
}

fn names<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Vec<FileName> {
    names.into_iter().map(|name| FileName::new(name).expect("a name")).collect()
}

fn subject(server: &Arc<Samba>, folder: &Path) -> Subject {
    let password = passwords::file(folder, "right", PASSWORD);
    let share = |share| place(share, "", &password);
    let dying = Arc::clone(server);
    let (odd, reserved): (Vec<&[u8]>, Vec<&[u8]>) = ODD_NAMES.into_iter().partition(is_possible);
    Subject {
        owner: Some((USER_ID, USER_ID)),
        // The unit of the protocol.
        keeps_modified: Some(Duration::from_nanos(100)),
        odd: names(odd),
        impossible: names(reserved.into_iter().chain(LINUX_NAMES)),
        wrong_password: Some(place("place", "", &passwords::file(folder, "wrong", "wrong horse"))),
        nobody_there: Some(Place { port: PORT + 1, ..share("place") }),
        no_folder: Some(place("place", "no/where", &password)),
        read_only: Some(share("locked")),
        small: Some(share("small")),
        kill: Some(Box::new(move || dying.server().end_at_once().expect("it ends"))),
        ..Subject::plain(share("place"), server.place())
    }
}

fn stage() -> Stage {
    let (host, folder) = (Host::new("smb").expect("a host"), TempDir::new().expect("a folder"));
    let server = Samba::start(&host, folder.path(), PORT).unwrap_or_else(|error| panic!("{error:#}"));
    let server = Arc::new(server);
    let subject = subject(&server, folder.path());
    Stage::new(host, folder, Some(Box::new(server)), subject)
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
fn a_missing_share_is_missing() {
    require_root!();
    stage().run(async |subject: &Subject| {
        let nowhere = Place { share: "nowhere".to_owned(), ..subject.place.clone() };
        let error = connect(&nowhere).await.err().expect("there is none");
        assert_eq!(error.trouble, Trouble::Missing, "{error}");
        assert!(error.to_string().contains("the share nowhere"), "{error}");
    });
}

#[test]
fn a_folder_of_a_share_is_a_place() {
    require_root!();
    stage().run(async |subject: &Subject| {
        let inner = subject.root.join("in/ner");
        std::fs::create_dir_all(&inner).expect("folders");
        std::fs::write(inner.join("file"), "content").expect("a file");
        std::fs::write(subject.root.join("outside"), "").expect("a file");
        for path in ["in/ner", "\\in\\ner\\", "/in/ner"] {
            let place = Place { path: path.to_owned(), ..subject.place.clone() };
            let mut endpoint = connect(&place).await.unwrap_or_else(|error| panic!("{error}"));
            let found = endpoint.list(&mut |_| {}).await.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(found.iter().map(|found| found.name.as_bytes()).collect::<Vec<_>>(), [b"file"], "{path}");
        }
    });
}

#[test]
fn names_that_no_share_can_ask_for_are_told() {
    require_root!();
    stage().run(async |subject: &Subject| {
        std::fs::write(subject.root.join("fine"), "").expect("a file");
        std::fs::write(subject.root.join("a:b"), "").expect("a file");
        let mut endpoint = connect(&subject.place).await.unwrap_or_else(|error| panic!("{error}"));
        let mut told = 0;
        let found = endpoint.list(&mut |_| told += 1).await.unwrap_or_else(|error| panic!("{error}"));
        let mangled = found.iter().filter(|found| found.name.as_bytes() != b"fine").count();
        // Samba shows such a name as another, which can be asked for; told or shown, it is not lost.
        assert_eq!((found.len() - mangled, told + mangled), (1, 1), "{found:?}");
    });
}
