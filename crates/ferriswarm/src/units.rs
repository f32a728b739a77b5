//! Sizes, rates and durations, as people type them and as we print them.
//!
//! Powers of 1024 throughout: `k`, `M`, `G`, `T` mean KiB, MiB, GiB, TiB, with or without the `iB`. Only the
//! spelled-out `kB`, `MB`, `GB`, `TB` are powers of 1000.

use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Bytes: `65536`, `64k`, `1.5MiB`, `700MB`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (digits, unit) = trimmed.split_at(split);
    let factor = unit_factor(unit.trim()).ok_or_else(|| {
        format!("`{}` is not a unit; use k, M, G or T (as in 500k, 2M, 1.5GiB)", unit.trim())
    })?;
    scale(digits, factor).ok_or_else(|| "write a number and a unit, as in 500k, 2M or 1.5GiB".to_owned())
}

/// Bytes a second; `None` is unlimited, which is typed `0` or `unlimited`.
pub(crate) fn parse_rate(text: &str) -> Result<Rate, String> {
    let trimmed = text.trim();
    if trimmed.eq_ignore_ascii_case("unlimited") {
        return Ok(Rate(None));
    }
    let bytes = parse_size(trimmed.strip_suffix("/s").unwrap_or(trimmed))?;
    Ok(Rate((bytes != 0).then_some(bytes)))
}

/// A limit as typed; the inner `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) Option<u64>);

fn unit_factor(unit: &str) -> Option<u64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "ki" | "kib" => KIB,
        "m" | "mi" | "mib" => MIB,
        "g" | "gi" | "gib" => GIB,
        "t" | "ti" | "tib" => TIB,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    })
}

/// Decimal digits times a factor, without the rounding that floats would bring to large sizes.
fn scale(digits: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() || 12 < fraction.len() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut bytes = whole.checked_mul(factor)?;
    if !fraction.is_empty() {
        let numerator: u128 = fraction.parse().ok()?;
        let denominator = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        bytes = bytes.checked_add(u64::try_from(numerator * u128::from(factor) / denominator).ok()?)?;
    }
    Some(bytes)
}

/// `90s`, `10m`, `2h`, `1d`, or several in a row such as `1h30m`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    const HOW: &str = "write a number and a unit, as in 90s, 10m, 2h or 1h30m";
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(HOW.to_owned());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(HOW)?;
        let count: u64 = rest[..digits].parse().map_err(|_| HOW)?;
        let unit_len = rest[digits..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - digits);
        let (unit, next) = rest[digits..].split_at(unit_len);
        let seconds = match unit.trim().to_ascii_lowercase().as_str() {
            "s" | "sec" => 1,
            "m" | "min" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(HOW.to_owned()),
        };
        let part = count.checked_mul(seconds).ok_or("that is too long")?;
        total = total.checked_add(Duration::from_secs(part)).ok_or("that is too long")?;
        rest = next;
    }
    Ok(total)
}

/// `1.58 GiB`, `16 KiB`, `512 B`: three digits at least where there are more, cut rather than rounded so that almost
/// all never reads as all.
pub(crate) fn size(bytes: u64) -> String {
    let (number, unit) = size_parts(bytes, bytes);
    format!("{number} {unit}")
}

/// `1.58/3.75 GiB`: both in the unit of the second.
pub(crate) fn size_of(part: u64, whole: u64) -> String {
    let (part, _) = size_parts(part, whole);
    let (total, unit) = size_parts(whole, whole);
    format!("{part}/{total} {unit}")
}

/// `38.2 MiB/s`.
pub(crate) fn rate(bytes_per_second: u64) -> String {
    format!("{}/s", size(bytes_per_second))
}

