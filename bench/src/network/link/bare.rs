//! Cards without a relay: one thread sends frames that were written once, over `AF_XDP` or a packet socket, another drops them as
//! they arrive over `AF_XDP`.

use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::{Lab, address};
use relay::card::{CardConfig, CardTx};
use relay::config::Transmit;
use relay::packet::{BROADCAST, LinkHeader};
use relay::steer::{Encapsulation, ReceivingLink};
use relay::wire::MAGIC;
use relay::xsk::{RxConfig, RxSocket, wait_readable};

use super::{HEADERS_BYTES, PORT};

/// Frames taken or given at once, as the relay's lanes do.
const BATCH: usize = 64;
/// Frames to send from, as many as a lane has.
const FRAMES: u32 = 4096;
/// Ethernet header, bytes.
const ETHERNET_LEN: usize = 14;
/// How long a call to stop may go unnoticed.
const POLL: Duration = Duration::from_millis(1);

/// Gbit/s of frames of `frame_bytes` that arrive.
pub(super) fn measure(
    lab: &Lab,
    transmit: Transmit,
    frame_bytes: usize,
    threaded: bool,
    time: Duration,
) -> Result<f64> {
    let (mut rx, program) = lab.red.run(|| {
        let config = RxConfig { frame_size: 4096, ..RxConfig::new(address::RED_LINK_IF, 0) };
        let rx = RxSocket::open(&config)?;
        let mut program = ReceivingLink::attach(address::RED_LINK_IF, PORT, Encapsulation::Udp)?;
        program.register(0, rx.as_fd())?;
        anyhow::Ok((rx, program))
    })??;
    if threaded {
        lab.red.threaded_napi(address::RED_LINK_IF)?;
    }
    let card = CardConfig {
        interface: address::BLUE_LINK_IF,
        queue: 0,
        mtu: (frame_bytes - ETHERNET_LEN) as u32,
        frames: FRAMES,
        receive_frames: 0,
        transmit,
        lanes: 1,
    };
    let (mut tx, _) = lab.blue.run(|| CardTx::open(&card))??;
    let stop = AtomicBool::new(false);
    let (bytes, elapsed) = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&mut rx, &stop));
        let started = Instant::now();
        let sent = send(&mut tx, &frame(frame_bytes), time);
        let elapsed = started.elapsed();
        stop.store(true, Ordering::Release);
        let bytes = receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        sent.and(bytes).map(|bytes| (bytes, elapsed))
    })?;
    drop(program);
    Ok(bytes as f64 * 8e-9 / elapsed.as_secs_f64())
}

/// A frame that RED's program lets through: headers, and the link's magic number.
fn frame(len: usize) -> Vec<u8> {
    let mut frame = vec![0; len];
    let header = LinkHeader::udp(BROADCAST, BROADCAST, address::BLUE_LINK, address::RED_LINK, PORT, PORT);
    header.write(&mut frame, len - HEADERS_BYTES);
    frame[HEADERS_BYTES..HEADERS_BYTES + 2].copy_from_slice(&MAGIC.to_be_bytes());
    // An Ethernet address of the sender must not be a group's.
    frame[6] = 2;
    frame
}

fn send(tx: &mut CardTx, bytes: &[u8], time: Duration) -> Result<()> {
    // Frames come round; what is in them stays.
    let mut frames = Vec::new();
    while let Some(mut frame) = tx.take() {
        tx.bytes(&mut frame)[..bytes.len()].copy_from_slice(bytes);
        frames.push(frame);
    }
    for frame in frames {
        tx.release(frame);
    }
    let started = Instant::now();
    while started.elapsed() < time {
        for _ in 0..BATCH {
            let Some(frame) = tx.take() else { break };
            if let Err(frame) = tx.submit(frame, bytes.len()) {
                tx.release(frame);
                break;
            }
        }
        if tx.kick()? > 0 {
            std::thread::yield_now();
        }
    }
    Ok(())
}

fn receive(rx: &mut RxSocket, stop: &AtomicBool) -> Result<u64> {
    while !stop.load(Ordering::Acquire) {
        if rx.receive(BATCH, |_| ()) == 0 {
            wait_readable(&[rx.as_fd()], POLL)?;
        }
    }
    Ok(rx.counters().bytes)
}
