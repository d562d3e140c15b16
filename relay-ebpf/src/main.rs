//! The relay's XDP programs, built for `bpfel-unknown-none` by `cargo xtask build-ebpf`.
//!
//! ```text
//! blue_ingress   BLUE zone -> BLUE    stream by (protocol, port), source by longest prefix
//! blue_link      BLUE -> diode        drops everything that arrives; also where RED sends on a return link
//! red_link       diode -> RED         diode frames only; also where BLUE receives from a return link
//! ```
//!
//! All are `xdp.frags`, so that they attach to interfaces with jumbo MTUs.
#![no_std]
#![no_main]

mod blue;
mod cursor;
mod events;
mod headers;
mod red;

use aya_ebpf::{macros::map, maps::XskMap};
use relay_ebpf::QUEUES_MAX;

/// The `AF_XDP` socket of each receive queue.
#[map]
static SOCKETS: XskMap = XskMap::with_max_entries(QUEUES_MAX, 0);

/// No helper that asks for a GPL licence is used, so the kernel is told the real one.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 18] = *b"MIT OR Apache-2.0\0";

/// Nothing here panics; the verifier would refuse a program that could loop.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
