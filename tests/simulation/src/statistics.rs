//! Whether what was counted can be what a formula says.

use crate::outcome::Share;

/// The chance that so many or fewer, or so many or more, whichever is rarer, are lost when each
/// is with probability `p`: the exact binomial tail, doubled for both sides.
pub fn two_sided(share: Share, p: f64) -> f64 {
    let Share { lost, of } = share;
    let at_most = tail(lost, of, p);
    let at_least = 1.0 - if lost == 0 { 0.0 } else { tail(lost - 1, of, p) };
    (2.0 * at_most.min(at_least)).clamp(0.0, 1.0)
}

/// The chance of at most `most` of `of`.
fn tail(most: u64, of: u64, p: f64) -> f64 {
    if p <= 0.0 || most >= of {
        return 1.0;
    }
    if p >= 1.0 {
        return 0.0;
    }
    let (ln_p, ln_q) = (libm::log(p), libm::log1p(-p));
    let term = |k: u64| {
        let (n, k) = (of as f64, k as f64);
        let choose = libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0);
        libm::exp(choose + k * ln_p + (n - k) * ln_q)
    };
    (0..=most).map(term).sum()
}

/// Where the true rate lies with 95 % confidence (Wilson's interval).
pub fn interval(share: Share) -> (f64, f64) {
    const Z: f64 = 1.959_964;
    let n = share.of as f64;
    let p = share.rate();
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * libm::sqrt(p * (1.0 - p) / n + Z * Z / (4.0 * n * n));
    let scale = 1.0 + Z * Z / n;
    (((centre - half) / scale).max(0.0), (centre + half) / scale)
}

/// How many standard deviations what was counted lies from what is expected, over many
/// independent counts.
pub fn deviation(counts: &[(Share, f64)]) -> f64 {
    let lost: u64 = counts.iter().map(|(share, _)| share.lost).sum();
    let expected: f64 = counts.iter().map(|(share, p)| share.of as f64 * p).sum();
    let variance: f64 = counts.iter().map(|(share, p)| share.of as f64 * p * (1.0 - p)).sum();
    (lost as f64 - expected) / libm::sqrt(variance)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn the_tail_of_ten_coins() {
        // 1, 10, 45 of 1024.
        assert!(close(tail(2, 10, 0.5), 56.0 / 1024.0));
        assert!(close(two_sided(Share { lost: 2, of: 10 }, 0.5), 112.0 / 1024.0));
        assert!(close(two_sided(Share { lost: 8, of: 10 }, 0.5), 112.0 / 1024.0));
        assert!(close(two_sided(Share { lost: 5, of: 10 }, 0.5), 1.0));
    }

    #[test]
    fn what_cannot_be_has_no_chance() {
        assert!(close(two_sided(Share { lost: 1, of: 10 }, 0.0), 0.0));
        assert!(close(two_sided(Share { lost: 0, of: 10 }, 0.0), 1.0));
        assert!(two_sided(Share { lost: 200, of: 10_000 }, 0.01) < 1e-15);
    }

    #[test]
    fn an_interval_as_the_books_have_it() {
        // Newcombe, Statistics in Medicine 17 (1998): 15 of 148 is 0.0624 to 0.1605.
        let (from, to) = interval(Share { lost: 15, of: 148 });
        assert!((from - 0.0624).abs() < 5e-5 && (to - 0.1605).abs() < 5e-5, "{from} {to}");
        assert!(interval(Share { lost: 0, of: 10 }).0 == 0.0);
    }

    #[test]
    fn two_deviations() {
        // 10 000 coins: the standard deviation is 50.
        let share = Share { lost: 5_100, of: 10_000 };
        assert!(close(deviation(&[(share, 0.5)]), 2.0));
    }
}
