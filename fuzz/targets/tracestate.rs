#![no_main]

use libfuzzer_sys::fuzz_target;
use ripcord_fuzz::lists;

fuzz_target!(|input: &[u8]| lists::tracestate(input));
