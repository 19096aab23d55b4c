//! Runs of bytes of one sort, measured eight at a time: recordings are mostly numbers and names.

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH_BITS: u64 = ONES << 7;

/// Marks the bytes that are no digits, by their high bits.
#[inline(always)]
fn non_digits(eight: u64) -> u64 {
    // Now digits are 0 to 9. Adding 0x76 sets the high bit of any other byte, if it was not set.
    let digits = eight ^ (ONES * 0x30);
    ((digits & !HIGH_BITS).wrapping_add(ONES * 0x76) | digits) & HIGH_BITS
}

/// Marks the bytes that end a run in a string, by their high bits: quotes, backslashes, control characters.
/// Behind the first one, others may be marked too.
#[inline(always)]
fn specials(eight: u64) -> u64 {
    // Subtracting borrows where a byte is below what is subtracted. A borrow spoils only bytes behind it.
    let below = |value: u64, limit: u64| value.wrapping_sub(ONES * limit) & !value;
    let quotes = below(eight ^ (ONES * u64::from(b'"')), 1);
    let backslashes = below(eight ^ (ONES * u64::from(b'\\')), 1);
    (below(eight, 0x20) | quotes | backslashes) & HIGH_BITS
}

/// Where the first mark is: 0 to 7, or 8 where there is none.
#[inline(always)]
fn first_mark(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
}

/// The length of a number that ends within eight bytes (`0.125,` or `17]`), as most of those in recordings
/// do. `None` where it has to be looked at byte by byte.
#[inline(always)]
pub(super) fn short_number(bytes: &[u8]) -> Option<usize> {
    let eight = bytes.first_chunk::<8>()?;
    let marks = non_digits(u64::from_le_bytes(*eight));
    let point = first_mark(marks);
    if point == 0 || (eight[0] == b'0' && point > 1) {
        return None;
    }
    match eight.get(point)? {
        b',' | b']' | b'}' => Some(point),
        b'.' => {
            let end = first_mark(marks & marks.wrapping_sub(1));
            let ends = end > point + 1 && !matches!(eight.get(end)?, b'e' | b'E');
            ends.then_some(end)
        }
        _ => None,
    }
}

/// How many bytes at the start of `bytes` are digits.
#[inline(always)]
pub(super) fn digit_count(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((eight, behind)) = rest.split_first_chunk::<8>() {
        let marks = non_digits(u64::from_le_bytes(*eight));
        if marks != 0 {
            return bytes.len() - rest.len() + first_mark(marks);
        }
        rest = behind;
    }
    bytes.len() - rest.len() + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// How many bytes at the start of `bytes` mean themselves in a string: no quote, backslash or control
/// character.
#[inline(always)]
pub(super) fn plain_length(bytes: &[u8]) -> usize {
    let is_plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    let mut rest = bytes;
    while let Some((eight, behind)) = rest.split_first_chunk::<8>() {
        let marks = specials(u64::from_le_bytes(*eight));
        if marks != 0 {
            return bytes.len() - rest.len() + first_mark(marks);
        }
        rest = behind;
        if bytes.len() - rest.len() == LONG {
            return LONG + long_plain_length(rest, is_plain);
        }
    }
    bytes.len() - rest.len() + rest.iter().take_while(|byte| is_plain(byte)).count()
}

/// From this length on, a string is taken for a long one (an image in base64, a log); a multiple of 8.
const LONG: usize = 64;

/// As [`plain_length`], in steps that the compiler turns into vector instructions.
fn long_plain_length(bytes: &[u8], is_plain: impl Fn(&u8) -> bool) -> usize {
    let all_plain = |chunk: &&[u8]| chunk.iter().fold(true, |all, byte| all & is_plain(byte));
    let length = bytes.chunks_exact(LONG).take_while(all_plain).count() * LONG;
    length + bytes[length..].iter().take_while(|byte| is_plain(byte)).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_measured_to_the_byte(bytes in prop::collection::vec(any::<u8>(), 0..40), repeat in 0_usize..200) {
            let mut run = vec![b'7'; repeat];
            run.extend(&bytes);
            assert_eq!(digit_count(&run), run.iter().take_while(|b| b.is_ascii_digit()).count());
            let plain = |b: &&u8| **b >= 0x20 && **b != b'"' && **b != b'\\';
            assert_eq!(plain_length(&run), run.iter().take_while(plain).count());
        }
    }
}
