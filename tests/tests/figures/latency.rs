//! Sparse messages over one stream: how long from the client's write to the server's read.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use lab::{Loss, monotonic_ns, require_root};

use super::rig;

const MESSAGES: u32 = 1000;
const MESSAGE_BYTES: usize = 100;
const PERIOD: Duration = Duration::from_millis(10);

/// Number, time of sending, and a fill that follows from the number.
fn message(number: u32, time_ns: u64) -> [u8; MESSAGE_BYTES] {
    let mut message = [number as u8; MESSAGE_BYTES];
    message[..4].copy_from_slice(&number.to_be_bytes());
    message[4..12].copy_from_slice(&time_ns.to_be_bytes());
    message
}

/// Reads the messages of the next connection; gives their latencies in nanoseconds, if every byte was right.
fn read_messages(listener: &TcpListener) -> Option<Histogram<u64>> {
    let mut latencies = Histogram::new(3).ok()?;
    let (mut connection, _) = listener.accept().ok()?;
    for number in 0..MESSAGES {
        let mut came = [0; MESSAGE_BYTES];
        connection.read_exact(&mut came).ok()?;
        let now = monotonic_ns();
        let time_ns = u64::from_be_bytes(came[4..12].try_into().ok()?);
        if came != message(number, time_ns) {
            return None;
        }
        latencies.record(now.saturating_sub(time_ns)).ok()?;
    }
    // Nothing more, and an end in order.
    connection.read(&mut [0]).is_ok_and(|bytes| bytes == 0).then_some(latencies)
}

fn send_messages(mut client: &TcpStream) {
    client.set_nodelay(true).expect("a socket");
    let mut at = Instant::now();
    for number in 0..MESSAGES {
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        client.write_all(&message(number, monotonic_ns())).expect("BLUE reads");
        at += PERIOD;
    }
}

#[test]
#[ignore = "measures; see the crate's head"]
fn latency() {
    require_root!();
    let path = rig::start(rig::site().scheme("raptorq").repair("2%"), Loss::None, 1);
    let listener = rig::listen(&path, 0);
    let server = std::thread::spawn(move || read_messages(&listener));
    let client = rig::connect(&path, 0);
    send_messages(&client);
    rig::end(&client);
    let latencies = server.join().expect("the server ends").expect("every message, and every byte right");
    let us = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        "latency {MESSAGES} messages of {MESSAGE_BYTES} bytes: p50 {:.0} us, p99 {:.0} us, max {:.0} us | {}",
        us(0.5),
        us(0.99),
        us(1.0),
        rig::link(),
    );
    rig::stop(path);
}
