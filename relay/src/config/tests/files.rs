//! `[[files]]` tables: what they say, and what is wrong with them.

mod slips;

use super::*;

/// A site file with two files tables that use most of what there is; the tables below break one line of it each.
const FILES: &str = r#"[link]
key_file = "link.key"
rate = "1Gbit/s"
[link.blue]
interface = "blu1"
address = "10.71.2.1"
[link.red]
interface = "red1"
address = "10.71.2.2"
[blue]
interface = "blu0"
[red]
interface = "red0"
buffer = "2MiB"
[[files]]
channel = 3
name = "reports"
description = "Reports of the day"
enabled = false
poll = "10s"
settle = "5s"
parallel = 8
repeat = 2
manifest = "5min"
retain = "48h"
rate = "200Mbit/s"
fec = { scheme = "reed-solomon" }
buffer = "1MiB"
[files.blue]
kind = "sftp"
server = "2001:db8::25"
port = 2222
user = "relay"
key_file = "keys/sftp"
host_key = "SHA256:uNiVztksCsDhcc0u9e8BrqGV0RDyi5pWo1tnyJ1kB9M"
path = "out"
include = ["*.csv", "reports/**/*.pdf"]
exclude = ["secret*"]
temporary = true
max_size = "1GiB"
magic = false
quarantine = "blocked/by relay"
after = "move:sent"
[files.red]
kind = "smb"
server = "files.example.org"
user = "ZONE\\relay"
password_file = "/run/secrets/smb"
share = "exchange$"
path = "in/reports"
max_size = "512MiB"
[[files]]
channel = 4
name = "pictures"
[files.blue]
kind = "dir"
path = "/srv/out"
after = "keep"
[files.red]
kind = "ftps"
server = "10.0.0.9"
user = "relay"
password_file = "ftp.password"
tls = { ca_file = "ca.pem", verify = true }
"#;

fn with_line(from: &str, to: &str) -> String {
    assert!(FILES.contains(from), "`{from}` is not in the file");
    FILES.replacen(from, to, 1)
}

fn read(text: &str) -> Site {
    parse_text(text).unwrap_or_else(|errors| panic!("{errors}")).site
}

#[test]
fn a_files_table_gives_what_it_says() {
    let site = read(FILES);
    assert!(site.streams.is_empty(), "files alone make a site");
    let [reports, pictures] = &site.files[..] else { panic!("{:?}", site.files) };
    assert_eq!((reports.channel, reports.name.as_str(), reports.enabled), (3, "reports", false));
    assert_eq!(reports.description, "Reports of the day");
    assert_eq!((reports.poll, reports.settle), (Duration::from_secs(10), Duration::from_secs(5)));
    assert_eq!((reports.parallel, reports.attempts, reports.repeat), (8, 10, 2));
    assert_eq!((reports.manifest, reports.retain), (Duration::from_mins(5), Duration::from_hours(48)));
    assert_eq!((reports.rate_bps, reports.buffer_bytes), (Some(200_000_000), 1 << 20));
    assert_eq!((reports.fec.scheme, pictures.fec.scheme), (Scheme::ReedSolomon, Scheme::RaptorQ));
    let nothing = pictures.red.place.clone();
    let nothing = Place { ca_file: None, password_file: None, path: String::new(), user: String::new(), ..nothing };
    let from = Place {
        kind: PlaceKind::Sftp,
        server: "2001:db8::25".to_owned(),
        port: 2222,
        user: "relay".to_owned(),
        key_file: Some("/etc/relay/keys/sftp".into()),
        host_key: Some("SHA256:uNiVztksCsDhcc0u9e8BrqGV0RDyi5pWo1tnyJ1kB9M".to_owned()),
        path: "out".to_owned(),
        ..nothing.clone()
    };
    let source = FilesSource {
        place: from,
        include: vec!["*.csv".to_owned(), "reports/**/*.pdf".to_owned()],
        exclude: vec!["secret*".to_owned()],
        temporary: true,
        max_bytes: 1 << 30,
        magic: false,
        quarantine: Some("blocked/by relay".to_owned()),
        after: After::Move("sent".to_owned()),
    };
    assert_eq!(reports.blue, source);
    assert_eq!((reports.red.max_bytes, pictures.red.max_bytes), (512 << 20, pictures.blue.max_bytes));
    let to = Place {
        kind: PlaceKind::Smb,
        server: "files.example.org".to_owned(),
        port: 445,
        user: "ZONE\\relay".to_owned(),
        password_file: Some("/run/secrets/smb".into()),
        share: "exchange$".to_owned(),
        path: "in/reports".to_owned(),
        ..nothing
    };
    assert_eq!(reports.red.place, to);
    let tls = &pictures.red.place;
    assert_eq!((tls.kind, tls.port, tls.path.as_str()), (PlaceKind::Ftps, 21, ""));
    assert_eq!((tls.ca_file.as_deref(), tls.verify), (Some(Path::new("/etc/relay/ca.pem")), true));
}

