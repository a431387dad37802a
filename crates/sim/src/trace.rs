//! What happened, folded into one number: two runs that agree on it were the same run.
//!
//! Every event of the world goes in, with its time and the bytes that it carried. `SIM_LOG=1` prints
//! them as they come.

/// The log of a run.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    events: u64,
    echo: bool,
}

impl Trace {
    pub(crate) fn new() -> Self {
        let echo = std::env::var_os("SIM_LOG").is_some();
        Trace { hash: 0xCBF2_9CE4_8422_2325, events: 0, echo }
    }

    fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23);
    }

    /// An event, with the numbers that name it and what it carried.
    #[expect(clippy::print_stderr, reason = "asked for by SIM_LOG")]
    pub(crate) fn note(&mut self, now: u64, what: &str, numbers: &[u64], bytes: &[u8]) {
        self.events += 1;
        self.mix(now);
        for chunk in what.as_bytes().chunks(8).chain(bytes.chunks(8)) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 56);
        }
        for number in numbers {
            self.mix(*number);
        }
        if self.echo {
            eprintln!("{:>12.3} {what} {numbers:?} {}", now as f64 / 1000.0, bytes.len());
        }
    }

    /// Says something to whoever reads along.
    #[expect(clippy::print_stderr, reason = "asked for by SIM_LOG")]
    pub(crate) fn say(&self, now: u64, what: impl FnOnce() -> String) {
        if self.echo {
            eprintln!("{:>12.3}   {}", now as f64 / 1000.0, what());
        }
    }

    /// The number, and how many events went into it.
    pub(crate) fn digest(&self) -> (u64, u64) {
        (self.hash, self.events)
    }
}
