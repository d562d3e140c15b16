//! Three `MariaDB` clients in the BLUE zone fill and read a database in the RED zone, at once.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use lab::apps::{MariaDb, Session};
use lab::require_root;

use super::rig::{Carrier, Stage};

const PORT: u16 = 3306;
const ROWS: u64 = 100_000;
const CLIENTS: u64 = 3;
const COLUMNS: &str = "(id INT UNSIGNED PRIMARY KEY, name VARCHAR(32) NOT NULL, content VARCHAR(64) NOT NULL)";

/// A row as the client prints it and as LOAD DATA takes it: no two are alike, and no part repeats.
fn row(id: u64) -> String {
    // The multiplier of a 64-bit linear congruential generator (Knuth, MMIX): a different number for every id.
    let mixed = |salt: u64| (id ^ salt << 32).wrapping_mul(6_364_136_223_846_793_005);
    format!("{id}\trow {id}\t{:016x}{:016x}{:016x}", mixed(1), mixed(2), mixed(3))
}

/// Writes the rows of each client, and all of them, to files; gives the former, the latter and its text.
fn write_rows(folder: &Path) -> (Vec<PathBuf>, PathBuf, String) {
    let write = |name: String, ids: &mut dyn Iterator<Item = u64>| {
        let mut text = String::new();
        ids.for_each(|id| writeln!(text, "{}", row(id)).unwrap());
        let path = folder.join(name);
        fs::write(&path, &text).unwrap();
        (path, text)
    };
    let parts = (0..CLIENTS)
        .map(|client| write(format!("part{client}.tsv"), &mut (1..=ROWS).filter(|id| id % CLIENTS == client)).0);
    let parts = parts.collect();
    let (all, text) = write("all.tsv".to_owned(), &mut (1..=ROWS));
    (parts, all, text)
}

fn load(file: &Path, table: &str) -> String {
    format!("LOAD DATA LOCAL INFILE '{}' INTO TABLE {table}", file.display())
}

/// What came over the relay is, in the server and back at every client, what was sent.
fn rows_arrive_and_come_back(carrier: Carrier) {
    let stage = Stage::bilateral(carrier, PORT, CLIENTS as u32);
    let (lab, folder) = (stage.lab(), stage.folder());
    let server = MariaDb::start(&lab.server, folder, PORT).unwrap();
    let (parts, all, text) = write_rows(folder);
    let connect = || Session::connect(&lab.client, stage.entrance());
    let context = || format!("{}\n{}", server.log_text(), stage.log_text());
    let mut clients: Vec<Session> =
        (0..CLIENTS).map(|_| connect().unwrap_or_else(|error| panic!("{error:#}\n{}", context()))).collect();
    if carrier != Carrier::Kernel {
        let error = format!("{:#}", connect().expect_err("one more than max_sessions"));
        // CR_CONNECTION_ERROR or CR_SERVER_LOST: dropped before or after the kernel accepted.
        let is_refused = ["ERROR 2002", "ERROR 2013"].iter().any(|code| error.contains(code));
        assert!(is_refused, "{error}\n{}", context());
    }
    clients[0].query("CREATE DATABASE lab").unwrap();
    clients[0].query(&format!("CREATE TABLE lab.numbers {COLUMNS}")).unwrap();
    thread::scope(|scope| {
        for (client, part) in clients.iter_mut().zip(&parts) {
            scope.spawn(|| client.query(&load(part, "lab.numbers")).unwrap());
        }
    });
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| {
                let rows = client.query("SELECT * FROM lab.numbers ORDER BY id").unwrap();
                // Not assert_eq, which would print both.
                assert!(rows.iter().map(String::as_str).eq(text.lines()), "{} rows came back, or wrong", rows.len());
            });
        }
    });
    check_in_server(&server, &all);
    drop(clients);
    let Some((blue, red)) = stage.end() else { return };
    assert_eq!(red.number("sessions").unwrap(), CLIENTS, "{red:?}");
    assert_eq!(blue.number("refused.session_limit").unwrap(), 1, "{blue:?}");
}

/// The table has the checksum of one that never saw the relay.
fn check_in_server(server: &MariaDb, all: &Path) {
    let mut local = server.local().unwrap();
    local.query(&format!("CREATE TABLE lab.expected {COLUMNS}")).unwrap();
    local.query(&load(all, "lab.expected")).unwrap();
    let mut checksum = |table: &str| {
        let answer = local.query(&format!("CHECKSUM TABLE lab.{table} EXTENDED")).unwrap();
        answer[0].split('\t').nth(1).unwrap().to_owned()
    };
    let (numbers, expected) = (checksum("numbers"), checksum("expected"));
    assert!(expected.parse::<u64>().is_ok(), "{expected}");
    assert_eq!(numbers, expected);
}

#[test]
fn without_a_relay() {
    require_root!();
    rows_arrive_and_come_back(Carrier::Kernel);
}

#[test]
fn without_loss() {
    require_root!();
    rows_arrive_and_come_back(Carrier::Relay);
}

#[test]
fn with_one_percent_lost() {
    require_root!();
    rows_arrive_and_come_back(Carrier::RelayRandomLoss);
}

#[test]
fn with_bursts() {
    require_root!();
    rows_arrive_and_come_back(Carrier::RelayBursts);
}
