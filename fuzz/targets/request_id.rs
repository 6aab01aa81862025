#![no_main]

use libfuzzer_sys::fuzz_target;
use ripcord_fuzz::identity;

fuzz_target!(|input: &[u8]| identity::request_id(input));
