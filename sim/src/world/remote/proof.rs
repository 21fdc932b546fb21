//! The remote's proofs: the headers by which a client recognizes a server and its log. Their meaning is in the
//! engine's `proof.rs`; this code is deliberately separate from it.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use turso_core::IO;
use xxhash_rust::xxh3::xxh3_128;

use super::Remote;
use super::content::Content;
use super::kept::KeptLog;

const INSTANCE: HeaderName = HeaderName::from_static("plimsoll-instance");
const PREDECESSOR: HeaderName = HeaderName::from_static("plimsoll-predecessor");

/// The name of one run of a server. No two runs have the same name, even if they serve copies of the same files.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    /// Random bytes that were drawn when the first run of this machine started.
    base: u64,
    /// The number of the copy of the files, from 0.
    copy: u32,
    /// The number of the run on these files.
    run: u64,
}

impl Instance {
    pub fn new(io: &dyn IO) -> Self {
        let mut bytes = [0; 8];
        io.fill_bytes(&mut bytes);
        Self { base: u64::from_le_bytes(bytes), copy: 0, run: 0 }
    }

    /// The name of the next run.
    pub fn next(&self) -> Self {
        Self { run: self.run + 1, ..*self }
    }

    /// The name of the first run on another copy of the files.
    pub fn of_copy(&self, copy: u32) -> Self {
        Self { copy, run: 0, ..*self }
    }

    fn value(&self) -> HeaderValue {
        let text = format!("{:016x}-{}-{}", self.base, self.copy, self.run);
        HeaderValue::from_str(&text).expect("hexadecimal digits are valid in a header")
    }
}

impl<L: KeptLog> Remote<L> {
    /// Adds the name of this run to a response.
    pub(super) fn name_instance(&self, response: &mut Response<Content>) {
        if self.sends_proofs {
            response.headers_mut().insert(INSTANCE, self.instance.value());
        }
    }

    /// Adds the last frame of the generation before `generation`. A client that has this frame knows that the
    /// generation continues its own log.
    pub(super) fn name_predecessor(&self, generation: u64, response: &mut Response<Content>) {
        if !self.sends_proofs {
            return;
        }
        let before = generation - 1;
        let (frame_no, [salt_1, salt_2], [checksum_1, checksum_2]) = match self.log.end_of_closed(before) {
            Some((frame_no, last)) => (frame_no, last.salts, last.checksum),
            // Generation 1 has no predecessor. The remote's first name stands for it.
            None => {
                let hash = xxh3_128(self.history_id.as_bytes());
                let word = |index: u32| (hash >> (32 * index)) as u32;
                (0, [word(0), word(1)], [word(2), word(3)])
            }
        };
        let value = format!("{before}/{frame_no}/{salt_1}/{salt_2}/{checksum_1}/{checksum_2}");
        let value = HeaderValue::from_str(&value).expect("digits are valid in a header");
        response.headers_mut().insert(PREDECESSOR, value);
    }

    /// Whether a request names another run of a server than this one.
    pub(super) fn is_for_another_instance(&self, request: &Request<Bytes>) -> bool {
        let named = request.headers().get(INSTANCE);
        self.sends_proofs && named.is_some_and(|named| *named != self.instance.value())
    }
}