/// `bytes` in the unit that suits `like`.
fn size_parts(bytes: u64, like: u64) -> (String, &'static str) {
    let (factor, unit) = match like {
        0..KIB => return (bytes.to_string(), "B"),
        KIB..MIB => (KIB, "KiB"),
        MIB..GIB => (MIB, "MiB"),
        GIB..TIB => (GIB, "GiB"),
        _ => (TIB, "TiB"),
    };
    let hundredths = u128::from(bytes) * 100 / u128::from(factor);
    let (whole, fraction) = (hundredths / 100, hundredths % 100);
    let number = match whole {
        _ if bytes.is_multiple_of(factor) => whole.to_string(),
        0..10 => format!("{whole}.{fraction:02}"),
        10..100 => format!("{whole}.{}", fraction / 10),
        _ => whole.to_string(),
    };
    (number, unit)
}

/// `42.1%`, cut: only all is 100 %.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "100%".to_owned();
    }
    let thousandths = u128::from(part.min(whole)) * 1000 / u128::from(whole);
    match thousandths {
        1000 => "100%".to_owned(),
        _ => format!("{}.{}%", thousandths / 10, thousandths % 10),
    }
}

/// `0:58`, `1:02:03`, `3d 4h`.
pub(crate) fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600, seconds / 60);
    match seconds {
        0..3_600 => format!("{minutes}:{:02}", seconds % 60),
        3_600..86_400 => format!("{hours}:{:02}:{:02}", minutes % 60, seconds % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// `0.42 s`, `58 s`, `4 min 51 s`: how long something took, in a sentence.
pub(crate) fn took(duration: Duration) -> String {
    match duration.as_secs() {
        0..10 => format!("{:.2} s", duration.as_secs_f64()),
        seconds @ 10..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// Mean rate in bytes a second; a time too short to measure counts as a millisecond.
pub(crate) fn mean_rate(bytes: u64, time: Duration) -> u64 {
    let millis = time.as_millis().max(1);
    u64::try_from(u128::from(bytes) * 1000 / millis).unwrap_or(u64::MAX)
}

/// `1 file`, `3 files`.
pub(crate) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn sizes_take_binary_units_and_fractions() {
        let cases = [
            ("0", 0),
            ("65536", 65_536),
            ("500k", 512_000),
            ("2M", 2_097_152),
            ("1.5MiB", 1_572_864),
            ("1.5 GiB", 1_610_612_736),
            ("700MB", 700_000_000),
            (".5k", 512),
            ("16T", 16 << 40),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn sizes_that_mean_nothing_are_refused() {
        for text in ["", "M", "-1", "1.2.3M", "12 bananas", "99999999999999999999", "20000000T", "."] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_of_zero_is_unlimited() {
        assert_eq!(parse_rate("0"), Ok(Rate(None)));
        assert_eq!(parse_rate("unlimited"), Ok(Rate(None)));
        assert_eq!(parse_rate("1.5MiB/s"), Ok(Rate(Some(1_572_864))));
        assert_eq!(parse_rate("500k"), Ok(Rate(Some(512_000))));
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        for text in ["", "90", "10 years", "s", "-5s", "99999999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_print_with_three_digits_and_are_cut() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1_048_575, "1023 KiB"),
            (40_055_603, "38.1 MiB"),
            (4_026_531_840, "3.75 GiB"),
            (1_099_511_627_776, "1 TiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size_of(1_700_000_000, 4_026_531_840), "1.58/3.75 GiB");
        assert_eq!(size_of(0, 4_026_531_840), "0/3.75 GiB");
    }

    #[test]
    fn only_all_is_a_hundred_percent() {
        assert_eq!(percent(0, 10), "0.0%");
        assert_eq!(percent(999_999, 1_000_000), "99.9%");
        assert_eq!(percent(10, 10), "100%");
        assert_eq!(percent(0, 0), "100%");
    }

    #[test]
    fn times_read_like_a_clock() {
        assert_eq!(clock(Duration::from_secs(58)), "0:58");
        assert_eq!(clock(Duration::from_secs(3_723)), "1:02:03");
        assert_eq!(clock(Duration::from_secs(273_600)), "3d 4h");
    }
}
