//! Every dialect: what is read, what is refused, and that nothing written is longer than what was left.

use std::time::Duration;

use proptest::prelude::*;
use ripcord_http::Malformed;
use ripcord_http::deadline::{Encoded, connect, envoy, grpc_timeout, plain};

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
    }
}
