//! For each invariant, breaks the promise in a correct world by hand and tests that exactly this invariant is
//! reported.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::{Arc, Mutex};

use plimsoll_engine::events::EventName;
use tracing::subscriber::{DefaultGuard, set_default};
use turso_core::{Buffer, Completion, Database, IO, OpenFlags, OpenOptions, SqliteDialect};

use crate::judge::format::{FRAME_BYTES, WAL_HEADER_BYTES};
use crate::judge::ledger::{CommitState, Entry, Ledger};
use crate::judge::verdict::*;
use crate::judge::{Claims, Durable};
use crate::schedule::workload::{Effect, Writer};
use crate::schedule::{Action, Copies, During, EngineEvent, TransactionEnd, Wait, Workload};
use crate::world::client::Engine;
use crate::world::context::StepContext;
use crate::world::listener::Listener;
use crate::world::operations::{Driven, Operation, Reported};
use crate::world::referee::{Activity, Author, Sample};
use crate::world::trace::Trace;
use crate::world::*;

/// Breaks one promise in a correct world, and judges the world.
type Breaker = fn(&mut World) -> Result<(), Violation>;

const BREAKERS: &[(Invariant, Breaker)] = &[
    (SYNCED_PREFIX, |world| {
        let frames = member(world, "synced_wal_frames");
        flip(world, &synced_wal(world), last_byte_of_frame(frames as usize));
        // The disk's own finding belongs to another invariant.
        let _findings = world.clients[0].disk.take_touched_names();
        world.judge_step(Some(0))
    }),
    (NO_LOCAL_RESIDUE, |world| {
        let end = world.clients[0].disk.read(&synced_wal(world)).map_or(0, |bytes| bytes.len());
        overwrite(world, &synced_wal(world), end, vec![0; FRAME_BYTES]);
        world.judge_step(Some(0))
    }),
    (WATERMARK, |world| {
        let frames = member(world, "draft_wal_match_watermark");
        let path = world.clients[0].paths.draft_wal.clone();
        flip(world, &path, last_byte_of_frame(frames as usize));
        let _findings = world.clients[0].disk.take_touched_names();
        world.judge_step(Some(0))
    }),
    (DURABLE_FIRST, |world| {
        flip(world, &synced_wal(world), last_byte_of_frame(1));
        let client = &world.clients[0];
        let aside = format!("{}-aside", client.paths.metadata);
        let io = client.disk.io();
        plimsoll_engine::Storage::rename(&*io, &client.paths.metadata, &aside).expect("the file exists");
        plimsoll_engine::Storage::rename(&*io, &aside, &client.paths.metadata).expect("the file exists");
        world.judge_step(Some(0))
    }),
    (NAMED_INTACT, |world| {
        flip(world, &synced_wal(world), last_byte_of_frame(1));
        world.judge_step(Some(0))
    }),
    (MONOTONE, |world| {
        let mut file = metadata(world);
        file["metadata"]["attempted_transaction_no"] = 99.into();
        let claims = Claims::parse(file.to_string().as_bytes()).expect("the metadata parses");
        world.clients[0].durable = Some(Durable { claims, epochs: None });
        world.judge_step(Some(0))
    }),
    (EXACTLY_ONCE, |world| {
        on_remote(world, "INSERT INTO log SELECT token, payload FROM log WHERE rowid = 1");
        world.judge_step(None)
    }),
    (ATOMIC_PUSH, |world| {
        let effects = vec![Effect::Appended("first".into()), Effect::Appended("second".into())];
        world.referee.ledger.enter(Entry::new(Writer::Remote, effects, CommitState::Maybe));
        on_remote(world, "INSERT INTO log (token) VALUES ('first')");
        world.judge_step(None)
    }),
    (LOCAL_DURABILITY, |world| {
        on_client(world, "DELETE FROM log WHERE rowid = (SELECT max(rowid) FROM log)");
        world.judge_step(Some(0))
    }),
    (READS, |world| {
        on_client(world, "INSERT INTO item VALUES (12345, 'nobody')");
        world.judge_step(Some(0))
    }),
    (CAUGHT_UP, |world| {
        on_remote(world, "INSERT INTO log (token) VALUES ('news')");
        world.clients[0].seen_ends = vec![(9, 9)];
        world.judge_caught_up(0, &StepContext::default())
    }),
    (NO_SURPRISE, |world| {
        world.end_process(0);
        let path = world.clients[0].paths.metadata.clone();
        overwrite(world, &path, 0, b"!".to_vec());
        let _findings = world.clients[0].disk.take_touched_names();
        world.step(&Step::new(90, Action::Pull { client: 0 }))
    }),
    (ONE_PROCESS, |world| {
        world.open_second_process(0)?;
        world.clients[0].disk.forget_locks();
        world.open_second_process(0)
    }),
    (NO_PANIC, |world| {
        world
            .drive(0, Operation::Push, &mut StepContext::default(), async { panic!("on purpose") })
            .map(|_: Driven<()>| ())
    }),
    (RESUMES, |world| {
        let path = world.clients[0].paths.metadata.clone();
        overwrite(world, &path, 0, b"!".to_vec());
        world.referee.sample = Sample::Due { nth_suspension: 1, key: 0 };
        world.referee.sample_image_if_due(&world.clients[0], &world.server, None);
        world.referee.judge_image(&world.header, &world.clients, &world.server)
    }),
    (ENDS, |world| world.drive(0, Operation::Push, &mut StepContext::default(), pending::<()>()).map(|_| ())),
    (PULL_NEUTRAL, |world| {
        pull_that(world, async |engine| {
            engine.connect()?.execute("INSERT INTO shelf VALUES (1)")?;
            engine.pull().await.map(Reported::from)
        })
    }),
    (PUSH_FAITHFUL, |world| {
        let does_nothing = async |_: &Engine| Ok(reported(0));
        world.operate(0, Operation::Push, &mut StepContext::default(), does_nothing).map(drop)
    }),
    (MERGED, |world| {
        // The client puts back a row that the remote has deleted since.
        pull_that(world, async |engine| engine.pull().await.map(Reported::from))?;
        on_remote(world, "INSERT INTO shelf VALUES (1)");
        world.note_change(Author::Others);
        pull_that(world, async |engine| {
            let report = engine.pull().await.map(Reported::from);
            engine.connect()?.execute("DELETE FROM shelf")?;
            report
        })
    }),
    (EXPLAINED, |world| pull_that(world, async |_| Ok(reported(1)))),
    (AS_EXPECTED, |world| {
        let sql = "SELECT count(*) FROM shelf".to_owned();
        let expect = Some(vec!["7".to_owned()]);
        world.step(&Step::new(90, Action::Show { on: Copies::All, sql, expect }))
    }),
    (NOTHING_LOST, |world| {
        world.heal_and_judge()?;
        let effects = vec![Effect::Appended("lost".into())];
        world.referee.ledger.enter(Entry::new(Writer::Client(0), effects, CommitState::Committed));
        world.referee.judge_end(&mut world.clients, &world.server)
    }),
    (LIVENESS, |world| {
        world.heal_and_judge()?;
        world.end_process(0);
        world.referee.judge_end(&mut world.clients, &world.server)
    }),
    (LIVENESS, |world| {
        let mut context = world.begin_healing();
        // Another writer commits between the push and the pull of each sync.
        context.during = (1..=100)
            .map(|nth| During {
                at: Wait::Reported { event: EngineEvent(EventName::NothingToSend), nth },
                step: Step::new(100 + nth, Action::RemoteTransaction { writes: vec![] }),
            })
            .collect();
        world.settle(&mut context)
    }),
    (CONVERGENCE, |world| {
        world.heal_and_judge()?;
        on_client(world, "INSERT INTO item VALUES (12345, 'nobody')");
        world.referee.judge_end(&mut world.clients, &world.server)
    }),
    (QUIESCENCE, |world| {
        world.heal_and_judge()?;
        let before = Activity::of(&world.clients, &world.server);
        let path = format!("{}-else", world.clients[0].paths.base);
        overwrite(world, &path, 0, b"!".to_vec());
        let after = Activity::of(&world.clients, &world.server);
        world.referee.judge_quiescence(&before, &after)
    }),
    (INTEGRITY, |world| {
        world.heal_and_judge()?;
        change_index(world);
        world.referee.judge_end(&mut world.clients, &world.server)
    }),
    (NOT_VACUOUS, |world| {
        world.referee.ledger = Ledger::default();
        let effects = vec![Effect::Appended("nowhere".into())];
        world.referee.ledger.enter(Entry::new(Writer::Client(0), effects, CommitState::Committed));
        world.referee.judge_convergence(&mut world.clients, &world.server)
    }),
];

