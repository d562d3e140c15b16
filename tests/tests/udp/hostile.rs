//! RED's link under attack while it works: what is no genuine frame is dropped and counted, and harms nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use lab::traffic::{Load, Sender};
use lab::{Options, Role, Site, Tap, address, require_root};
use relay::wire::{Direction, HEADER_LEN, Header, Kind, LinkKey, Sealer, TAG_LEN};

use super::frames::{HEADERS_LEN, injector, recorder, with_frame};
use lab::path::{Ground, PORT, QUIET, stream};

const SOON: Duration = Duration::from_secs(10);
/// Memory that RED may gain meanwhile, in KiB: a log line and an allocator's page here and there, and far below what
/// keeping even a tenth of the injected frames would take.
const GROWTH_MAX_KIB: u64 = 1024;

/// Numbers that look random and are the same in every run (xorshift64, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

fn is_source(packet: &[u8]) -> bool {
    Header::read(&packet[HEADERS_LEN..]).is_ok_and(|header| matches!(header.kind, Kind::Source { .. }))
}

/// A packet to inject, and the reason for which RED must drop it.
type Attack = (Vec<u8>, &'static str);

/// Changes a genuine packet in one of many ways.
fn attack(random: &mut Random, packet: &[u8], foreign: &Sealer) -> Attack {
    let mut frame = packet[HEADERS_LEN..].to_vec();
    let reason = match random.below(10) {
        0 => {
            frame.truncate(2 + random.below(46));
            "malformed"
        }
        1 => {
            // Not seen before, so that the tag has to tell.
            frame[12] ^= 0x10;
            frame.truncate(frame.len() - 1);
            "bad_tag"
        }
        2 => {
            // Symbol or tag: the header's own fields have reasons of their own.
            let at = 32 + random.below(frame.len() - 32);
            frame[12] ^= 0x10;
            frame[at] ^= 1 << random.below(8);
            "bad_tag"
        }
        3 => {
            frame[2] = 2 + random.below(250) as u8;
            "version"
        }
        4 => {
            // Kinds that do not exist.
            frame[3] = 0x83 + random.below(12) as u8;
            "malformed"
        }
        5 => {
            frame[4..8].fill(0);
            "old_epoch"
        }
        6 => {
            frame[3] &= 0x7f;
            "unsealed"
        }
        7 => {
            let header = Header::read(&frame).expect("a genuine frame");
            // Ahead of everything seen, also in epoch.
            let header = Header { packet_number: header.packet_number + 1_000_000, ..header };
            let symbol = frame[HEADER_LEN..frame.len() - TAG_LEN].to_vec();
            foreign.seal(&header, &symbol, &mut frame);
            "bad_tag"
        }
        8 => "replayed",
        _ => {
            frame.iter_mut().skip(2).for_each(|byte| *byte = random.next() as u8);
            frame[2] = 99;
            "version"
        }
    };
    (with_frame(packet, &frame), reason)
}

/// Injects `count` attacks made of `recorded`; what was injected, by reason.
fn inject(
    to: &Tap,
    random: &mut Random,
    recorded: &[Vec<u8>],
    foreign: &Sealer,
    count: usize,
) -> BTreeMap<&'static str, u64> {
    let mut injected = BTreeMap::new();
    for index in 0..count {
        let packet = &recorded[random.below(recorded.len())];
        let (packet, reason) = attack(random, packet, foreign);
        to.send(&packet).expect("injected");
        *injected.entry(reason).or_default() += 1;
        if index % 16 == 0 {
            // About 16,000/s beside the traffic: below what would overflow RED's ring on a busy machine.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    injected
}

fn hostile_link(driver: &str, encapsulated_noise: bool) {
    let path = Ground::sealed(&Options::default(), &Site::new(driver).stream(stream())).start();
    let lab = &path.ground.lab;
    let (recorder, to) = (recorder(lab), injector(lab));
    let receiver = path.ground.receiver(PORT, 1);
    let sender = Sender::start(&lab.client, Load::new((address::BLUE, PORT), 2_000).flows(3)).unwrap();
    assert!(receiver.wait_until(SOON, |received| received.distinct() > 500));
    // Source symbols, whose header allows any length.
    let recorded: Vec<_> = recorder.take().unwrap().into_iter().filter(|packet| is_source(packet)).collect();
    drop(recorder);
    let epoch = super::frames::identity(&recorded[0]).0;
    let foreign = Sealer::new(&LinkKey::sealed([9; 32]), Direction::Forward, epoch + 1);
    let mut random = Random(0x5eed);
    let mut injected = inject(&to, &mut random, &recorded, &foreign, 2_000);
    let before_kib = path.red.resident_kib().unwrap();
    for (reason, count) in inject(&to, &mut random, &recorded, &foreign, 20_000) {
        *injected.entry(reason).or_default() += count;
    }
    let growth_kib = path.red.resident_kib().unwrap().saturating_sub(before_kib);
    if encapsulated_noise {
        // Not even frames: other ports, other protocols, no headers at all.
        for index in 0..1_000 {
            let mut packet = recorded[random.below(recorded.len())].clone();
            match index % 3 {
                0 => packet[36..38].copy_from_slice(&9999_u16.to_be_bytes()),
                1 => packet[12..14].copy_from_slice(&0x86dd_u16.to_be_bytes()),
                _ => packet[HEADERS_LEN] ^= 0xff,
            }
            to.send(&packet).expect("injected");
        }
        injected.insert("not_for_us", 1_000);
    }
    let sent = sender.stop().unwrap();
    let received = receiver.finish(&sent, QUIET).unwrap();
    assert!(path.red.is_running());
    let outcome = path.stop(sent, received);
    outcome.check_complete();
    let line = outcome.red.summary.link("forward").unwrap();
    for (reason, count) in &injected {
        assert_eq!(line.number(&format!("dropped.{reason}")).unwrap(), *count, "{reason}: {line:?}\n{injected:?}");
    }
    assert_eq!(line.total("dropped"), injected.values().sum::<u64>(), "{line:?}");
    assert_eq!(outcome.link(Role::Red, "records_broken"), 0);
    println!("{driver}: {injected:?}, RED grew by {growth_kib} KiB");
    assert!(growth_kib < GROWTH_MAX_KIB, "RED grew by {growth_kib} KiB");
}

#[test]
fn a_hostile_link_harms_nothing() {
    require_root!();
    hostile_link("xdp", true);
    hostile_link("socket", false);
}
