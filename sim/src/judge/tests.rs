//! Each check fires, and it alone, in a world in which its promise was broken by hand.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::claims::Stamp;
use super::format::{FRAME_BYTES, Wal};
use super::pages::wal_bytes;
use super::verdict::{DURABLE_FIRST, MONOTONE, NO_LOCAL_RESIDUE, SYNCED_PREFIX, WATERMARK};
use super::*;
use crate::schedule::{Action, Header, Step};
use crate::world::World;
use crate::world::clock;
use crate::world::listener::Inbox;
use crate::world::trace::Trace;

/// A world in which client 0 has pulled two transactions of the remote's.
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

/// Judges client 0's files after `tamper` has had them; the name of the broken invariant, if any.
fn judged(tamper: impl FnOnce(&mut Files, &mut Claims), after_crash: bool) -> Option<&'static str> {
    let _in_virtual_time = clock::enter(0);
    let world = world();
    let client = world.client(0);
    let mut files = Files::read(&client.paths, |path| client.disk.read(path));
    let mut claims = client.claims().unwrap();
    tamper(&mut files, &mut claims);
    let verdict = files.judge(&claims, world.remote.history(), after_crash);
    verdict.and_then(|_| files.judge_residue(&claims)).err().map(|violation| violation.invariant)
}

/// Flips a byte in the page of a WAL's frame.
fn rot(wal: &mut Arc<Vec<u8>>, frame_no: u64) {
    let offset = wal_bytes(frame_no) as usize - 100;
    Arc::make_mut(wal)[offset] ^= 1;
}

#[test]
fn untouched_files_are_sound() {
    assert_eq!(judged(|_, _| (), false), None);
    assert_eq!(judged(|_, _| (), true), None);
}

#[test]
fn a_page_of_synced_that_is_not_the_remotes() {
    let tamper =
        |files: &mut Files, claims: &mut Claims| rot(&mut files.synced_wal, claims.synced_wal_frames);
    assert_eq!(judged(tamper, false), Some(SYNCED_PREFIX.name));
}

#[test]
fn a_log_of_synced_that_is_forgotten() {
    let tamper = |files: &mut Files, claims: &mut Claims| {
        claims.synced_wal_frames = 0;
        claims.synced_wal_match_watermark = 0;
        files.synced_wal = Arc::default();
    };
    assert_eq!(judged(tamper, false), Some(SYNCED_PREFIX.name));
}

#[test]
fn a_log_of_synced_that_ends_too_early() {
    let tamper = |files: &mut Files, claims: &mut Claims| {
        Arc::make_mut(&mut files.synced_wal).truncate(wal_bytes(claims.synced_wal_frames - 1) as usize);
    };
    assert_eq!(judged(tamper, true), Some(SYNCED_PREFIX.name));
}

#[test]
fn a_generation_that_the_remote_never_had() {
    let tamper = |_: &mut Files, claims: &mut Claims| claims.synced_generation += 1;
    assert_eq!(judged(tamper, false), Some(SYNCED_PREFIX.name));
}

#[test]
fn a_page_of_draft_that_is_not_synceds() {
    let tamper =
        |files: &mut Files, claims: &mut Claims| rot(&mut files.draft_wal, claims.draft_wal_match_watermark);
    assert_eq!(judged(tamper, false), Some(WATERMARK.name));
}

#[test]
fn only_the_pages_that_a_compaction_gave_up_may_differ() {
    let page_no = std::cell::Cell::new(0);
    let tamper = |files: &mut Files, claims: &mut Claims| {
        let watermark = claims.draft_wal_match_watermark;
        page_no.set(Wal::parse(&files.draft_wal).frame(watermark).page_no);
        rot(&mut files.draft_wal, watermark);
        claims.draft_changed_pages = vec![(page_no.get(), page_no.get())];
    };
    assert_eq!(judged(tamper, false), None);
    let tamper_elsewhere = |files: &mut Files, claims: &mut Claims| {
        rot(&mut files.draft_wal, claims.draft_wal_match_watermark);
        claims.draft_changed_pages = vec![(page_no.get() + 1, u32::MAX)];
    };
    assert_eq!(judged(tamper_elsewhere, false), Some(WATERMARK.name));
}

