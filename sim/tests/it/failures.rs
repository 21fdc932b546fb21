//! The signatures of violations.

use plimsoll_sim::judge::verdict::{EXACTLY_ONCE, MONOTONE, NO_SURPRISE, READS, Violation};

#[test]
fn a_signature_keeps_the_words_and_drops_the_numbers() {
    for (invariant, messages, pattern) in [
        (
            MONOTONE,
            [
                "generation and frame went back from (3, 17) to (1, 0)",
                "generation and frame went back from (12, 1) to (11, 9)",
            ],
            "generation and frame went back from (#) to (#)",
        ),
        (
            EXACTLY_ONCE,
            ["the remote: c1.5.0 is on the remote twice", "the remote: c0.17.2 is on the remote twice"],
            "the remote: # is on the remote twice",
        ),
        (
            READS,
            [
                "client 1: log differs at row 3: c0.4.1 where its end is expected",
                "client 0: log differs at row 30: r.4.1 where its end is expected",
            ],
            "client #: log differs at row #: # where its end is expected",
        ),
        (
            NO_SURPRISE,
            [
                "client 2's open failed although no fault was injected: c2/local.db-info is damaged at byte 7",
                "client 0's open failed although no fault was injected: c0/local.db-info is damaged at byte 99",
            ],
            "client #'s open failed although no fault was injected: #/local.db-info is damaged at byte #",
        ),
    ] {
        for message in messages {
            let signature = Violation::of(invariant, message).signature();
            assert_eq!((signature.invariant.as_str(), signature.pattern.as_str()), (invariant.name, pattern));
        }
    }
}

#[test]
fn different_words_have_different_signatures() {
    let signature = |message: &str| Violation::of(MONOTONE, message).signature();
    assert_ne!(
        signature("the highest attempted transaction went back from 1 to 0"),
        signature("generation and frame went back from (3, 17) to (1, 0)")
    );
}
