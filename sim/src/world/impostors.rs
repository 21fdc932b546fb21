//! Answers from somebody else than the one remote that the clients follow: from a second server on a copy of the
//! remote's files, from a cache, and from a wrong server.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use plimsoll_engine::Error;

use super::World;
use super::client::{Engine, ExternalDamage};
use super::context::StepContext;
use super::operations::{Driven, Operation};
use super::trace::{Lane, Verb};
use crate::fault::Route;
use crate::fault::atlas::{self, FaultKind, Row, Target};
use crate::judge::remote_log::LogEnd;
use crate::judge::verdict::{NO_SURPRISE, Violation};
use crate::schedule::Alternation;
use crate::text::error_chain;

/// A cache in front of the remote. It keeps the answers to GET requests of some routes and never asks again.
#[derive(Default)]
pub(super) struct Cache {
    routes: BTreeSet<Route>,
    /// The kept answers, each with the end of the remote's log at that time.
    answers: BTreeMap<String, (Response<Bytes>, LogEnd)>,
}

impl Cache {
    pub fn keep(&mut self, route: Route) {
        self.routes.insert(route);
    }

    pub fn expire(&mut self) {
        *self = Self::default();
    }

    /// Returns the kept answer to a request, if there is one. Otherwise keeps `fresh`, if it can be kept: like
    /// other caches, this one keeps no 400.
    pub fn answer(
        &mut self,
        request: &Request<Bytes>,
        fresh: &Response<Bytes>,
        end: LogEnd,
    ) -> Option<(Response<Bytes>, LogEnd)> {
        let is_cached = request.method() == Method::GET
            && Route::of(request).is_some_and(|route| self.routes.contains(&route));
        if !is_cached || fresh.status() == StatusCode::BAD_REQUEST {
            return None;
        }
        let target = request.uri().to_string();
        if let Some(kept) = self.answers.get(&target) {
            return Some(kept.clone());
        }
        self.answers.insert(target, (fresh.clone(), end));
        None
    }
}

impl World {
    /// Starts a second server on a copy of the remote's files. From now on the two answer in turn.
    pub(super) fn fork_remote(
        &mut self,
        alternates: Alternation,
        context: &mut StepContext,
    ) -> Result<(), Violation> {
        if self.server.is_forked() {
            self.recorder.counts.faults_unreached += 1;
            return Ok(());
        }
        self.referee.judge_remote(&self.server)?;
        self.server.fork(alternates);
        self.referee.ledger.fork();
        self.recorder.counts.remote_forks += 1;
        self.note_injected(FaultKind::RemoteFork, Target::Between, context);
        Ok(())
    }

    /// Shuts one of the two servers down.
    pub(super) fn join_remote(&mut self, keeps_other: bool) -> Result<(), Violation> {
        if !self.server.is_forked() {
            return Ok(());
        }
        if keeps_other {
            self.switch_remote()?;
        }
        self.server.join();
        self.referee.ledger.join();
        Ok(())
    }

    /// Lets the other server answer, if the two alternate in this way.
    pub(super) fn alternate(&mut self, alternation: Alternation) -> Result<(), Violation> {
        if self.server.alternation() == Some(alternation) { self.switch_remote() } else { Ok(()) }
    }

    fn switch_remote(&mut self) -> Result<(), Violation> {
        self.referee.judge_remote(&self.server)?;
        self.server.switch();
        self.referee.ledger.switch();
        self.referee.judge_remote(&self.server)
    }

    /// The row of the atlas for a second server that has answered during a step. Two servers stay for many steps,
    /// so the fault is not one of the step.
    pub(super) fn row_of_fork(&self, context: &StepContext) -> Option<&'static Row> {
        let has_answered = self.server.is_forked() || context.was_forked();
        has_answered.then(|| atlas::row(FaultKind::RemoteFork, Target::Between)).flatten()
    }

    /// Lets a client sync with a wrong server: one with an empty database, which shares nothing with the
    /// client's. The engine must refuse it each time, and must send nothing to it.
    pub(super) fn sync_with_wrong_server(
        &mut self,
        number: u8,
        times: u8,
        restarts: bool,
        context: &mut StepContext,
    ) -> Result<(), Violation> {
        if context.is_operating(number) || !self.ensure_open(number, context)? {
            return Ok(());
        }
        let client = &self.clients[number];
        // Without a frame of the remote, a client cannot know which server is the right one.
        let has_frame = client.claims().is_some_and(|claims| claims.has_remote_frame())
            && !client.external_damage.iter().any(ExternalDamage::is_of_replica);
        if !has_frame || client.holds_open() {
            self.recorder.counts.faults_unreached += 1;
            return Ok(());
        }
        self.note_injected(FaultKind::WrongServer, Target::Between, context);
        self.server.begin_wrong(&self.header);
        let refused = self.expect_wrong_server_refused(number, times, restarts, context);
        let is_untouched = self.server.end_wrong();
        self.clients[number].follows_wrong_server = true;
        if !is_untouched {
            let message = format!("client {number} wrote to a wrong, empty server");
            return Err(Violation::of(NO_SURPRISE, message));
        }
        refused
    }

    fn expect_wrong_server_refused(
        &mut self,
        number: u8,
        times: u8,
        restarts: bool,
        context: &mut StepContext,
    ) -> Result<(), Violation> {
        for nth in 1..=times {
            if restarts && nth > 1 {
                self.end_process(number);
            }
            if !self.ensure_open(number, context)? {
                return Ok(());
            }
            let Some(engine) = self.clients[number].process.as_ref().map(|process| process.engine.clone())
            else {
                return Ok(());
            };
            let driven = self.drive(number, Operation::Sync, context, async {
                let engine: &Engine = &engine;
                engine.sync().await
            })?;
            match driven {
                Driven::Crashed | Driven::Abandoned => return Ok(()),
                Driven::Done(Ok(_)) => {
                    let message = format!("client {number} accepted a wrong, empty server");
                    return Err(Violation::of(NO_SURPRISE, message));
                }
                Driven::Done(Err(error @ (Error::UnrelatedServer { .. } | Error::HistoryChanged { .. }))) => {
                    self.record(Lane::Application(number), Verb::Error, &error_chain(&error), &[]);
                    self.recorder.counts.errors_refused += 1;
                }
                Driven::Done(Err(error)) => {
                    self.judge_error(number, "sync with a wrong server", &error, context)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(cache: &mut Cache, target: &str, body: &'static str) -> Option<Bytes> {
        let request = Request::get(target).body(Bytes::new()).unwrap();
        let end = LogEnd { generation: 1, frame_no: 0 };
        let fresh = Response::new(Bytes::from_static(body.as_bytes()));
        cache.answer(&request, &fresh, end).map(|(kept, _)| kept.into_body())
    }

    #[test]
    fn a_cache_repeats_its_first_answer_until_it_expires() {
        let mut cache = Cache::default();
        assert_eq!(answer(&mut cache, "/info", "a"), None);
        cache.keep(Route::Info);
        assert_eq!(answer(&mut cache, "/info", "b"), None);
        assert_eq!(answer(&mut cache, "/info", "c").unwrap(), "b");
        assert_eq!(answer(&mut cache, "/export/1", "d"), None);
        assert_eq!(answer(&mut cache, "/export/1", "e"), None, "another route");
        cache.expire();
        assert_eq!(answer(&mut cache, "/info", "f"), None);
    }
}
