//! Chance that is the same on every machine: a fixed generator, and pure-Rust mathematics.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::Rng;

use crate::time::Nanos;

/// A stream of chance that its seed alone decides.
pub struct Random(Pcg64);

impl Random {
    /// The stream of `seed`; another `purpose` is another stream.
    pub fn new(seed: u64, purpose: u64) -> Self {
        // Neighbouring seeds must not be neighbouring states.
        let state = u128::from(mix(seed)) << 64 | u128::from(mix(mix(seed)));
        Self(Pcg64::new(state, u128::from(purpose)))
    }

    /// Uniform in 0..1, never 1.
    pub fn unit(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.0.next_u64() >> 11) as f64 * STEP
    }

    /// Uniform in 0..bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `from..=to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// The time to the next event of a Poisson process with this mean interval.
    pub fn exponential(&mut self, mean: Nanos) -> Nanos {
        (-libm::log(1.0 - self.unit()) * mean as f64) as Nanos
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
const fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