#[test]
fn what_is_left_out_has_its_default() {
    let pictures = &read(&with_line("after = \"keep\"\n", "")).files[1];
    assert_eq!((pictures.enabled, pictures.description.as_str()), (true, ""));
    assert_eq!((pictures.poll, pictures.settle), (Duration::from_secs(2), Duration::from_secs(2)));
    assert_eq!((pictures.parallel, pictures.attempts, pictures.repeat), (4, 10, 0));
    assert_eq!((pictures.manifest, pictures.retain), (Duration::from_mins(1), Duration::from_hours(24)));
    assert_eq!((pictures.rate_bps, pictures.buffer_bytes), (None, 16 << 20));
    let blue = &pictures.blue;
    assert_eq!((blue.include.len(), blue.exclude.len(), &blue.quarantine), (0, 0, &None));
    assert_eq!((blue.temporary, blue.magic, blue.max_bytes), (false, true, 64 << 30));
    assert_eq!((&blue.after, blue.place.port), (&After::Delete, 0));
}

#[test]
fn what_is_questionable_is_a_warning() {
    assert_eq!(warnings(FILES), [""; 0]);
    let told = |from: &str, to: &str| warnings(&with_line(from, to)).join("; ");
    assert!(told("repeat = 2", "attempts = 5").contains("`attempts` has no effect"));
    assert!(told("verify = true", "verify = false").contains("certificate of 10.0.0.9 is not verified"));
    assert!(told("200Mbit/s", "2Gbit/s").contains("`rate` of files `reports` is above the link's"));
    let back = "[link.return]\nred = { interface = \"red2\", address = \"10.71.4.2\" }\n\
                blue = { interface = \"blu2\", address = \"10.71.4.1\" }\n[blue]\n";
    assert_eq!(told("[blue]\n", back), "`repeat` has no effect here");
    let none = with_line("\"reed-solomon\"", "\"none\", repair = \"10%\"");
    assert_eq!(warnings(&none), ["without a scheme there are no repair symbols"]);
    let third = "[[files]]\nchannel = 5\nname = \"again\"\n[files.blue]\nkind = \"dir\"\npath = \"/srv/out/\"\nafter = \"delete\"\n\
                 [files.red]\nkind = \"dir\"\npath = \"/srv/out\"\n";
    let told = warnings(&format!("{FILES}{third}"));
    assert!(matches!(&told[..], [one] if one.contains("files `again` read a place that others read")), "{told:?}");
}

#[test]
fn a_change_of_files_is_found() {
    let old = read(FILES);
    assert!(diff(&old, &old).is_empty());
    let text = FILES
        .replace("poll = \"10s\"", "poll = \"9s\"")
        .replace("magic = false", "magic = true")
        .replace("in/reports", "in/others")
        .replace("enabled = false", "enabled = true")
        .replace("channel = 4", "channel = 5");
    let change = diff(&old, &read(&text));
    assert_eq!((change.added.as_slice(), change.removed.as_slice()), ([5].as_slice(), [4].as_slice()));
    assert_eq!(change.changed, [StreamChange { channel: 3, keys: vec!["enabled", "poll", "blue", "red"] }]);
    assert!(change.live.is_empty() && change.restart_needed.is_empty());

    let all = FILES
        .replace("\"reports\"", "\"other\"")
        .replace("Reports of", "Others of")
        .replace("settle = \"5s\"", "settle = \"6s\"")
        .replace("parallel = 8", "parallel = 9")
        .replace("repeat = 2", "repeat = 3\nattempts = 7")
        .replace("\"5min\"", "\"6min\"")
        .replace("\"48h\"", "\"49h\"")
        .replace("200Mbit/s", "201Mbit/s")
        .replace("reed-solomon", "raptorq")
        .replace("buffer = \"1MiB\"", "buffer = \"2MiB\"");
    let keys = vec![
        "name",
        "description",
        "settle",
        "parallel",
        "attempts",
        "repeat",
        "manifest",
        "retain",
        "rate",
        "fec",
        "buffer",
    ];
    assert_eq!(diff(&old, &read(&all)).changed, [StreamChange { channel: 3, keys }]);
}

