//! 400 MB one way, under each kind of loss: every byte right, no session aborted.

use lab::traffic::send_bytes;
use lab::{Loss, require_root};

use super::rig;

const BYTES: u64 = 400_000_000;

struct Case {
    name: &'static str,
    loss: Loss,
    protect: (&'static str, &'static str, u32),
}

const CASES: [Case; 3] = [
    Case { name: "no loss", loss: Loss::None, protect: ("0.1%", "1e-9", 4) },
    Case { name: "1% random", loss: Loss::Random { per_million: 10_000 }, protect: ("1%", "1e-9", 0) },
    Case { name: "12 in every 900", loss: Loss::Bursts { burst: 12, period: 900 }, protect: ("0.01%", "1e-9", 12) },
];

/// A run over relays of its own; gives whether it was whole.
fn is_whole(case: &Case, number: u32) -> bool {
    let (share, residual, burst) = case.protect;
    let path = rig::start(rig::site().protect(share, residual, burst), case.loss, 1);
    let arrived = rig::check_next(rig::listen(&path, 0));
    let mut client = rig::connect(&path, 0);
    // The next run follows, whatever became of this one.
    let sent = send_bytes(&mut client, number as u8, BYTES);
    rig::end(&client);
    let arrived = arrived.recv_timeout(rig::SOON).unwrap_or_default();
    let whole = sent.is_ok() && arrived.whole && !arrived.wrong && arrived.bytes == BYTES;
    let (blue, red, diode) = path.end();
    println!(
        "whole   {:<16} run {number:>2}: {} {:>9} bytes, {:.2} Gb/s, {:>6} frames lost, {} came back | {}",
        case.name,
        if whole { "whole  " } else { "BROKEN " },
        arrived.bytes,
        arrived.bits_per_second() / 1e9,
        diode.dropped,
        diode.came_back,
        rig::link(),
    );
    let ended_well = blue.status.success() && red.status.success() && diode.came_back == 0;
    if !(whole && ended_well) {
        println!("{arrived:?}\n{}\n{}", blue.log.text(), red.log.text());
    }
    whole && ended_well
}

#[test]
#[ignore = "takes minutes and measures; see the crate's head"]
fn whole() {
    require_root!();
    let runs = rig::number("RUNS", 20);
    let mut broken = Vec::new();
    for case in &CASES {
        let count = (0..runs).filter(|number| !is_whole(case, *number)).count();
        println!("whole   {:<16} {} of {runs} runs whole", case.name, runs as usize - count);
        broken.extend((count > 0).then_some(case.name));
    }
    assert!(broken.is_empty(), "not whole: {broken:?}");
}
