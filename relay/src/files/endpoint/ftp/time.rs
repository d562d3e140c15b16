//! Times as FTP writes them: `YYYYMMDDHHMMSS[.fraction]`, UTC (RFC 3659, section 2.3).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY_S: i64 = 86_400;
/// Days from 1 March of the year 0 to 1970-01-01, in the Gregorian calendar continued backwards.
const EPOCH_DAYS: i64 = 719_468;
/// The calendar repeats after 400 years of so many days.
const CYCLE_DAYS: i64 = 146_097;
/// Years of four digits.
const YEAR_MAX: i64 = 9999;

/// The time that a server wrote; `None` if it is no time of 1970 or later.
pub fn parse(text: &[u8]) -> Option<SystemTime> {
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    if whole.len() != 14 {
        return None;
    }
    let [year, month, day] = [number(&whole[..4])?, number(&whole[4..6])?, number(&whole[6..8])?];
    let [hour, minute, second] = [number(&whole[8..10])?, number(&whole[10..12])?, number(&whole[12..])?];
    // A leap second is 60 (RFC 3659, section 2.3).
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second;
    UNIX_EPOCH.checked_add(Duration::new(u64::try_from(seconds).ok()?, nanoseconds(fraction)?))
}

/// A time for a server, in whole seconds; `None` for one that four digits of a year do not hold.
pub fn format(time: SystemTime) -> Option<String> {
    let seconds = i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
    let (year, month, day) = date(seconds / DAY_S);
    let of_day = seconds % DAY_S;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    (year <= YEAR_MAX).then(|| format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}"))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

/// A fraction's digits as nanoseconds, finer ones cut off.
fn nanoseconds(digits: &[u8]) -> Option<u32> {
    number(digits)?;
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    Some(padded.fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

/// Days from 1970-01-01 to a date. Years begin in March, so that a leap day is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - EPOCH_DAYS
}

/// Year, month and day of so many days from 1970-01-01 on.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let of_cycle = days % CYCLE_DAYS;
    let year_of_cycle = (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let day_of_year = of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = (month + 2) % 12 + 1;
    let year = days / CYCLE_DAYS * 400 + year_of_cycle + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (text, seconds) in [
            ("19700101000000", 0),
            ("20000229235959", 951_868_799),
            ("20000301000000", 951_868_800),
            ("20261120184500", 1_795_200_300),
            ("99991231235959", 253_402_300_799),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(UNIX_EPOCH + Duration::from_secs(seconds)), "{text}");
            assert_eq!(format(UNIX_EPOCH + Duration::from_secs(seconds)).as_deref(), Some(text));
        }
        assert_eq!(parse(b"19700101000001.25"), Some(UNIX_EPOCH + Duration::from_millis(1250)));
        assert_eq!(parse(b"19700101000001.1234567891"), Some(UNIX_EPOCH + Duration::new(1, 123_456_789)));
        assert_eq!(format(UNIX_EPOCH + Duration::from_hours(70_389_528)), None, "the year 10000");
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in
            ["", "2026", "20261320000000", "20260100000000", "20260101240000", "2026010100000a", "19691231235959"]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(b"20260101000000.x"), None);
    }

    proptest! {
        #[test]
        fn a_time_comes_back_as_it_went(seconds in 0..253_402_300_800_u64) {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            prop_assert_eq!(format(time).and_then(|text| parse(text.as_bytes())), Some(time));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..30)) {
            parse(&bytes);
        }
    }
}
