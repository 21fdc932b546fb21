//! Late requests: they are still in transit although their sender has given up.

use std::mem::take;

use bytes::Bytes;
use http::Request;

use crate::fault::Arrival;

/// The late requests, in the order in which they were sent.
#[derive(Default)]
pub struct LateRequests {
    waiting: Vec<(Request<Bytes>, Due)>,
    arrivals: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    AfterRequests(u32),
    AtStep(u32),
    AfterSteps(u32),
}

impl LateRequests {
    /// Adds a request that arrives later. It is sent during an exchange, and that exchange counts as one
    /// request.
    pub fn send(&mut self, request: Request<Bytes>, until: Arrival) {
        let due = match until {
            Arrival::AtOnce => Due::AfterRequests(1),
            Arrival::AfterRequests(requests) => Due::AfterRequests(requests.saturating_add(1)),
            Arrival::AtStep(step) => Due::AtStep(step),
            // The ends of this step and of the next one.
            Arrival::AfterNextStep => Due::AfterSteps(2),
        };
        self.waiting.push((request, due));
    }

    /// The number of requests that have arrived late so far.
    pub fn arrivals(&self) -> u64 {
        self.arrivals
    }

    /// Takes the requests that arrive at the end of an exchange.
    pub fn after_request(&mut self) -> Vec<Request<Bytes>> {
        self.take_due(|due| match due {
            Due::AfterRequests(requests) => is_over(requests),
            Due::AtStep(_) | Due::AfterSteps(_) => false,
        })
    }

    /// Takes the requests that arrive when a step starts.
    pub fn at_step(&mut self, id: u32) -> Vec<Request<Bytes>> {
        self.take_due(|due| *due == Due::AtStep(id))
    }

    /// Takes the requests that arrive when a step ends.
    pub fn after_step(&mut self) -> Vec<Request<Bytes>> {
        self.take_due(|due| match due {
            Due::AfterSteps(steps) => is_over(steps),
            Due::AfterRequests(_) | Due::AtStep(_) => false,
        })
    }

    pub fn take_all(&mut self) -> Vec<Request<Bytes>> {
        self.take_due(|_| true)
    }

    fn take_due(&mut self, mut is_due: impl FnMut(&mut Due) -> bool) -> Vec<Request<Bytes>> {
        let mut arriving = Vec::new();
        for (request, mut due) in take(&mut self.waiting) {
            if is_due(&mut due) {
                arriving.push(request);
            } else {
                self.waiting.push((request, due));
            }
        }
        self.arrivals += arriving.len() as u64;
        arriving
    }
}

fn is_over(count: &mut u32) -> bool {
    *count = count.saturating_sub(1);
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(until: Arrival) -> LateRequests {
        let mut late = LateRequests::default();
        late.send(Request::new(Bytes::new()), until);
        late
    }

    #[test]
    fn a_request_arrives_after_the_given_number_of_exchanges() {
        let mut late = sent(Arrival::AfterRequests(2));
        let arrived: Vec<_> = (0..4).map(|_| late.after_request().len()).collect();
        assert_eq!(arrived, [0, 0, 1, 0], "the exchange during which it is sent counts as well");
    }

    #[test]
    fn a_request_arrives_at_the_end_of_the_next_step() {
        let mut late = sent(Arrival::AfterNextStep);
        assert!(late.after_request().is_empty() && late.at_step(7).is_empty());
        assert_eq!((late.after_step().len(), late.after_step().len()), (0, 1));
    }

    #[test]
    fn a_request_arrives_at_its_step_or_when_the_heal_starts() {
        let mut late = sent(Arrival::AtStep(7));
        assert_eq!((late.at_step(6).len(), late.at_step(7).len()), (0, 1));
        assert_eq!(sent(Arrival::AtStep(7)).take_all().len(), 1);
    }
}
