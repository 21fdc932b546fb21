//! Property tests for everything that the engine encodes and decodes: decoding returns the encoded value, and
//! arbitrary bytes are refused without a panic.

use proptest::collection::vec;
use proptest::prelude::*;
use turso_core::Value;

use crate::metadata::{Anchor, Attachment, FrameStamp, GENERATION_MAX, Metadata, Phase};
use crate::pages::PageSet;
use crate::protocol::{Info, PipelineAnswer, PipelineRequest, Status};
use crate::wal::{FRAME_BYTES, FRAME_HEADER_BYTES, Frame, PAGE_BYTES};

fn stamp() -> impl Strategy<Value = FrameStamp> {
    any::<([u32; 2], [u32; 2])>().prop_map(|(salts, checksums)| FrameStamp { salts, checksums })
}

fn pages() -> impl Strategy<Value = PageSet> {
    vec((any::<u32>(), 0_u32..50), 0..700).prop_map(|ranges| {
        PageSet::default().with(ranges.into_iter().map(|(first, more)| first..=first.saturating_add(more)))
    })
}

fn anchor() -> impl Strategy<Value = Anchor> {
    (any::<u64>(), any::<u64>(), proptest::option::of(stamp()))
        .prop_map(|(generation, frame_no, stamp)| Anchor { generation, frame_no, stamp })
}

/// Any metadata that the engine could write.
fn metadata() -> impl Strategy<Value = Metadata> {
    let phase = prop_oneof![
        Just(Phase::Bootstrapping),
        Just(Phase::FirstPull),
        Just(Phase::Ready),
        Just(Phase::CheckpointingSynced),
        Just(Phase::CompactingDraft),
    ];
    let attachment = prop_oneof![
        Just(Attachment::Attached),
        Just(Attachment::Severed),
        Just(Attachment::Replacing),
        Just(Attachment::Detached),
    ];
    let frames = 0..=u64::from(u32::MAX);
    let names = (".{0,40}", proptest::option::of(".{0,40}"), phase, attachment, any::<bool>());
    let remote =
        (0..=GENERATION_MAX, proptest::option::of(0..=GENERATION_MAX), proptest::option::of(anchor()));
    let logs = (frames.clone(), frames.clone(), frames.clone(), stamp(), stamp(), pages());
    let moving = (1..=*frames.end(), stamp());
    (names, remote, logs, moving, any::<[u64; 2]>()).prop_map(|(names, remote, logs, moving, numbers)| {
        Metadata {
            phase: names.2,
            synced_generation: remote.0,
            synced_frame_no: remote.1,
            synced_wal_frames: logs.0.max(logs.1),
            synced_wal_stamp: logs.3,
            draft_wal_match_watermark: logs.2,
            draft_wal_stamp: logs.4,
            draft_wal_moving_frames: moving.0,
            draft_wal_moving_stamp: moving.1,
            synced_wal_match_watermark: logs.0.min(logs.1),
            draft_changed_pages: logs.5,
            attempted_transaction_no: numbers[0],
            history_id: names.1,
            anchor: remote.2,
            former_anchor: remote.2.filter(|_| names.4),
            attachment: names.3,
            history_changed: names.4,
            settled_transaction_no: numbers[1],
            ..Metadata::bootstrapping(names.0)
        }
    })
}

#[derive(Debug, Clone, Copy)]
struct Message {
    example: &'static str,
    /// The required members, each with the path to its object.
    required: &'static [(&'static str, &'static str)],
    reads: fn(&[u8]) -> bool,
}

impl Message {
    fn json(self) -> serde_json::Value {
        serde_json::from_str(self.example).unwrap()
    }

    fn reads(self, bytes: &[u8]) -> bool {
        (self.reads)(bytes)
    }
}

const MESSAGES: &[Message] = &[
    Message {
        example: r#"{"current_generation":7,"history_id":"h1"}"#,
        required: &[("", "current_generation")],
        reads: |bytes| serde_json::from_slice::<Info>(bytes).is_ok(),
    },
    Message {
        example: r#"{"baton":"b","status":"checkpoint_needed","generation":2,"max_frame_no":9}"#,
        required: &[("", "status"), ("", "generation"), ("", "max_frame_no")],
        reads: |bytes| serde_json::from_slice::<Status>(bytes).is_ok(),
    },
    Message {
        example: r#"{"baton":null,"base_url":null,"results":[{"type":"ok","response":{"type":"batch","result":{"step_results":[null,{"rows":[]}],"step_errors":[null,null]}}}]}"#,
        required: &[
            ("", "results"),
            ("/results/0", "type"),
            ("/results/0", "response"),
            ("/results/0/response", "result"),
            ("/results/0/response/result", "step_results"),
            ("/results/0/response/result", "step_errors"),
        ],
        reads: |bytes| serde_json::from_slice::<PipelineAnswer>(bytes).is_ok(),
    },
];

fn other_json() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        ".{0,10}".prop_map(Into::into),
        Just(serde_json::json!([])),
        Just(serde_json::json!({})),
    ]
}

