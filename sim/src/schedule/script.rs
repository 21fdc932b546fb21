//! Scripts: scenarios as people write them down, read as schedules.
//!
//! One line is one step. `sim/docs/scripts.md` describes the notation.

use super::file::ScheduleError;
use super::validate::{Check, check_header};
use super::{Action, Comments, Copies, Header, PushMode, Schedule, Step, Workload};

/// The number that a script's header has as its key. Scripts draw nothing.
const KEY: u64 = 1;
/// The maximum number of steps that one line stands for.
const EACH_MAX: u32 = 10_000;
/// The row that stands for no rows.
const NOTHING: &str = "nothing";

/// Whether a text is a script and not a schedule file: its first line that is no comment is not an object.
pub(super) fn is_script(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    first.is_some_and(|line| !line.starts_with('{'))
}

/// Reads a script.
///
/// # Errors
/// [`ScheduleError`] with the line.
pub(super) fn parse(text: &str) -> Result<Schedule, ScheduleError> {
    let mut script = Script {
        header: Header { workload: Workload::Programs, clients: 0, ..Header::new(KEY) },
        names: Vec::new(),
        steps: Vec::new(),
        comments: Comments::default(),
        waiting: Vec::new(),
    };
    let mut lines = (1..).zip(text.lines().map(str::trim));
    while let Some((line, text)) = lines.next() {
        if text.is_empty() {
            continue;
        }
        if let Some(comment) = text.strip_prefix('#') {
            script.waiting.push(comment.strip_prefix(' ').unwrap_or(comment).to_owned());
        } else if text == "R{" {
            let mut sql = Vec::new();
            loop {
                let Some((_, text)) = lines.next() else {
                    return Err(script_error(line, "the block `R{` has no `}`"));
                };
                match text {
                    "}" => break,
                    text if text.is_empty() || text.starts_with('#') => {}
                    text => sql.push(text.to_owned()),
                }
            }
            script.add(line, Action::RemoteProgram { sql });
        } else {
            script.read(line, text)?;
        }
    }
    script.finish()
}

struct Script {
    header: Header,
    /// The names of the clients, by number.
    names: Vec<String>,
    /// The steps with their lines.
    steps: Vec<(usize, Step)>,
    comments: Comments,
    /// The comments before the next step.
    waiting: Vec<String>,
}

impl Script {
    fn finish(self) -> Result<Schedule, ScheduleError> {
        let clients = u8::try_from(self.names.len().max(1)).unwrap_or(u8::MAX);
        let header = Header { clients, ..self.header };
        check_header(1, &header)?;
        let mut check = Check::default();
        self.steps.iter().try_for_each(|(line, step)| check.step(*line, &header, step))?;
        let steps = self.steps.into_iter().map(|(_, step)| step).collect();
        Ok(Schedule { header, steps, comments: Comments { tail: self.waiting, ..self.comments } })
    }

    fn add(&mut self, line: usize, action: Action) {
        let id = self.steps.len() as u32 + 1;
        let comments = std::mem::take(&mut self.waiting);
        if self.steps.is_empty() {
            self.comments.head = comments;
        } else if !comments.is_empty() {
            self.comments.before_step.insert(id, comments);
        }
        self.steps.push((line, Step::new(id, action)));
    }

