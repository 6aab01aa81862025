//! Every dialect: what is read, what is refused, and that nothing written is longer than what was left.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use ripcord_http::Malformed;
use ripcord_http::deadline::{Encoded, aws, connect, envoy, finagle, grpc_timeout, plain};

type Decode = fn(&[u8]) -> Result<Duration, Malformed>;
type Encode = fn(Duration) -> Option<Encoded>;

const MILLISECONDS: [Decode; 3] = [connect::decode, envoy::decode, plain::decode];
const DIALECTS: [(Decode, Encode); 4] = [
    (grpc_timeout::decode, grpc_timeout::encode),
    (connect::decode, connect::encode),
    (envoy::decode, envoy::encode),
    (plain::decode, plain::encode),
];

#[test]
fn grpc_timeout_is_read() {
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
fn grpc_timeout_is_refused() {
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
fn grpc_timeout_is_written_in_the_finest_unit_that_fits() {
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
fn milliseconds_are_read_and_refused() {
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
fn nothing_left_is_not_written() {
    for (_, encode) in DIALECTS {
        assert_eq!(encode(Duration::ZERO), None);
    }
    for (_, encode) in &DIALECTS[1..] {
        assert_eq!(encode(Duration::from_nanos(999_999)), None);
    }
}

// ===== Absolute =====

const BILLION: u64 = 1_000_000_000;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn finagles_deadline_is_what_is_left_of_it() {
    let value = format!("{} {}", 100 * BILLION, 105 * BILLION + 1);
    let left = |now| finagle::decode(value.as_bytes(), now).expect("well-formed");
    assert_eq!(left(at(100)), Duration::new(5, 1));
    assert_eq!(left(at(104)), Duration::new(1, 1));
    assert_eq!(left(at(106)), Duration::ZERO, "it has passed");
    assert_eq!(left(at(50)), Duration::new(5, 1), "a clock that is behind adds nothing");
    assert_eq!(left(UNIX_EPOCH - Duration::from_secs(1)), Duration::new(5, 1), "a clock from before 1970 neither");
    let most = format!("0 {}", i64::MAX);
    assert_eq!(finagle::decode(most.as_bytes(), at(0)), Ok(Duration::from_nanos(i64::MAX as u64)));
    for value in ["", " ", "1", "1 ", " 1", "1  2", "1 2 3", "-1 2", "1 -2", "+1 2", "1\t2", "1,2", "1 0x2", "1 ٥"] {
        assert!(finagle::decode(value.as_bytes(), at(0)).is_err(), "{value:?}");
    }
    assert!(finagle::decode(b"1 12345678901234567890", at(0)).is_err(), "20 digits");
}

#[test]
fn aws_ttl_is_what_is_left_until_then() {
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
    fn what_is_written_reads_as_no_more_than_was_left(seconds: u64, nanoseconds in 0..1_000_000_000_u32, shift in 0..64_u32) {
        let left = Duration::new(seconds >> shift, nanoseconds);
        for (decode, encode) in DIALECTS {
            if let Some(value) = encode(left) {
                let read = decode(value.as_bytes()).expect("what is written can be read");
                prop_assert!(read <= left && read > Duration::ZERO);
                // Less than a unit is lost, which is a millisecond or one of six digits, and all beyond the longest.
                let longest = encode(Duration::MAX).and_then(|value| decode(value.as_bytes()).ok());
                let told = left.min(longest.expect("there is a longest"));
                prop_assert!(told - read <= (left / 100_000).max(Duration::from_millis(1)));
            }
        }
        let value = grpc_timeout::encode(left);
        prop_assert!(value.is_none_or(|value| value.len() <= 9));
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        for (decode, _) in DIALECTS {
            let _ = decode(&bytes);
        }
        let _ = (finagle::decode(&bytes, at(0)), aws::decode(&bytes, at(0)));
    }
}
