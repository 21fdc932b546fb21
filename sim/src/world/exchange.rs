//! The network in the world: what becomes of a request, and of its response.

use bytes::Bytes;
use http::{Request, Response};

use super::World;
use crate::atlas::{FaultKind, Target};
use crate::lock::lock;
use crate::network::{Lost, RequestPlace, Route};
use crate::schedule::Fault;
use crate::trace::Lane;

impl World {
    /// Decides the fate of one request of client `number` and lets the remote serve it.
    pub(super) fn exchange(&mut self, number: u8, request: &Request<Bytes>) -> Result<Response<Bytes>, Lost> {
        self.counts.requests += 1;
        let path = format!("{} {}", request.method(), request.uri());
        self.record_bytes(Lane::Network, "request", &path, &[u64::from(number)], request.body());
        let place = Route::of(request).map(|route| {
            self.requests_in_step.push(route);
            let nth = self.requests_in_step.iter().filter(|earlier| **earlier == route).count() as u32;
            RequestPlace { route, nth }
        });
        if let (Some(pilot), Some(place)) = (&self.pilot, place)
            && let Some(fault) = lock(pilot).consider_request(place)
        {
            self.pending.push(fault);
        }
        let is_here = |at: &RequestPlace| Some(*at) == place;
        if self
            .take_pending(|fault| matches!(fault, Fault::LoseRequest(at) if is_here(at)).then_some(()))
            .is_some()
        {
            self.counts.requests_lost += 1;
            self.strike_request(FaultKind::LoseRequest, place);
            self.record(Lane::Network, "request lost", &path, &[]);
            return Err(Lost);
        }
        let response = self.remote.serve(request);
        self.inform_pilot();
        let status = u64::from(response.status().as_u16());
        self.record_bytes(Lane::Remote, "response", &path, &[status], response.body());
        if self
            .take_pending(|fault| matches!(fault, Fault::LoseResponse(at) if is_here(at)).then_some(()))
            .is_some()
        {
            self.counts.responses_lost += 1;
            self.strike_request(FaultKind::LoseResponse, place);
            self.record(Lane::Network, "response lost", &path, &[status]);
            return Err(Lost);
        }
        Ok(response)
    }

    /// A fault strikes at the request at `place`.
    fn strike_request(&mut self, kind: FaultKind, place: Option<RequestPlace>) {
        let place = place.expect("a fault at a request names its route");
        self.strike(kind, Target::Route(place.route));
    }

    /// Takes the first fault of the running step that `matching` wants, for it strikes now.
    pub(super) fn take_pending<T>(&mut self, matching: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let index = self.pending.iter().position(|fault| matching(fault).is_some())?;
        matching(&self.pending.remove(index))
    }
}
