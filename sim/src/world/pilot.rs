//! A pilot steers a history from outside: it sees every place at which a fault could be injected, and may add
//! a fault there.
//!
//! The explorer is a pilot. Ordinary histories have none.

use std::sync::{Arc, Mutex};

use xxhash_rust::xxh3::xxh3_64;

use super::disk::Site;
use super::server::Server;
use crate::fault::{CrashPoint, Fault, RequestPlace};
use crate::judge::ledger::Ledger;
use crate::lock::lock;

/// Chooses the faults of one client of a history.
pub trait Pilot: Send {
    /// Called when a step starts.
    fn begin_step(&mut self, step: u32);

    /// Called when the remote or the ledger has changed. `context` is a hash of both.
    fn set_context(&mut self, context: u64);

    /// Called when a request is about to be served. Returns the fault to inject, if any.
    fn consider_request(&mut self, place: RequestPlace) -> Option<Fault>;

    /// Called when an operation on the client's disk is about to happen. Returns the crash to inject before,
    /// inside or after it, if any.
    fn consider(&mut self, site: &Site<'_>) -> Option<CrashPoint>;
}

pub type SharedPilot = Arc<Mutex<dyn Pilot>>;

/// The pilot of a world, if the world has one. The disk of the steered client shares the pilot.
#[derive(Default)]
pub(super) struct Steering(Option<SharedPilot>);

impl Steering {
    pub fn set(&mut self, pilot: SharedPilot) {
        self.0 = Some(pilot);
    }

    pub fn is_steered(&self) -> bool {
        self.0.is_some()
    }

    pub fn begin_step(&self, step: u32) {
        if let Some(pilot) = &self.0 {
            lock(pilot).begin_step(step);
        }
    }

    /// Passes the pilot a hash of the state that the client's disk does not show: the remote's position and
    /// the ledger.
    pub fn inform(&self, server: &Server, ledger: &Ledger) {
        let Some(pilot) = &self.0 else { return };
        let (generation, frame_count) = server.position();
        let state = [generation, frame_count, ledger.fingerprint()];
        let bytes: Vec<u8> = state.iter().flat_map(|number| number.to_le_bytes()).collect();
        lock(pilot).set_context(xxh3_64(&bytes));
    }

    /// The fault that the pilot injects into a request, if any.
    pub fn consider_request(&self, place: Option<RequestPlace>) -> Option<Fault> {
        lock(self.0.as_ref()?).consider_request(place?)
    }
}
