//! Configurations that the documentation shows.

/// The configuration of FRR that is called `name` in this page.
pub(crate) fn documented(page: &'static str, name: &str) -> &'static str {
    let text = page.split(&format!("```frr {name}\n")).nth(1).and_then(|rest| rest.split("```").next());
    text.unwrap_or_else(|| panic!("the page has no {name}"))
}
