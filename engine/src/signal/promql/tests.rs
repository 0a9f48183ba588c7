//! Queries as people write them, and queries that Prometheus refuses.

use super::{check, unknown_functions};

/// What Prometheus accepts.
const GOOD: &str = include_str!("../../../../tests/support/promql/good.txt");
/// What it does not, with the place of what is wrong.
const BAD: &str = include_str!("../../../../tests/support/promql/bad.txt");

#[test]
fn what_prometheus_accepts_is_accepted() {
    let queries: Vec<&str> = GOOD.lines().filter(|line| !line.is_empty()).collect();
    assert!(queries.len() > 40);
    for query in queries {
        assert_eq!(check(query), Ok(()), "{query}");
    }
}

#[test]
fn what_it_does_not_accept_is_refused_with_its_place() {
    let queries: Vec<(&str, &str)> = BAD.lines().filter_map(|line| line.split_once(" ## ")).collect();
    assert!(queries.len() > 20);
    for (query, expected) in queries {
        let wrong = check(query).expect_err(query).to_string();
        assert!(wrong.contains(expected), "{query}: {wrong}, not {expected}");
    }
}

#[test]
fn functions_that_prometheus_does_not_have_are_named_with_the_one_that_was_meant() {
    for query in GOOD.lines() {
        assert_eq!(unknown_functions(query), [], "{query}");
    }
    let found =
        unknown_functions("sum(ratee(x[5m])) / rollup_rate(y[5m]) + ratee(z[1m]) + sum_over_tiem(z[1m:])");
    let said = |name: &str, meant| (name.to_owned(), meant);
    assert_eq!(
        found,
        [
            said("ratee", Some("rate")),
            said("rollup_rate", None),
            said("sum_over_tiem", Some("sum_over_time"))
        ]
    );
    assert_eq!(unknown_functions("sum("), [], "what is no PromQL says so itself");
}

#[test]
fn a_place_is_told_by_line_and_column() {
    let wrong = check("sum(\n  rate(x[5m]\n").unwrap_err().to_string();
    assert_eq!(wrong, "line 3, column 1: expected \")\", and found the end");
    let wrong = check("{a=\"ä\"} + )").unwrap_err().to_string();
    assert_eq!(wrong, "line 1, column 11: expected a value, and found \")\"");
}

#[test]
fn brackets_without_end_cost_nothing() {
    for query in ["(".repeat(1024), "-".repeat(1024), "sum(".repeat(256), "a[".repeat(512), "{".repeat(1024)]
    {
        assert!(check(&query).is_err());
    }
}