/// A world in which client 0 has pulled two transactions of the remote and committed one of its own.
/// The engine's events reach it while the guard exists.
fn correct_world() -> (World, DefaultGuard) {
    let trace = Arc::new(Mutex::new(Trace::new(false)));
    let (listener, inbox) = Listener::new(trace.clone());
    let guard = set_default(listener);
    let header = Header { workload: Workload::TokensAndPrograms, ..Header::new(5) };
    let mut world = World::new(header, trace, inbox, true);
    let actions = [
        Action::RemoteProgram { sql: vec!["CREATE TABLE shelf (v)".to_owned()] },
        Action::RemoteCheckpoint,
        Action::Pull { client: 0 },
        Action::RemoteTransaction { writes: vec![] },
        Action::RemoteTransaction { writes: vec![] },
        Action::Pull { client: 0 },
        Action::Transaction { client: 0, writes: vec![], end: TransactionEnd::Commit },
    ];
    for (id, action) in (1..).zip(actions) {
        world.step(&Step::new(id, action)).unwrap();
    }
    (world, guard)
}

fn synced_wal(world: &World) -> String {
    world.clients[0].paths.synced_wal.clone()
}

fn last_byte_of_frame(frame_no: usize) -> usize {
    WAL_HEADER_BYTES + frame_no * FRAME_BYTES - 1
}

