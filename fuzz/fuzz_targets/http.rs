//! What comes over HTTP: commands with their bodies, names of assets, the headers of origin and host.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fgplay::server::fuzzing::http(data));
