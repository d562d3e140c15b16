//! `relay missing` and `relay resend` on journals that are there, and where there are none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use relay::blue::files as blue;
use relay::files::journal::Journal;
use relay::files::manifest::Sent;
use relay::files::missing::{Absent, Why};
use relay::files::{Attributes, ContentHash, FileName, new_file};
use relay::red::files as red;

use super::{Folder, err, out, relay};

const CHANNEL: u16 = 9;

/// A site with two channels of files and its state in `folder`.
fn site(folder: &Folder) -> PathBuf {
    let table = |channel: u16, name: &str| {
        format!(
            "[[files]]\nchannel = {channel}\nname = \"{name}\"\n[files.blue]\nkind = \"dir\"\npath = \"/srv/out/{name}\"\n\
             [files.red]\nkind = \"dir\"\npath = \"/srv/in/{name}\"\n"
        )
    };
    let state = folder.0.display();
    folder.site(|text| {
        let (link, _) = text.split_once("[[stream]]").expect("a stream");
        let link = link.replace("[blue]", &format!("[blue]\nstate_dir = \"{state}/blue\""));
        let link = link.replace("[red]", &format!("[red]\nstate_dir = \"{state}/red\""));
        format!("{link}{}{}", table(CHANNEL, "reports"), table(CHANNEL + 1, "pictures"))
    })
}

fn relay_with(site: &Path, command: &str, arguments: &[&str]) -> Output {
    Command::new(relay()).arg(command).arg("--config").arg(site).args(arguments).output().unwrap()
}

fn name(text: &str) -> FileName {
    FileName::new(text).expect("a name")
}

#[test]
fn what_is_no_channel_of_files_is_refused() {
    let folder = Folder::new("files-none");
    let video = folder.site(|text| text);
    let output = relay_with(&video, "missing", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("no [[files]] at all"), "{}", err(&output));
    let site = site(&folder);
    for (command, arguments) in
        [("missing", &["--channel", "3"][..]), ("missing", &["--name", "x"]), ("resend", &["--channel", "3", "a"])]
    {
        let output = relay_with(&site, command, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(err(&output).contains("reports (channel 9), pictures (channel 10)"), "{}", err(&output));
    }
}

#[test]
fn hosts_that_have_not_run_know_nothing() {
    let folder = Folder::new("files-fresh");
    let site = site(&folder);
    let output = relay_with(&site, "missing", &["--name", "reports"]);
    assert_eq!((output.status.code(), out(&output).lines().count()), (Some(0), 1));
    assert!(out(&output).contains("reports, channel 9: RED has not run with these files yet"), "{}", out(&output));
    let output = relay_with(&site, "resend", &["a.csv"]);
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(1), ""));
    assert!(err(&output).contains("a.csv: BLUE does not know it"), "{}", err(&output));
}

#[test]
fn missing_shows_what_red_has_told_missing() {
    let folder = Folder::new("files-missing");
    let site = site(&folder);
    let absent = |file, name: &str, why: Why, told: bool| {
        let name = FileName::new(name).expect("a name");
        let sent = Sent { file, name, size_bytes: 5000, hash: [1; 32], sent_ms: 1_795_200_789_123 };
        red::Entry::Absent(Absent { sent, heard_ms: 0, why, told })
    };
    let files: [_; 4] = std::array::from_fn(|_| new_file());
    let path = red::journal_of(&red::folder(&folder.0.join("red"), CHANNEL));
    // Open, as a running relay has it.
    let (mut journal, _) = Journal::open(&path).expect("a journal");
    journal
        .append(&[
            absent(files[0], "a\nb.csv", Why::incomplete([0..1400, 2800..5000]), true),
            absent(files[1], "never.csv", Why::NeverSeen, true),
            absent(files[2], "lately.csv", Why::NeverSeen, false),
            absent(files[3], "stored.csv", Why::NeverSeen, true),
            red::Entry::Stored { file: files[3], at: SystemTime::now() },
        ])
        .expect("written");
    let output = relay_with(&site, "missing", &[]);
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
    let shown = out(&output);
    for part in [
        "reports, channel 9: 2 files missing (1 sent lately may still be on the way)\n",
        "incomplete: bytes 0-1399, 2800-4999 missing",
        "  a\\nb.csv\n",
        "  never.csv\n",
        &files[0].to_string(),
        &files[1].to_string(),
        "pictures, channel 10: RED has not run",
    ] {
        assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
    }
    assert!(!shown.contains("lately.csv") && !shown.contains("stored.csv"), "{shown}");
    assert_eq!(shown.lines().count(), 5, "{shown}");
}

