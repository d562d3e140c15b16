//! Matrices over finite fields.

/// An element of a finite field. The default is its zero.
pub(super) trait Element: Copy + Default + PartialEq {
    /// The one.
    fn one() -> Self;
    /// The product.
    fn times(self, other: Self) -> Self;
    /// The difference.
    fn minus(self, other: Self) -> Self;
    /// What gives one times `self`, which is not zero.
    fn reciprocal(self) -> Self;
}

/// The inverse of an `n` x `n` matrix, row by row (Gauss-Jordan); `None` if it has none.
pub(super) fn invert<E: Element>(matrix: &[E], n: usize) -> Option<Vec<E>> {
    let width = 2 * n;
    let mut work = vec![E::default(); n * width];
    for (row, from) in work.chunks_exact_mut(width).zip(matrix.chunks_exact(n)) {
        row[..n].copy_from_slice(from);
    }
    (0..n).for_each(|at| work[at * width + n + at] = E::one());
    for at in 0..n {
        let pivot = (at..n).find(|row| work[row * width + at] != E::default())?;
        let mut row: Vec<E> = work[pivot * width..][..width].to_vec();
        work.copy_within(at * width..(at + 1) * width, pivot * width);
        let factor = row[at].reciprocal();
        for value in &mut row {
            *value = value.times(factor);
        }
        for other in work.chunks_exact_mut(width) {
            let factor = other[at];
            other.iter_mut().zip(&row).for_each(|(value, of)| *value = value.minus(of.times(factor)));
        }
        work[at * width..][..width].copy_from_slice(&row);
    }
    Some(work.chunks_exact(width).flat_map(|row| row[n..].to_vec()).collect())
}
