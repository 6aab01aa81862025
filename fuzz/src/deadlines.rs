//! Every dialect of deadlines.

use std::time::{Duration, UNIX_EPOCH};

use ripcord_http::deadline::{Dialect, Encoded};

use crate::{absolute, text};

/// Checks the dialect that the first byte selects from the library's list. A new dialect is fuzzed without a change here, if its
/// unit is at most a millisecond. A [`Grammar`] compares the dialect with a second parser and allows another unit. An absolute
/// dialect needs a line in this match.
pub fn check_any(input: &[u8]) {
    let Some((selector, input)) = input.split_first() else { return };
    match Dialect::ALL[usize::from(*selector) % Dialect::ALL.len()] {
        Dialect::Finagle => absolute::finagle(input),
        Dialect::Aws => absolute::aws(input),
        dialect => check(dialect, input),
    }
}

/// Checks one dialect. `input` is a header's value, and its first twelve bytes are a duration.
fn check(dialect: Dialect, input: &[u8]) {
    let decoded = dialect.decode(input, || UNIX_EPOCH).ok().flatten();
    if let Some(grammar) = Grammar::for_dialect(dialect) {
        assert_eq!(decoded, grammar.parse(&text(input)), "{dialect:?}");
    }
    if dialect.is_absolute() {
        return;
    }
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

/// Checks that an encoded duration is rounded down, and that encoding it again changes nothing.
fn check_encoded(dialect: Dialect, duration: Duration, encoded: Option<Encoded>) {
    let grammar = Grammar::for_dialect(dialect);
    let Some(encoded) = encoded else {
        let smallest = grammar.map_or(Duration::from_millis(1), |grammar| grammar.smallest);
        assert!(duration < smallest, "{duration:?} is not sent");
        return;
    };
    let again = dialect.decode(encoded.as_bytes(), || UNIX_EPOCH).expect("it was encoded").expect("it has a deadline");
    assert!(again <= duration, "{again:?} is more than {duration:?}");
    assert_eq!(dialect.encode(again).as_deref(), Some(&*encoded), "encoding it again changes it");
    let Some(grammar) = grammar else { return };
    assert_eq!(grammar.parse(&encoded), Some(again));
    let at = grammar.units.iter().position(|(unit, _)| encoded.ends_with(unit)).expect("it has a unit");
    let (unit, shorter) = (grammar.units[at].1, at.checked_sub(1).map(|at| grammar.units[at].1));
    let lost = (duration - again).as_nanos();
    assert!(lost < unit || again == grammar.longest, "{duration:?} became {again:?}");
    let max_number = 10_u128.saturating_pow(grammar.max_digits) - 1;
    assert!(
        shorter.is_none_or(|shorter| duration.as_nanos() / shorter > max_number),
        "{encoded} is too coarse for {duration:?}"
    );
}

/// A relative dialect, as its specification defines it.
struct Grammar {
    /// The suffixes and their lengths in nanoseconds, from short to long.
    units: &'static [(&'static str, u128)],
    max_digits: u32,
    smallest: Duration,
    longest: Duration,
}

impl Grammar {
    fn for_dialect(dialect: Dialect) -> Option<Self> {
        let milliseconds = |max_digits, longest| Grammar {
            units: &[("", 1_000_000)],
            max_digits,
            smallest: Duration::from_millis(1),
            longest: Duration::from_millis(longest),
        };
        match dialect {
            Dialect::Plain | Dialect::Envoy => Some(milliseconds(u32::MAX, u64::MAX)),
            Dialect::Connect => Some(milliseconds(10, 9_999_999_999)),
            Dialect::GrpcTimeout => Some(Grammar {
                units: &GRPC_UNITS,
                max_digits: 8,
                smallest: Duration::from_nanos(1),
                longest: Duration::from_secs(99_999_999 * 3600),
            }),
            _ => None,
        }
    }

    fn parse(&self, value: &str) -> Option<Duration> {
        let (unit, nanoseconds) = *self.units.iter().find(|(unit, _)| value.ends_with(unit))?;
        let digits = value.strip_suffix(unit)?;
        if digits.is_empty() || digits.len() > self.max_digits as usize || !digits.chars().all(|c| c.is_ascii_digit()) {
            return None;
        }
        let digits = digits.trim_start_matches('0');
        let number = if digits.len() > 20 { MAX } else { format!("0{digits}").parse::<u128>().unwrap().min(MAX) };
        let total = number * nanoseconds;
        Some(Duration::new(u64::try_from(total / SECOND).unwrap(), (total % SECOND) as u32))
    }
}

const GRPC_UNITS: [(&str, u128); 6] =
    [("n", 1), ("u", 1000), ("m", 1_000_000), ("S", SECOND), ("M", 60 * SECOND), ("H", 3600 * SECOND)];
const SECOND: u128 = 1_000_000_000;
const MAX: u128 = u64::MAX as u128;