#[test]
fn a_damaged_journal_is_named() {
    let folder = Folder::new("files-damaged");
    let site = site(&folder);
    for (role, command) in [("red", &["missing"][..]), ("blue", &["resend", "a"])] {
        let of_channel = folder.0.join(role).join("files").join(CHANNEL.to_string());
        fs::create_dir_all(&of_channel).unwrap();
        fs::write(of_channel.join(format!("{role}.journal")), "something else\n").unwrap();
        let output = relay_with(&site, command[0], &command[1..]);
        assert_eq!(output.status.code(), Some(1));
        assert!(err(&output).contains(&format!("{role}.journal is not a journal")), "{}", err(&output));
    }
}

#[test]
fn resend_orders_what_blue_still_has_and_says_why_not() {
    let folder = Folder::new("files-resend");
    let site = site(&folder);
    let taken = |file, at: &str| blue::Entry::Taken { file, name: name(at), attributes: Attributes::default() };
    let sent = |file| blue::Entry::Sent { file, hash: ContentHash([1; 32]), at: SystemTime::now() };
    let done = |file, kept: Option<&str>| blue::Entry::Done { file, kept: kept.map(name) };
    let [older, kept, deleted, pending, failed, crossing] = std::array::from_fn(|_| new_file());
    let of_channel = blue::folder(&folder.0.join("blue"), CHANNEL);
    let orders = of_channel.join(blue::ORDERS);
    fs::create_dir_all(&orders).unwrap();
    // As above.
    let (mut journal, _) = Journal::open(&blue::journal_of(&of_channel)).expect("a journal");
    journal
        .append(&[
            taken(older, "a.csv"),
            sent(older),
            done(older, Some("sent/a.csv")),
            taken(kept, "a.csv"),
            sent(kept),
            done(kept, Some("sent/a.csv.2")),
            taken(deleted, "deleted.csv"),
            sent(deleted),
            done(deleted, None),
            taken(pending, "pending.csv"),
            taken(failed, "b\n.csv"),
            blue::Entry::Failed { file: failed },
            taken(crossing, "crossing.csv"),
            sent(crossing),
        ])
        .expect("written");
    let ordered = || {
        let mut names: Vec<_> = fs::read_dir(&orders).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names.into_iter().map(|name| name.into_string().unwrap()).collect::<Vec<_>>()
    };
    for (what, why) in [
        (deleted.to_string(), "is not kept any more"),
        ("pending.csv".to_owned(), "is not sent yet"),
        ("crossing.csv".to_owned(), "try again in a moment"),
        (new_file().to_string(), "BLUE does not know it"),
    ] {
        let output = relay_with(&site, "resend", &[&what]);
        assert_eq!((output.status.code(), out(&output).as_str()), (Some(1), ""), "{what}");
        assert!(err(&output).contains(why), "{what}: {}", err(&output));
    }
    assert_eq!(ordered(), [""; 0]);

    let output = relay_with(&site, "resend", &["a.csv", "nobody.csv", "b\\n.csv"]);
    assert_eq!(output.status.code(), Some(1), "one of them is not there");
    assert!(out(&output).contains(&format!("file {kept} a.csv is sent again: within 2s")), "{}", out(&output));
    let mut wanted = [format!("resend-{kept}"), format!("resend-{failed}")];
    wanted.sort();
    assert_eq!(ordered(), wanted, "the newest of a name");
    assert_eq!(relay_with(&site, "resend", &[&older.to_string()]).status.code(), Some(0));
    assert_eq!(ordered().len(), 3);
}
