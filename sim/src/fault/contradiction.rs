//! Answers that contradict the remote's state.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The false statement in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Contradiction {
    /// The current generation is off by this much.
    Generation(i8),
    /// The number of frames is off by this much.
    MaxFrameNo(i8),
    /// The status word is `ok`, whatever the true one is.
    #[serde(rename = "word")]
    StatusWord,
}

impl Contradiction {
    /// The body with the false statement. `None` if the body has no such member, or if its number would not
    /// change, because a number does not go below 0.
    pub(super) fn distort(self, body: &[u8]) -> Option<Bytes> {
        let mut object: serde_json::Value = serde_json::from_slice(body).ok()?;
        let (members, by): (&[&str], i8) = match self {
            Self::Generation(by) => (&["generation", "current_generation"], by),
            Self::MaxFrameNo(by) => (&["max_frame_no"], by),
            Self::StatusWord => {
                *object.get_mut("status")? = "ok".into();
                return serde_json::to_vec(&object).ok().map(Bytes::from);
            }
        };
        let member = members.iter().find(|member| object.get(**member).is_some())?;
        let number = object.get(*member)?.as_u64()?;
        let untrue = number.saturating_add_signed(by.into());
        object[*member] = untrue.into();
        (untrue != number).then(|| serde_json::to_vec(&object).ok().map(Bytes::from))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_members_that_an_answer_has_are_falsified() {
        let status = br#"{"baton":null,"status":"checkpoint_needed","generation":1,"max_frame_no":4}"#;
        let distort = |how: Contradiction, body: &[u8]| {
            how.distort(body).map(|body| serde_json::from_slice::<serde_json::Value>(&body).unwrap())
        };
        assert_eq!(distort(Contradiction::Generation(1), status).unwrap()["generation"], 2);
        assert_eq!(distort(Contradiction::MaxFrameNo(-2), status).unwrap()["max_frame_no"], 2);
        assert_eq!(distort(Contradiction::StatusWord, status).unwrap()["status"], "ok");
        assert_eq!(
            distort(Contradiction::Generation(-1), br#"{"current_generation":1}"#).unwrap()["current_generation"],
            0
        );
        assert_eq!(distort(Contradiction::MaxFrameNo(1), br#"{"current_generation":1}"#), None);
        assert_eq!(distort(Contradiction::Generation(1), b"frames"), None);
        assert_eq!(
            distort(Contradiction::Generation(-1), br#"{"generation":0}"#),
            None,
            "a number does not go below 0"
        );
    }
}
