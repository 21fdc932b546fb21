//! Moments inside an operation of the engine when other steps can run. A moment is named by its meaning.

use plimsoll_engine::events::EventName;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fault::RequestPlace;

/// A moment when an operation of the engine waits and other steps can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Wait {
    /// The request was sent, but has not arrived.
    Request(RequestPlace),
    /// The response was sent, but has not arrived.
    Response(RequestPlace),
    /// A chunk of the response's body is on its way.
    Chunk {
        of: RequestPlace,
        /// The number of the chunk, from 1.
        nth: u32,
    },
    /// The engine has reported an event since its last suspension.
    #[serde(rename = "told")]
    Reported {
        event: EngineEvent,
        /// The number of the event in the step, from 1. Only events of this name count.
        nth: u32,
    },
    /// Any suspension. The engine also suspends before and after each durable step.
    Suspension {
        /// The number of the suspension in the step, from 1.
        nth: u32,
    },
}

/// One of the engine's events. A schedule file contains the event's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineEvent(pub EventName);

impl EngineEvent {
    pub fn name(self) -> &'static str {
        self.0.name()
    }
}

impl Serialize for EngineEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for EngineEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        EventName::named(&name)
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("the engine has no event `{name}`")))
    }
}

#[cfg(feature = "arbitrary")]
impl<'a> arbitrary::Arbitrary<'a> for EngineEvent {
    fn arbitrary(bytes: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        bytes.choose(EventName::ALL).map(|event| Self(*event))
    }
}
