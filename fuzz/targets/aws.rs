#![no_main]

use libfuzzer_sys::fuzz_target;
use ripcord_fuzz::absolute;

fuzz_target!(|input: &[u8]| absolute::aws(input));
