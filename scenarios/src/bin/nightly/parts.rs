//! Runs the commands of each part, and collects its findings.

use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plimsoll_scenarios::commands::{self, Ended};
use plimsoll_scenarios::planted;
use plimsoll_sim::report::sweep::{SweepReport, report_name};
use plimsoll_sim::schedule::ScheduleError;
use plimsoll_sim::search::generate::Profile;
use plimsoll_sim::search::sweep::Shard;
use plimsoll_sim::text::counted;
use serde::Deserialize;

use crate::Part;
use crate::findings;
use crate::report::{Finding, Status};

/// The number of base seeds from which a planted bug is hunted. Few bases leave time for more bugs, but the
/// medians are less certain.
const PLANTED_BASES: u64 = 3;
/// The number of seeds of each profile that a mutant must survive.
const MUTANT_SEEDS: u64 = 150;
/// The names of the property tests contain one of these words.
const PROPERTY_SUITES: [&str; 4] = ["codecs", "tape::record", "model", "properties"];
/// The number of cases of each property test.
const PROPERTY_CASES: u32 = 4000;
/// The distance between the first seeds of two nights.
const NIGHT_SEEDS: u64 = 1_000_000_000;
/// The time that a part may take after its share is over.
const GRACE: Duration = Duration::from_secs(600);
/// The time limit for building.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);

/// The environment of the parts.
pub struct Ground {
    pub root: PathBuf,
    pub out: PathBuf,
    pub shard: Shard,
    night: u64,
    pub jobs: usize,
    pub fuzz_targets: Vec<String>,
    /// The directory with the built commands.
    binaries: PathBuf,
}

/// The reason why a part could not run.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    #[error("cannot use {path}")]
    File { path: String, source: io::Error },
    #[error("{path} is not a schedule")]
    Schedule { path: String, source: ScheduleError },
    #[error("cannot run a command")]
    Run { source: io::Error },
    #[error("{command} ended with {status}:\n{output}")]
    Command { command: String, status: String, output: String },
    #[error("cannot read the report of {command}")]
    Report { command: String, source: serde_json::Error },
}

impl PartError {
    pub fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.display().to_string(), source }
    }

    pub fn command(ended: Ended) -> Self {
        let output = last_lines(&ended.output(), 30);
        Self::Command { status: ended.describe(), output, command: ended.command }
    }
}

/// The status, the messages and the findings of a part.
pub type Outcome = (Status, Vec<String>, Vec<Finding>);

impl Ground {
    /// Builds the commands and creates the directory.
    pub fn prepare(
        out: &Path,
        shard: Shard,
        night: u64,
        jobs: Option<NonZero<usize>>,
        fuzz_targets: &[String],
    ) -> Result<Self, PartError> {
        std::fs::create_dir_all(out).map_err(|source| PartError::file(out, source))?;
        let out = out.canonicalize().map_err(|source| PartError::file(out, source))?;
        let root = planted::workspace();
        let program = std::env::current_exe().map_err(|source| PartError::Run { source })?;
        let binaries = program.parent().unwrap_or(Path::new(".")).to_path_buf();
        let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
        let jobs = jobs.map_or_else(cores, NonZero::get);
        let ground = Self { root, out, shard, night, jobs, fuzz_targets: fuzz_targets.to_vec(), binaries };
        let mut build = ground.cargo();
        build.args([
            "build",
            "--release",
            "--locked",
            "-p",
            "plimsoll-sim",
            "-p",
            "plimsoll-scenarios",
            "--bins",
        ]);
        let ended = ground.run_command(&mut build, BUILD_LIMIT)?;
        match ended.code() {
            Some(0) => Ok(ground),
            _ => Err(PartError::command(ended)),
        }
    }

    pub fn run(&self, part: Part, limit: Duration) -> Result<Outcome, PartError> {
        match part {
            Part::Sweep => self.sweep("sweep", Profile::Swarm, limit),
            Part::Archive => self.sweep("archive", Profile::Archive, limit),
            Part::Explore => self.explore(limit),
            Part::Fuzz => crate::fuzz::run(self, limit),
            Part::Planted => self.planted(limit),
            Part::Properties => self.properties(limit),
            Part::Mutants => self.mutants(limit),
        }
    }

    pub fn cargo(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        command
    }

    pub fn plimsoll(&self) -> PathBuf {
        self.binary("plimsoll")
    }

    fn binary(&self, name: &str) -> PathBuf {
        self.binaries.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    }

    pub fn run_command(&self, command: &mut Command, limit: Duration) -> Result<Ended, PartError> {
        commands::run(command, limit).map_err(|source| PartError::Run { source })
    }

