//! rsyslog in the BLUE zone forwards to rsyslog in the RED zone, one way.

use std::fs;
use std::time::Instant;

use lab::apps::Rsyslog;
use lab::require_root;

use super::rig::{Carrier, LOOK_PERIOD, SOON, Stage};

const PORT: u16 = 514;
const MESSAGES: usize = 10_000;

fn message(number: usize) -> String {
    format!("message {number} of {MESSAGES}")
}

/// Every message arrives once, in order, and no other.
fn messages_arrive(carrier: Carrier) {
    let stage = Stage::unilateral(carrier, PORT);
    let (lab, folder) = (stage.lab(), stage.folder());
    let receiver = Rsyslog::receiver(&lab.server, folder, PORT).unwrap();
    let sender = Rsyslog::sender(&lab.client, folder, stage.entrance()).unwrap();
    let sent: String = (1..=MESSAGES).map(|number| message(number) + "\n").collect();
    fs::write(sender.file(), sent).unwrap();
    let received = wait_for_lines(&receiver).unwrap_or_else(|count| {
        let logs = [sender.log_text(), receiver.log_text(), stage.log_text()].join("\n");
        panic!("{count} of {MESSAGES} messages came\n{logs}")
    });
    // The sender goes first: its connection ends in order.
    drop(sender);
    for (number, line) in (1..).zip(received.lines()) {
        assert_eq!(line.trim_start(), message(number));
    }
    let Some((blue, red)) = stage.end() else { return };
    assert_eq!(red.number("sessions").unwrap(), 1, "{red:?}");
    assert_eq!(red.number("delivered_bytes").unwrap(), blue.number("received_bytes").unwrap(), "{red:?}");
}

/// The receiver's file once it has all lines; how many there were when `SOON` had passed.
fn wait_for_lines(receiver: &Rsyslog) -> Result<String, usize> {
    let deadline = Instant::now() + SOON;
    loop {
        // Missing until the first message.
        let text = fs::read_to_string(receiver.file()).unwrap_or_default();
        match text.matches('\n').count() {
            count if count >= MESSAGES => return Ok(text),
            count if Instant::now() > deadline => return Err(count),
            _ => std::thread::sleep(LOOK_PERIOD),
        }
    }
}

#[test]
fn without_a_relay() {
    require_root!();
    messages_arrive(Carrier::Kernel);
}

#[test]
fn without_loss() {
    require_root!();
    messages_arrive(Carrier::Relay);
}

#[test]
fn with_one_percent_lost() {
    require_root!();
    messages_arrive(Carrier::RelayRandomLoss);
}

#[test]
fn with_bursts() {
    require_root!();
    messages_arrive(Carrier::RelayBursts);
}