#[test]
fn a_channel_that_becomes_files_has_another_type() {
    let (streams, files) = (good(), read(FILES));
    let moved = Site {
        files: vec![Files { channel: 2, ..files.files[0].clone() }],
        streams: vec![streams.streams[0].clone()],
        ..streams.clone()
    };
    let expected = [StreamChange { channel: 2, keys: vec!["type"] }];
    assert_eq!(diff(&streams, &moved).changed, expected);
    assert_eq!(diff(&moved, &streams).changed, expected);
    assert!(diff(&moved, &streams).removed.is_empty());
}

/// A folder with a site file, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn holding(files: &[(&str, u32)]) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Self(std::env::temp_dir().join(format!("relay-site-{}-{}", std::process::id(), files.len())));
        std::fs::create_dir_all(&folder.0).expect("a temporary folder");
        for (name, mode) in files {
            let path = folder.0.join(name);
            std::fs::write(&path, "secret\n").expect("writable");
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(*mode)).expect("ours");
        }
        folder
    }

    /// What is wrong with the site file for this purpose, a letter for errors and warnings ahead.
    fn told(&self, text: &str, purpose: Purpose) -> Vec<String> {
        let path = self.0.join("site.toml");
        std::fs::write(&path, text).expect("writable");
        let problems = match load(&path, purpose) {
            Ok(loaded) => loaded.warnings,
            Err(errors) => errors.problems,
        };
        let of = |p: &Problem| format!("{} {}", if p.is_warning() { "W" } else { "E" }, p.message());
        problems.iter().map(of).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn passwords_and_keys_must_be_there_and_closed_on_the_host_that_needs_them() {
    let text = FILES.replace("key_file = \"link.key\"\n", "").replace("/run/secrets/smb", "smb.password");
    let unsealed = "W the link is not sealed: whoever reaches it can read and forge streams";
    let none = Folder::holding(&[]);
    let missing = |letter: &str, name: &str| format!("{letter} cannot read {}", none.0.join(name).display());
    let on = |folder: &Folder, purpose| {
        folder.told(&text, purpose).into_iter().filter(|told| told != unsealed).collect::<Vec<_>>()
    };
    assert_eq!(on(&none, Purpose::Run(Role::Blue)), [missing("E", "keys/sftp")]);
    let reds = ["smb.password", "ftp.password", "ca.pem"];
    assert_eq!(on(&none, Purpose::Run(Role::Red)), reds.map(|name| missing("E", name)));
    assert_eq!(on(&none, Purpose::Check).len(), 4);
    assert!(on(&none, Purpose::Check).iter().all(|told| told.starts_with('W')), "another machine may have them");

    let open = Folder::holding(&[("smb.password", 0o600), ("ftp.password", 0o640), ("ca.pem", 0o644)]);
    let told = format!("W {} is open to other users", open.0.join("ftp.password").display());
    assert_eq!(on(&open, Purpose::Run(Role::Red)), [told]);
}

proptest! {
    #[test]
    fn any_value_of_any_key_of_files_is_accepted_or_refused(line in 0..70_usize, value in "(\"[^\"\\\\\n\r]{0,20}\"|-?[0-9]{1,25}|true|\\{\\}|\\[\\]|\\[\\[1\\]\\]|\\[\"[*a\\[{/]{0,6}\"\\])") {
        let text: Vec<String> = FILES.lines().enumerate().map(|(at, text)| {
            match text.split_once(" = ") {
                Some((key, _)) if at == line => format!("{key} = {value}"),
                _ => text.to_owned(),
            }
        }).collect();
        never_panics(&text.join("\n"));
    }

    #[test]
    fn any_file_without_some_lines_is_accepted_or_refused(gone in prop::collection::vec(14..66_usize, 1..8)) {
        let left: Vec<&str> = FILES.lines().enumerate().filter(|(at, _)| !gone.contains(at)).map(|(_, line)| line).collect();
        never_panics(&left.join("\n"));
    }
}
