//! The laboratory itself: what it measures must be right before the relay is measured with it.
//!
//! Here the kernels of BLUE and RED forward IP in the relay's place, so that every loss is the diode's.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use lab::traffic::{Load, Received, Receiver, Sender, Sent};
use lab::{Counters, Host, Lab, Loss, Nic, Options, RelayProcess, Role, TempDir, address, require_root, usage};

/// Nothing arrives for this long: the path is empty, whose every hop takes microseconds.
const QUIET: Duration = Duration::from_millis(300);
/// A bound for what takes milliseconds.
const SOON: Duration = Duration::from_secs(10);

fn forwarding_lab(loss: Loss) -> Lab {
    let lab = Lab::new(&Options { loss, ..Options::default() }).unwrap();
    lab.forward_in_kernel().unwrap();
    lab
}

/// Sends a load from client to server and gives both accounts.
fn run(lab: &Lab, port: u16, load: impl FnOnce(Load) -> Load) -> (Sent, Received) {
    let to = (address::SERVER, port);
    let load = load(Load::new(to, 20_000));
    let receiver = Receiver::start(&lab.server, to, load.seed).unwrap();
    let sent = Sender::start(&lab.client, load).unwrap().join().unwrap();
    (sent.clone(), receiver.finish(&sent, QUIET).unwrap())
}

/// The first datagram of a path is preceded by no other frame: ARP is off on the link.
fn assert_exact(lab: &Lab, before: Counters, sent: &Sent, received: &Received) {
    let counters = lab.diode.counters().unwrap();
    let dropped = counters.dropped - before.dropped;
    assert_eq!(counters.forwarded - before.forwarded + dropped, sent.total(), "every frame is accounted for");
    assert_eq!(received.missing(sent).len() as u64, dropped, "{received}");
    assert_eq!(received.distinct() + dropped, sent.total(), "{received}");
    assert_eq!((received.corrupt, received.foreign, received.kernel_drops), (0, 0, 0), "{received}");
    assert_eq!(counters.came_back, 0);
}

#[test]
fn without_loss_everything_arrives() {
    require_root!();
    let lab = forwarding_lab(Loss::None);
    let (sent, received) = run(&lab, 5000, |load| load.count(4000).sizes(40, 1472).flows(3));
    received.check_complete(&sent).unwrap();
    assert_eq!(sent.flows, [1334, 1333, 1333]);
    assert_eq!((received.flows.len(), received.bytes), (3, sent.bytes));
    assert!(received.flows.values().all(|flow| flow.sources.len() == 1));
    assert_exact(&lab, Counters::default(), &sent, &received);
}

#[test]
fn random_loss_is_what_the_counters_say() {
    require_root!();
    let lab = forwarding_lab(Loss::percent(2.0));
    let (sent, received) = run(&lab, 5000, |load| load.count(20_000));
    assert_exact(&lab, Counters::default(), &sent, &received);
    // 400 are expected; seven standard deviations (20 each) either way happen once in 10^11 runs.
    let lost = received.missing(&sent).len();
    assert!((260..540).contains(&lost), "{lost} of 20,000 lost at 2%");
}

#[test]
fn loss_changes_while_the_counters_go_on() {
    require_root!();
    let lab = forwarding_lab(Loss::Bursts { burst: 15, period: 700 });
    let (sent, received) = run(&lab, 5000, |load| load.count(7000));
    assert_exact(&lab, Counters::default(), &sent, &received);
    let expected: Vec<(u32, u64)> = (0..10).flat_map(|n| (0..15).map(move |at| (0, n * 700 + at))).collect();
    assert_eq!(received.missing(&sent), expected);

    lab.diode.set_loss(Loss::All).unwrap();
    let before = lab.diode.counters().unwrap();
    let (sent, received) = run(&lab, 5000, |load| load.count(100).seed(2));
    assert_exact(&lab, before, &sent, &received);
    assert_eq!(received.distinct(), 0);

    lab.diode.set_loss(Loss::None).unwrap();
    let before = lab.diode.counters().unwrap();
    let (sent, received) = run(&lab, 5000, |load| load.count(100).seed(3));
    assert_exact(&lab, before, &sent, &received);
    assert_eq!(lab.diode.counters().unwrap(), Counters { forwarded: 7000 - 150 + 100, dropped: 250, came_back: 0 });
}

