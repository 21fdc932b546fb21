//! `plimsoll serve --import`: databases that SQLite has written.
#![expect(clippy::disallowed_methods, reason = "these tests use real files")]

use std::path::Path;

use plimsoll_sim::serve::{ArchiveError, import};
use plimsoll_sim::text::error_chain;

use crate::archive::{Place, files_of};
use crate::http::{Running, pulled, runtime};

fn sqlite(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch(sql).unwrap();
    connection.close().unwrap();
}

#[test]
fn a_database_of_sqlite_is_imported_and_not_changed() {
    runtime().block_on(async {
        let place = Place::new();
        for mode in ["DELETE", "WAL"] {
            let (source, data) = (place.path(&format!("{mode}.db")), place.path(mode));
            sqlite(
                &source,
                &format!("PRAGMA journal_mode={mode}; CREATE TABLE t (v); INSERT INTO t VALUES ('a')"),
            );
            let before = std::fs::read(&source).unwrap();
            import(&data, &source).unwrap();
            assert!(std::fs::read(&source).unwrap() == before);
            let server = Running::start(&data).await.unwrap();
            server.execute(&["INSERT INTO t VALUES ('b')"]);
            assert!(server.remote.checkpoint().unwrap());
            assert_eq!(pulled(&server, &place.path(&format!("client-{mode}"))).await, ["a", "b"]);
            server.stop().await;
            assert!(matches!(import(&data, &source), Err(ArchiveError::NotEmpty { .. })));
        }
    });
}

#[test]
fn a_database_that_cannot_be_imported_is_refused_by_its_reason() {
    let place = Place::new();
    let source = place.path("source.db");
    let refused = |words: &str| {
        let data = place.path("remote");
        let error = import(&data, &source).unwrap_err();
        let reason = error_chain(&error);
        assert!(reason.contains(words) && reason.contains("source.db"), "{reason}");
        let left: Vec<String> = files_of(&data).into_keys().filter(|name| name != "lock").collect();
        assert_eq!(left, [""; 0], "{words}");
        if source.exists() {
            std::fs::remove_file(&source).unwrap();
        }
    };
    let rows = "CREATE TABLE t (v UNIQUE); \
        WITH n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n LIMIT 2000) INSERT INTO t SELECT v FROM n";
    refused("source.db");
    std::fs::write(&source, "a text").unwrap();
    refused("it is no SQLite database");
    sqlite(&source, &format!("PRAGMA page_size = 8192; {rows}"));
    refused("its pages have 8192 bytes");
    sqlite(&source, &format!("PRAGMA encoding = 'UTF-16'; {rows}"));
    refused("its text is not in UTF-8");
    sqlite(&source, &format!("PRAGMA auto_vacuum = FULL; {rows}"));
    refused("auto-vacuum");
    sqlite(&source, rows);
    let bytes = std::fs::read(&source).unwrap();
    std::fs::write(&source, &bytes[..bytes.len() - 4096]).unwrap();
    refused("bytes long");
    let mut damaged = bytes.clone();
    damaged[4096 * 3..4096 * 4].fill(0xff);
    std::fs::write(&source, &damaged).unwrap();
    refused("cannot import");
    sqlite(&source, rows);
    std::fs::write(place.path("source.db-wal"), "frames").unwrap();
    refused("source.db-wal has transactions");
}
