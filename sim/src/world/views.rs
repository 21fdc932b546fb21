//! Looking at the world: what the databases hold, who stands where, what goes into the trace.

use plimsoll_engine::Error;

use super::World;
use crate::fault::Fault;
use crate::judge::MetadataVersion;
use crate::judge::ledger::Content;
use crate::lock::lock;
use crate::schedule::During;
use crate::world::client::{Client, Process, read_content};
use crate::world::finals::{FinalDatabase, read_tables};
use crate::world::snapshot::Snapshot;
use crate::world::trace::Lane;

impl World {
    /// What the remote holds, read through SQL.
    pub fn remote_content(&self) -> Content {
        let read = |sql: &str| Ok::<_, std::convert::Infallible>(self.remote.query(sql));
        match read_content(read) {
            Ok(content) => content,
        }
    }

    /// What a client's application sees; `None` while its process is not running.
    pub fn client_content(&mut self, number: u8) -> Option<Result<Content, Error>> {
        let client = self.client_mut(number);
        let Process { connection, prepared, .. } = client.process.as_mut()?;
        client.disk.suspend_errors(true);
        let content = read_content(|sql| prepared.query(connection, sql));
        client.disk.suspend_errors(false);
        Some(content)
    }

    /// What the databases of the remote and of all running clients hold.
    ///
    /// # Panics
    /// When one cannot be read.
    pub(crate) fn final_databases(&self) -> Vec<FinalDatabase> {
        const READABLE: &str = "a database that was judged is readable";
        let (main, wal) = self.remote.file_bytes().expect(READABLE);
        let read = |sql: &str| Ok::<_, std::convert::Infallible>(self.remote.query(sql));
        let Ok(tables) = read_tables(read);
        let mut databases = vec![FinalDatabase { whose: "the remote".into(), main, wal, tables }];
        for client in &self.clients {
            let Some(process) = &client.process else { continue };
            let bytes = |path: &str| client.disk.read(path).map_or_else(Vec::new, |bytes| bytes.to_vec());
            databases.push(FinalDatabase {
                whose: format!("client {}", client.number),
                main: bytes(&client.paths.draft),
                wal: bytes(&client.paths.draft_wal),
                tables: read_tables(|sql| process.connection.query(sql, &[])).expect(READABLE),
            });
        }
        databases
    }

    /// One client.
    pub fn client(&self, number: u8) -> &Client {
        &self.clients[usize::from(number)]
    }

    /// One client.
    pub fn client_mut(&mut self, number: u8) -> &mut Client {
        &mut self.clients[usize::from(number)]
    }

    /// Takes note of faults of step `id` that found no place.
    pub(super) fn note_unreached(&mut self, id: u32, unreached: Vec<Fault>) {
        for fault in &unreached {
            self.record(Lane::World, "never reached", &fault.to_string(), &[u64::from(id)]);
        }
        self.counts.faults_unreached += unreached.len() as u64;
        self.fates.unreached.extend(unreached.into_iter().map(|fault| (id, fault)));
    }

    /// Takes note of steps that were to happen at waits that never came.
    pub(super) fn note_not_run(&mut self, during: &[During]) {
        for step in during.iter().flat_map(|during| during.step.all()) {
            self.record(Lane::World, "never reached", &step.to_string(), &[u64::from(step.id)]);
            self.counts.faults_unreached += 1;
            self.fates.not_run.push(step.id);
        }
    }

    /// Keeps what can be drawn of this moment, if events are kept.
    pub(super) fn take_snapshot(&mut self) {
        if lock(&self.trace).keeps_events() {
            let event_count = lock(&self.trace).event_count();
            let remote = (self.remote.generation(), self.remote.frame_count());
            let snapshot = Snapshot::of(event_count, self.running_id(), remote, &self.clients);
            self.snapshots.steps.push(snapshot);
        }
    }

    /// Keeps what versions of a client's metadata say, if events are kept.
    pub(crate) fn observe_metadata(&mut self, number: u8, versions: &[MetadataVersion]) {
        if lock(&self.trace).keeps_events() {
            self.snapshots.observe_metadata(number, versions);
        }
    }

    /// Records an event in the trace.
    pub fn record(&self, lane: Lane, verb: &'static str, place: &str, numbers: &[u64]) {
        self.record_bytes(lane, verb, place, numbers, &[]);
    }

    pub(super) fn record_bytes(
        &self,
        lane: Lane,
        verb: &'static str,
        place: &str,
        numbers: &[u64],
        bytes: &[u8],
    ) {
        lock(&self.trace).record(lane, verb, place, numbers, bytes);
    }
}
