//! How many repair symbols a block gets: a promise about loss, or a plain share.

use super::Scheme;
use crate::wire::REPAIR_SYMBOLS_MAX;

/// What the operator asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Protection {
    /// A block is lost with probability at most `residual` when frames are lost independently with probability
    /// `loss`, and always survives any one burst of `burst` lost frames besides.
    Promise {
        /// Share of frames lost, 0..1.
        loss: f64,
        /// Acceptable share of blocks lost, 0..1.
        residual: f64,
        /// Longest burst, frames.
        burst: u16,
    },
    /// A plain share of K, rounded up, but at least `repair_min` symbols.
    Share {
        /// Repair symbols per source symbol.
        repair: f64,
        /// At least so many, symbols.
        repair_min: u16,
    },
}

/// The promise asks for more repair symbols than a block may have.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "a block of {k} symbols would need more than {REPAIR_SYMBOLS_MAX} repair symbols; promise less loss or a larger residual, or make blocks smaller"
)]
pub struct ProtectionError {
    /// Source symbols of the first block size that cannot be protected.
    pub k: u16,
}

/// Repair symbols by K, worked out once at start.
#[derive(Clone, Debug)]
pub struct RepairTable {
    by_k: Box<[u16]>,
    max: u16,
}

impl RepairTable {
    /// The table for every K in 1..=`block_symbols`.
    pub fn new(scheme: Scheme, protection: Protection, block_symbols: u16) -> Result<Self, ProtectionError> {
        let mut table = vec![0; usize::from(block_symbols) + 1];
        if scheme == Scheme::None {
            return Ok(Self { by_k: table.into(), max: 0 });
        }
        let tail = BinomialTail::new(protection, block_symbols);
        let mut repair = 0;
        for k in 1..=block_symbols {
            repair = match protection {
                Protection::Promise { residual, .. } => tail.least_repair(scheme, k, repair, residual),
                Protection::Share { repair, repair_min } => {
                    // The small amount keeps 10% of 20 at 2, whatever binary fractions make of 0.1.
                    Some(((f64::from(k) * repair - 1e-9).ceil() as u16).max(repair_min))
                }
            }
            .ok_or(ProtectionError { k })?;
            let burst = if let Protection::Promise { burst, .. } = protection { burst } else { 0 };
            let total = u32::from(repair) + u32::from(burst);
            if total > u32::from(REPAIR_SYMBOLS_MAX) {
                return Err(ProtectionError { k });
            }
            table[usize::from(k)] = total as u16;
        }
        let max = table.iter().copied().max().unwrap_or(0);
        Ok(Self { by_k: table.into(), max })
    }

    /// Repair symbols for a block of `k` source symbols.
    pub fn repair(&self, k: u16) -> u16 {
        self.by_k[usize::from(k)]
    }

    /// The most that any block gets.
    pub fn max(&self) -> u16 {
        self.max
    }
}

/// Binomial probabilities through logarithms, so that nothing underflows at large n.
struct BinomialTail {
    bursts: bool,
    loss_ln: f64,
    kept_ln: f64,
    /// Logarithms of n!.
    factorials: Vec<f64>,
}

impl BinomialTail {
    fn new(protection: Protection, block_symbols: u16) -> Self {
        let Protection::Promise { loss, burst, .. } = protection else {
            return Self { bursts: false, loss_ln: 0.0, kept_ln: 0.0, factorials: Vec::new() };
        };
        let most = usize::from(block_symbols) + usize::from(REPAIR_SYMBOLS_MAX) + 1;
        let mut factorials = vec![0.0; most + 1];
        for n in 1..=most {
            factorials[n] = factorials[n - 1] + (n as f64).ln();
        }
        // The least positive number stands in for no loss at all, which has no logarithm.
        let loss = loss.max(f64::MIN_POSITIVE);
        Self { bursts: burst > 0, loss_ln: loss.ln(), kept_ln: (-loss).ln_1p(), factorials }
    }

    /// Probability that exactly `lost` of `n` frames are lost.
    fn exactly(&self, lost: usize, n: usize) -> f64 {
        let ways = self.factorials[n] - self.factorials[lost] - self.factorials[n - lost];
        (ways + lost as f64 * self.loss_ln + (n - lost) as f64 * self.kept_ln).exp()
    }

    /// Probability that more than `lost` of `n` frames are lost. Beyond the mean the terms only shrink: it stops where
    /// they no longer change the sum.
    fn more_than(&self, lost: usize, n: usize) -> f64 {
        let mean = n as f64 * self.loss_ln.exp();
        let mut sum = 0.0;
        for lost in lost + 1..=n {
            let term = self.exactly(lost, n);
            sum += term;
            if lost as f64 > mean && term <= sum * f64::EPSILON {
                break;
            }
        }
        sum
    }

