//! The archive behind the server, and whether it can still be used.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::Notify;

use crate::lock::lock;
use crate::world::remote::archive::{Archive, ServedArchive};
use crate::world::remote::content::Content;
use crate::world::remote::{BatonLimits, StatementLimits, Watch};

/// A served archive that ends with the first panic.
pub(super) struct Store {
    pub archive: ServedArchive,
    breakage: Breakage,
}

/// The first request during which the remote contradicted itself.
#[derive(Default)]
struct Breakage {
    request: Mutex<Option<String>>,
    has_broken: Notify,
}

impl Store {
    pub fn new(archive: Archive, batons: BatonLimits) -> Self {
        Self { archive: ServedArchive::new(archive, batons), breakage: Breakage::default() }
    }

    /// Answers a request that neither writes nor runs SQL.
    pub fn look_up(&self, request: &Request<Bytes>) -> Response<Content> {
        self.breaking_on_panic(request, || self.archive.look_up(request))
    }

    /// Answers any request.
    pub fn answer(
        &self,
        request: &Request<Bytes>,
        limits: &StatementLimits,
        watch: &Arc<dyn Watch>,
    ) -> Response<Content> {
        self.breaking_on_panic(request, || self.archive.answer(request, limits, watch))
    }

    fn breaking_on_panic<T>(&self, request: &Request<Bytes>, work: impl FnOnce() -> T) -> T {
        let breaks = BreaksUnlessDone { breakage: &self.breakage, request };
        let done = work();
        std::mem::forget(breaks);
        done
    }

    /// Resolves when the remote has contradicted itself.
    pub async fn broken(&self) {
        self.breakage.has_broken.notified().await;
    }

    /// The request during which the remote contradicted itself.
    pub fn broken_request(&self) -> Option<String> {
        lock(&self.breakage.request).clone()
    }
}

/// Marks the remote as broken if a request ends in a panic.
struct BreaksUnlessDone<'a> {
    breakage: &'a Breakage,
    request: &'a Request<Bytes>,
}

impl Drop for BreaksUnlessDone<'_> {
    fn drop(&mut self) {
        let name = format!("{} {}", self.request.method(), self.request.uri().path());
        lock(&self.breakage.request).get_or_insert(name);
        self.breakage.has_broken.notify_one();
    }
}
