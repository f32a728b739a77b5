//! A bar of so many columns.

/// What bars are drawn with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charset {
    Unicode,
    /// For terminals whose locale says that they know nothing else.
    Ascii,
}

/// `━━━━━╸────`: full only when all is done, and at half a column's precision.
pub(crate) fn bar(columns: usize, done: u64, total: u64, charset: Charset) -> String {
    let halves = match total {
        0 => 2 * columns,
        total => (u128::from(done.min(total)) * 2 * columns as u128 / u128::from(total)) as usize,
    };
    let (full, half) = (halves / 2, halves % 2);
    let (filled, begun, empty) = match charset {
        Charset::Unicode => ("━", "╸", "─"),
        Charset::Ascii => ("#", "#", "-"),
    };
    format!("{}{}{}", filled.repeat(full), begun.repeat(half), empty.repeat(columns - full - half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_grows_by_half_columns_and_is_full_at_the_end_only() {
        let cases = [
            (0, "──────────"),
            (49, "──────────"),
            (50, "╸─────────"),
            (421, "━━━━──────"),
            (450, "━━━━╸─────"),
            (999, "━━━━━━━━━╸"),
            (1000, "━━━━━━━━━━"),
            (2000, "━━━━━━━━━━"),
        ];
        for (done, expected) in cases {
            assert_eq!(bar(10, done, 1000, Charset::Unicode), expected, "{done}");
        }
        assert_eq!(bar(10, 450, 1000, Charset::Ascii), "#####-----");
        assert_eq!(bar(3, 0, 0, Charset::Unicode), "━━━");
        assert_eq!(bar(0, 1, 2, Charset::Unicode), "");
        assert_eq!(bar(2, u64::MAX, u64::MAX, Charset::Unicode), "━━");
    }
}
