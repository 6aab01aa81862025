#![no_main]

use libfuzzer_sys::fuzz_target;
use ripcord_fuzz::deadlines;
use ripcord_http::deadline::Dialect;

fuzz_target!(|input: &[u8]| deadlines::check(Dialect::Plain, input));
