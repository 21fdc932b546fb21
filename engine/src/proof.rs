//! What a server can add to its answers to prove which log they are from.
//!
//! Both headers are optional. Other servers do not send them, and other clients ignore them.
//!
//! | header | in | value |
//! |---|---|---|
//! | `plimsoll-instance` | every response | identifies one run of one server. A server that was restarted, restored or started on a copy has another one |
//! | `plimsoll-instance` | a POST request | the instance that has shown that it has Synced's log. Another instance refuses the request with 412 |
//! | `plimsoll-predecessor` | responses to `GET /export/{g}` and `GET /sync/{g}/1/{end}` | the last frame of the generation before `g`: `generation/frame/salt-1/salt-2/checksum-1/checksum-2`, in decimal. The snapshot of `g` is the database after this frame |
//!
//! The checksums of frames do not reach across the start of a generation. There the predecessor is the proof.
//! Before generation 1 there is no frame. A server sends a predecessor for it all the same, with the generation
//! 0 and a stamp that no other server has.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::metadata::{Anchor, FrameStamp, GENERATION_MAX};

/// The name of the header that identifies one run of one server.
pub(crate) const INSTANCE: HeaderName = HeaderName::from_static("plimsoll-instance");
/// The name of the header that names the last frame of the generation before.
const PREDECESSOR: HeaderName = HeaderName::from_static("plimsoll-predecessor");
/// The maximum length of an instance's name, in bytes.
const INSTANCE_BYTES_MAX: usize = 128;

/// What an answer says of the log that it is from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The server's run, if the server names it.
    pub(crate) instance: Option<HeaderValue>,
    /// The last frame of the generation before the requested one, if the server names it.
    pub(crate) predecessor: Option<Anchor>,
}

impl Origin {
    /// Reads the headers of a response.
    ///
    /// # Errors
    /// The problem, in words.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, String> {
        let instance = headers.get(INSTANCE).cloned();
        if let Some(length) = instance.as_ref().map(HeaderValue::len).filter(|it| *it > INSTANCE_BYTES_MAX) {
            return Err(format!("{INSTANCE} has {length} bytes"));
        }
        let predecessor = match headers.get(PREDECESSOR) {
            None => None,
            Some(value) => match value.to_str().ok().and_then(parse_anchor) {
                Some(anchor) => Some(anchor),
                None => return Err(format!("{PREDECESSOR} is {value:?}")),
            },
        };
        Ok(Self { instance, predecessor })
    }

    /// Compares the answer's claim about the end of the generation before `generation` with the newest frame
    /// that the client has.
    pub(crate) fn compare(&self, generation: u64, anchor: Option<Anchor>) -> Comparison {
        let (Some(claimed), Some(known)) = (self.predecessor, anchor) else { return Comparison::Unknown };
        if claimed.generation + 1 != generation {
            return Comparison::Differs;
        }
        if claimed.generation != known.generation {
            // Between the known frame and the requested generation lie others without frames.
            return Comparison::Unknown;
        }
        match known.stamp {
            _ if claimed.frame_no != known.frame_no => Comparison::Differs,
            None => Comparison::Unknown,
            known if known == claimed.stamp => Comparison::Matches,
            Some(_) => Comparison::Differs,
        }
    }
}

/// The result of [`Origin::compare`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// The requested generation begins where the client's log ends.
    Matches,
    /// It begins elsewhere.
    Differs,
    /// The server names no predecessor, or there is nothing to compare it with.
    Unknown,
}

fn parse_anchor(text: &str) -> Option<Anchor> {
    let numbers: Vec<u64> = text.split('/').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let [generation, frame_no, salt_1, salt_2, checksum_1, checksum_2] = numbers[..] else { return None };
    if generation > GENERATION_MAX || frame_no > GENERATION_MAX {
        return None;
    }
    let word = |number: u64| u32::try_from(number).ok();
    let salts = [word(salt_1)?, word(salt_2)?];
    let checksums = [word(checksum_1)?, word(checksum_2)?];
    Some(Anchor { generation, frame_no, stamp: Some(FrameStamp { salts, checksums }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: FrameStamp = FrameStamp { salts: [3, 4], checksums: [5, 6] };
    const LAST: Anchor = Anchor { generation: 7, frame_no: 9, stamp: Some(STAMP) };

    fn origin(predecessor: &str) -> Result<Origin, String> {
        let mut headers = HeaderMap::new();
        headers.insert(PREDECESSOR, HeaderValue::from_str(predecessor).unwrap());
        Origin::read(&headers)
    }

    #[test]
    fn a_generation_that_begins_with_the_known_frame_matches() {
        let origin = origin("7/9/3/4/5/6").unwrap();
        assert_eq!(origin.predecessor, Some(LAST));
        assert_eq!(origin.compare(8, Some(LAST)), Comparison::Matches);
    }

    #[test]
    fn a_generation_that_begins_elsewhere_differs() {
        let origin = origin("7/9/3/4/5/6").unwrap();
        let other = Some(FrameStamp { salts: [3, 5], ..STAMP });
        assert_eq!(origin.compare(8, Some(Anchor { frame_no: 8, ..LAST })), Comparison::Differs);
        assert_eq!(origin.compare(8, Some(Anchor { stamp: other, ..LAST })), Comparison::Differs);
        assert_eq!(origin.compare(9, Some(LAST)), Comparison::Differs);
    }

    #[test]
    fn without_two_frames_to_compare_nothing_is_known() {
        let named = origin("7/9/3/4/5/6").unwrap();
        assert_eq!(named.compare(8, None), Comparison::Unknown);
        assert_eq!(named.compare(8, Some(Anchor { generation: 6, ..LAST })), Comparison::Unknown);
        assert_eq!(named.compare(8, Some(Anchor { stamp: None, ..LAST })), Comparison::Unknown);
        assert_eq!(Origin::default().compare(8, Some(LAST)), Comparison::Unknown);
    }

    #[test]
    fn malformed_headers_are_errors_that_name_them() {
        for wrong in ["", "7/9/3/4/5", "7/9/3/4/5/6/7", "7/9/3/4/5/x", "7/9/3/4/5/4294967296", "-7/9/3/4/5/6"]
        {
            assert!(origin(wrong).unwrap_err().starts_with("plimsoll-predecessor is"), "{wrong}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(INSTANCE, HeaderValue::from_str(&"i".repeat(129)).unwrap());
        assert_eq!(Origin::read(&headers).unwrap_err(), "plimsoll-instance has 129 bytes");
    }
}
