//! The internet checksum (RFC 1071), summed 64 bits at a time.
//!
//! One's complement addition does not care for word width or byte order (RFC 1071, 2): the words are added as the
//! machine reads them and only the folded result is put into network order.

/// The one's complement sum of `data`, continuing from `sum`, unfolded and in the machine's byte order.
///
/// Every piece but the last must have an even length. Up to 2^32 bytes may be summed before it overflows.
pub(crate) fn add(sum: u64, data: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if data.len() >= WIDE_LEN && is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as just checked.
        return unsafe { add_wide(sum, data) };
    }
    add_words(sum, data)
}

/// As [`add`], copying `data` to `to` (of the same length) in the same pass: every byte is loaded once.
pub(crate) fn copy_and_add(sum: u64, data: &[u8], to: &mut [u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if data.len() >= WIDE_LEN && is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as just checked.
        return unsafe { copy_and_add_wide(sum, data, to) };
    }
    copy_and_add_words(sum, data, to)
}

/// From here on wider registers pay for asking whether there are any.
#[cfg(target_arch = "x86_64")]
const WIDE_LEN: usize = 128;

/// As [`add_words`], which the compiler may do with registers of 256 bits here.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn add_wide(sum: u64, data: &[u8]) -> u64 {
    add_words(sum, data)
}

/// As [`copy_and_add_words`], likewise.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn copy_and_add_wide(sum: u64, data: &[u8], to: &mut [u8]) -> u64 {
    copy_and_add_words(sum, data, to)
}

#[expect(clippy::inline_always, reason = "as for `add_words`")]
#[inline(always)]
fn copy_and_add_words(sum: u64, data: &[u8], to: &mut [u8]) -> u64 {
    let (words, tail) = data.as_chunks::<8>();
    let (words_to, tail_to) = to.as_chunks_mut::<8>();
    let (mut low_and_high, mut high) = (0_u64, 0_u64);
    for (word, to) in words.iter().zip(words_to) {
        *to = *word;
        let word = u64::from_ne_bytes(*word);
        low_and_high = low_and_high.wrapping_add(word);
        high += word >> 32;
    }
    tail_to.copy_from_slice(tail);
    add_words(sum + low_and_high.wrapping_sub(high << 32) + high, tail)
}

/// Inlined, so that it is compiled for the registers of whoever calls it.
#[expect(clippy::inline_always, reason = "a function of its own would not have its caller's registers")]
#[inline(always)]
fn add_words(sum: u64, data: &[u8]) -> u64 {
    let mut sum = sum;
    let (words, tail) = data.as_chunks::<8>();
    for word in words {
        let word = u64::from_ne_bytes(*word);
        sum += (word & 0xffff_ffff) + (word >> 32);
    }
    let (pairs, odd) = tail.as_chunks::<2>();
    for pair in pairs {
        sum += u64::from(u16::from_ne_bytes(*pair));
    }
    if let [last] = odd {
        // A missing last byte counts as zero (RFC 1071, 1).
        sum += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    sum
}

/// Adds one 16-bit field, given as a number.
pub(crate) fn add_u16(sum: u64, value: u16) -> u64 {
    sum + u64::from(value.to_be())
}

/// Folds a sum to 16 bits and complements it: the checksum as a number, to be written big-endian.
pub(crate) fn finish(mut sum: u64) -> u16 {
    // Four folds bring 64 bits to at most 16 with the last carry added.
    for _ in 0..4 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::from_be(sum as u16)
}

/// The internet checksum of `data` (RFC 1071) as a number: zero over data that holds a correct checksum.
pub fn checksum(data: &[u8]) -> u16 {
    finish(add(0, data))
}
