//! Tests the values that the deadline dialects accept and reject. Also tests that an encoded value never exceeds the time left.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use ripcord_http::Malformed;
use ripcord_http::deadline::{Dialect, aws, connect, envoy, finagle, grpc_timeout, plain};

type Decode = fn(&[u8]) -> Result<Duration, Malformed>;

const MILLISECONDS: [Decode; 3] = [connect::decode, envoy::decode, plain::decode];

fn relative() -> impl Iterator<Item = Dialect> {
    Dialect::ALL.iter().copied().filter(|dialect| !dialect.is_absolute())
}

fn decode(dialect: Dialect, value: &[u8]) -> Option<Duration> {
    dialect.decode(value, || unreachable!("a relative dialect reads no clock")).expect("it is well-formed")
}

#[test]
fn each_dialect_has_its_own_header_in_lower_case() {
    let names: std::collections::BTreeSet<_> = Dialect::ALL.iter().map(|dialect| dialect.name()).collect();
    assert_eq!(names.len(), Dialect::ALL.len());
    for dialect in Dialect::ALL {
        assert_eq!(dialect.header(), dialect.name());
        assert_eq!(dialect.name(), dialect.name().to_ascii_lowercase());
    }
}

#[test]
fn absolute_dialects_are_read_and_not_encoded() {
    let absolute: Vec<_> = Dialect::ALL.iter().copied().filter(|dialect| dialect.is_absolute()).collect();
    assert_eq!(absolute, [Dialect::Finagle, Dialect::Aws]);
    for dialect in absolute {
        assert_eq!(dialect.encode(Duration::from_secs(5)), None, "{dialect:?}");
    }
    let five_seconds = Some(Duration::from_secs(5));
    let finagle = format!("0 {}", 105 * BILLION);
    assert_eq!(Dialect::Finagle.decode(finagle.as_bytes(), || at(100)), Ok(five_seconds));
    assert_eq!(Dialect::Aws.decode(b"ttl=19700101T000010Z", || at(5)), Ok(five_seconds));
    assert_eq!(Dialect::Aws.decode(b"attempt=1", || at(5)), Ok(None));
}

#[test]
fn only_envoys_header_needs_trust() {
    let needs_trust: Vec<_> = Dialect::ALL.iter().filter(|dialect| dialect.needs_trust()).collect();
    assert_eq!(needs_trust, [&Dialect::Envoy]);
}

#[test]
fn grpc_timeout_reads_every_unit() {
    let hours = |hours: u64| Duration::from_secs(3600 * hours);
    for (value, expected) in [
        ("1n", Duration::from_nanos(1)),
        ("2u", Duration::from_micros(2)),
        ("3m", Duration::from_millis(3)),
        ("4S", Duration::from_secs(4)),
        ("5M", Duration::from_secs(300)),
        ("6H", hours(6)),
        ("0S", Duration::ZERO),
        ("00000000H", Duration::ZERO),
        ("00000007S", Duration::from_secs(7)),
        ("99999999H", hours(99_999_999)),
    ] {
        assert_eq!(grpc_timeout::decode(value.as_bytes()), Ok(expected), "{value}");
    }
}

#[test]
fn grpc_timeout_rejects_other_grammars() {
    for value in [
        "",
        "S",
        "5",
        "+5S",
        "-5S",
        " 5S",
        "5S ",
        "5 S",
        "5s",
        "5h",
        "5U",
        "5N",
        "5ms",
        "5.0S",
        "1e3S",
        "123456789S",
        "0x5S",
        "5_0S",
        "5S,5S",
        "inf",
        "٥S",
        "5S\0",
        "\u{ff15}S",
    ] {
        assert!(grpc_timeout::decode(value.as_bytes()).is_err(), "{value:?}");
    }
    assert!(grpc_timeout::decode(&[b'9'; 100_000]).is_err());
    assert!(grpc_timeout::decode(b"\xff\xfeS").is_err());
}

#[test]
fn grpc_timeout_is_encoded_in_the_shortest_unit_that_fits() {
    for (left, expected) in [
        (Duration::from_nanos(1), "1n"),
        (Duration::from_nanos(99_999_999), "99999999n"),
        (Duration::from_nanos(100_000_999), "100000u"),
        (Duration::from_secs(5), "5000000u"),
        (Duration::from_secs(100), "100000m"),
        (Duration::from_secs(99_999_999), "99999999S"),
        (Duration::from_secs(100_000_000), "1666666M"),
        (Duration::MAX, "99999999H"),
    ] {
        assert_eq!(grpc_timeout::encode(left).unwrap().as_str(), expected);
    }
}

#[test]
fn millisecond_dialects_accept_only_digits() {
    for decode in MILLISECONDS {
        assert_eq!(decode(b"0"), Ok(Duration::ZERO));
        assert_eq!(decode(b"700"), Ok(Duration::from_millis(700)));
        assert_eq!(decode(b"9999999999"), Ok(Duration::from_millis(9_999_999_999)));
        for value in ["", "+5", "-5", " 5", "5 ", "5.0", "5ms", "1e3", "0x5", "5,5", "5_0", "inf", "NaN", "٥"] {
            assert!(decode(value.as_bytes()).is_err(), "{value:?}");
        }
    }
    assert!(connect::decode(b"10000000000").is_err(), "11 digits");
}

