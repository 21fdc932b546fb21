//! Tests that each check on files fires, and no other check, after the test has tampered with the files.

use std::sync::{Arc, Mutex};

use crate::judge::format::{FRAME_BYTES, Wal};
use crate::judge::verdict::{CAUGHT_UP, NO_LOCAL_RESIDUE, SYNCED_PREFIX, WATERMARK};
use crate::judge::{Claims, DatabaseFiles, Epochs, wal_bytes};
use crate::schedule::{Action, Header, Step};
use crate::world::context::StepContext;
use crate::world::listener::Inbox;
use crate::world::trace::Trace;
use crate::world::{World, clock};

/// A world in which client 0 has pulled two transactions of the remote.
fn world() -> World {
    let trace = Arc::new(Mutex::new(Trace::new(false)));
    let mut world = World::new(Header::new(5), trace, Inbox::default(), true);
    let actions = [
        Action::Pull { client: 0 },
        Action::RemoteTransaction { writes: vec![] },
        Action::RemoteTransaction { writes: vec![] },
        Action::Pull { client: 0 },
    ];
    for (id, action) in (1..).zip(actions) {
        world.step(&Step::new(id, action)).unwrap();
    }
    world
}

/// Judges client 0's files after `tamper` has changed them. Returns the name of the broken invariant, if any.
fn judged(tamper: impl FnOnce(&mut DatabaseFiles, &mut Claims), after_crash: bool) -> Option<&'static str> {
    let _in_virtual_time = clock::enter(0);
    let world = world();
    let client = &world.clients[0];
    let mut files = DatabaseFiles::read(&client.paths, |path| client.disk.read(path));
    let mut claims = client.claims().unwrap();
    tamper(&mut files, &mut claims);
    let verdict = files.judge(&claims, world.server.remote.log(), after_crash);
    verdict.and_then(|_| files.judge_residue(&claims)).err().map(|violation| violation.invariant)
}

/// Flips a byte in the page of a WAL's frame.
fn rot(wal: &mut Arc<Vec<u8>>, frame_no: u64) {
    let offset = wal_bytes(frame_no) as usize - 100;
    Arc::make_mut(wal)[offset] ^= 1;
}

#[test]
fn untouched_files_pass_every_check() {
    assert_eq!(judged(|_, _| (), false), None);
    assert_eq!(judged(|_, _| (), true), None);
}

#[test]
fn a_page_of_synced_that_differs_from_the_remotes_is_found() {
    let tamper =
        |files: &mut DatabaseFiles, claims: &mut Claims| rot(&mut files.synced_wal, claims.synced_wal_frames);
    assert_eq!(judged(tamper, false), Some(SYNCED_PREFIX.name));
}

#[test]
fn a_wal_of_synced_that_the_metadata_no_longer_names_is_found() {
    let tamper = |files: &mut DatabaseFiles, claims: &mut Claims| {
        claims.synced_wal_frames = 0;
        claims.synced_wal_match_watermark = 0;
        files.synced_wal = Arc::default();
    };
    assert_eq!(judged(tamper, false), Some(SYNCED_PREFIX.name));
}

#[test]
fn a_wal_of_synced_that_ends_too_early_is_found() {
    let tamper = |files: &mut DatabaseFiles, claims: &mut Claims| {
        Arc::make_mut(&mut files.synced_wal).truncate(wal_bytes(claims.synced_wal_frames - 1) as usize);
    };
    assert_eq!(judged(tamper, true), Some(SYNCED_PREFIX.name));
}

#[test]
fn a_generation_that_the_remote_never_had_is_found() {
    let tamper = |_: &mut DatabaseFiles, claims: &mut Claims| claims.synced_generation += 1;
    assert_eq!(judged(tamper, false), Some(SYNCED_PREFIX.name));
}

#[test]
fn a_page_of_draft_that_differs_from_synceds_is_found() {
    let tamper = |files: &mut DatabaseFiles, claims: &mut Claims| {
        rot(&mut files.draft_wal, claims.draft_wal_match_watermark)
    };
    assert_eq!(judged(tamper, false), Some(WATERMARK.name));
}

