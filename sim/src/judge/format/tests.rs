//! The parsers on files that turso_core wrote.

use std::sync::Arc;

use turso_core::{CheckpointMode, Connection, IO, MemoryIO};

use super::*;
use crate::world::remote::files;
use crate::world::remote::tests::{open_unshared, unique_path};

/// An in-memory database of a few pages whose log is not checkpointed.
struct Live {
    io: Arc<dyn IO>,
    path: String,
    connection: Arc<Connection>,
}

impl Live {
    fn create() -> Live {
        let io: Arc<dyn IO> = Arc::new(MemoryIO::new());
        let path = unique_path();
        let connection = open_unshared(&io, &path);
        let live = Live { io, path, connection };
        live.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)");
        for k in 0..40 {
            live.execute(&format!("INSERT INTO t VALUES ({k}, '{}')", "v".repeat(300)));
        }
        live
    }

    fn execute(&self, sql: &str) {
        self.connection.execute(sql).unwrap();
    }

    fn main(&self) -> Vec<u8> {
        files::read_all(&self.io, &self.path).unwrap()
    }

    fn wal(&self) -> Vec<u8> {
        files::read_all(&self.io, &files::wal_path(&self.path)).unwrap()
    }

    fn checkpoint(&self) {
        self.connection.checkpoint(CheckpointMode::Truncate { upper_bound_inclusive: None }).unwrap();
    }
}

#[test]
fn an_image_is_what_a_checkpoint_writes() {
    let live = Live::create();
    let (main, wal) = (live.main(), live.wal());
    let wal = Wal::parse(&wal);
    assert_eq!(wal.verified_frames(), wal.frame_count());
    assert!(wal.frame_count() > 40, "at least one frame per transaction");
    let before = DatabaseImage::at(&main, &wal, wal.frame_count());

    live.checkpoint();
    let main = live.main();
    assert!(live.wal().is_empty());
    let after = DatabaseImage::of_main(&main);
    assert_eq!(before.first_difference(&after), None);
    assert_eq!(after.page_count() as usize * PAGE_BYTES, main.len());
    let header = DatabaseHeader::parse(&main).unwrap();
    assert_eq!(header.page_count, after.page_count());
    assert!(
        !header.page_count_is_valid,
        "turso_core now follows SQLite's rule, so DatabaseImage::of_main should too"
    );
    assert_eq!((header.page_bytes, header.write_version, header.read_version), (4096, 2, 2));
}

#[test]
fn an_image_inside_a_transaction_is_the_one_before_it() {
    let live = Live::create();
    live.checkpoint();
    live.execute("UPDATE t SET v = 'w' || k"); // several pages, one transaction
    let (main, wal) = (live.main(), live.wal());
    let wal = Wal::parse(&wal);
    assert!(wal.frame_count() > 1);
    let inside = wal.frame_count() - 1;
    assert_eq!(wal.commit_boundary_at_or_before(inside), 0);
    assert_eq!(wal.commit_boundary_at_or_before(u64::MAX), wal.frame_count());

    let snapshot = DatabaseImage::of_main(&main);
    assert_eq!(DatabaseImage::at(&main, &wal, inside).first_difference(&snapshot), None);
    let torn = DatabaseImage::pages_at(&main, &wal, inside, snapshot.page_count());
    let difference = torn.first_difference(&snapshot).unwrap();
    assert!(matches!(difference, Difference::Page { .. }), "{difference}");
}

#[test]
fn a_flipped_byte_ends_the_chain_but_not_the_scan() {
    let live = Live::create();
    let mut wal = live.wal();
    let frame_count = Wal::parse(&wal).frame_count();
    let in_page_of_frame_7 = WAL_HEADER_BYTES + 6 * FRAME_BYTES + 1000;
    wal[in_page_of_frame_7] ^= 1;
    assert_eq!(Wal::parse(&wal).frame_count(), frame_count);
    assert_eq!(Wal::parse(&wal).verified_frames(), 6);

    let salt_of_frame_5 = WAL_HEADER_BYTES + 4 * FRAME_BYTES + 8;
    wal[salt_of_frame_5] ^= 1;
    assert_eq!(Wal::parse(&wal).frame_count(), 4);
}

#[test]
fn a_tail_is_verified_from_the_frame_before_it() {
    let live = Live::create();
    let bytes = live.wal();
    let wal = Wal::parse(&bytes);
    let tail = &bytes[WAL_HEADER_BYTES + 10 * FRAME_BYTES..];
    let header = *wal.header().unwrap();
    let view = Wal::parse_after(header, wal.frame(10).checksum, tail);
    assert_eq!(view.verified_frames(), wal.frame_count() - 10);
    assert_eq!(view.frame(1), wal.frame(11));
    assert_eq!(Wal::parse_after(header, wal.frame(9).checksum, tail).verified_frames(), 0);
}

#[test]
fn malformed_bytes_hold_nothing() {
    for bytes in [vec![], vec![0; 31], vec![0; 5000], vec![0xff; 5000]] {
        assert_eq!(Wal::parse(&bytes).frame_count(), 0);
        assert_eq!(Wal::parse(&bytes).verified_frames(), 0);
        assert_eq!(DatabaseHeader::parse(&bytes), None);
    }
    assert_eq!(FrameHeader::parse(&[0; 23]), None);
    assert_eq!(DatabaseImage::of_main(&[]).page_count(), 0);
    assert_eq!(DatabaseImage::of_main(&[7; PAGE_BYTES + 1]).page_count(), 1);
}

#[test]
fn a_page_that_no_file_holds_is_zeros() {
    let image = DatabaseImage::overlay(&[], std::iter::empty(), 2);
    assert_eq!(image.page(2), Some(&[0; PAGE_BYTES]));
    assert_eq!(image.page(3), None);
    let longer = DatabaseImage::overlay(&[], std::iter::empty(), 3);
    let difference = image.first_difference(&longer).unwrap();
    assert_eq!(difference.to_string(), "2 pages on the left, 3 on the right");

    let marked = [1; PAGE_BYTES];
    let marked = DatabaseImage::overlay(&[], [(2, &marked)].into_iter(), 2);
    assert_eq!(marked.first_difference(&image), Some(Difference::Page { page_no: 2, offset: 0 }));
    assert_eq!(image.first_difference(&marked).unwrap().to_string(), "page 2 differs from byte 0 on");
}
