//! The file format: JSON Lines, one line for the header, then one line per step.
//!
//! Guarantees: `parse(print(s)) == s`, comments included. An unreadable file is refused with the line and
//! the field. An unknown field is an error.
//!
//! Blank lines and the order of a line's fields are not preserved.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::validate::{Check, check_header};
use super::{FORMAT, Header, Schedule, Step, script};

/// The comments of a schedule file: lines that begin with `#`, without that sign and the space after it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comments {
    /// The lines before the header: the post-mortem.
    #[serde(default)]
    pub head: Vec<String>,
    /// The lines right before a step, by the step's id.
    #[serde(default)]
    pub before_step: BTreeMap<u32, Vec<String>>,
    /// The lines after the last step.
    #[serde(default)]
    pub tail: Vec<String>,
}

/// The reason why a schedule file is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// A line is not JSON, or not a header or a step.
    #[error("line {line}, column {column}{}: {message}", of_field(.field))]
    Line {
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
        /// The field, as a path through the line's object; empty for the whole line.
        field: String,
        message: String,
    },
    /// The header has the format of another version.
    #[error("line {line}, field `format`: this is format {format}, but this simulator reads format {FORMAT}")]
    Format {
        /// The line, counted from 1.
        line: usize,
        /// The format that the header names.
        format: u32,
    },
    /// A step names a client that the header does not provide.
    #[error("line {line}, field `client`: client {client} does not exist: {}", known_clients(*.clients))]
    Client {
        /// The line, counted from 1.
        line: usize,
        client: u8,
        /// The number of clients in the header.
        clients: u8,
    },
    /// A number is outside the range that a history can have.
    #[error("line {line}, field `{field}`: {value} is not from {} to {}", .range.start(), .range.end())]
    Limit {
        /// The line, counted from 1.
        line: usize,
        /// The field, as a path through the line's object.
        field: String,
        value: u64,
        /// The possible values.
        range: std::ops::RangeInclusive<u64>,
    },
    /// Two steps have the same id.
    #[error("line {line}, field `id`: step id {id} was used before")]
    Id {
        /// The line, counted from 1.
        line: usize,
        id: u32,
    },
    /// A step has a fault that is not in the atlas.
    #[error("line {line}, field `{field}`: the atlas has no promise for this fault at this place: {fault}")]
    Unpromised {
        /// The line, counted from 1.
        line: usize,
        /// The field, as a path through the line's object.
        field: String,
        /// The fault, as the file has it.
        fault: String,
    },
    /// A line of a script cannot be read.
    #[error("line {line}: {problem}")]
    Script {
        /// The line, counted from 1.
        line: usize,
        problem: String,
    },
    /// The file has no header line.
    #[error("no header line")]
    Empty,
}

fn known_clients(clients: u8) -> String {
    match clients.checked_sub(1) {
        None => "the header has no clients".to_owned(),
        Some(0) => "the header has 1 client, numbered 0".to_owned(),
        Some(last) => format!("the header has {clients} clients, numbered 0 to {last}"),
    }
}

fn of_field(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!(", field `{field}`") }
}

impl Schedule {
    /// The text of the schedule's file.
    pub fn print(&self) -> String {
        let mut text = String::new();
        print_comments(&mut text, &self.comments.head);
        print_line(&mut text, &self.header);
        for step in &self.steps {
            if let Some(lines) = self.comments.before_step.get(&step.id) {
                print_comments(&mut text, lines);
            }
            print_line(&mut text, step);
        }
        print_comments(&mut text, &self.comments.tail);
        text
    }

    /// Parses the text of a schedule file or of a script. Skips empty lines; lines that begin with `#` are comments.
    ///
    /// # Errors
    /// [`ScheduleError`] with the line and the field.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        // Some editors begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if script::is_script(text) {
            return script::parse(text);
        }
        let mut comments = Comments::default();
        let mut waiting = Vec::new();
        let mut schedule: Option<Self> = None;
        let mut check = Check::default();
        for (line, text) in (1..).zip(text.lines()) {
            let trimmed = text.trim();
            if let Some(comment) = text.trim_start().strip_prefix('#') {
                waiting.push(comment.strip_prefix(' ').unwrap_or(comment).to_owned());
            } else if !trimmed.is_empty() {
                let lines = std::mem::take(&mut waiting);
                match &mut schedule {
                    None => {
                        comments.head = lines;
                        let header = header(line, trimmed)?;
                        check_header(line, &header)?;
                        schedule = Some(Self::new(header, Vec::new()));
                    }
                    Some(schedule) => {
                        let step: Step = value(line, trimmed)?;
                        if !lines.is_empty() {
                            comments.before_step.insert(step.id, lines);
                        }
                        check.step(line, &schedule.header, &step)?;
                        schedule.steps.push(step);
                    }
                }
            }
        }
        comments.tail = waiting;
        let schedule = schedule.ok_or(ScheduleError::Empty)?;
        Ok(Self { comments, ..schedule })
    }
}

/// Parses the header. Checks the format version first, because the header of another version may have other
/// fields.
fn header(line: usize, text: &str) -> Result<Header, ScheduleError> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let Version { format } = value(line, text)?;
    if format == FORMAT { value(line, text) } else { Err(ScheduleError::Format { line, format }) }
}

fn value<T: DeserializeOwned>(line: usize, text: &str) -> Result<T, ScheduleError> {
    let mut json = serde_json::Deserializer::from_str(text);
    let refused = |field: String, error: serde_json::Error| {
        let message = error.to_string();
        // Remove the parser's own position, because it counts within this one line.
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        let field = if field == "." { String::new() } else { field };
        ScheduleError::Line { line, column: error.column(), field, message: message.to_owned() }
    };
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| refused(error.path().to_string(), error.into_inner()))?;
    json.end().map_err(|error| refused(String::new(), error))?;
    Ok(value)
}

fn print_comments(text: &mut String, lines: &[String]) {
    for line in lines {
        text.push_str(if line.is_empty() { "#" } else { "# " });
        text.push_str(line);
        text.push('\n');
    }
}

fn print_line<T: Serialize>(text: &mut String, value: &T) {
    text.push_str(&serde_json::to_string(value).expect("plain data serializes"));
    text.push('\n');
}