#[test]
fn nothing_gets_back() {
    require_root!();
    let lab = forwarding_lab(Loss::None);
    let blue = lab.blue.run(|| UdpSocket::bind("0.0.0.0:7")).unwrap().unwrap();
    let neighbour = format!("neigh replace {} lladdr {} dev red1", address::BLUE_LINK, address::BLUE_LINK_MAC);
    lab.red.ip(&neighbour).unwrap();
    let red = lab.red.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    for _ in 0..5 {
        red.send_to(b"back", (address::BLUE_LINK, 7)).unwrap();
    }
    assert_eq!(lab.diode.counters().unwrap(), Counters { came_back: 5, ..Counters::default() });
    blue.set_read_timeout(Some(QUIET)).unwrap();
    assert!(blue.recv(&mut [0; 10]).is_err());
}

#[test]
fn the_return_link_is_one_way_and_loses_what_it_is_told() {
    require_root!();
    let loss = Loss::Bursts { burst: 12, period: 900 };
    let lab = Lab::new(&Options { return_loss: Some(loss), ..Options::default() }).unwrap();
    let back = lab.back.as_ref().unwrap();
    let to = (address::BLUE_RETURN, 7400);
    let receiver = Receiver::start(&lab.blue, to, 1).unwrap();
    let load = Load::new(to, 20_000).count(1800).seed(1);
    let sent = Sender::start(&lab.red, load).unwrap().join().unwrap();
    let received = receiver.finish(&sent, QUIET).unwrap();
    let expected: Vec<(u32, u64)> = (0..2).flat_map(|n| (0..12).map(move |at| (0, n * 900 + at))).collect();
    assert_eq!(received.missing(&sent), expected);
    let counted = Counters { forwarded: 1776, dropped: 24, came_back: 0 };
    assert_eq!(back.counters().unwrap(), counted);

    let red = lab.red.run(|| UdpSocket::bind("0.0.0.0:7")).unwrap().unwrap();
    let mac = address::RED_RETURN_MAC;
    lab.blue.ip(&format!("neigh replace {} lladdr {mac} dev blu2", address::RED_RETURN)).unwrap();
    let blue = lab.blue.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    for _ in 0..5 {
        blue.send_to(b"wrong way", (address::RED_RETURN, 7)).unwrap();
    }
    assert_eq!(back.counters().unwrap(), Counters { came_back: 5, ..counted });
    red.set_read_timeout(Some(QUIET)).unwrap();
    assert!(red.recv(&mut [0; 10]).is_err());
    assert_eq!(lab.diode.counters().unwrap(), Counters::default(), "the two links have nothing in common");
}

#[test]
fn with_a_return_link_kernels_carry_a_conversation() {
    require_root!();
    let lab = Lab::new(&Options { return_loss: Some(Loss::None), ..Options::default() }).unwrap();
    lab.forward_in_kernel().unwrap();
    let listener = lab.server.run(|| TcpListener::bind((address::SERVER, 7))).unwrap().unwrap();
    let mut client =
        lab.client.run(|| TcpStream::connect_timeout(&(address::SERVER, 7).into(), SOON)).unwrap().unwrap();
    let (mut server, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), address::CLIENT);
    say(&mut client, &mut server);
    say(&mut server, &mut client);
    for diode in [&lab.diode, lab.back.as_ref().unwrap()] {
        let counters = diode.counters().unwrap();
        assert!(counters.forwarded >= 3 && counters.came_back == 0, "{counters:?}");
    }
}

fn say(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"ping").unwrap();
    to.set_read_timeout(Some(SOON)).unwrap();
    let mut heard = [0; 4];
    to.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"ping");
}

#[test]
fn zones_speak_both_families() {
    require_root!();
    let lab = Lab::new(&Options { queues: 2, mtu: 9000, zone_mtu: 9000, ..Options::default() }).unwrap();
    for (from, host, to) in [
        (&lab.client, &lab.blue, (address::BLUE_V6, 5000).into()),
        (&lab.client, &lab.blue, (address::BLUE, 5000).into()),
        (&lab.red, &lab.server, std::net::SocketAddr::from((address::SERVER_V6, 5000))),
        (&lab.red, &lab.server, (address::SERVER, 5000).into()),
    ] {
        let receiver = Receiver::start(host, to, 9).unwrap();
        let sender = Sender::start(from, Load::new(to, 10_000).count(200).size(8900).seed(9)).unwrap();
        let sent = sender.join().unwrap();
        receiver.finish(&sent, QUIET).unwrap().check_complete(&sent).unwrap();
    }
}

