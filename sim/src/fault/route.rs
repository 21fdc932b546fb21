//! The place of a fault on the network: a request by its route and its number in the step.

use std::fmt;

use http::{Method, Request};
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use super::Ordinal;

/// The route of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, IntoStaticStr)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "kebab-case")]
pub enum Route {
    /// `GET /info`
    Info,
    /// `GET /export/…`
    Export,
    /// `GET /sync/…`
    PullFrames,
    /// `POST /sync/…`
    PushFrames,
    /// `POST /v2/pipeline`
    Pipeline,
}

impl Route {
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The route of a request. `None` if the protocol has no such route.
    pub fn of<T>(request: &Request<T>) -> Option<Self> {
        let path = request.uri().path();
        match *request.method() {
            Method::GET if path == "/info" => Some(Self::Info),
            Method::GET if path.starts_with("/export/") => Some(Self::Export),
            Method::GET if path.starts_with("/sync/") => Some(Self::PullFrames),
            Method::POST if path.starts_with("/sync/") => Some(Self::PushFrames),
            Method::POST if path == "/v2/pipeline" => Some(Self::Pipeline),
            _ => None,
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "request for info",
            Self::Export => "request for an export",
            Self::PullFrames => "request for frames",
            Self::PushFrames => "push of frames",
            Self::Pipeline => "pipeline request",
        })
    }
}

/// A request of a step, named by its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(deny_unknown_fields)]
pub struct RequestPlace {
    pub route: Route,
    /// The number of the request in the step, from 1. Only requests of this route count.
    pub nth: u32,
}

impl fmt::Display for RequestPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Ordinal(self.nth), self.route)
    }
}
