//! Big-endian reads and writes at fixed offsets. The callers check lengths once, before.

/// Copies `N` bytes out of `from` at `at`.
pub(super) fn array<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&from[at..at + N]);
    out
}

pub(super) fn u16_at(from: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(from, at))
}

pub(super) fn u32_at(from: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(from, at))
}

pub(super) fn u64_at(from: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array(from, at))
}

/// Writes `bytes` into `to` at `at`.
pub(super) fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    to[at..at + bytes.len()].copy_from_slice(bytes);
}