#[test]
fn a_log_of_draft_that_is_broken_where_a_compaction_has_begun_to_move_it() {
    let tamper = |moved: u64| {
        move |files: &mut Files, claims: &mut Claims| {
            claims.draft_wal_moving_frames = claims.draft_wal_match_watermark + moved;
            Arc::make_mut(&mut files.draft_wal)
                .truncate(wal_bytes(claims.draft_wal_match_watermark) as usize);
        }
    };
    assert_eq!(judged(tamper(0), true), None);
    assert_eq!(judged(tamper(1), true), Some(WATERMARK.name));
}

#[test]
fn a_compaction_that_nobody_announced() {
    let tamper = |files: &mut Files, _: &mut Claims| files.draft_wal = Arc::default();
    assert_eq!(judged(tamper, false), Some(WATERMARK.name));
}

#[test]
fn a_watermark_of_draft_that_is_one_off() {
    for moved in [1, u64::MAX] {
        let tamper = |_: &mut Files, claims: &mut Claims| {
            claims.draft_wal_match_watermark = claims.draft_wal_match_watermark.wrapping_add(moved);
        };
        assert_eq!(judged(tamper, false), Some(WATERMARK.name));
    }
}

#[test]
fn a_watermark_of_synced_that_is_one_transaction_off() {
    // Each of the remote's transactions changes the log table, its index and page 1 at least.
    let tamper = |_: &mut Files, claims: &mut Claims| claims.synced_wal_match_watermark -= 1;
    assert_eq!(judged(tamper, false), Some(WATERMARK.name));
}

#[test]
fn a_local_tail_behind_the_last_named_frame() {
    let tamper =
        |files: &mut Files, _: &mut Claims| Arc::make_mut(&mut files.synced_wal).extend([0; FRAME_BYTES]);
    assert_eq!(judged(tamper, false), Some(NO_LOCAL_RESIDUE.name));
}

fn claims() -> Claims {
    Claims {
        phase: "ready".into(),
        synced_generation: 3,
        synced_frame_no: Some(7),
        synced_wal_frames: 2,
        draft_wal_match_watermark: 4,
        synced_wal_match_watermark: 2,
        draft_changed_pages: vec![],
        draft_wal_moving_frames: 0,
        draft_wal_moving_stamp: Stamp { salts: [0, 0] },
        attempted_transaction_no: 9,
        history_id: None,
        attachment: "attached".into(),
    }
}

/// A version of the metadata that says how Draft hangs on Synced, and that frame 5 of its log is being moved, put in place while `range` of
/// `path` was not durable.
fn judge_version(attachment: &str, path: &str, range: Range<u64>) -> Option<&'static str> {
    judge_version_in("ready", attachment, path, range)
}

fn judge_version_in(phase: &str, attachment: &str, path: &str, range: Range<u64>) -> Option<&'static str> {
    let paths = Paths::new("c");
    let text = r#"{"checksum": 0, "metadata": {"phase": "PHASE", "synced_generation": 3, "synced_frame_no": 7,
        "synced_wal_frames": 2, "draft_wal_match_watermark": 4, "synced_wal_match_watermark": 2, "draft_changed_pages": [],
        "draft_wal_moving_frames": 5, "draft_wal_moving_stamp": {"salts": [0, 0]}, "attempted_transaction_no": 9, "attachment": "ATTACHMENT"}}"#;
    let version = MetadataVersion {
        event_count: 0,
        path: paths.metadata.clone(),
        bytes: text.replace("ATTACHMENT", attachment).replace("PHASE", phase).into(),
        unsynced: BTreeMap::from([(path.to_owned(), vec![range])]),
        durable_lengths: BTreeMap::new(),
    };
    judge_durability(&version, &paths).err().map(|violation| violation.invariant)
}

#[test]
fn metadata_before_the_frames_that_it_names() {
    assert_eq!(judge_version("attached", "c-synced-wal", 4152..8272), Some(DURABLE_FIRST.name));
    assert_eq!(judge_version("attached", "c-draft-wal", 12_392..16_512), Some(DURABLE_FIRST.name));
    assert_eq!(judge_version("attached", "c-draft-wal", 16_512..20_632), Some(DURABLE_FIRST.name));
    assert_eq!(judge_version("attached", "c-synced", 0..1), Some(DURABLE_FIRST.name));
    assert_eq!(judge_version("replacing", "c-synced-next", 4096..8192), Some(DURABLE_FIRST.name));
    assert_eq!(judge_version("severed", "c-draft", 0..1), Some(DURABLE_FIRST.name));
}

