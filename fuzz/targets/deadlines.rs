#![no_main]

use libfuzzer_sys::fuzz_target;
use ripcord_fuzz::deadlines;

fuzz_target!(|input: &[u8]| deadlines::check_any(input));
