//! The remote's machine in the world: it restarts, and it goes down.
//!
//! Guarantees: it is up again before anybody asks it anything, so a client notices no more than lost answers and batons that mean
//! nothing any more. Whether it has kept what it had to keep, the remote checks itself when it is opened again.

use bytes::Bytes;
use http::Request;

use super::World;
use crate::fault::CrashKind;
use crate::fault::RequestPlace;
use crate::fault::atlas::{FaultKind, Target};
use crate::judge::history::End;
use crate::world::network::{Answer, Lost};

impl World {
    /// The server ends between two requests and starts again.
    pub(super) fn restart_remote(&mut self) {
        self.boot_remote(self.remote.end());
        self.strike(FaultKind::RemoteRestart, Target::Between);
    }

    /// The machine goes down between two requests and is started again.
    pub(super) fn crash_remote(&mut self, kind: &CrashKind) {
        self.remote_disk.crash_now(kind);
        self.remote_crashes += 1;
        self.boot_remote(self.remote.end());
        self.strike(FaultKind::RemoteCrash, Target::Between);
    }

    /// The machine goes down before the file operation of that number for a request, or once the request has taken effect.
    pub(super) fn serve_and_crash(&mut self, request: &Request<Bytes>, operation: u32, kind: &CrashKind) {
        let acknowledged = self.remote.end();
        self.remote_disk.arm_ahead(operation.max(1), kind.clone());
        self.remote.serve(request);
        drop(self.remote_disk.take_unreached());
        if !self.remote_disk.is_down() {
            self.remote_disk.crash_now(kind);
        }
        self.remote_crashes += 1;
        self.boot_remote(acknowledged);
    }

    /// What arrives of an answer during whose way the remote's machine may have gone down, when it had crashed `crashes` times before.
    pub(super) fn survived_way(
        &mut self,
        answer: Result<Answer, Lost>,
        place: Option<RequestPlace>,
        crashes: u32,
    ) -> Result<Answer, Lost> {
        match (answer, place) {
            (Ok(_), Some(place)) if self.remote_crashes != crashes => {
                self.strike(FaultKind::RemoteCrash, Target::Route(place.route));
                Err(Lost)
            }
            (answer, _) => answer,
        }
    }

    fn boot_remote(&mut self, acknowledged: End) {
        drop(self.remote_disk.take_crash());
        self.remote_disk.restart();
        self.remote.reopen(self.remote_disk.io(), acknowledged);
        self.inform_pilot();
    }
}