    /// Sweeps generated histories. The files are in a directory with the part's name.
    fn sweep(&self, part: &'static str, profile: Profile, limit: Duration) -> Result<Outcome, PartError> {
        let directory = self.out.join(part);
        let earlier = directory.join(report_name(self.shard));
        commands::remove_result(&earlier).map_err(|source| PartError::file(&earlier, source))?;
        let first = self.night * NIGHT_SEEDS;
        let mut command = Command::new(self.plimsoll());
        command
            .args(["run", "--json", "--keep-going", "--seeds", &format!("{first}..{}", first + NIGHT_SEEDS)])
            .args(["--minutes", &minutes(limit), "--jobs", &self.jobs.to_string()])
            .args(["--shard", &self.shard.to_string(), "--profile", &profile.name()])
            .arg("--out")
            .arg(&directory);
        let ended = self.run_command(&mut command, limit + GRACE)?;
        if !matches!(ended.code(), Some(0 | 1 | 3)) {
            return Err(PartError::command(ended));
        }
        let report: SweepReport = serde_json::from_str(&ended.stdout)
            .map_err(|source| PartError::Report { command: ended.command.clone(), source })?;
        let mut found = findings::of_directory(&self.plimsoll(), &directory, &self.out, part)?;
        // One of several shards need not reach rare marks.
        if self.shard == Shard::WHOLE {
            found.extend(report.missing_marks().into_iter().map(|mark| Finding {
                signature: format!("mark never reached: {}", mark.name),
                part,
                what: format!(
                    "{} histories were never in this situation: {}",
                    report.counts.histories, mark.name
                ),
                files: Vec::new(),
                schedule: None,
            }));
        }
        let lines = report.to_string().lines().map(str::to_owned).collect();
        Ok((status_of(&found), lines, found))
    }

    fn explore(&self, limit: Duration) -> Result<Outcome, PartError> {
        let directory = self.out.join("explore");
        let mut command = Command::new(self.plimsoll());
        command
            .args(["explore", "--minutes", &minutes(limit), "--jobs", &self.jobs.to_string()])
            .arg("--out")
            .arg(&directory);
        let ended = self.run_command(&mut command, limit + GRACE)?;
        if !matches!(ended.code(), Some(0 | 1 | 3)) {
            return Err(PartError::command(ended));
        }
        let found = findings::of_directory(&self.plimsoll(), &directory, &self.out, "explore")?;
        let lines = ended.stdout.lines().take(4).map(str::to_owned).collect();
        Ok((status_of(&found), lines, found))
    }

    fn planted(&self, limit: Duration) -> Result<Outcome, PartError> {
        let directory = self.out.join("planted");
        let mut command = Command::new(self.binary("planted"));
        command
            .args(["--minutes", &minutes(limit), "--jobs", &self.jobs.to_string()])
            .args(["--shard", &self.shard.to_string(), "--rotate", &self.night.to_string()])
            .args(["--bases", &PLANTED_BASES.to_string()])
            .arg("--out")
            .arg(&directory);
        let ended = self.run_command(&mut command, limit + 3 * GRACE)?;
        if !matches!(ended.code(), Some(0 | 1)) {
            return Err(PartError::command(ended));
        }
        let table = directory.join("planted.json");
        let text = std::fs::read_to_string(&table).map_err(|source| PartError::file(&table, source))?;
        let table: PlantedTable = serde_json::from_str(&text)
            .map_err(|source| PartError::Report { command: ended.command.clone(), source })?;
        let files = vec![findings::relative(&directory.join("planted.md"), &self.out)];
        let missed = table.rows.iter().filter(|row| row.seeds.is_none()).map(|row| Finding {
            signature: format!("planted bug not found: {}", row.name),
            part: "planted",
            what: format!("most bases have not found the planted bug {} within their seeds", row.name),
            files: files.clone(),
            schedule: None,
        });
        let strawmen = table.strawmen.iter().map(|name| Finding {
            signature: format!("planted bug fails without a fault: {name}"),
            part: "planted",
            what: format!("{name} fails in a history without faults: it shows nothing about the simulator"),
            files: files.clone(),
            schedule: None,
        });
        let broken =
            table.baseline.iter().flat_map(|baseline| &baseline.violations).map(|violation| Finding {
                signature: format!("unpatched engine: {violation}"),
                part: "planted",
                what: violation.clone(),
                files: files.clone(),
                schedule: None,
            });
        let found: Vec<Finding> = missed.chain(strawmen).chain(broken).collect();
        let lines = ended.stdout.lines().map(str::to_owned).collect();
        Ok((status_of(&found), lines, found))
    }