#[test]
fn huge_values_saturate() {
    let most = Duration::from_millis(u64::MAX);
    assert_eq!(plain::decode(&[b'9'; 100_000]), Ok(most));
    assert_eq!(envoy::decode(b"18446744073709551616"), Ok(most));
    assert_eq!(connect::encode(Duration::MAX).unwrap().as_str(), "9999999999");
    assert_eq!(plain::encode(Duration::MAX).unwrap().as_str(), "18446744073709551615");
}

#[test]
fn less_than_one_unit_left_is_not_encoded() {
    for dialect in relative() {
        assert_eq!(dialect.encode(Duration::ZERO), None, "{dialect:?}");
    }
    for dialect in relative().filter(|dialect| *dialect != Dialect::GrpcTimeout) {
        assert_eq!(dialect.encode(Duration::from_nanos(999_999)), None, "{dialect:?}");
    }
}

// ===== Absolute =====

const BILLION: u64 = 1_000_000_000;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn finagle_deadline_gives_the_time_left() {
    let value = format!("{} {}", 100 * BILLION, 105 * BILLION + 1);
    let left = |now| finagle::decode(value.as_bytes(), now).expect("well-formed");
    assert_eq!(left(at(100)), Duration::new(5, 1));
    assert_eq!(left(at(104)), Duration::new(1, 1));
    assert_eq!(left(at(106)), Duration::ZERO, "the deadline has passed");
    assert_eq!(left(at(50)), Duration::new(5, 1), "a slow local clock adds no time");
    assert_eq!(
        left(UNIX_EPOCH - Duration::from_secs(1)),
        Duration::new(5, 1),
        "a local clock before 1970 adds no time"
    );
    let most = format!("0 {}", i64::MAX);
    assert_eq!(finagle::decode(most.as_bytes(), at(0)), Ok(Duration::from_nanos(i64::MAX as u64)));
    for value in ["", " ", "1", "1 ", " 1", "1  2", "1 2 3", "-1 2", "1 -2", "+1 2", "1\t2", "1,2", "1 0x2", "1 ٥"] {
        assert!(finagle::decode(value.as_bytes(), at(0)).is_err(), "{value:?}");
    }
    assert!(finagle::decode(b"1 12345678901234567890", at(0)).is_err(), "20 digits");
}

#[test]
fn aws_ttl_gives_the_time_left() {
    for (ttl, seconds) in [
        ("19700101T000000Z", 0),
        ("19700101T000001Z", 1),
        ("19991231T235959Z", 946_684_799),
        ("20000229T000000Z", 951_782_400),
        ("20200724T181920Z", 1_595_614_760),
        ("20240301T000000Z", 1_709_251_200),
        ("21000301T000000Z", 4_107_542_400),
        ("99991231T235959Z", 253_402_300_799),
    ] {
        let value = format!("ttl={ttl}; attempt=1; max=3");
        assert_eq!(aws::decode(value.as_bytes(), at(0)), Ok(Some(Duration::from_secs(seconds))), "{ttl}");
        assert_eq!(aws::decode(value.as_bytes(), at(seconds + 1)), Ok(Some(Duration::ZERO)), "{ttl} has passed");
    }
    assert_eq!(aws::decode(b"attempt=1; max=3", at(0)), Ok(None));
    assert_eq!(aws::decode(b"max=3;ttl=19700101T000010Z", at(4)), Ok(Some(Duration::from_secs(6))));
    for value in [
        "",
        ";",
        "ttl",
        "ttl=",
        "=20200724T181920Z",
        "attempt=1;",
        "ttl=2020-07-24T18:19:20Z",
        "ttl=20200724T181920",
        "ttl=20200724t181920z",
        "ttl=20200724T181920+0100",
        "ttl=20201324T181920Z",
        "ttl=20200024T181920Z",
        "ttl=20200230T181920Z",
        "ttl=21000229T181920Z",
        "ttl=20200700T181920Z",
        "ttl=20200724T241920Z",
        "ttl=20200724T186020Z",
        "ttl=20200724T181960Z",
        "ttl=19691231T235959Z",
        "ttl=20200724T181920Z; ttl=20200724T181920Z",
        "ttl=+0200724T181920Z",
        "ttl=20200724T181920Z, attempt=1",
        "attempt=\"1\"",
        "ttl=٢٠٢٠",
    ] {
        assert!(aws::decode(value.as_bytes(), at(0)).is_err(), "{value:?}");
    }
}

proptest! {
    #[test]
    fn encoded_value_decodes_to_at_most_the_time_left(seconds: u64, nanoseconds in 0..1_000_000_000_u32, shift in 0..64_u32) {
        let left = Duration::new(seconds >> shift, nanoseconds);
        for dialect in relative() {
            if let Some(value) = dialect.encode(left) {
                let decoded = decode(dialect, value.as_bytes()).expect("it has a deadline");
                prop_assert!(decoded <= left && decoded > Duration::ZERO);
                // At most one unit is lost: a millisecond, or 1 of at least 10^5 units. Longer times become the dialect's maximum.
                let longest = dialect.encode(Duration::MAX).and_then(|value| decode(dialect, value.as_bytes()));
                let sent = left.min(longest.expect("there is a longest"));
                prop_assert!(sent - decoded <= (left / 100_000).max(Duration::from_millis(1)));
            }
        }
        let value = grpc_timeout::encode(left);
        prop_assert!(value.is_none_or(|value| value.len() <= 9));
    }

    #[test]
    fn any_bytes_decode_without_a_panic(bytes: Vec<u8>) {
        for dialect in Dialect::ALL {
            let _ = dialect.decode(&bytes, || at(0));
        }
    }
}
