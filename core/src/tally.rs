//! The counts that must balance: every request in flight at t0 or admitted since gets
//! exactly one verdict.

/// How many of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) connections_adopted: u64,
    pub(crate) connections_opened: u64,
    pub(crate) connections_forced: u64,
    /// In flight at the hand-over.
    pub(crate) adopted: u64,
    /// Admitted since.
    pub(crate) admitted: u64,
    /// Parsed after the response that announced (RFC 9112 §9.6): no verdict.
    pub(crate) not_processed: u64,
    pub(crate) verdicts: [u64; Verdict::COUNT],
}

/// How one request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Completed,
    ClientGone,
    Refused,
    Ended,
    Forced,
}

impl Verdict {
    const COUNT: usize = Self::Forced as usize + 1;
}

impl Tally {
    pub(crate) fn give(&mut self, verdict: Verdict) {
        self.verdicts[verdict as usize] += 1;
    }

    pub(crate) fn of(&self, verdict: Verdict) -> u64 {
        self.verdicts[verdict as usize]
    }

    /// Requests without a verdict yet.
    pub(crate) fn in_flight(&self) -> u64 {
        self.adopted + self.admitted - self.verdicts.iter().sum::<u64>()
    }
}
