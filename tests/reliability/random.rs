//! Random numbers that a failed test prints and that can be asked for again: `RHUMB_SEED=…`.

use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator (splitmix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
pub(crate) struct Random(u64);

impl Random {
    /// Seeded from RHUMB_SEED or from the clock; says which on standard output, which a failed test shows.
    pub(crate) fn new() -> Random {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_nanos() as u64;
        let given = std::env::var("RHUMB_SEED").ok().map(|text| text.parse().expect("RHUMB_SEED is a number"));
        let seed = given.unwrap_or_else(clock);
        let mut random = Random(seed);
        random.next();
        random.announce(seed);
        random
    }

    fn announce(&self, seed: u64) {
        use std::io::Write as _;
        // A failed test shows what its thread printed; nothing else can be done about a failure to print.
        let _ = writeln!(std::io::stdout(), "RHUMB_SEED={seed}");
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
