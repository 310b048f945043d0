//! The provisional report: what the watchdog prints if it must end the process.
//!
//! Two fixed buffers. The driver fills the one that is not current and then makes it current; the printer
//! copies the current one out. Neither waits for the other: a driver stopped half-way leaves the
//! previous report whole, and a printer that was overtaken notices it and copies again (a seqlock per buffer).

use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

/// The longest report, in bytes.
pub(crate) const CAPACITY: usize = 64 * 1024;

const WORD: usize = size_of::<u64>();

pub(crate) struct Provisional {
    buffers: [Box<[AtomicU64]>; 2],
    lengths: [AtomicUsize; 2],
    /// How many reports were begun. Report n lies in buffer n % 2.
    begun: AtomicU64,
    /// How many reports were completed. The last of them is current; 0 means that there is none.
    completed: AtomicU64,
}

impl Provisional {
    pub(crate) fn new() -> Self {
        let buffer = || (0..CAPACITY / WORD).map(|_| AtomicU64::new(0)).collect();
        Self {
            buffers: [buffer(), buffer()],
            lengths: [AtomicUsize::new(0), AtomicUsize::new(0)],
            begun: AtomicU64::new(0),
            completed: AtomicU64::new(0),
        }
    }

    /// Makes `report` the current one. One writer at a time: the caller's duty, or reports may be torn.
    /// Longer ones than [`CAPACITY`] must not come here.
    pub(crate) fn publish(&self, report: &[u8]) {
        let number = self.completed.load(Relaxed) + 1;
        let buffer = (number % 2) as usize;
        self.begun.store(number, Relaxed);
        // Release fence: a reader that sees any of the stores below also sees `begun`. Without it a
        // reader of report n - 2 could mix in words of this one and not know.
        fence(Release);
        self.lengths[buffer].store(report.len(), Relaxed);
        for (word, bytes) in self.buffers[buffer].iter().zip(report.chunks(WORD)) {
            let mut whole = [0; WORD];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(whole), Relaxed);
        }
        // Release: a reader that sees this number sees the report.
        self.completed.store(number, Release);
    }

    /// Copies the current report to the start of `out` (at least [`CAPACITY`] bytes) and returns its length;
    /// `None` when there is none, or when every attempt was overtaken.
    pub(crate) fn copy_to(&self, out: &mut [u8]) -> Option<usize> {
        const ATTEMPTS: usize = 100;
        for _ in 0..ATTEMPTS {
            let number = self.completed.load(Acquire);
            if number == 0 {
                return None;
            }
            let buffer = (number % 2) as usize;
            let length = self.lengths[buffer].load(Relaxed).min(CAPACITY);
            for (word, bytes) in self.buffers[buffer].iter().zip(out[..length].chunks_mut(WORD)) {
                let whole = word.load(Relaxed).to_ne_bytes();
                bytes.copy_from_slice(&whole[..bytes.len()]);
            }
            // Acquire fence: pairs with the writer's, see there.
            fence(Acquire);
            if self.begun.load(Relaxed) < number + 2 {
                return Some(length);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn the_last_report_is_the_current_one() {
        let provisional = Provisional::new();
        let mut out = vec![0; CAPACITY];
        assert_eq!(provisional.copy_to(&mut out), None);
        for report in [&b"one"[..], b"", b"twenty-three bytes long"] {
            provisional.publish(report);
            let length = provisional.copy_to(&mut out).unwrap();
            assert_eq!(&out[..length], report);
        }
        let longest = vec![7; CAPACITY];
        provisional.publish(&longest);
        assert_eq!(provisional.copy_to(&mut out), Some(CAPACITY));
        assert_eq!(out, longest);
    }

    #[test]
    fn a_report_is_never_torn() {
        let provisional = Provisional::new();
        let stop = AtomicBool::new(false);
        let torn = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 0_usize;
                while !stop.load(Relaxed) {
                    n += 1;
                    // All bytes equal, and the length follows from them.
                    provisional.publish(&vec![(n % 251) as u8; 100 * (n % 251) + 1]);
                }
            });
            let mut out = vec![0; CAPACITY];
            let (mut seen, mut torn) = (0, 0);
            while seen < 3000 {
                if let Some(length) = provisional.copy_to(&mut out) {
                    let first = out[0];
                    let whole = length == 100 * usize::from(first) + 1
                        && out[..length].iter().all(|byte| *byte == first);
                    torn += u32::from(!whole);
                    seen += 1;
                }
            }
            stop.store(true, Relaxed);
            torn
        });
        assert_eq!(torn, 0);
    }
}
