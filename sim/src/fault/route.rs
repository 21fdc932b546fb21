//! A request by what it asks for and by its number in the step.

use std::fmt;

use arbitrary::Arbitrary;
use http::{Method, Request};
use serde::{Deserialize, Serialize};

use super::Ordinal;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case")]
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
    /// The route in one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Export => "export",
            Self::PullFrames => "pull-frames",
            Self::PushFrames => "push-frames",
            Self::Pipeline => "pipeline",
        }
    }

    /// The route of a request, `None` for one that the protocol does not know.
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

/// A request of a step, by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct RequestPlace {
    /// What it asks for.
    pub route: Route,
    /// The how-manieth of its route in this step, from 1.
    pub nth: u32,
}

impl fmt::Display for RequestPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Ordinal(self.nth), self.route)
    }
}