fn metadata(world: &World) -> serde_json::Value {
    let client = &world.clients[0];
    serde_json::from_slice(&client.disk.read(&client.paths.metadata).expect("the client has metadata"))
        .unwrap()
}

fn member(world: &World, name: &str) -> u64 {
    metadata(world)["metadata"][name].as_u64().expect("the member is a number")
}

/// Writes without the engine's knowledge.
fn overwrite(world: &World, path: &str, offset: usize, bytes: Vec<u8>) {
    let file = world.clients[0].disk.io().open_file(path, OpenFlags::Create, false).unwrap();
    let done =
        file.pwrite(offset as u64, Arc::new(Buffer::new(bytes)), Completion::new_write(|_| ())).unwrap();
    assert!(done.succeeded());
}

fn flip(world: &World, path: &str, offset: usize) {
    let byte = world.clients[0].disk.read(path).expect("the file exists")[offset];
    overwrite(world, path, offset, vec![byte ^ 1]);
}

fn pull_that(
    world: &mut World,
    operation: impl AsyncFnOnce(&Engine) -> plimsoll_engine::Result<Reported>,
) -> Result<(), Violation> {
    world.operate(0, Operation::Pull, &mut StepContext::default(), operation).map(drop)
}

fn reported(conflicts: u64) -> Reported {
    Reported { rebootstrapped: None, forgotten: 0, conflicts }
}

fn on_remote(world: &mut World, sql: &str) {
    world.server.remote.transact(|connection| connection.execute(sql)).unwrap();
}

fn on_client(world: &World, sql: &str) {
    world.clients[0].process.as_ref().expect("the process is running").connection.execute(sql).unwrap();
}

/// Changes the last byte of an index's root page in client 0's Draft, with a valid frame.
fn change_index(world: &World) {
    let client = &world.clients[0];
    let options = OpenOptions::new(Arc::new(SqliteDialect));
    let database = Database::open(client.disk.io(), &client.paths.draft, options).unwrap();
    let connection = database.connect().unwrap();
    connection.wal_auto_actions_disable();
    let number = |sql: &str| -> u32 {
        let rows = connection.prepare(sql).unwrap().run_collect_rows().unwrap();
        rows[0][0].to_string().parse().unwrap()
    };
    let page_no = number("SELECT rootpage FROM sqlite_schema WHERE name = 'log_token'");
    let page_count = number("PRAGMA page_count");
    let mut frame = [0; FRAME_BYTES];
    frame[..4].copy_from_slice(&page_no.to_be_bytes());
    frame[4..8].copy_from_slice(&page_count.to_be_bytes());
    connection.wal_insert_begin().unwrap();
    assert!(connection.try_wal_watermark_read_page(page_no, &mut frame[24..], None).unwrap());
    frame[FRAME_BYTES - 1] ^= 1;
    let frame_count = connection.wal_state().unwrap().max_frame;
    connection.wal_insert_frame(frame_count + 1, &frame).unwrap();
    connection.wal_insert_end(false).unwrap();
}

#[test]
fn a_correct_world_breaks_no_invariant() {
    let _in_virtual_time = clock::enter(0);
    let (mut world, _guard) = correct_world();
    assert_eq!(world.judge_step(Some(0)), Ok(()));
    assert_eq!(world.heal_and_judge(), Ok(()));
}

#[test]
fn each_broken_promise_is_reported_as_its_own_invariant() {
    let _in_virtual_time = clock::enter(0);
    let found: Vec<_> = BREAKERS
        .iter()
        .map(|(_, breaker)| {
            let (mut world, _guard) = correct_world();
            breaker(&mut world).err().map(|violation| violation.invariant)
        })
        .collect();
    let planted: Vec<_> = BREAKERS.iter().map(|(invariant, _)| Some(invariant.name)).collect();
    assert_eq!(found, planted);
}

#[test]
fn every_invariant_has_a_test_that_breaks_it() {
    let all: BTreeSet<_> = INVARIANTS.iter().map(|invariant| invariant.name).collect();
    let of_archive = crate::judge::archive::tests::BREAKERS.iter().map(|(invariant, _)| invariant.name);
    let planted: BTreeSet<_> =
        BREAKERS.iter().map(|(invariant, _)| invariant.name).chain(of_archive).collect();
    assert_eq!(planted, all);
}

#[test]
fn a_damaged_replica_that_nothing_has_damaged_is_a_violation() {
    let _in_virtual_time = clock::enter(0);
    let (mut world, _guard) = correct_world();
    world.end_process(0);
    let last = member(&world, "synced_wal_frames") as usize;
    // The header of the last frame, which has its stamp.
    flip(&world, &synced_wal(&world), last_byte_of_frame(last - 1) + 20);
    let _findings = world.clients[0].disk.take_touched_names();
    let pull = async |engine: &Engine| engine.pull().await.map(Reported::from);
    let violation = world.operate(0, Operation::Pull, &mut StepContext::default(), pull).unwrap_err();
    assert_eq!(violation.invariant, NO_SURPRISE.name);
    assert!(violation.message.contains("its replica was not damaged"), "{violation}");
}