#[test]
fn only_the_pages_that_a_compaction_released_may_differ() {
    let page_no = std::cell::Cell::new(0);
    let tamper = |files: &mut DatabaseFiles, claims: &mut Claims| {
        let watermark = claims.draft_wal_match_watermark;
        page_no.set(Wal::parse(&files.draft_wal).frame(watermark).page_no);
        rot(&mut files.draft_wal, watermark);
        claims.draft_changed_pages = vec![(page_no.get(), page_no.get())];
    };
    assert_eq!(judged(tamper, false), None);
    let tamper_elsewhere = |files: &mut DatabaseFiles, claims: &mut Claims| {
        rot(&mut files.draft_wal, claims.draft_wal_match_watermark);
        claims.draft_changed_pages = vec![(page_no.get() + 1, u32::MAX)];
    };
    assert_eq!(judged(tamper_elsewhere, false), Some(WATERMARK.name));
}

#[test]
fn a_wal_of_draft_may_be_cut_only_after_its_compaction_was_announced() {
    let tamper = |moved: u64| {
        move |files: &mut DatabaseFiles, claims: &mut Claims| {
            claims.draft_wal_moving_frames = claims.draft_wal_match_watermark + moved;
            Arc::make_mut(&mut files.draft_wal)
                .truncate(wal_bytes(claims.draft_wal_match_watermark) as usize);
        }
    };
    assert_eq!(judged(tamper(0), true), None);
    assert_eq!(judged(tamper(1), true), Some(WATERMARK.name));
}

#[test]
fn a_compaction_that_was_not_announced_is_found() {
    let tamper = |files: &mut DatabaseFiles, _: &mut Claims| files.draft_wal = Arc::default();
    assert_eq!(judged(tamper, false), Some(WATERMARK.name));
}

#[test]
fn a_watermark_of_draft_that_is_off_by_one_frame_is_found() {
    for moved in [1, u64::MAX] {
        let tamper = |_: &mut DatabaseFiles, claims: &mut Claims| {
            claims.draft_wal_match_watermark = claims.draft_wal_match_watermark.wrapping_add(moved);
        };
        assert_eq!(judged(tamper, false), Some(WATERMARK.name));
    }
}

#[test]
fn a_watermark_of_synced_that_is_off_by_one_frame_is_found() {
    // Each transaction of the remote changes at least the log table, its index and page 1.
    let tamper = |_: &mut DatabaseFiles, claims: &mut Claims| claims.synced_wal_match_watermark -= 1;
    assert_eq!(judged(tamper, false), Some(WATERMARK.name));
}

#[test]
fn a_local_tail_after_the_last_named_frame_is_found() {
    let tamper = |files: &mut DatabaseFiles, _: &mut Claims| {
        Arc::make_mut(&mut files.synced_wal).extend([0; FRAME_BYTES])
    };
    assert_eq!(judged(tamper, false), Some(NO_LOCAL_RESIDUE.name));
}

#[test]
fn a_replica_of_the_remote_before_its_restore_belongs_to_the_earlier_epoch() {
    let _in_virtual_time = clock::enter(0);
    let mut world = world();
    let judged = |world: &World| {
        let client = &world.clients[0];
        let files = DatabaseFiles::read(&client.paths, |path| client.disk.read(path));
        files.judge(&client.claims().unwrap(), world.server.remote.log(), false)
    };
    let of = |oldest, newest| Ok(Epochs { oldest, newest });
    assert_eq!(judged(&world), of(0, 0));
    world.server.remote.restore(0, 0, false);
    assert_eq!(judged(&world), of(0, 1), "the restore removed no frame");
    world.server.remote.restore(0, 1, false);
    assert_eq!(judged(&world), of(0, 1), "the restore removed the frames that it replicates");
    world.step(&Step::new(9, Action::RemoteTransaction { writes: vec![] })).unwrap();
    assert_eq!(judged(&world), of(0, 1), "equal numbers are not equal pages");
    assert_eq!(world.judge_caught_up(0, &StepContext::default()).unwrap_err().invariant, CAUGHT_UP.name);
}

#[test]
fn a_detached_draft_has_no_watermark() {
    let tamper = |files: &mut DatabaseFiles, claims: &mut Claims| {
        claims.attachment = "detached".into();
        rot(&mut files.draft_wal, claims.draft_wal_match_watermark);
    };
    assert_eq!(judged(tamper, false), None);
    let tamper = |files: &mut DatabaseFiles, claims: &mut Claims| {
        claims.attachment = "detached".into();
        rot(&mut files.synced_wal, claims.synced_wal_frames);
    };
    assert_eq!(judged(tamper, false), Some(SYNCED_PREFIX.name));
}
