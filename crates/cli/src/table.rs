//! Text in columns.

/// On which side of its column a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Lays rows out below the titles of their columns, each column as wide as it needs to be.
pub fn table<const N: usize>(columns: [(&str, Side); N], rows: &[[String; N]]) -> String {
    let titles = columns.map(|(title, _)| title.to_owned());
    let lines = || std::iter::once(&titles).chain(rows);
    let width = |column: usize| lines().map(|line| line[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for line in lines() {
        let cells =
            line.iter()
                .zip(columns)
                .zip(widths)
                .map(|((cell, (_, side)), width)| match side {
                    Side::Left => format!("{cell:<width$}"),
                    Side::Right => format!("{cell:>width$}"),
                });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |name: &str, used: &str, state: &str| [name.into(), used.into(), state.into()];
        let text = table(
            [
                ("node", Side::Left),
                ("used", Side::Right),
                ("state", Side::Left),
            ],
            &[row("n", "12 MiB", "active"), row("größer", "0 B", "")],
        );
        let expected = "node      used  state\nn       12 MiB  active\ngrößer     0 B\n";
        assert_eq!(text, expected);
    }
}