    /// Every change tests the same cases; each night tests others, and more of them.
    fn properties(&self, limit: Duration) -> Result<Outcome, PartError> {
        let tests = [
            "test",
            "--locked",
            "--no-fail-fast",
            "-p",
            "plimsoll-engine",
            "-p",
            "plimsoll-sim",
            "-p",
            "plimsoll-scenarios",
            "--lib",
            "--test",
            "it",
        ];
        let ended = self.run_command(self.cargo().args(tests).arg("--no-run"), BUILD_LIMIT)?;
        if ended.code() != Some(0) {
            return Err(PartError::command(ended));
        }
        let mut command = self.cargo();
        command
            .args(tests)
            .arg("--")
            .args(PROPERTY_SUITES)
            .env("PROPTEST_RNG_SEED", self.night.to_string())
            .env("PROPTEST_CASES", PROPERTY_CASES.to_string());
        let ended = self.run_command(&mut command, limit)?;
        let output = ended.output();
        let failed =
            output.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
        let found: Vec<Finding> = failed
            .map(|test| Finding {
                signature: format!("property {test}"),
                part: "properties",
                what: format!(
                    "repeat with PROPTEST_RNG_SEED={} PROPTEST_CASES={PROPERTY_CASES} cargo test --workspace {test}\n{}",
                    self.night,
                    last_lines(&output, 30)
                ),
                files: Vec::new(),
                schedule: None,
            })
            .collect();
        let line = match ended.code() {
            Some(0) => format!("{PROPERTY_CASES} cases of each property"),
            None => format!("not all properties had {PROPERTY_CASES} cases for lack of time"),
            Some(_) if !found.is_empty() => {
                format!("{} failed", counted(found.len() as u64, "property test"))
            }
            Some(_) => return Err(PartError::command(ended)),
        };
        Ok((status_of(&found), vec![line], found))
    }

    fn mutants(&self, limit: Duration) -> Result<Outcome, PartError> {
        let version = self.run_command(self.cargo().args(["mutants", "--version"]), BUILD_LIMIT)?;
        if version.code() != Some(0) {
            let line = "cargo-mutants is not installed: cargo install cargo-mutants --locked";
            return Ok((Status::Skipped, vec![line.into()], Vec::new()));
        }
        // The mutants are divided into many small shards. In one night each machine runs one of them.
        const SHARDS: u64 = 64;
        let shard = (self.night * self.shard.count + self.shard.index) % SHARDS;
        let directory = self.out.join("mutants");
        // Each run copies the sources. With one target directory, dependencies are built only once, and the
        // workspace's crates only where they have changed.
        let tuned = |mut command: Command| {
            command
                .env("CARGO_TARGET_DIR", self.root.join("target/mutants"))
                .env("CARGO_INCREMENTAL", "1")
                .env("PLIMSOLL_MUTANT_SEEDS", MUTANT_SEEDS.to_string());
            command
        };
        // cargo-mutants' own baseline would run the tests of the mutated package, not these.
        let mut baseline = tuned(self.cargo());
        baseline.args(["test", "--release", "--locked", "-p", "plimsoll-scenarios", "--test", "mutants"]);
        let ended = self.run_command(&mut baseline, BUILD_LIMIT)?;
        if ended.code() != Some(0) {
            return Err(PartError::command(ended));
        }
        let mut command = tuned(self.cargo());
        command
            .args(["mutants", "--package", "plimsoll-engine", "--baseline", "skip"])
            // A mutant that hangs counts as caught.
            .args(["--timeout", "300", "--build-timeout", "600"])
            .args(["--no-shuffle", "--colors", "never"])
            .args(["--shard", &format!("{shard}/{SHARDS}")])
            .arg("--output")
            .arg(&directory);
        let ended = self.run_command(&mut command, limit.max(GRACE))?;
        // Status 0: all mutants were caught. 2: some were missed. 3: some timed out. None: the time was over.
        if !matches!(ended.code(), None | Some(0 | 2 | 3)) {
            return Err(PartError::command(ended));
        }
        let path = directory.join("mutants.out/outcomes.json");
        let text = std::fs::read_to_string(&path).map_err(|source| PartError::file(&path, source))?;
        let counts: MutantCounts = serde_json::from_str(&text)
            .map_err(|source| PartError::Report { command: ended.command.clone(), source })?;
        let caught = counts.caught + counts.timeout;
        let score = 100.0 * caught as f64 / (caught + counts.missed).max(1) as f64;
        let mut lines = vec![format!(
            "score {score:.0}%: {caught} of {} mutants of shard {shard}/{SHARDS} caught, {} did not build",
            caught + counts.missed,
            counts.unviable
        )];
        let missed = directory.join("mutants.out/missed.txt");
        let text = std::fs::read_to_string(&missed).unwrap_or_default();
        lines.extend(text.lines().map(|line| format!("missed: {line}")));
        Ok((Status::Clean, lines, Vec::new()))
    }
}

/// The relevant members of `planted.json`.
#[derive(Deserialize)]
struct PlantedTable {
    baseline: Option<PlantedBaseline>,
    rows: Vec<PlantedRow>,
    strawmen: Vec<String>,
}

#[derive(Deserialize)]
struct PlantedBaseline {
    violations: Vec<String>,
}

#[derive(Deserialize)]
struct PlantedRow {
    name: String,
    seeds: Option<u64>,
}

/// The relevant members of cargo-mutants' `outcomes.json`.
#[derive(Deserialize)]
struct MutantCounts {
    caught: u64,
    missed: u64,
    timeout: u64,
    unviable: u64,
}

pub fn status_of(found: &[Finding]) -> Status {
    if found.is_empty() { Status::Clean } else { Status::Found }
}

fn minutes(limit: Duration) -> String {
    format!("{:.2}", (limit.as_secs_f64() / 60.0).max(0.05))
}

pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
