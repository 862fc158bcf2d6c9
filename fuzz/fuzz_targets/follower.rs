#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| replicated_log_fuzz::follower::check(input));