/// Frame 5 ends at byte 20,632: a shorter log is not the one any more that is being moved.
#[test]
fn a_compaction_names_its_log_until_it_is_emptied() {
    let judged = |range| judge_version_in("compacting_draft", "attached", "c-draft-wal", range);
    assert_eq!(judged(16_512..20_632), Some(DURABLE_FIRST.name));
    assert_eq!(judged(0..u64::MAX), Some(DURABLE_FIRST.name));
    assert_eq!(judged(0..32), None);
}

#[test]
fn what_the_metadata_does_not_name_may_be_volatile() {
    assert_eq!(judge_version("attached", "c-synced-wal", 8272..u64::MAX), None);
    assert_eq!(judge_version("attached", "c-draft-wal", 20_632..24_000), None);
    assert_eq!(judge_version("severed", "c-synced", 0..u64::MAX), None);
}

#[test]
fn a_draft_that_is_detached_has_no_watermark() {
    let tamper = |files: &mut Files, claims: &mut Claims| {
        claims.attachment = "detached".into();
        rot(&mut files.draft_wal, claims.draft_wal_match_watermark);
    };
    assert_eq!(judged(tamper, false), None);
    let tamper = |files: &mut Files, claims: &mut Claims| {
        claims.attachment = "detached".into();
        rot(&mut files.synced_wal, claims.synced_wal_frames);
    };
    assert_eq!(judged(tamper, false), Some(SYNCED_PREFIX.name));
}

#[test]
fn a_replica_of_what_the_remote_was_before_it_was_restored() {
    let _in_virtual_time = clock::enter(0);
    let mut world = world();
    let judged = |world: &World| {
        let client = world.client(0);
        let files = Files::read(&client.paths, |path| client.disk.read(path));
        files.judge(&client.claims().unwrap(), world.remote.history(), false)
    };
    let of = |oldest, newest| Ok(Epochs { oldest, newest });
    assert_eq!(judged(&world), of(0, 0));
    world.remote.restore(0, 0);
    assert_eq!(judged(&world), of(0, 1), "nothing was forgotten");
    world.remote.restore(0, 1);
    assert_eq!(judged(&world), of(0, 1), "what it replicates was forgotten");
    world.step(&Step::new(9, Action::RemoteTransaction { writes: vec![] })).unwrap();
    assert_eq!(judged(&world), of(0, 1), "equal numbers are not equal pages");
    assert_eq!(world.judge_caught_up(0).unwrap_err().invariant, crate::judge::verdict::CAUGHT_UP.name);
}

fn durable(claims: Claims, epoch: usize) -> Durable {
    Durable { claims, epochs: Some(Epochs { oldest: epoch, newest: epoch }) }
}

#[test]
fn progress_that_goes_back() {
    let later = claims();
    for earlier in [
        Claims { synced_generation: 4, synced_frame_no: Some(0), ..claims() },
        Claims { synced_frame_no: Some(8), ..claims() },
        Claims { attempted_transaction_no: 10, ..claims() },
    ] {
        let violation = judge_monotone(&durable(earlier, 1), &durable(later.clone(), 1)).unwrap_err();
        assert_eq!(violation.invariant, MONOTONE.name);
    }
    let earlier = Claims { synced_generation: 2, synced_frame_no: Some(90), ..claims() };
    assert_eq!(judge_monotone(&durable(earlier, 1), &durable(later.clone(), 1)), Ok(()));
    let new_export = Claims { synced_frame_no: Some(0), attachment: "detached".into(), ..claims() };
    assert_eq!(judge_monotone(&durable(later.clone(), 1), &durable(new_export, 1)), Ok(()));
    let of_a_former_epoch = Claims { synced_generation: 9, ..claims() };
    assert_eq!(judge_monotone(&durable(of_a_former_epoch, 0), &durable(later, 1)), Ok(()));
    // Of what two epochs have in common the newer one may have gone on, and a new export may be of its beginning.
    let common = Durable { claims: claims(), epochs: Some(Epochs { oldest: 0, newest: 1 }) };
    let beginning = Claims { synced_generation: 1, ..claims() };
    assert_eq!(judge_monotone(&common, &durable(beginning.clone(), 1)), Ok(()));
    assert!(judge_monotone(&common, &durable(beginning, 0)).is_err());
}
