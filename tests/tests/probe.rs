//! `relay bench send | receive` over the laboratory's diode: finds a rate, and says what protection the link needs.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;
use std::time::Duration;

use lab::path::{Ground, relay, stream};
use lab::{Child, Loss, Options, Role, Site, require_root};

/// A bound for what takes seconds.
const SOON: Duration = Duration::from_mins(1);
/// User and group without any right.
const NOBODY: u32 = 65_534;

/// `relay bench COMMAND` on its host with the ground's site file.
fn bench(ground: &Ground, command: &str, options: &[&str]) -> Child {
    let host = if command == "send" { &ground.lab.blue } else { &ground.lab.red };
    let mut line = Command::new(relay());
    line.arg("bench").arg(command).arg("--config").arg(&ground.site_file).args(options);
    host.spawn(&format!("relay bench {command}"), line).expect("it starts")
}

/// The receiving side, once it listens.
fn receiver(ground: &Ground, options: &[&str]) -> Child {
    let receiver = bench(ground, "receive", options);
    receiver.wait_for_line(0, SOON, |line| line == "ready").expect("it listens");
    receiver
}

/// What the receiving side said in all, after a short ladder that it found something safe on.
fn measure(ground: &Ground, ladder: &[&str]) -> String {
    let mut receiver = receiver(ground, &["--seconds", "20"]);
    let mut sender = bench(ground, "send", &[&["--seconds", "0.3"], ladder].concat());
    let sent = sender.wait(SOON).expect("the ladder ends");
    let received = receiver.wait(SOON).expect("it ends with the ladder");
    let text = format!("{}\n{}", sender.log().text(), receiver.log().text());
    assert_eq!((sent.code(), received.code()), (Some(0), Some(0)), "{text}");
    assert_eq!(ground.lab.diode.counters().expect("it counts").came_back, 0, "{text}");
    receiver.log().text()
}

/// The value of a line `KEY = ...` that is printed for the site file.
fn line<'a>(text: &'a str, key: &str) -> &'a str {
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
    found.unwrap_or_else(|| panic!("no line for `{key}` in:\n{text}"))
}

/// Loss in percent and burst of the printed `protect`.
fn promise(text: &str) -> (f64, u32) {
    let protect = line(text, "protect");
    let after = |key: &str| protect.split_once(key).unwrap_or_else(|| panic!("no {key} in {protect}")).1;
    let loss = after("loss = \"").split('%').next().and_then(|loss| loss.parse().ok());
    let burst = after("burst = ").split(' ').next().and_then(|burst| burst.parse().ok());
    (loss.expect("a percentage"), burst.expect("a number"))
}

