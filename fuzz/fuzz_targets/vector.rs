#![no_main]

use lameduck_fuzz::{cross, mutate};
use libfuzzer_sys::{fuzz_crossover, fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|data: &[u8]| lameduck_fuzz::vector(data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    // Now and then bytes, so that broken JSON is tried too.
    let changed = if seed % 8 == 0 { None } else { mutate(&data[..size], seed.into()) };
    match changed.filter(|changed| changed.len() <= max_size) {
        Some(changed) => {
            data[..changed.len()].copy_from_slice(&changed);
            changed.len()
        }
        None => fuzzer_mutate(data, size, max_size),
    }
});

fuzz_crossover!(|data: &[u8], other: &[u8], out: &mut [u8], seed: u32| {
    let crossed = cross(data, other, seed.into()).filter(|crossed| crossed.len() <= out.len());
    // Nothing is a vector too, and libFuzzer takes it as such.
    let crossed = crossed.unwrap_or_default();
    out[..crossed.len()].copy_from_slice(&crossed);
    crossed.len()
});
