//! Findings as text, and as an exit status.

use std::io;

use super::finding::{Finding, Verdict};

/// Status for scripts: the worst verdict.
pub(super) fn exit_status(findings: &[Finding]) -> u8 {
    match findings.iter().map(|finding| finding.verdict).max() {
        None | Some(Verdict::Ok | Verdict::Note) => 0,
        Some(Verdict::Warning) => 1,
        Some(Verdict::Failure) => 2,
    }
}

/// One JSON array.
pub(super) fn json(findings: &[Finding]) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(findings)? + "\n")
}

/// Grouped by topic, a line a finding; the remedy on the line below.
pub(super) fn table(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    let mut topic = None;
    for finding in findings {
        if topic != Some(finding.topic) {
            if topic.is_some() {
                text.push('\n');
            }
            text += finding.topic.title();
            text.push('\n');
            topic = Some(finding.topic);
        }
        text +=
            &format!("  {:<7}  {:<width$}  {}\n", word(finding.verdict), finding.subject, finding.finding);
        if let Some(remedy) = &finding.remedy {
            text += &format!("  {:<7}  {:<width$}  -> {remedy}\n", "", "");
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    text += &format!(
        "\nok {}, notes {}, warnings {}, failures {}\n",
        count(Verdict::Ok),
        count(Verdict::Note),
        count(Verdict::Warning),
        count(Verdict::Failure)
    );
    text
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Note => "note",
        Verdict::Warning => "WARNING",
        Verdict::Failure => "FAILURE",
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Findings, Topic};
    use super::*;

    fn findings(worst: Verdict) -> Vec<Finding> {
        let mut all = Vec::new();
        Findings::new(Topic::Kernel, &mut all).ok("BPF JIT", "on");
        let mut ports = Findings::new(Topic::Port, &mut all);
        ports.ok("eth0", "up");
        ports.bad(worst, "eth0", "LRO is on", "`ethtool -K eth0 rx-lro off`");
        all
    }

    #[test]
    fn the_worst_verdict_is_the_status() {
        let statuses = [Verdict::Ok, Verdict::Note, Verdict::Warning, Verdict::Failure]
            .map(|worst| exit_status(&findings(worst)));
        assert_eq!(statuses, [0, 0, 1, 2]);
        assert_eq!(exit_status(&[]), 0);
    }

    #[test]
    fn the_table_is_grouped_with_remedies_below() {
        let expected = "\
Kernel
  ok       BPF JIT  on

Ports
  ok       eth0     up
  WARNING  eth0     LRO is on
                    -> `ethtool -K eth0 rx-lro off`

ok 2, notes 0, warnings 1, failures 0
";
        assert_eq!(table(&findings(Verdict::Warning)), expected);
    }

    #[test]
    fn json_is_an_array_of_findings() {
        let json: serde_json::Value =
            serde_json::from_str(&json(&findings(Verdict::Failure)).unwrap()).unwrap();
        let expected = serde_json::json!({
            "topic": "port", "subject": "eth0", "verdict": "failure",
            "finding": "LRO is on", "remedy": "`ethtool -K eth0 rx-lro off`",
        });
        assert_eq!(json[2], expected);
        assert_eq!(json[0]["remedy"], serde_json::Value::Null);
    }
}
