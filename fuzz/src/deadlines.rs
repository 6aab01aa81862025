//! The dialects of deadlines.

use std::time::Duration;

use ripcord_http::deadline::{Dialect, Encoded};

use crate::text;

/// `input` is a header's value, and in its first twelve bytes a duration.
pub fn check(dialect: Dialect, input: &[u8]) {
    let decoded = dialect.decode(input).ok();
    assert_eq!(decoded, plainly(dialect, &text(input)), "{dialect:?}");
    if let Some(duration) = decoded {
        check_encoded(dialect, duration, dialect.encode(duration));
    }
    if let Some((seconds, rest)) = input.split_first_chunk::<8>()
        && let Some((nanoseconds, _)) = rest.split_first_chunk::<4>()
    {
        let nanoseconds = u32::from_le_bytes(*nanoseconds) % 1_000_000_000;
        let duration = Duration::new(u64::from_le_bytes(*seconds), nanoseconds);
        check_encoded(dialect, duration, dialect.encode(duration));
    }
}

/// Rounded down, by less than the unit, to something that stays what it is.
fn check_encoded(dialect: Dialect, duration: Duration, encoded: Option<Encoded>) {
    let Some(encoded) = encoded else {
        let least = if dialect == Dialect::GrpcTimeout { 1 } else { 1_000_000 };
        assert!(duration < Duration::from_nanos(least), "{duration:?} is worth sending");
        return;
    };
    let again = dialect.decode(encoded.as_bytes()).expect("it was encoded");
    assert_eq!(plainly(dialect, &encoded), Some(again));
    assert!(again <= duration, "{again:?} is more than {duration:?}");
    let (unit, finer, most) = match dialect {
        Dialect::GrpcTimeout => {
            let at = UNITS.iter().position(|(unit, _)| encoded.ends_with(unit)).expect("it has a unit");
            (UNITS[at].1, at.checked_sub(1).map(|at| UNITS[at].1), 99_999_999 * 3600 * 1000)
        }
        Dialect::Connect => (1_000_000, None, 9_999_999_999),
        _ => (1_000_000, None, u64::MAX),
    };
    let lost = (duration - again).as_nanos();
    assert!(lost < unit || again == Duration::from_millis(most), "{duration:?} became {again:?}");
    assert!(
        finer.is_none_or(|finer| duration.as_nanos() / finer > 99_999_999),
        "{encoded} is too coarse for {duration:?}"
    );
    assert_eq!(dialect.encode(again).as_deref(), Some(&*encoded), "it does not settle");
}

fn plainly(dialect: Dialect, value: &str) -> Option<Duration> {
    let (digits, nanoseconds, most) = match dialect {
        Dialect::GrpcTimeout => {
            let (unit, nanoseconds) = UNITS.into_iter().find(|(unit, _)| value.ends_with(unit))?;
            (value.strip_suffix(unit)?, nanoseconds, 8)
        }
        Dialect::Connect => (value, 1_000_000, 10),
        _ => (value, 1_000_000, usize::MAX),
    };
    if digits.is_empty() || digits.len() > most || !digits.chars().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    let number =
        if digits.len() > 20 { u64::MAX } else { format!("0{digits}").parse::<u128>().unwrap().min(MOST) as u64 };
    let total = u128::from(number) * nanoseconds;
    Some(Duration::new(u64::try_from(total / SECOND).unwrap(), (total % SECOND) as u32))
}

/// Of `grpc-timeout`, in nanoseconds.
const UNITS: [(&str, u128); 6] =
    [("n", 1), ("u", 1000), ("m", 1_000_000), ("S", SECOND), ("M", 60 * SECOND), ("H", 3600 * SECOND)];
const SECOND: u128 = 1_000_000_000;
const MOST: u128 = u64::MAX as u128;
