//! FTP and FTPS, on vsftpd and pure-ftpd.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lab::apps::Ftpd;
use lab::apps::enclosed::{PASSWORD, USER, USER_ID};
use lab::apps::ftpd::Program;
use lab::{Host, TempDir, require_root};
use relay::config::{Place, PlaceKind};
use relay::files::endpoint::connect;
use relay::files::{FileName, Trouble};

use crate::contract::{ODD_NAMES, Subject};
use crate::passwords;
use crate::stage::Stage;

const PORT: u16 = 21;
/// Names that would end a command, or that the server would cut or change.
const IMPOSSIBLE: [&[u8]; 6] =
    [b"two\nlines", b"two\r\nDELE there", b"carriage\rreturn", b"not\xFFtext", b"trailing blank ", b"folder\n/file"];

fn place(program: Program, tls: bool, folder: &str, server: &Ftpd, password: &Path) -> Place {
    Place {
        kind: if tls { PlaceKind::Ftps } else { PlaceKind::Ftp },
        server: Ipv4Addr::LOCALHOST.to_string(),
        port: PORT,
        user: USER.to_owned(),
        password_file: Some(password.to_owned()),
        key_file: None,
        host_key: None,
        share: String::new(),
        path: program.path(folder),
        ca_file: tls.then(|| server.certificate()),
        verify: true,
    }
}

fn names<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Vec<FileName> {
    names.into_iter().map(|name| FileName::new(name).expect("a name")).collect()
}

fn subject(program: Program, tls: bool, server: &Arc<Ftpd>, folder: &Path) -> Subject {
    let password = passwords::file(folder, "right", PASSWORD);
    let place_of = |folder| place(program, tls, folder, server, &password);
    let dying = Arc::clone(server);
    let odd = ODD_NAMES.into_iter().chain([&b"Latin 1: M\xE4rz"[..]]);
    Subject {
        owner: Some((USER_ID, USER_ID)),
        keeps_modified: Some(Duration::from_secs(1)),
        keeps_mode: program == Program::PureFtpd,
        // pure-ftpd holds no such names.
        odd: names(odd.filter(|name| program == Program::Vsftpd || !name.contains(&b'\\'))),
        impossible: names(IMPOSSIBLE),
        wrong_password: Some(place(program, tls, "place", server, &passwords::file(folder, "wrong", "wrong horse"))),
        nobody_there: Some(Place { port: PORT + 1, ..place_of("place") }),
        no_folder: Some(place_of("no/where")),
        read_only: Some(place_of("locked")),
        small: Some(place_of("small")),
        kill: Some(Box::new(move || dying.server().end_at_once().expect("it ends"))),
        ..Subject::plain(place_of("place"), server.place())
    }
}

fn stage(program: Program, tls: bool) -> Stage {
    let (host, folder) = (Host::new("ftp").expect("a host"), TempDir::new().expect("a folder"));
    let server = Ftpd::start(&host, folder.path(), program, tls, (Ipv4Addr::LOCALHOST, PORT));
    let server = server.unwrap_or_else(|error| panic!("{error:#}"));
    let server = Arc::new(server);
    let subject = subject(program, tls, &server, folder.path());
    Stage::new(host, folder, Some(Box::new(server)), subject)
}

mod vsftpd {
    contract!(|| super::stage(super::Program::Vsftpd, false));
}

mod vsftpd_tls {
    contract!(|| super::stage(super::Program::Vsftpd, true));
}

mod pure_ftpd {
    contract!(|| super::stage(super::Program::PureFtpd, false));
}

mod pure_ftpd_tls {
    contract!(|| super::stage(super::Program::PureFtpd, true));
}

/// Connects, and gives the error, of which there has to be one.
async fn refused(place: &Place, expected: Trouble) -> String {
    let error = connect(place).await.err().expect("no way in");
    assert_eq!(error.trouble, expected, "{error}");
    error.to_string()
}

#[test]
fn a_certificate_that_is_not_trusted_lets_nobody_in() {
    require_root!();
    for program in [Program::Vsftpd, Program::PureFtpd] {
        stage(program, true).run(async |subject: &Subject| {
            // This host trusts others, and the certificate has no such name.
            let system = Place { ca_file: None, ..subject.place.clone() };
            refused(&system, Trouble::Login).await;
            let other_name = Place { server: "localhost".to_owned(), ..subject.place.clone() };
            refused(&other_name, Trouble::Login).await;
            let unverified = Place { verify: false, ..system };
            connect(&unverified).await.unwrap_or_else(|error| panic!("{error}"));
        });
    }
}

#[test]
fn a_ca_file_that_has_no_certificates_is_told() {
    require_root!();
    stage(Program::PureFtpd, true).run(async |subject: &Subject| {
        for path in ["/nowhere/ca.pem", "/etc/hostname"] {
            let place = Place { ca_file: Some(path.into()), ..subject.place.clone() };
            let text = refused(&place, Trouble::Login).await;
            assert!(text.contains(path), "{text}");
        }
    });
}

#[test]
fn a_server_without_tls_gets_no_password() {
    require_root!();
    stage(Program::Vsftpd, false).run(async |subject: &Subject| {
        let secure = Place { kind: PlaceKind::Ftps, ..subject.place.clone() };
        refused(&secure, Trouble::Login).await;
    });
}

#[test]
fn a_name_that_the_server_prohibits_is_no_name() {
    require_root!();
    stage(Program::PureFtpd, false).run(async |subject: &Subject| {
        let mut endpoint = connect(&subject.place).await.unwrap_or_else(|error| panic!("{error}"));
        let name = FileName::new("back\\slash").expect("a name");
        let error = endpoint.create(&name).await.expect_err("prohibited");
        assert_eq!(error.trouble, Trouble::Name, "{error}");
    });
}

#[test]
fn names_that_cannot_be_asked_for_are_told() {
    require_root!();
    // Of a name with a line end vsftpd shows a part, of which there is no file, and pure-ftpd nothing.
    let expected = [(Program::Vsftpd, &["trailing blank ", "two"][..]), (Program::PureFtpd, &["trailing blank "][..])];
    for (program, expected) in expected {
        stage(program, false).run(async |subject: &Subject| {
            for odd in ["fine", "trailing blank ", "two\nlines"] {
                std::fs::write(subject.root.join(odd), "x").expect("a file");
            }
            let mut endpoint = connect(&subject.place).await.unwrap_or_else(|error| panic!("{error}"));
            let mut told = Vec::new();
            let found = endpoint.list(&mut |odd| told.push(odd)).await.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(found.iter().map(|found| found.name.as_bytes()).collect::<Vec<_>>(), [b"fine"]);
            told.sort();
            assert_eq!(told, expected);
        });
    }
}