/// The printed lines are put into the site file, which is then still one.
fn check_site(ground: &Ground, text: &str) {
    let [rate, protect] = ["rate", "protect"].map(|key| format!("{key} = {}", line(text, key)));
    let site = Site::new("xdp").link(&rate).fec(&protect).stream(stream());
    let file = site.write(ground.folder.path()).expect("a site file");
    let checked = Command::new(relay()).arg("check").arg("--config").arg(file).output().expect("relay runs");
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn a_link_without_loss_gets_a_rate_and_both_lines() {
    require_root!();
    for (driver, queues) in [("xdp", 2), ("socket", 1)] {
        let options = Options { queues, ..Options::default() };
        let ground = Ground::sealed(&options, &Site::new(driver).stream(stream()));
        let text = measure(&ground, &["--from", "20Mbit/s", "--to", "22Mbit/s"]);
        assert!(text.contains("highest safe rate: "), "{driver}:\n{text}");
        let (loss, burst) = promise(&text);
        assert!(loss < 1.0 && burst == 4, "{driver}:\n{text}");
        check_site(&ground, &text);
    }
}

#[test]
fn a_ladder_without_an_end_ends_unpaced() {
    require_root!();
    let ground = Ground::sealed(&Options::default(), &Site::new("xdp").stream(stream()));
    // Far more than this card takes: as soon as two steps bring nothing, the next one is unpaced.
    let mut receiver = receiver(&ground, &[]);
    let mut sender = bench(&ground, "send", &["--seconds", "0.3", "--from", "900Gbit/s"]);
    assert!(sender.wait(SOON).expect("the ladder ends").success(), "{}", sender.log().text());
    receiver.wait(SOON).expect("it ends with the ladder");
    let text = receiver.log().text();
    assert!(text.lines().any(|line| line.split_whitespace().nth(1) == Some("unpaced")), "{text}");
}

#[test]
fn random_loss_gets_a_promise_of_somewhat_more() {
    require_root!();
    let options = Options { loss: Loss::percent(1.0), ..Options::default() };
    let site = Site::new("xdp").protect("4%", "1e-9", 8).stream(stream());
    let ground = Ground::sealed(&options, &site);
    let text = measure(&ground, &["--from", "100Mbit/s", "--to", "156Mbit/s", "--factor", "1.25"]);
    let (loss, burst) = promise(&text);
    assert!((1.0..=3.0).contains(&loss) && burst <= 12, "{text}");
    check_site(&ground, &text);
}

#[test]
fn bursts_get_a_burst() {
    require_root!();
    let options = Options { loss: Loss::Bursts { burst: 30, period: 1000 }, ..Options::default() };
    let site = Site::new("xdp").scheme("reed-solomon").protect("0.1%", "1e-9", 40).stream(stream());
    let ground = Ground::sealed(&options, &site);
    let text = measure(&ground, &["--from", "100Mbit/s", "--to", "156Mbit/s", "--factor", "1.25"]);
    let (loss, burst) = promise(&text);
    assert!((30..=60).contains(&burst) && loss < 1.0, "the loss is all in bursts:\n{text}");
    check_site(&ground, &text);
}

/// Whatever is wrong with the other end, the receiver says what to do about it.
#[test]
fn a_relay_at_the_other_end_is_told_apart() {
    require_root!();
    let ground = Ground::sealed(&Options::default(), &Site::new("xdp").stream(stream()));
    let mut receiver = receiver(&ground, &[]);
    let blue = ground.relay(Role::Blue);
    let status = receiver.wait(SOON).expect("it gives up");
    let text = receiver.log().text();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("stop `relay blue` there and start `relay bench send`"), "{text}");
    blue.stop().expect("BLUE stops");

    // The other way round: RED delivers nothing of it, counts it, and says whose it is.
    let red = ground.relay(Role::Red);
    let mut sender = bench(&ground, "send", &["--seconds", "0.3", "--rate", "20Mbit/s"]);
    assert!(sender.wait(SOON).expect("its one step ends").success(), "{}", sender.log().text());
    red.wait_for_line(0, SOON, |line| line.contains("BLUE runs `relay bench send`")).expect("RED tells");
    let red = red.stop().expect("RED stops");
    let link = red.summary.link("forward").expect("a summary");
    assert!(link.number("dropped.unknown_channel").expect("refused") > 100, "{}", red.log.text());
    assert_eq!(red.summary.stream("numbers").expect("a summary").number("delivered").ok(), Some(0));

    // Its epochs are the relay's own: what comes next is accepted.
    let text = measure(&ground, &["--rate", "20Mbit/s"]);
    assert!(text.contains("highest safe rate: "), "{text}");
}

#[test]
fn a_signal_ends_either_side_with_what_there_is() {
    require_root!();
    let ground = Ground::sealed(&Options::default(), &Site::new("socket").stream(stream()));
    let mut receiver = receiver(&ground, &["--seconds", "600"]);
    let mut sender = bench(&ground, "send", &["--seconds", "0.3", "--from", "20Mbit/s", "--to", "900Gbit/s"]);
    let second = |line: &str| line.trim_start().starts_with("2 ");
    sender.wait_for_line(0, SOON, second).expect("the second step ends");
    sender.signal(libc::SIGTERM).expect("it runs");
    assert_eq!(sender.wait(SOON).expect("it ends").code(), Some(0), "{}", sender.log().text());
    receiver.wait_for_line(0, SOON, second).expect("the second step was heard");
    receiver.signal(libc::SIGINT).ok();
    assert_eq!(receiver.wait(SOON).expect("it ends").code(), Some(0), "{}", receiver.log().text());
    assert!(receiver.log().text().contains("highest safe rate: "), "{}", receiver.log().text());

    // Nothing was heard at all: that is a failure, with a remedy.
    let mut receiver = self::receiver(&ground, &[]);
    receiver.signal(libc::SIGTERM).expect("it runs");
    assert_eq!(receiver.wait(SOON).expect("it ends").code(), Some(1));
    assert!(receiver.log().text().contains("start it on BLUE"), "{}", receiver.log().text());
}

/// As nobody, who may read the site file and write the state.
#[test]
fn without_privilege_both_sides_name_the_socket_driver() {
    require_root!();
    let ground = Ground::plain(&Options::default(), &Site::new("xdp").stream(stream()));
    let folder = ground.folder.path();
    let binary = folder.join("relay");
    std::fs::copy(relay(), &binary).expect("a copy that nobody may run");
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    for (command, host, state) in [("send", &ground.lab.blue, "blue"), ("receive", &ground.lab.red, "red")] {
        chown(folder.join(state), Some(NOBODY), Some(NOBODY)).expect("it is ours");
        let mut line = Command::new("setpriv");
        line.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]);
        line.arg(&binary).args(["bench", command, "--config"]).arg(&ground.site_file);
        let mut child = host.spawn(command, line).expect("setpriv runs");
        let status = child.wait(SOON).expect("it ends");
        let text = child.log().text();
        assert_eq!(status.code(), Some(1), "{text}");
        for wanted in [&format!("relay bench {command}: ")[..], "CAP_BPF", "driver = \"socket\""] {
            assert!(text.contains(wanted), "{wanted} is not in:\n{text}");
        }
    }
}