#[test]
fn accounts_tell_what_is_wrong() {
    require_root!();
    let host = Host::new("alone").unwrap();
    let receiver = Receiver::start(&host, ([127, 0, 0, 1], 0), 1).unwrap();
    let to = receiver.address();
    let endless = Sender::start(&host, Load::new(to, 5000).first_flow(4)).unwrap();
    assert!(receiver.wait_until(SOON, |received| received.distinct() > 50));
    let sent = endless.stop().unwrap();
    let foreign = Sender::start(&host, Load::new(to, 5000).seed(2).count(3)).unwrap().join().unwrap();
    assert_eq!(foreign.total(), 3);
    let socket = host.run(|| UdpSocket::bind("127.0.0.1:0")).unwrap().unwrap();
    socket.send_to(b"no datagram of ours", to).unwrap();
    // The same numbers again, in another order of arrival.
    let again = Sender::start(&host, Load::new(to, 5000).first_flow(4).count(10)).unwrap().join().unwrap();
    assert!(receiver.wait_until(SOON, |received| received.duplicates() == 10 && received.corrupt == 1));
    let received = receiver.finish(&sent, QUIET).unwrap();
    assert_eq!((received.distinct(), received.foreign, again.total()), (sent.total(), 3, 10));
    assert_eq!(received.flows[&4].sources.len(), 1, "duplicates add no source");
    let error = received.check_complete(&sent).unwrap_err().to_string();
    assert!(error.contains("10 duplicate") && error.contains("1 corrupt") && error.contains("3 foreign"), "{error}");
}

#[test]
fn programs_see_their_host_and_end_with_their_handle() {
    require_root!();
    let host = Host::new("alone").unwrap();
    host.ip("link add eth7 type veth peer eth8").unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ls /sys/class/net; sleep 1000 & echo $!; exec sleep 1001"]);
    let child = host.spawn("sh", command).unwrap();
    child.wait_for_line(0, SOON, |line| line == "eth7").unwrap();
    let sleeper = child.wait_for_line(0, SOON, |line| line.parse::<u32>().is_ok()).unwrap();
    assert!(child.log().lines().contains(&"lo".to_owned()));
    assert!(child.is_running());
    // A veth polls only once it has XDP or GRO; what matters here is that the file is this host's.
    let error = host.threaded_napi("eth9").unwrap_err().to_string();
    assert!(error.contains("eth9/threaded: No such file"), "{error}");
    let error = host.threaded_napi("eth7").map_or_else(|error| error.to_string(), |()| String::new());
    assert!(!error.contains("No such file") && !error.contains("Read-only"), "{error}");
    let log = child.log().clone();
    let parent = child.id();
    drop(child);
    assert!(!PathBuf::from(format!("/proc/{parent}")).exists());
    // The sleeper in its group holds the output open as long as it lives.
    assert!(log.wait_for_end(SOON), "{sleeper} still runs");
    let error = host.ip("link set nosuch up").unwrap_err().to_string();
    assert!(error.contains("host alone") && error.contains("nosuch"), "{error}");
}

/// A process that holds a laboratory is killed with SIGKILL: its namespaces, children and folders go all the same.
#[test]
fn nothing_is_left_after_sigkill() {
    const WITNESS: &str = "LAB_TEST_WITNESS";
    require_root!();
    if let Ok(netns) = std::env::var(WITNESS) {
        return be_killed(&netns);
    }
    let witness = Host::new("witness").unwrap();
    let mut monitor = Command::new("ip");
    monitor.args(["monitor", "link"]);
    let monitor = witness.spawn("ip monitor", monitor).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "nothing_is_left_after_sigkill", "--nocapture"]);
    command.env(WITNESS, witness.netns_path());
    // On a host of its own, whose namespace it leaves at once; what matters is that it can be killed.
    let victim = Host::new("victim").unwrap().spawn("victim", command).unwrap();
    let line = victim.wait_for_line(0, SOON, |line| line.starts_with("victim ")).unwrap();
    let [_, sleeper, folder] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    assert!(PathBuf::from(folder).exists());
    assert!(witness.ip("link show wit0").is_ok());
    drop(victim);
    // The cable's end here goes when the kernel has destroyed the namespace of its other end.
    monitor.wait_for_line(0, SOON, |line| line.contains("Deleted") && line.contains("wit0")).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{sleeper}/stat"));
    assert!(stat.map_or(true, |stat| stat.contains(") Z ")), "the victim's child is gone");
    let _sweeps = TempDir::new().unwrap();
    assert!(!PathBuf::from(folder).exists());
}

