//! Relays that are killed and started again under traffic, and frames of before that come again.

use std::time::{Duration, Instant};

use lab::traffic::{Load, Receiver, Sender, Sent};
use lab::{Log, Options, RelayProcess, Role, Site, Tap, address, require_root};

use super::frames::{from_port, identity, injector, recorder};
use lab::path::{Ground, PORT, Path5, QUIET, stream};

/// The requirement: delivery resumes this soon after `ready`.
const RESUME_MAX: Duration = Duration::from_secs(1);
/// Long enough for everything that is awaited here.
const SOON: Duration = Duration::from_secs(10);
const RATE: u64 = 2_000;

/// Traffic from the client to the server, and the relays that it goes through.
struct Running {
    ground: Ground,
    blue: Option<RelayProcess>,
    red: Option<RelayProcess>,
    sender: Sender,
    receiver: Receiver,
    logs: Vec<Log>,
}

impl Running {
    fn start(options: &Options, site: &Site, order: [Role; 2]) -> Self {
        let ground = Ground::sealed(options, site);
        let receiver = ground.receiver(PORT, 1);
        let load = Load::new((address::BLUE, PORT), RATE);
        let sender = Sender::start(&ground.lab.client, load).expect("a sender");
        let mut running = Self { ground, blue: None, red: None, sender, receiver, logs: Vec::new() };
        for role in order {
            running.begin(role);
        }
        running.resumes("after the first start");
        running
    }

    fn side(&mut self, role: Role) -> &mut Option<RelayProcess> {
        if role == Role::Blue { &mut self.blue } else { &mut self.red }
    }

    fn begin(&mut self, role: Role) {
        *self.side(role) = Some(self.ground.relay(role));
    }

    fn kill(&mut self, role: Role) {
        let relay = self.side(role).take().expect("it runs");
        self.logs.push(relay.log().clone());
        relay.kill();
    }

    /// What is sent from now on arrives within the time required.
    fn resumes(&self, when: &str) {
        let (ready, first) = (Instant::now(), self.sender.sent());
        let arrived = self.receiver.wait_until(RESUME_MAX, |received| {
            let flow = received.flows.get(&0);
            flow.is_some_and(|flow| (first..first + RATE).any(|number| flow.has(number)))
        });
        assert!(arrived, "{when}: nothing within {RESUME_MAX:?} of ready\n{}", self.text());
        println!("{when}: delivery resumed {:?} after ready", ready.elapsed());
    }

    fn text(&self) -> String {
        let now = [&self.blue, &self.red].into_iter().flatten().map(RelayProcess::log);
        self.logs.iter().chain(now).map(Log::text).collect::<Vec<_>>().join("\n----\n")
    }

    /// Nothing stale, nothing twice, nothing wrong, and no relay panicked. That nothing comes back is not asked here:
    /// while no RED runs, its kernel answers frames with ICMP.
    fn end(self) -> Sent {
        let text = self.text();
        let sent = self.sender.stop().expect("sent");
        let received = self.receiver.finish(&sent, QUIET).expect("received");
        let faults = (received.duplicates(), received.out_of_order(), received.corrupt, received.foreign);
        assert_eq!(faults, (0, 0, 0, 0), "{received}\n{text}");
        assert!(!text.contains("panicked"), "{text}");
        for relay in [self.blue, self.red].into_iter().flatten() {
            let stopped = relay.stop().expect("it stops");
            assert!(stopped.status.success() && !stopped.log.text().contains("panicked"), "{}", stopped.log.text());
        }
        sent
    }
}

fn site(driver: &str) -> Site {
    Site::new(driver).stream(stream())
}

#[test]
fn either_side_may_start_first() {
    require_root!();
    for order in [[Role::Red, Role::Blue], [Role::Blue, Role::Red]] {
        for driver in ["xdp", "socket"] {
            Running::start(&Options::default(), &site(driver), order).end();
        }
    }
}

#[test]
fn a_killed_side_is_back_within_a_second_of_ready() {
    require_root!();
    for driver in ["xdp", "socket"] {
        let mut running = Running::start(&Options::default(), &site(driver), [Role::Red, Role::Blue]);
        for side in [Role::Blue, Role::Red, Role::Blue, Role::Red] {
            running.kill(side);
            running.begin(side);
            running.resumes(&format!("{driver}: {} killed", side.name()));
        }
        running.end();
    }
}

#[test]
fn both_sides_killed_come_back_in_either_order() {
    require_root!();
    let mut running = Running::start(&Options::default(), &site("xdp"), [Role::Red, Role::Blue]);
    for order in [[Role::Red, Role::Blue], [Role::Blue, Role::Red]] {
        for killed in [order, [order[1], order[0]]] {
            for role in killed {
                running.kill(role);
            }
            for role in order {
                running.begin(role);
            }
            running.resumes(&format!("both killed, {} first again", order[0].name()));
        }
    }
    running.end();
}