    /// Reads a line that is neither a comment nor a block.
    fn read(&mut self, line: usize, text: &str) -> Result<(), ScheduleError> {
        if let Some((subject, sql)) = text.split_once(": ") {
            if let Some((count, client)) = repeated(subject) {
                let client = self.client(line, client)?;
                if count > EACH_MAX {
                    return Err(script_error(line, format!("`each` is at most {EACH_MAX}")));
                }
                for number in 1..=count {
                    let sql = vec![sql.replace("{i}", &number.to_string())];
                    self.add(line, Action::Program { client, sql });
                }
                return Ok(());
            }
            if is_name(subject) {
                let action = match subject {
                    "R" => Action::RemoteProgram { sql: vec![sql.to_owned()] },
                    name => Action::Program { client: self.client(line, name)?, sql: vec![sql.to_owned()] },
                };
                self.add(line, action);
                return Ok(());
            }
        }
        if let Some((subject, sql)) = text.split_once("? ")
            && (subject == "*" || is_name(subject))
        {
            let on = match subject {
                "R" => Copies::Remote,
                "*" => Copies::All,
                name => Copies::Client(self.client(line, name)?),
            };
            self.add(line, Action::Show { on, sql: sql.to_owned(), expect: None });
            return Ok(());
        }
        if let Some(row) = text.strip_prefix("expect ") {
            return self.expect(line, row.trim());
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let action = match words[..] {
            ["open", name] => {
                if !self.names.iter().any(|known| known == name) && is_name(name) {
                    self.names.push(name.to_owned());
                }
                Action::Open { client: self.client(line, name)? }
            }
            ["reopen", name] => {
                let client = self.client(line, name)?;
                self.add(line, Action::Close { client });
                Action::Open { client }
            }
            ["close", name] => Action::Close { client: self.client(line, name)? },
            ["fk", name] => {
                let sql = vec!["PRAGMA foreign_keys = ON".to_owned()];
                Action::Program { client: self.client(line, name)?, sql }
            }
            ["check" | "compare"] => Action::Compare,
            ["option", key, value] => return self.option(line, key, value),
            [operation] => self.operation(line, operation)?,
            _ => return Err(unknown(line, text)),
        };
        self.add(line, action);
        Ok(())
    }

    /// `a.pull` and the like.
    fn operation(&self, line: usize, text: &str) -> Result<Action, ScheduleError> {
        let (subject, operation) = text.split_once('.').ok_or_else(|| unknown(line, text))?;
        Ok(match (subject, operation) {
            ("R", "checkpoint") => Action::RemoteCheckpoint,
            ("R", "restart") => Action::RemoteRestart,
            ("R", "prune") => Action::RemotePrune,
            (name, "pull") => Action::Pull { client: self.client(line, name)? },
            (name, "push") => Action::Push { client: self.client(line, name)? },
            (name, "sync") => Action::Sync { client: self.client(line, name)? },
            _ => return Err(unknown(line, text)),
        })
    }

    fn expect(&mut self, line: usize, row: &str) -> Result<(), ScheduleError> {
        let Some((_, Step { action: Action::Show { expect, .. }, .. })) = self.steps.last_mut() else {
            return Err(script_error(line, "`expect` has to follow a query"));
        };
        let rows = expect.get_or_insert_default();
        if row != NOTHING {
            rows.push(row.to_owned());
        }
        Ok(())
    }

    fn option(&mut self, line: usize, key: &str, value: &str) -> Result<(), ScheduleError> {
        if key == "push" {
            self.header.push_mode = match value {
                "frames" => PushMode::Frames,
                "statements" => PushMode::Statements,
                _ => return Err(script_error(line, "`option push` is `frames` or `statements`")),
            };
            return Ok(());
        }
        let mut fields = serde_json::to_value(&self.header).expect("plain data serializes");
        let read = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        match fields.get_mut(key) {
            Some(field) if !matches!(key, "format" | "clients" | "workload" | "system") => *field = read,
            _ => return Err(script_error(line, format!("there is no option {key}"))),
        }
        self.header = serde_json::from_value(fields)
            .map_err(|error| script_error(line, format!("option {key}: {error}")))?;
        Ok(())
    }

    fn client(&self, line: usize, name: &str) -> Result<u8, ScheduleError> {
        let number = self.names.iter().position(|known| known == name);
        let number = number.and_then(|number| u8::try_from(number).ok());
        number.ok_or_else(|| script_error(line, format!("client {name} has not been opened")))
    }
}

/// `each COUNT NAME`.
fn repeated(subject: &str) -> Option<(u32, &str)> {
    let (count, name) = subject.strip_prefix("each ")?.split_once(' ')?;
    Some((count.parse().ok()?, name))
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

fn script_error(line: usize, problem: impl Into<String>) -> ScheduleError {
    ScheduleError::Script { line, problem: problem.into() }
}

fn unknown(line: usize, text: &str) -> ScheduleError {
    script_error(line, format!("cannot read `{text}`; see sim/docs/scripts.md"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_step() {
        let text = "# title\nR{\nCREATE TABLE t (v)\n}\noption push frames\nopen a\neach 2 a: INSERT INTO t VALUES ({i})\n\
                    # why\na? SELECT v FROM t\nexpect 1\nexpect 2\na.sync\n*? SELECT 1 WHERE 0\nexpect nothing\nreopen a\ncheck\n";
        let schedule = Schedule::parse(text).unwrap();
        assert_eq!(schedule.header.push_mode, PushMode::Frames);
        assert_eq!(schedule.header.clients, 1);
        assert_eq!(schedule.comments.head, ["title"]);
        assert_eq!(schedule.comments.before_step[&5], ["why"]);
        let actions: Vec<&Action> = schedule.steps.iter().map(|step| &step.action).collect();
        let program = |sql: &str| Action::Program { client: 0, sql: vec![sql.to_owned()] };
        assert_eq!(actions[2], &program("INSERT INTO t VALUES (1)"));
        assert_eq!(actions[3], &program("INSERT INTO t VALUES (2)"));
        let expect = Some(vec!["1".to_owned(), "2".to_owned()]);
        let sql = "SELECT v FROM t".to_owned();
        assert_eq!(actions[4], &Action::Show { on: Copies::Client(0), sql, expect });
        let sql = "SELECT 1 WHERE 0".to_owned();
        assert_eq!(actions[6], &Action::Show { on: Copies::All, sql, expect: Some(vec![]) });
        assert_eq!(actions.len(), 10);
        // As a schedule file it means the same.
        assert_eq!(Schedule::parse(&schedule.print()).unwrap(), schedule);
    }

    #[test]
    fn a_mistake_is_named_by_its_line() {
        let problem = |text: &str| Schedule::parse(text).unwrap_err().to_string();
        assert_eq!(problem("open a\nb.pull\n"), "line 2: client b has not been opened");
        assert_eq!(problem("open a\na.jump\n"), "line 2: cannot read `a.jump`; see sim/docs/scripts.md");
        assert_eq!(problem("open a\nexpect 1\n"), "line 2: `expect` has to follow a query");
        assert_eq!(problem("option speed 1\nopen a\n"), "line 1: there is no option speed");
        assert!(problem("option chunk_bytes 0\nopen a\n").contains("chunk_bytes"));
        assert_eq!(problem("open a\nR{\nSELECT 1\n"), "line 2: the block `R{` has no `}`");
        assert_eq!(problem("open a\neach 4000000000 a: SELECT 1\n"), "line 2: `each` is at most 10000");
    }
}
