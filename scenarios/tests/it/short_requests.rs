//! A server that takes only short requests: a push sends less at once, and says so if that does not help.

use std::sync::Arc;

use plimsoll_engine::{Error, HttpRemote, LocalStorage, Options, PushMode, SyncEngine};
use plimsoll_sim::serve::{Limits, Settings};
use turso_core::PlatformIO;

use crate::archive::Place;
use crate::http::{Running, runtime};

/// The longest body that the server takes: a few frames, or a few of the rows.
const BODY_BYTES: usize = 20_000;

struct ShortRequests {
    place: Place,
    server: Running,
    engine: SyncEngine<HttpRemote>,
}

impl ShortRequests {
    async fn start(mode: PushMode) -> Self {
        let place = Place::new();
        let limits = Limits { body_bytes: BODY_BYTES, ..Limits::default() };
        let settings = Settings { limits, ..Settings::default() };
        let server = Running::start_as(&place.path("remote"), settings).await.unwrap();
        server.execute(&["CREATE TABLE t (v)"]);
        let io = Arc::new(PlatformIO::new().unwrap());
        let path = place.path("client").display().to_string();
        let options = Options::new("client").push_mode(mode);
        let opened = SyncEngine::open(io, Arc::new(LocalStorage), server.client(), &path, options);
        let engine = opened.await.unwrap();
        Self { place, server, engine }
    }

    /// Commits this many transactions with a row of this length each.
    fn write(&self, transactions: u32, row_bytes: usize) {
        let connection = self.engine.connect().unwrap();
        for _ in 0..transactions {
            connection.execute(format!("INSERT INTO t VALUES ('{}')", "x".repeat(row_bytes))).unwrap();
        }
    }

    fn row_count(&self) -> String {
        self.server.remote.with_remote(|remote| remote.query("SELECT count(*) FROM t")[0][0].to_string())
    }

    async fn stop(self) {
        drop(self.engine);
        self.server.stop().await;
        drop(self.place);
    }
}

#[test]
fn a_push_of_statements_has_fewer_transactions_in_a_request_after_a_413() {
    runtime().block_on(async {
        let short = ShortRequests::start(PushMode::Statements).await;
        short.write(50, 2000);
        let report = short.engine.push().await.unwrap();
        assert_eq!((report.transactions, short.row_count()), (50, "50".to_owned()));
        assert!(report.requests > 50 * 2000 / BODY_BYTES as u64, "{}", report.requests);
        short.stop().await;
    });
}

#[test]
fn a_push_of_frames_has_fewer_frames_in_a_request_after_a_413() {
    runtime().block_on(async {
        let short = ShortRequests::start(PushMode::Frames).await;
        // The first push of a client is one of statements, because no frame would tie it to the remote's log.
        short.write(1, 1);
        short.engine.push().await.unwrap();
        short.engine.pull().await.unwrap();
        short.write(1, 100_000);
        let report = short.engine.push().await.unwrap();
        assert!(report.frames_sent > 24, "{} frames", report.frames_sent);
        assert_eq!((report.transactions, short.row_count()), (1, "2".to_owned()));
        short.stop().await;
    });
}

#[test]
fn a_transaction_that_is_too_long_for_a_request_is_named() {
    runtime().block_on(async {
        let short = ShortRequests::start(PushMode::Statements).await;
        short.write(3, 10);
        short.write(1, 30_000);
        short.write(1, 10);
        let error = short.engine.push().await.unwrap_err();
        assert!(
            matches!(&error, Error::RequestTooLarge { body_bytes, detail, .. }
            if *body_bytes > 30_000 && detail.contains("20000")),
            "{error}"
        );
        assert!(!error.is_retryable());
        assert_eq!(short.row_count(), "3", "the transactions before it are on the server");
        short.stop().await;
    });
}
