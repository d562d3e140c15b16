//! An ear and a mouth on a cable: whole Ethernet frames, as an attacker on the link has them.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};

use crate::{Host, sys};

/// What may wait to be taken, in bytes with the kernel's bookkeeping: about 100,000 full frames.
const BUFFER_BYTES: i32 = 256 << 20;
/// The longest frame: a jumbo one.
const FRAME_MAX: usize = 16_384;

/// A packet socket on one interface.
#[derive(Debug)]
pub struct Tap {
    socket: OwnedFd,
}

impl Tap {
    /// Hears every frame of the interface from now on, and can send.
    pub fn listen(host: &Host, interface: &str) -> Result<Self> {
        let tap = Self::open(host, interface, true)?;
        sys::set_socket_option(&tap.socket, libc::SO_RCVBUFFORCE, BUFFER_BYTES).context("SO_RCVBUFFORCE")?;
        Ok(tap)
    }

    /// Can send and hears nothing.
    pub fn mute(host: &Host, interface: &str) -> Result<Self> {
        Self::open(host, interface, false)
    }

    fn open(host: &Host, interface: &str, listens: bool) -> Result<Self> {
        let name = CString::new(interface)?;
        let socket = host.run(|| sys::packet_socket(&name, listens))?;
        Ok(Self { socket: socket.with_context(|| format!("no packet socket on {interface}"))? })
    }

    /// All frames heard since the last call.
    pub fn take(&self) -> Result<Vec<Vec<u8>>> {
        let mut buffer = vec![0; FRAME_MAX];
        let mut frames = Vec::new();
        while let Some(len) = sys::receive(&self.socket, &mut buffer).context("packet socket")? {
            frames.push(buffer[..len].to_vec());
        }
        Ok(frames)
    }

    /// Sends a frame out of the interface.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        sys::send(&self.socket, frame).with_context(|| format!("cannot send a frame of {} bytes", frame.len()))
    }
}
