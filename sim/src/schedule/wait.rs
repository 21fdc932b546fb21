//! Moments inside an operation of the engine's, addressed by meaning, when others act.

use arbitrary::{Arbitrary, Unstructured};
use plimsoll_engine::events::EventName;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

/// One of the engine's events, by its name in a schedule file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineEvent(pub EventName);

impl EngineEvent {
    /// The event's name.
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

impl<'a> Arbitrary<'a> for EngineEvent {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        bytes.choose(EventName::ALL).map(|event| Self(*event))
    }
}
