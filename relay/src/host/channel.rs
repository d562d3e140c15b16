//! A stream of the site file as the link's sender and receiver know it.

use std::sync::Arc;

use anyhow::Context as _;

use crate::config::{self, Stream, StreamKind};
use crate::fec::{Encoder, Protection, ProtectionError, RepairTable, Scheme};
use crate::link::{Nanos, ReceiverChannel, SenderChannel};

/// The stream's channel, with its own protection.
pub fn sender_channel(stream: &Stream) -> anyhow::Result<SenderChannel> {
    fec_channel(stream.channel, stream.kind.wire_number(), &stream.fec)
        .with_context(|| format!("stream \"{}\": `protect` cannot be kept", stream.name))
}

/// A channel with this protection.
pub fn fec_channel(channel: u16, stream_type: u8, fec: &config::Fec) -> Result<SenderChannel, ProtectionError> {
    let scheme = scheme(fec.scheme);
    let protection = match fec.protection {
        config::Protection::Promise { loss, residual, burst } => Protection::Promise { loss, residual, burst },
        config::Protection::Share { repair, repair_min } => Protection::Share { repair, repair_min },
    };
    let repair = RepairTable::new(scheme, protection, fec.block_symbols)?;
    Ok(SenderChannel {
        channel,
        stream_type,
        scheme,
        block_symbols: fec.block_symbols,
        flush_ns: fec.flush.as_nanos() as Nanos,
        deadline_ns: fec.deadline.as_nanos() as Nanos,
        repair: Arc::new(repair),
    })
}

/// The site file's code.
pub fn scheme(scheme: config::Scheme) -> Scheme {
    match scheme {
        config::Scheme::RaptorQ => Scheme::RaptorQ,
        config::Scheme::ReedSolomon => Scheme::ReedSolomon,
        config::Scheme::None => Scheme::None,
    }
}

/// A TCP stream's channel as the link's receiver knows it: bytes have no other order than their own.
pub fn byte_channel(channel: u16, kind: StreamKind) -> ReceiverChannel {
    ReceiverChannel { channel, stream_type: kind.wire_number(), ordered: true }
}

/// An encoder for these channels; makes its plans, so call it outside of a lane.
pub fn encoder(channels: &[SenderChannel]) -> Encoder {
    let schemes: Vec<_> = channels.iter().map(|channel| (channel.scheme, channel.block_symbols)).collect();
    Encoder::new(&schemes)
}

/// Frames that a port needs to send these channels.
pub fn tx_frames(channels: &[SenderChannel]) -> usize {
    /// The least frames a lane sends from: 8 MiB of 2 KiB frames, 4 ms at 10 Gbit/s.
    const LEAST: usize = 4096;
    let repair = channels.iter().map(|channel| channel.repair.max()).max().unwrap_or(0);
    // Two blocks may close with one record, and a record may be as long as a datagram can be.
    (4 * usize::from(repair) + 512).next_power_of_two().max(LEAST)
}
