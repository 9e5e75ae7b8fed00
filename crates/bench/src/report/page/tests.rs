use super::*;
use crate::report::document::tests::report;

/// Checks that every tag that is opened is closed, in order.
fn assert_well_formed(page: &str) {
    let mut open = Vec::new();
    for tag in page
        .split('<')
        .skip(1)
        .map(|rest| rest.split('>').next().unwrap())
    {
        let name = tag
            .split([' ', '/'])
            .find(|part| !part.is_empty())
            .unwrap_or("");
        match tag {
            _ if tag.starts_with('!') || tag.ends_with('/') || name == "meta" => {}
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "{tag}"),
            _ => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn dates_are_those_of_the_calendar() {
    for (seconds, text) in [
        (0, "1970-01-01 00:00 UTC"),
        (951_782_399, "2000-02-28 23:59 UTC"),
        (951_782_400, "2000-02-29 00:00 UTC"),
        (1_709_251_199, "2024-02-29 23:59 UTC"),
        (1_735_689_599, "2024-12-31 23:59 UTC"),
        (4_107_542_400, "2100-03-01 00:00 UTC"),
    ] {
        assert_eq!(date(seconds), text);
    }
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let page = page(&report());
    assert_well_formed(&page);
    for foreign in [
        "<script", "<link", "<img", "@import", "url(", "src=", "href=", "onload",
    ] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn the_page_shows_plots_failures_and_ratios() {
    let page = page(&report());
    // Throughput and memory by size; and for each of two workloads ratios, latency and rounds.
    assert_eq!(page.matches("<svg").count(), 8);
    assert!(page.contains("1 failed: refused: OOM"));
    assert!(page.contains("Throughput by size: get 80%, set 20%"));
    assert!(!page.contains("Nothing to"));
}

#[test]
fn what_comes_from_outside_is_escaped() {
    let mut report = report();
    report.targets[0] = "redis://<script>alert(\"x\")</script>:1".into();
    report.workloads[0].totals[1]
        .failed
        .insert("<b>&".into(), 1);
    let page = page(&report);
    assert_well_formed(&page);
    assert!(!page.contains("<script") && !page.contains("<b>"));
}