fn be_killed(witness_netns: &str) {
    let lab = Lab::new(&Options::default()).unwrap();
    let folder = TempDir::new().unwrap();
    lab.client.ip(&format!("link add far0 type veth peer wit0 netns {witness_netns}")).unwrap();
    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    let sleep = lab.client.spawn("sleep", sleep).unwrap();
    println!("victim {} {}", sleep.id(), folder.path().display());
    std::thread::sleep(Duration::from_secs(1000));
}

#[test]
fn cables_can_be_added() {
    require_root!();
    let lab = Lab::new(&Options::default()).unwrap();
    let second = Host::new("second client").unwrap();
    let nic = |host, name| Nic { host, name, mac: None };
    lab::connect(nic(&second, "cli9"), nic(&lab.blue, "blu9"), 1500, 1).unwrap();
    lab.blue.ip("link set blu9 up").unwrap();
    assert!(second.ip("link show cli9").unwrap().contains("cli9"));
}

/// As long as it is not polled, no thread can do that, and nobody tells.
#[test]
fn a_link_card_without_a_program_is_polled_by_a_thread_once_it_joins_packets() {
    require_root!();
    let lab = forwarding_lab(Loss::None);
    let pollers = || usage::kernel_threads(&["napi/red1-"]).unwrap();
    let others = pollers();
    lab.gro_on_link().unwrap();
    lab.red.threaded_napi(address::RED_LINK_IF).unwrap();
    let (sent, received) = run(&lab, 5000, |load| load.count(4000));
    received.check_complete(&sent).unwrap();
    let used = |thread| usage::cpu_time_exact(thread).unwrap_or_default();
    let busy: Duration = pollers().into_iter().filter(|thread| !others.contains(thread)).map(used).sum();
    // 4,000 packets through the kernel take some milliseconds, a thread that waits for nothing some microseconds.
    assert!(busy > Duration::from_millis(1), "{busy:?}");
}

/// Writes a stand-in for the relay. Not for `sh`: dash forgets a signal that comes while it starts a command (`vforked` in its `onsig`).
fn stand_in(folder: &TempDir, script: &str) -> PathBuf {
    let path = folder.path().join("relay");
    std::fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn relays_are_started_signalled_and_stopped() {
    require_root!();
    let host = Host::new("alone").unwrap();
    let folder = TempDir::new().unwrap();
    let binary = stand_in(
        &folder,
        "trap 'echo reloaded' HUP; trap 'echo summary role=$1 stream=video delivered=12; exit 3' TERM
         echo arguments $*; echo ready; while :; do sleep 0.05 & wait $!; done",
    );
    let relay = RelayProcess::start(&binary, Role::Red, &host, "/the/site.toml".as_ref()).unwrap();
    relay.signal(libc::SIGHUP).unwrap();
    relay.wait_for_line(0, SOON, |line| line == "reloaded").unwrap();
    let stopped = relay.stop().unwrap();
    assert_eq!(stopped.status.code(), Some(3));
    assert_eq!(stopped.log.lines()[0], "arguments red --config /the/site.toml");
    let line = stopped.summary.stream("video").unwrap();
    assert_eq!((line.get("role"), line.number("delivered").unwrap()), (Some("red"), 12));
}

#[test]
fn relays_that_do_not_start_tell_why() {
    require_root!();
    let host = Host::new("alone").unwrap();
    let folder = TempDir::new().unwrap();
    let binary = stand_in(&folder, "echo no such interface >&2; exit 2");
    let error = RelayProcess::start(&binary, Role::Blue, &host, "x".as_ref()).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("not ready") && error.contains("no such interface"), "{error}");
}
