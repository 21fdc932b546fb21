//! The report of a night, for people (`nightly.md`) and for machines (`nightly.json`).

use std::io;
use std::path::Path;

use plimsoll_sim::search::sweep::Shard;
use serde::Serialize;

#[derive(Debug, Serialize)]
pub struct Report {
    pub night: u64,
    pub shard: Shard,
    pub minutes: u64,
    pub parts: Vec<PartReport>,
    /// The findings. Each signature is listed once.
    pub findings: Vec<Finding>,
}

/// The result of a part.
#[derive(Debug, Serialize)]
pub struct PartReport {
    pub name: &'static str,
    pub status: Status,
    pub seconds: f64,
    pub lines: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The part has run and found nothing.
    Clean,
    /// The part has found something.
    Found,
    /// A tool that the part needs is missing.
    Skipped,
    /// The part could not run.
    Failed,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Equal for findings of the same kind.
    pub signature: String,
    pub part: &'static str,
    /// A description in one sentence.
    pub what: String,
    /// The files beside the report.
    pub files: Vec<String>,
    /// The smallest schedule that shows the finding.
    pub schedule: Option<String>,
}

impl PartReport {
    pub fn new(name: &'static str, status: Status, seconds: f64, lines: Vec<String>) -> Self {
        Self { name, status, seconds, lines }
    }

    pub fn describe(&self) -> String {
        let status = match self.status {
            Status::Clean => "clean",
            Status::Found => "found something",
            Status::Skipped => "skipped",
            Status::Failed => "FAILED",
        };
        let line = self.lines.first().map(|line| format!(": {line}")).unwrap_or_default();
        format!("{status} after {:.0} s{line}", self.seconds)
    }
}

impl Report {
    pub fn new(night: u64, shard: Shard, minutes: u64) -> Self {
        Self { night, shard, minutes, parts: Vec::new(), findings: Vec::new() }
    }

    pub fn add(&mut self, part: PartReport, findings: Vec<Finding>) {
        self.parts.push(part);
        for finding in findings {
            if self.findings.iter().all(|known| known.signature != finding.signature) {
                self.findings.push(finding);
            }
        }
    }

    /// Whether a part could not run.
    pub fn has_failed(&self) -> bool {
        self.parts.iter().any(|part| part.status == Status::Failed)
    }

    pub fn markdown(&self) -> String {
        let mut text = format!("# Night {}, shard {}, {} minutes\n\n", self.night, self.shard, self.minutes);
        for part in &self.parts {
            text += &format!("* **{}** – {}\n", part.name, part.describe());
            for line in part.lines.iter().skip(1) {
                text += &format!("  {line}\n");
            }
        }
        if self.findings.is_empty() {
            text += "\nNothing was found.\n";
        }
        for finding in &self.findings {
            text += &format!("\n## {}\n\n{} (found by {})\n", finding.signature, finding.what, finding.part);
            for file in &finding.files {
                text += &format!("* `{file}`\n");
            }
            if let Some(schedule) = &finding.schedule {
                text += &format!("\n```text\n{}\n```\n", schedule.trim_end());
            }
        }
        text
    }

    pub fn write(&self, directory: &Path) -> io::Result<()> {
        std::fs::create_dir_all(directory)?;
        std::fs::write(directory.join("nightly.md"), self.markdown())?;
        std::fs::write(directory.join("nightly.json"), serde_json::to_string_pretty(self)? + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(signature: &str) -> Finding {
        let (signature, what) = (signature.to_owned(), "it broke".to_owned());
        Finding {
            signature,
            part: "sweep",
            what,
            files: vec!["sweep/a.jsonl".into()],
            schedule: Some("{}\n".into()),
        }
    }

    #[test]
    fn a_signature_is_reported_once() {
        let mut report = Report::new(1, Shard::WHOLE, 60);
        report.add(
            PartReport::new("sweep", Status::Found, 1.0, vec!["9 seeds".into()]),
            vec![finding("a"), finding("b")],
        );
        report.add(PartReport::new("explore", Status::Found, 1.0, Vec::new()), vec![finding("a")]);
        assert_eq!(report.findings.len(), 2);
        let text = report.markdown();
        assert!(
            text.contains("* **sweep** – found something after 1 s: 9 seeds\n") && text.contains("## b\n"),
            "{text}"
        );
        assert!(!report.has_failed());
    }

    #[test]
    fn a_part_that_could_not_do_its_work_is_no_clean_night() {
        let mut report = Report::new(1, Shard::WHOLE, 60);
        report.add(PartReport::new("fuzz", Status::Failed, 1.0, vec!["no compiler".into()]), Vec::new());
        assert!(report.has_failed() && report.markdown().contains("FAILED after 1 s: no compiler"));
    }
}
