//! Moments inside an operation of the engine's, addressed by meaning, when others act.

use arbitrary::{Arbitrary, Unstructured};
use plimsoll_engine::events::EVENTS;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::fault::RequestPlace;

/// A moment when an operation of the engine's waits, and others can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Wait {
    /// The request was sent and has not arrived.
    Request(RequestPlace),
    /// The request was answered, and the answer has not arrived.
    Response(RequestPlace),
    /// A chunk of the answer's body is under way.
    Chunk {
        /// The request.
        of: RequestPlace,
        /// The chunk, from 1.
        nth: u32,
    },
    /// The engine has told of a decision since it waited last.
    #[serde(rename = "told")]
    Reported {
        /// Which.
        event: EngineEvent,
        /// The how-manieth such event of the step, from 1.
        nth: u32,
    },
    /// Whatever it waits for; it also suspends before and after each durable step.
    Suspension {
        /// The how-manieth suspension of the step, from 1.
        nth: u32,
    },
}

/// The name of one of the engine's events, see [`plimsoll_engine::events::EVENTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EngineEvent(&'static str);

impl EngineEvent {
    /// The event of this name, if the engine has one.
    pub fn named(name: &str) -> Option<Self> {
        EVENTS.iter().find(|event| event.name == name).map(|event| Self(event.name))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl<'de> Deserialize<'de> for EngineEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| D::Error::custom(format!("the engine has no event `{name}`")))
    }
}

impl<'a> Arbitrary<'a> for EngineEvent {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        bytes.choose(EVENTS).map(|event| Self(event.name))
    }
}