proptest! {
    #[test]
    fn metadata_is_read_as_it_was_written(metadata in metadata()) {
        let bytes = metadata.encode().unwrap();
        prop_assert_eq!(Metadata::decode(&bytes).unwrap(), metadata);
    }

    #[test]
    fn damaged_metadata_is_refused(metadata in metadata(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = metadata.encode().unwrap();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        if let Ok(read) = Metadata::decode(&bytes) {
            // White space, or the same number in another notation.
            prop_assert_eq!(read, metadata);
        }
    }

    #[test]
    fn bytes_that_nobody_has_written_are_no_metadata(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(Metadata::decode(&bytes).is_err());
    }

    /// A set contains every page that was added, even after ranges are joined to keep the set small.
    #[test]
    fn a_set_of_pages_errs_on_the_safe_side(ranges in vec((0_u32..100_000, 0_u32..50), 0..900)) {
        let set = PageSet::default().with(ranges.iter().map(|&(first, more)| first..=first + more));
        for (first, more) in ranges {
            prop_assert!(set.ranges().any(|range| range.contains(&first) && range.contains(&(first + more))));
        }
        let ends: Vec<_> = set.ranges().map(|range| range.into_inner()).collect();
        prop_assert!(ends.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }

    #[test]
    fn a_frames_header_says_what_it_was_made_with(page_no in any::<u32>(), pages in any::<u32>(), byte in any::<u8>()) {
        let page = [byte; PAGE_BYTES];
        let frame = Frame::new(page_no, pages, &page);
        prop_assert_eq!((frame.page_no(), frame.database_pages()), (page_no, pages));
        prop_assert_eq!(frame.is_commit(), pages != 0);
        prop_assert_eq!(frame.page(), &page[..]);
        let bytes: [u8; FRAME_BYTES] = *frame.bytes();
        let copy = Frame::from_bytes(bytes);
        prop_assert_eq!(copy.bytes(), &bytes[..]);
        prop_assert_eq!(&bytes[8..FRAME_HEADER_BYTES], &[0; 16]);
    }

    /// Bytes that are not JSON are not a message.
    #[test]
    fn random_bytes_are_no_answer(bytes in vec(any::<u8>(), 0..300), text in ".{0,200}") {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            for message in MESSAGES {
                prop_assert!(!message.reads(bytes), "{bytes:?}");
            }
        }
    }

    /// A message with a missing member, or a member of another type, is refused. A message with an additional
    /// member is accepted: servers may add some.
    #[test]
    fn a_mutated_answer_is_refused(message in prop::sample::select(MESSAGES), at in any::<prop::sample::Index>(), other in other_json()) {
        let valid = message.json();
        prop_assert!(message.reads(valid.to_string().as_bytes()));
        let (path, member) = message.required[at.index(message.required.len())];
        let mut lacking = valid.clone();
        lacking.pointer_mut(path).unwrap().as_object_mut().unwrap().remove(member);
        prop_assert!(!message.reads(lacking.to_string().as_bytes()), "without {path}/{member}");
        let mut changed = valid.clone();
        let value = &mut changed.pointer_mut(path).unwrap()[member];
        prop_assume!(std::mem::discriminant(&*value) != std::mem::discriminant(&other));
        *value = other;
        prop_assert!(!message.reads(changed.to_string().as_bytes()), "{changed}");
        let mut extended = valid;
        extended.pointer_mut(path).unwrap()["a member of a newer server"] = 1.into();
        prop_assert!(message.reads(extended.to_string().as_bytes()));
    }

    #[test]
    fn a_truncated_answer_is_refused(message in prop::sample::select(MESSAGES), at in any::<prop::sample::Index>()) {
        let text = message.json().to_string();
        prop_assert!(!message.reads(&text.as_bytes()[..at.index(text.len())]));
    }

    /// Numbers outside the range of a counter.
    #[test]
    fn a_wild_number_is_refused(number in prop_oneof![Just("-1"), Just("1.5"), Just("18446744073709551616"), Just("1e3")]) {
        for member in ["generation", "max_frame_no"] {
            let text = r#"{"baton":null,"status":"ok","generation":3,"max_frame_no":3}"#
                .replace(&format!("\"{member}\":3"), &format!("\"{member}\":{number}"));
            prop_assert!(serde_json::from_str::<Status>(&text).is_err(), "{text}");
        }
    }

    /// A statement keeps its text and its arguments, with their types, over the wire.
    #[test]
    fn a_request_says_what_is_to_be_run(sql in ".{0,60}", number in any::<i64>(), text in ".{0,40}", blob in vec(any::<u8>(), 0..40)) {
        let args = [Value::from_i64(number), Value::build_text(text.clone()), Value::from_blob(blob), Value::Null];
        let request = serde_json::to_value(PipelineRequest::chained([(sql.as_str(), &args[..])])).unwrap();
        let stmt = &request["requests"][0]["batch"]["steps"][0]["stmt"];
        prop_assert_eq!(&stmt["sql"], &serde_json::json!(sql));
        prop_assert_eq!(&stmt["args"][0], &serde_json::json!({"type": "integer", "value": number.to_string()}));
        prop_assert_eq!(&stmt["args"][1], &serde_json::json!({"type": "text", "value": text}));
        prop_assert_eq!(&stmt["args"][2]["type"], &serde_json::json!("blob"));
        prop_assert_eq!(&stmt["args"][3], &serde_json::json!({"type": "null"}));
    }
}