    /// Probability that a block of `k` + `repair` symbols cannot be recovered.
    fn unrecoverable(&self, scheme: Scheme, k: u16, repair: u16) -> f64 {
        let (k, repair) = (usize::from(k), usize::from(repair));
        let n = k + repair;
        let beyond = self.more_than(repair, n);
        // With h symbols beyond K, RaptorQ still fails with probability about 256^-(h+1) (RFC 6330, 5.8 and its
        // authors' analysis); terms below 256^-8 are under every residual that can be asked for. It decodes when
        // anything was lost by chance, or to a burst, which takes its own share and leaves these symbols.
        let code: f64 = if scheme == Scheme::RaptorQ && k > 1 {
            (usize::from(!self.bursts)..=repair)
                .rev()
                .take(8)
                .map(|lost| self.exactly(lost, n) * 256_f64.powi(-((repair - lost + 1) as i32)))
                .sum()
        } else {
            0.0
        };
        beyond + code
    }

    /// The least number from `from` on that keeps the promise; it never shrinks as K grows.
    fn least_repair(&self, scheme: Scheme, k: u16, from: u16, residual: f64) -> Option<u16> {
        (from..=REPAIR_SYMBOLS_MAX).find(|&repair| self.unrecoverable(scheme, k, repair) <= residual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise(loss: f64, residual: f64, burst: u16) -> Protection {
        Protection::Promise { loss, residual, burst }
    }

    /// Against a sum of products, with no logarithm in it.
    #[test]
    fn table_is_the_least_that_keeps_the_promise() {
        let (loss, residual) = (0.02_f64, 1e-9);
        let naive = |k: u16, repair: u16| -> f64 {
            let n = u32::from(k + repair);
            (u32::from(repair) + 1..=n)
                .map(|lost| {
                    let ways: f64 = (0..lost).map(|i| f64::from(n - i) / f64::from(i + 1)).product();
                    ways * loss.powi(lost as i32) * (1.0 - loss).powi((n - lost) as i32)
                })
                .sum()
        };
        let table = RepairTable::new(Scheme::ReedSolomon, promise(loss, residual, 0), 128).expect("possible");
        for k in [1, 2, 5, 20, 64, 100, 128] {
            let repair = table.repair(k);
            assert!(naive(k, repair) <= residual, "k={k} repair={repair}");
            assert!(naive(k, repair - 1) > residual, "k={k} repair={repair} is not the least");
        }
    }

    #[test]
    fn raptorq_gets_a_few_more_and_burst_adds() {
        let plain = RepairTable::new(Scheme::ReedSolomon, promise(0.02, 1e-9, 0), 128).expect("possible");
        let raptor = RepairTable::new(Scheme::RaptorQ, promise(0.02, 1e-9, 0), 128).expect("possible");
        let burst = RepairTable::new(Scheme::ReedSolomon, promise(0.02, 1e-9, 15), 128).expect("possible");
        for k in 2..=128 {
            let extra = raptor.repair(k) - plain.repair(k);
            assert!((0..=4).contains(&extra), "k={k}: {extra} more");
            assert_eq!(burst.repair(k), plain.repair(k) + 15);
        }
        assert_eq!(raptor.repair(1), plain.repair(1), "repetition is as good as any code");
    }

    /// Where hardly anything is lost but bursts, RaptorQ still needs a few symbols beyond K to decode after one.
    #[test]
    fn raptorq_keeps_the_promise_after_a_burst() {
        for loss in [0.0, 1e-4] {
            let table = RepairTable::new(Scheme::RaptorQ, promise(loss, 1e-9, 15), 128).expect("possible");
            assert!((2..=128).all(|k| table.repair(k) >= 15 + 3), "256^-4 is below 1e-9, 256^-3 is not");
            assert!(table.repair(128) <= 15 + 5, "{}", table.repair(128));
        }
    }

    #[test]
    fn shares_round_up_and_have_a_floor() {
        let share = Protection::Share { repair: 0.1, repair_min: 2 };
        let table = RepairTable::new(Scheme::RaptorQ, share, 128).expect("possible");
        assert_eq!([1, 20, 21, 128].map(|k| table.repair(k)), [2, 2, 3, 13]);
    }

    #[test]
    fn no_scheme_no_repair() {
        let table = RepairTable::new(Scheme::None, promise(0.5, 1e-9, 99), 128).expect("possible");
        assert_eq!(table.max(), 0);
    }

    #[test]
    fn an_impossible_promise_is_refused() {
        assert!(RepairTable::new(Scheme::ReedSolomon, promise(0.9, 1e-9, 0), 8192).is_err());
        assert!(RepairTable::new(Scheme::ReedSolomon, promise(0.01, 1e-9, 9000), 10).is_err());
    }

    #[test]
    fn large_blocks_do_not_underflow() {
        let table = RepairTable::new(Scheme::ReedSolomon, promise(0.2, 1e-9, 0), 4096).expect("possible");
        assert!((1000..2000).contains(&table.repair(4096)), "{}", table.repair(4096));
    }
}
