//! Checks that a schedule is possible: known clients, unique ids, only faults from the atlas, and numbers that
//! a history can have. What is outside a limit is refused when the file is read; it is no finding.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::workload::Write;
use super::{Action, Header, ScheduleError, Step, Wait};
use crate::fault::Fault;
use crate::fault::atlas::{has_row, is_rot_promised};

/// How many clients a history can have. Each has a machine of its own.
const CLIENTS: RangeInclusive<u64> = 1..=64;
/// The size of a chunk of a response's body, in bytes.
const CHUNK_BYTES: RangeInclusive<u64> = 1..=1 << 30;
/// A number of frames, statements or records at which the engine does something. More than a history can have.
const COUNT: RangeInclusive<u64> = 1..=1 << 20;
/// The same, where the engine may do it every time.
const COUNT_OR_NONE: RangeInclusive<u64> = 0..=1 << 20;
/// The payload of a row, and that of a transaction, in bytes. More would fill the memory that a history may use.
const PAYLOAD_BYTES: RangeInclusive<u64> = 0..=1 << 24;
/// The number of syncs with a wrong server in one step.
const WRONG_SERVER_TIMES: RangeInclusive<u64> = 1..=16;
/// Places are counted from 1.
const NTH: RangeInclusive<u64> = 1..=u32::MAX as u64;

/// Checks the header.
///
/// # Errors
/// [`ScheduleError::Limit`] with the field and its range.
pub(super) fn check_header(line: usize, header: &Header) -> Result<(), ScheduleError> {
    check_limit(line, "", "clients", header.clients.into(), CLIENTS)?;
    check_limit(line, "", "chunk_bytes", header.chunk_bytes as u64, CHUNK_BYTES)?;
    check_limit(line, "", "pull_batch_frames", header.pull_batch_frames, COUNT)?;
    check_limit(line, "", "push_batch_statements_max", header.push_batch_statements_max as u64, COUNT)?;
    check_limit(line, "", "push_batch_frames", header.push_batch_frames, COUNT)?;
    check_limit(line, "", "synced_wal_frames_max", header.synced_wal_frames_max, COUNT)?;
    check_limit(line, "", "draft_wal_frames_max", header.draft_wal_frames_max, COUNT)?;
    check_limit(line, "", "change_log_records_max", header.change_log_records_max, COUNT_OR_NONE)
}

fn check_limit(
    line: usize,
    within: &str,
    field: &str,
    value: u64,
    range: RangeInclusive<u64>,
) -> Result<(), ScheduleError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(ScheduleError::Limit { line, field: format!("{within}{field}"), value, range })
}

/// Checks the numbers of a step.
fn check_limits(line: usize, within: &str, step: &Step) -> Result<(), ScheduleError> {
    if let Action::Transaction { writes, .. } | Action::RemoteTransaction { writes } = &step.action {
        let writes_field = format!("action.{}.writes", step.action.kind().name());
        let mut sum = 0;
        for (index, write) in writes.iter().enumerate() {
            if let Write::Append { payload_bytes } = write {
                let field = format!("{writes_field}[{index}].append.payload_bytes");
                check_limit(line, within, &field, (*payload_bytes).into(), PAYLOAD_BYTES)?;
                sum += u64::from(*payload_bytes);
            }
        }
        let field = format!("{writes_field} (bytes of payload)");
        check_limit(line, within, &field, sum, PAYLOAD_BYTES)?;
    }
    if let Action::Program { sql, .. } | Action::RemoteProgram { sql } = &step.action {
        let field = format!("action.{}.sql (bytes)", step.action.kind().name());
        let bytes = sql.iter().map(|statement| statement.len() as u64).sum();
        check_limit(line, within, &field, bytes, PAYLOAD_BYTES)?;
    }
    if let Action::WrongServer { times, .. } = step.action {
        check_limit(line, within, "action.wrong_server.times", times.into(), WRONG_SERVER_TIMES)?;
    }
    for (index, fault) in step.faults.iter().enumerate() {
        let (field, nth) = match fault {
            Fault::Crash(point) => ("crash.place.nth", point.place.nth),
            Fault::CrashSuspended { nth, .. } => ("crash_suspended.nth", *nth),
            Fault::Disk(error) => ("disk.nth", error.nth),
            Fault::Network { at, .. } => ("network.at.nth", at.nth),
            Fault::Abandon { nth, .. } => ("abandon.nth", *nth),
        };
        check_limit(line, within, &format!("faults[{index}].{field}"), nth.into(), NTH)?;
    }
    for (index, during) in step.during.iter().enumerate() {
        let (field, nth) = match during.at {
            Wait::Request(place) => ("request.nth", place.nth),
            Wait::Response(place) => ("response.nth", place.nth),
            Wait::Chunk { of, .. } if of.nth == 0 => ("chunk.of.nth", of.nth),
            Wait::Chunk { nth, .. } => ("chunk.nth", nth),
            Wait::Reported { nth, .. } => ("told.nth", nth),
            Wait::Suspension { nth } => ("suspension.nth", nth),
        };
        let within = format!("{within}during[{index}].");
        check_limit(line, &within, &format!("at.{field}"), nth.into(), NTH)?;
        check_limits(line, &format!("{within}step."), &during.step)?;
    }
    Ok(())
}

/// Checks the steps of one schedule in order.
#[derive(Default)]
pub(super) struct Check {
    /// The ids of all steps so far, including steps inside others.
    ids: BTreeSet<u32>,
}

impl Check {
    /// Checks the next step. `line` is its line in the file.
    ///
    /// # Errors
    /// The first problem of the step or of a step inside it.
    pub fn step(&mut self, line: usize, header: &Header, step: &Step) -> Result<(), ScheduleError> {
        check_limits(line, "", step)?;
        // The atlas has the promises of the engine.
        if header.system.is_engine() {
            check_promised(line, "", step)?;
        }
        let clients = header.clients;
        for step in step.all() {
            if let Some(client) = step.action.client().filter(|&client| client >= clients) {
                return Err(ScheduleError::Client { line, client, clients });
            }
            if !self.ids.insert(step.id) {
                return Err(ScheduleError::Id { line, id: step.id });
            }
        }
        Ok(())
    }
}

/// Checks that the atlas has a row for every fault of a step. `within` is the path to the step in the line's
/// object.
fn check_promised(line: usize, within: &str, step: &Step) -> Result<(), ScheduleError> {
    if let Some(index) = step.faults.iter().position(|fault| !has_row(fault)) {
        let field = format!("{within}faults[{index}]");
        let fault = serde_json::to_string(&step.faults[index]).expect("plain data serializes");
        return Err(ScheduleError::Unpromised { line, field, fault });
    }
    if let Action::Rot { file, .. } = step.action
        && !is_rot_promised(file)
    {
        let field = format!("{within}action.rot.file");
        return Err(ScheduleError::Unpromised { line, field, fault: format!("rot of {file}") });
    }
    let mut carried = step.during.iter().enumerate();
    carried.try_for_each(|(index, during)| {
        check_promised(line, &format!("{within}during[{index}].step."), &during.step)
    })
}
