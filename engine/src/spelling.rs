//! What was probably meant by a name that does not exist.

/// How many slips a person makes in a name of this length and still means it.
#[must_use]
pub fn most_slips(name: &str) -> usize {
    if name.len() <= 4 { 1 } else { 2 }
}

/// The known name that was probably meant; none if there is none like it.
#[must_use]
pub fn alike<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let near = known.iter().map(|known| (distance(name, known), *known));
    near.filter(|(slips, _)| *slips <= most_slips(name)).min().map(|(_, known)| known)
}

/// How many letters have to be inserted, removed or replaced, or swapped with their neighbour.
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_with_the_fewest_slips_is_meant_and_none_with_too_many() {
        let known = ["irate", "rate", "round"];
        assert_eq!(alike("ratee", &known), Some("rate"));
        assert_eq!(alike("rollup", &known), None);
    }

    #[test]
    fn letters_are_counted_as_people_mistype_them() {
        for (a, b, letters) in [
            ("pod", "pod", 0),
            ("pod", "pods", 1),
            ("deploymnet", "deployment", 1),
            ("", "job", 3),
            ("job", "pod", 2),
        ] {
            assert_eq!(distance(a, b), letters, "{a} {b}");
            assert_eq!(distance(b, a), letters, "{b} {a}");
        }
    }
}
