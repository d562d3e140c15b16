//! What never arrives is known by UUID, name and missing bytes, and can be sent again.

use std::process::{Command, Output};
use std::time::Duration;

use lab::path::{Path5, relay};
use lab::{Line, Loss, Role, Site, Syslog, require_root};

use super::rig::{self, Back, Folders, Tree};

/// Much more than a few megabytes, two manifests and the patience for them take.
const PATIENCE: Duration = Duration::from_mins(1);
/// Long enough at `RATE` for a loss to fall into its middle.
const FILE_BYTES: usize = 4 << 20;
/// No faster than RED can take it, also when it was built without optimisation and has little of the processor.
const RATE: &str = "rate = \"20Mbit/s\"";
/// Half of all frames: no protection is meant for that, and the link still does not count as down.
const HEAVY_LOSS: Loss = Loss::Random { per_million: 500_000 };

/// A path without a return link, whose originals are kept and whose RED tells syslog.
fn start(folders: &Folders) -> lab::path::Ground {
    let syslog = format!("syslog = \"{}\"", Syslog::TARGET);
    let site = Site::new("socket").red(&syslog);
    let table = folders.table(&format!("manifest = \"1s\"\n{RATE}"), "after = \"move:sent\"", "");
    rig::ground(site, Back::No, Loss::None, &table)
}

fn command(path: &Path5, name: &str, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = Command::new(relay())
        .arg(name)
        .arg("--config")
        .arg(&path.ground.site_file)
        .args(arguments)
        .output()
        .expect("relay runs");
    let shown = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "relay {name}: {shown}{}", String::from_utf8_lossy(&stderr));
    shown
}

/// Waits until `relay missing` has a line with all of `words`; gives its words.
fn await_missing(path: &Path5, words: &[&str]) -> Vec<String> {
    let mut found = None;
    rig::wait(path, PATIENCE, "a missing file", || {
        let shown = command(path, "missing", &[]);
        found = shown.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned);
        found.is_some()
    });
    found.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

fn await_nothing_missing(path: &Path5) {
    rig::wait(path, PATIENCE, "nothing missing", || {
        command(path, "missing", &["--name", "reports"]) == "reports, channel 9: no file is missing\n"
    });
}

/// A file's counter line in RED's last words.
fn red_line(lines: &[Line]) -> Line {
    lines.iter().rfind(|line| line.get("files") == Some("reports")).expect("counted").clone()
}

#[test]
fn a_file_that_is_lost_in_part_is_told_with_its_ranges_and_sent_again() {
    require_root!();
    let folders = Folders::new();
    let ground = start(&folders);
    let syslog = Syslog::start(&ground.lab.red);
    let path = ground.start();
    let diode = &path.ground.lab.diode;
    let files = Tree::from([(b"month/report.bin".to_vec(), rig::noise(3, FILE_BYTES))]);
    rig::place(&folders.blue(), &files);
    // Its beginning has come; then frames are lost until BLUE has sent it all.
    rig::wait(&path, PATIENCE, "the beginning", || rig::part_bytes(&folders.red()) > 0);
    diode.set_loss(HEAVY_LOSS).expect("a loss");
    rig::wait(&path, PATIENCE, "its end", || folders.blue().join("sent/month/report.bin").exists());
    diode.set_loss(Loss::None).expect("no loss");

    let row = await_missing(&path, &["incomplete: bytes ", "month/report.bin", &FILE_BYTES.to_string()]);
    let file = row[0].as_str();
    let first = row.iter().skip_while(|word| *word != "bytes").nth(1).expect("a range");
    let first: Vec<usize> =
        first.trim_end_matches(',').split('-').map(|bound| bound.parse().expect("an offset")).collect();
    assert!(0 < first[0] && first[0] <= first[1] && first[1] < FILE_BYTES, "{row:?}");
    let told = syslog.until(PATIENCE, |message| message.contains("is missing, incomplete: bytes "));
    let told = told.unwrap_or_else(|came| panic!("syslog has {came:#?}"));
    let alarm = told.last().expect("the alarm");
    // Facility daemon, severity error.
    assert!(alarm.starts_with("<27>1 ") && alarm.contains(" FILE [") && alarm.contains(file), "{alarm}");
    assert_eq!(rig::count(&folders.red()), 0, "nothing of it appears");
    path.red.wait_for_line(0, PATIENCE, |line| line.contains(file) && line.contains("is missing")).expect("a warning");

    assert!(command(&path, "resend", &[file]).contains("is sent again"), "{file}");
    rig::wait(&path, PATIENCE, "the file", || rig::tree(&folders.red()) == files);
    await_nothing_missing(&path);
    let told = syslog.until(PATIENCE, |message| message.contains("was missing and has arrived"));
    assert!(told.is_ok_and(|told| told.last().is_some_and(|notice| notice.starts_with("<29>1 "))));
    assert!(folders.blue().join("sent/month/report.bin").exists(), "it stays where it was kept");
    let (_, red, _) = path.end();
    let line = red_line(&red.summary.lines);
    assert_eq!((line.number("stored").unwrap(), line.number("missing").unwrap()), (1, 0), "{line:?}");
}

/// And what RED knows of it survives RED.
#[test]
fn a_file_that_red_has_never_seen_is_told_and_sent_again_by_name() {
    require_root!();
    let folders = Folders::new();
    let path = start(&folders).start();
    let files = Tree::from([(b"small.bin".to_vec(), rig::noise(4, 1000))]);
    path.ground.lab.diode.set_loss(Loss::All).expect("a loss");
    rig::place(&folders.blue(), &files);
    rig::wait(&path, PATIENCE, "its end", || folders.blue().join("sent/small.bin").exists());
    path.ground.lab.diode.set_loss(Loss::None).expect("no loss");
    await_missing(&path, &["never seen", "small.bin"]);

    let Path5 { ground, blue, red } = path;
    red.kill();
    let red = ground.relay(Role::Red);
    let path = Path5 { ground, blue, red };
    await_missing(&path, &["never seen", "small.bin"]);
    assert!(command(&path, "resend", &["small.bin"]).contains("small.bin is sent again"));
    rig::wait(&path, PATIENCE, "the file", || rig::tree(&folders.red()) == files);
    await_nothing_missing(&path);
    path.end();
}
