//! The `relay` command from outside: exit codes, what it prints and where, key files.

#[path = "cli/files.rs"]
mod files;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The built `relay`, beside the folder of this test's executable; built first when cargo runs us.
fn relay() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
        if let Some(cargo) = std::env::var_os("CARGO") {
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "--package", "relay", "--bin", "relay"]);
            if profile.file_name() == Some(OsStr::new("release")) {
                build.arg("--release");
            }
            build.current_dir(workspace());
            assert!(build.status().unwrap().success(), "`cargo build --package relay` failed");
        }
        let binary = profile.join("relay");
        assert!(binary.exists(), "{} is missing: run `cargo build --package relay`", binary.display());
        binary
    })
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(arguments: I) -> Output {
    Command::new(relay()).args(arguments).env_remove("RELAY_LOG").output().unwrap()
}

fn check(site: &Path) -> Output {
    run([OsStr::new("check"), OsStr::new("--config"), site.as_os_str()])
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A folder of one test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("relay-cli-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The video site, changed, with its key beside it if there is one.
    fn site(&self, change: impl FnOnce(String) -> String) -> PathBuf {
        let text = fs::read_to_string(workspace().join("config/video.toml")).unwrap();
        let path = self.0.join("site.toml");
        fs::write(&path, change(text)).unwrap();
        path
    }

    fn key(&self) -> PathBuf {
        let path = self.0.join("link.key");
        assert_eq!(run([OsStr::new("keygen"), path.as_os_str()]).status.code(), Some(0));
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn check_accepts_every_ready_site_file() {
    let mut files = 0;
    for entry in fs::read_dir(workspace().join("config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension() != Some(OsStr::new("toml")) {
            continue;
        }
        let output = check(&path);
        assert_eq!(output.status.code(), Some(0), "{}: {}", path.display(), err(&output));
        assert!(out(&output).contains(": usable, "), "{}", out(&output));
        files += 1;
    }
    assert!(files >= 3, "only {files} site files in config/");
}

/// Whether the second link is missing, or carries status only.
#[test]
fn a_bilateral_stream_without_a_full_return_link_is_refused() {
    let folder = Folder::new("no-way-back");
    let text = fs::read_to_string(workspace().join("config/mysql.toml")).unwrap();
    let (before, after) = (text.find("[link.return]").unwrap(), text.find("[blue]").unwrap());
    let without = format!("{}{}", &text[..before], &text[after..]);
    for changed in [without, text.replace("mode = \"full\"", "mode = \"status\"")] {
        let line = changed.lines().position(|line| line.starts_with("type = ")).unwrap() + 1;
        let site = folder.site(|_| changed);
        for arguments in [["check", "--config"], ["blue", "--config"], ["red", "--config"]] {
            let output = run(arguments.map(OsStr::new).into_iter().chain([site.as_os_str()]));
            assert_eq!(output.status.code(), Some(2));
            let shown = err(&output);
            for part in ["needs a full return link", &format!(":{line}:"), "add [link.return] with mode = \"full\""] {
                assert!(shown.contains(part), "{arguments:?}: {part} is not in:\n{shown}");
            }
        }
    }
}

/// As in `relay check ... 2>&1 | head -1`.
#[test]
fn a_reader_that_has_gone_does_not_change_the_verdict() {
    let folder = Folder::new("pipe");
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    let code = |site: &Path| {
        let mut command = Command::new(relay());
        command.args([OsStr::new("check"), OsStr::new("--config"), site.as_os_str()]);
        command.stdout(closed()).stderr(closed()).status().unwrap().code()
    };
    assert_eq!(code(&workspace().join("config/minimal.toml")), Some(0));
    assert_eq!(code(&folder.site(|text| text.replace("mtu = 1500", "mtu = 15000"))), Some(2));
}

#[test]
fn check_shows_every_error_on_standard_error_and_leaves_with_2() {
    let folder = Folder::new("errors");
    let site = folder.site(|text| {
        text.replace("mtu = 1500", "mtu = 15000")
            .replace("channel = 1", "chanel = 1")
            .replace("\"10.71.1.0/24\"", "\"10.71.1.0/42\"")
    });
    let output = check(&site);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(out(&output), "");
    let shown = err(&output);
    for part in [
        "`mtu` in [link] is out of range",
        "mtu = 15000",
        "allowed: 576 to 9000",
        "unknown key `chanel`",
        "did you mean `channel`?",
        "`channel` is missing",
        "bad entry `10.71.1.0/42`",
        "4 errors; nothing was started",
    ] {
        assert!(shown.contains(part), "`{part}` is not in:\n{shown}");
    }
    assert!(shown.is_ascii(), "boxes and colours are for terminals:\n{shown}");
}

#[test]
fn a_missing_key_is_a_warning_for_check_and_an_error_to_run() {
    let folder = Folder::new("missing-key");
    let site = folder.site(|text| text);
    let output = check(&site);
    assert_eq!(output.status.code(), Some(0));
    assert!(err(&output).contains("link.key is missing"), "{}", err(&output));
    assert!(out(&output).contains("1 warning\n"), "{}", out(&output));
    for side in ["blue", "red"] {
        let output = run([OsStr::new(side), OsStr::new("--config"), site.as_os_str()]);
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        assert!(err(&output).contains("relay keygen") && err(&output).contains("1 error;"), "{}", err(&output));
    }
}

#[test]
fn a_key_file_of_another_kind_is_an_error_for_check_too() {
    let folder = Folder::new("wrong-key");
    let site = folder.site(|text| text);
    fs::write(folder.0.join("link.key"), "-----BEGIN PRIVATE KEY-----\n").unwrap();
    let output = check(&site);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("is not a key file"), "{}", err(&output));
    assert!(!err(&output).contains("PRIVATE KEY"), "{}", err(&output));
}

#[test]
fn keygen_writes_a_key_that_only_its_owner_reads_and_never_overwrites() {
    let folder = Folder::new("keygen");
    let path = folder.key();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let digits: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(digits.len() == 1 && digits[0].len() == 64, "{}", digits.len());

    let again = run([OsStr::new("keygen"), path.as_os_str()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(err(&again).contains("exists already and is never overwritten"), "{}", err(&again));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);

    let other = folder.0.join("other.key");
    assert_eq!(run([OsStr::new("keygen"), other.as_os_str()]).status.code(), Some(0));
    assert_ne!(fs::read_to_string(&other).unwrap(), text, "two keys are the same");

    let nowhere = run([OsStr::new("keygen"), folder.0.join("no/such/link.key").as_os_str()]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(err(&nowhere).contains("check that its folder exists"), "{}", err(&nowhere));
}

#[test]
fn a_good_key_passes_quietly_and_an_open_one_with_a_warning() {
    let folder = Folder::new("open-key");
    let (site, key) = (folder.site(|text| text), folder.key());
    let output = check(&site);
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
    assert!(out(&output).contains("sealed, 0 warnings"), "{}", out(&output));

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let output = check(&site);
    assert_eq!(output.status.code(), Some(0));
    assert!(err(&output).contains("is open to other users"), "{}", err(&output));
    assert!(err(&output).contains("its mode is 0644"), "{}", err(&output));
}

#[test]
fn an_unsealed_link_is_said_out_loud() {
    let output = check(&workspace().join("config/minimal.toml"));
    assert_eq!(output.status.code(), Some(0));
    assert!(err(&output).contains("the link is not sealed"), "{}", err(&output));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    for path in ["/nonexistent/site.toml", "/"] {
        let output = check(Path::new(path));
        assert_eq!(output.status.code(), Some(2));
        assert!(err(&output).contains(&format!("cannot read site file {path}:")), "{}", err(&output));
    }
    let folder = Folder::new("latin1");
    let path = folder.0.join("site.toml");
    fs::write(&path, b"[link]\n# caf\xe9\n").unwrap();
    let output = check(&path);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("line 2 of") && err(&output).contains("UTF-8"), "{}", err(&output));
    let output = check(Path::new("/dev/zero"));
    assert_eq!(output.status.code(), Some(2), "an endless file is refused, not read");
    assert!(err(&output).contains("larger than 4 MiB"), "{}", err(&output));
}

#[test]
fn usage_errors_leave_with_2_and_help_with_0() {
    for arguments in [
        &[][..],
        &["bleu"],
        &["blue"],
        &["check", "--config"],
        &["keygen"],
        &["check", "x"],
        &["bench"],
        &["bench", "send"],
        &["missing"],
        &["resend", "--config", "site.toml"],
        &["missing", "--config", "site.toml", "--channel", "1", "--name", "x"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(err(&output).contains("--help"), "{arguments:?}: {}", err(&output));
    }
    let output = run(["--help"]);
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
    for part in ["blue", "red", "check", "keygen", "missing", "resend", "First steps", "Exit codes: 0"] {
        assert!(out(&output).contains(part), "{part}");
    }
    for (command, parts) in [
        ("blue", ["SIGTERM", "SIGHUP", "RELAY_LOG", "CAP_NET_ADMIN", "ready"]),
        ("red", ["SIGTERM", "SIGUSR1", "RELAY_LOG", "socket", "ready"]),
        ("check", ["--config", "warning", "at once", "Exit codes", "TOML"]),
        ("keygen", ["PATH", "0600", "never overwritten", "key_file", "64"]),
        ("bench", ["send", "receive", "On RED", "On BLUE", "protect"]),
        ("bench send", ["--rate", "--from", "unpaced", "SIGTERM", "Exit codes: 0"]),
        ("missing", ["--channel", "--name", "manifest", "retain", "Exit codes: 0"]),
        ("resend", ["WHAT", "UUID", "poll", "move:FOLDER", "Exit codes: 0"]),
        ("bench receive", ["--loss", "--seconds", "records lost", "overflow", "Exit codes: 0"]),
    ] {
        let output = run(command.split(' ').chain(["--help"]));
        assert_eq!(output.status.code(), Some(0));
        for part in parts {
            assert!(out(&output).contains(part), "`{part}` is not in the help of {command}");
        }
    }
    assert!(out(&run(["--version"])).starts_with("relay 0."));
}

#[test]
fn bench_refuses_what_cannot_be_before_anything_starts() {
    let folder = Folder::new("bench");
    let site = folder.site(|text| text);
    let bench = |side: &str, arguments: &[&str]| {
        let mut command = Command::new(relay());
        command.args(["bench", side, "--config"]).arg(&site).args(arguments).output().unwrap()
    };
    for (side, arguments, wanted) in [
        ("send", &["--rate", "fast"][..], "write it like \"500Mbit/s\""),
        ("send", &["--rate", "1Gbit/s", "--to", "2Gbit/s"], "cannot be used with"),
        ("send", &["--seconds", "0.1"], "seconds from 0.2 to 3600"),
        ("send", &["--factor", "1"], "a number from 1.03 to 10"),
        ("send", &["--size", "19"], "20..=65000"),
        ("receive", &["--loss", "2"], "above 0 and below 1"),
        ("receive", &[], "relay keygen"),
    ] {
        let output = bench(side, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains(wanted), "{arguments:?}: {}", err(&output));
    }
}

#[test]
fn a_bad_log_filter_is_refused_before_anything_starts() {
    let folder = Folder::new("filter");
    let (site, _) = (folder.site(|text| text), folder.key());
    let arguments = [OsStr::new("red"), OsStr::new("--config"), site.as_os_str()];
    let output = Command::new(relay()).args(arguments).env("RELAY_LOG", "relay=loud").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("RELAY_LOG=relay=loud is not a log filter"), "{}", err(&output));
}

#[test]
fn every_unit_starts_its_side_with_no_more_capabilities_than_named() {
    for side in ["blue", "red"] {
        let unit = fs::read_to_string(workspace().join(format!("config/relay-{side}.service"))).unwrap();
        assert!(unit.contains(&format!("\nExecStart=/usr/local/bin/relay {side} --config ")));
        for line in
            ["StateDirectory=relay", "NoNewPrivileges=yes", "ProtectSystem=strict", "RestartPreventExitStatus=2"]
        {
            assert!(unit.contains(&format!("\n{line}\n")), "{line}");
        }
        let set = |key: &str| {
            let line = unit.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.split(' ').map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(set("CapabilityBoundingSet="), set("AmbientCapabilities="));
        assert!(!set("AmbientCapabilities=").iter().any(|name| name == "CAP_SYS_ADMIN"));
    }
}