/// A BLUE that stops in order and starts again under traffic loses nothing that it took.
#[test]
fn a_clean_restart_of_blue_loses_nothing_that_it_took() {
    require_root!();
    let mut running = Running::start(&Options::default(), &site("xdp"), [Role::Red, Role::Blue]);
    let mut taken = 0;
    for _ in 0..2 {
        let stopped = running.blue.take().expect("it runs").stop().expect("BLUE stops");
        taken += stopped.summary.stream("numbers").unwrap().number("sent").unwrap();
        running.begin(Role::Blue);
        running.resumes("blue restarted");
    }
    let arrived = running.receiver.distinct();
    assert!(arrived >= taken, "BLUE took {taken}, {arrived} arrived\n{}", running.text());
    running.end();
}

/// Waits until RED has every frame below `next` of `epoch` in its state, so that it survives a kill.
fn wait_stored(ground: &Ground, epoch: u32, next: u64) {
    let path = ground.folder.path().join("red/red.epoch");
    let deadline = Instant::now() + SOON;
    loop {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let floors = text.lines().filter_map(|line| line.strip_prefix("lane ")?.split_once(' ')?.1.parse::<u64>().ok());
        if text.starts_with(&format!("epoch {epoch}\n")) && floors.max() >= Some(next) {
            return;
        }
        assert!(Instant::now() < deadline, "{}: {text}", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What RED has dropped of the link for these reasons, by a fresh counter line.
fn dropped(red: &RelayProcess, reasons: &[&str]) -> u64 {
    let from = red.log().len();
    red.signal(libc::SIGUSR1).expect("RED runs");
    let line = red.wait_for_line(from, SOON, |line| line.contains("link=forward")).expect("a counter line");
    let count = |reason: &&str| {
        let key = format!("dropped.{reason}=");
        line.split_whitespace().find_map(|word| word.strip_prefix(&key)?.parse::<u64>().ok()).unwrap_or(0)
    };
    reasons.iter().map(count).sum()
}

/// Injects `packets` and waits until RED has dropped all of them.
fn all_refused(red: &RelayProcess, to: &Tap, packets: &[Vec<u8>], when: &str) {
    // What overflows RED's ring on a busy machine is not delivered either.
    const REASONS: [&str; 3] = ["replayed", "old_epoch", "overflow"];
    let before = dropped(red, &REASONS);
    for chunk in packets.chunks(64) {
        for packet in chunk {
            to.send(packet).expect("injected");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let deadline = Instant::now() + SOON;
    loop {
        let refused = dropped(red, &REASONS) - before;
        if refused == packets.len() as u64 {
            return;
        }
        assert!(Instant::now() < deadline, "{when}: {refused} of {} refused", packets.len());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn frames_that_come_again_are_refused_always() {
    require_root!();
    for (driver, queues) in [("xdp", 1), ("xdp", 2), ("socket", 1)] {
        let options = Options { queues, ..Options::default() };
        let mut path = Path5::start(&options, &site(driver));
        let (recorder, to) = (recorder(&path.ground.lab), injector(&path.ground.lab));
        let receiver = path.ground.receiver(PORT, 1);
        let load = Load::new((address::BLUE, PORT), 2_000).seconds(1).flows(8);
        let sender = Sender::start(&path.ground.lab.client, load).unwrap();
        let sent = sender.join().unwrap();
        assert!(receiver.wait_until(SOON, |received| received.distinct() == sent.total()), "{}", receiver.so_far());
        path.blue.stop().expect("BLUE stops");
        let recorded = recorder.take().unwrap();
        assert!(recorded.len() as u64 >= sent.total(), "{} frames recorded", recorded.len());
        let (epoch, next) = recorded.iter().map(|packet| identity(packet)).max().expect("frames");
        // From every port, that is into every queue.
        let again: Vec<_> =
            (0..4).flat_map(|port| recorded.iter().map(move |packet| from_port(packet, port))).collect();
        all_refused(&path.red, &to, &again, "same RED");
        wait_stored(&path.ground, epoch, next);
        path.red.kill();
        path.red = path.ground.relay(Role::Red);
        all_refused(&path.red, &to, &again, "RED restarted");
        path.blue = path.ground.relay(Role::Blue);
        path.red.wait_for_line(0, SOON, |line| line.contains("BLUE has started")).unwrap();
        all_refused(&path.red, &to, &again, "BLUE restarted");
        let received = receiver.stop().unwrap();
        assert_eq!((received.distinct(), received.duplicates()), (sent.total(), 0), "{received}");
        let (_, red, _) = path.end();
        assert_eq!(red.summary.stream("numbers").unwrap().number("delivered").unwrap(), 0, "{}", red.log.text());
    }
}
