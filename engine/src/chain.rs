//! The checksums of the server's frames, as a chain: each covers the frame before it.
//!
//! A frame's checksum is computed from its page, its page number, the database size and the checksum of the
//! frame before (<https://www.sqlite.org/fileformat2.html#walformat>). So a frame whose checksum continues the
//! chain of a known frame was written after it, in the same WAL. The first frame of a generation continues the
//! checksum of the WAL's header, which the server does not send: it proves nothing.
//!
//! The byte order of the sums is a property of the server's WAL. It is found out with the first two frames
//! that follow each other. A server may also send checksums that never chain. [`Checksums`] says what is known.

use crate::metadata::FrameStamp;
use crate::wal::{ByteOrder, Frame};

/// What is known about the checksums of the server's frames in one generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Checksums {
    /// No two frames that follow each other have been compared.
    #[default]
    Undecided,
    /// They chain, with sums of this byte order.
    Chained(ByteOrder),
    /// They do not chain, according to the server itself: an answer with two frames shows it.
    Unusable,
}

/// The result of the comparison of a frame with the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// The frame continues the known one.
    Continues,
    /// There is nothing to compare.
    Unknown,
    /// The frame does not continue the known one.
    Broken,
}

/// The end of a chain, to which further frames are added.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Chain {
    /// The stamp of the last frame; `None` if it is not known.
    last: Option<FrameStamp>,
    checksums: Checksums,
}

impl Chain {
    pub(crate) fn after(last: Option<FrameStamp>, checksums: Checksums) -> Self {
        Self { last, checksums }
    }

    pub(crate) fn last(&self) -> Option<FrameStamp> {
        self.last
    }

    pub(crate) fn checksums(&self) -> Checksums {
        self.checksums
    }

    /// Adds the next frame that the server has sent. A frame that breaks the chain is not added.
    pub(crate) fn add(&mut self, frame: &Frame) -> Link {
        let stamp = frame.stamp();
        let link = match (self.last, self.checksums) {
            (None, _) | (_, Checksums::Unusable) => Link::Unknown,
            (Some(last), Checksums::Chained(order)) => {
                if frame.stamp_after(last, order) == stamp {
                    Link::Continues
                } else {
                    Link::Broken
                }
            }
            (Some(last), Checksums::Undecided) => {
                let fits = |order: &ByteOrder| frame.stamp_after(last, *order) == stamp;
                match [ByteOrder::Little, ByteOrder::Big].into_iter().find(fits) {
                    Some(order) => {
                        self.checksums = Checksums::Chained(order);
                        Link::Continues
                    }
                    None => Link::Broken,
                }
            }
        };
        if link != Link::Broken {
            self.last = Some(stamp);
        }
        link
    }
}

/// The meaning of a broken chain, according to a second answer, which holds the frame before the break and the
/// one after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// The two answers contradict each other.
    Contradiction,
    /// The server's checksums do not chain at all.
    ChecksumsUnusable,
}

/// Interprets a break between a frame with the stamp `before` and one with the stamp `after`. `pair` are the
/// same two frames, from one answer: within one answer the frames are of one log.
pub(crate) fn classify_break(before: FrameStamp, after: FrameStamp, pair: &[Frame]) -> Break {
    let [first, second] = pair else { return Break::Contradiction };
    if (first.stamp(), second.stamp()) != (before, after) {
        return Break::Contradiction;
    }
    let mut chain = Chain::after(Some(first.stamp()), Checksums::Undecided);
    match chain.add(second) {
        Link::Broken => Break::ChecksumsUnusable,
        Link::Continues | Link::Unknown => Break::Contradiction,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::PAGE_BYTES;

    const START: FrameStamp = FrameStamp { salts: [1, 2], checksums: [3, 4] };

    fn frame(byte: u8, stamp: FrameStamp) -> Frame {
        Frame::new(2, 5, &[byte; PAGE_BYTES]).with_stamp(stamp)
    }

    /// The frame that a server's WAL has after one with the stamp `last`.
    fn next(byte: u8, last: FrameStamp, order: ByteOrder) -> Frame {
        frame(byte, frame(byte, last).stamp_after(last, order))
    }

    #[test]
    fn a_chain_accepts_its_next_frame_in_either_byte_order_and_no_other() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let other = if order == ByteOrder::Little { ByteOrder::Big } else { ByteOrder::Little };
            let first = next(7, START, order);
            let mut chain = Chain::after(Some(START), Checksums::Undecided);
            assert_eq!(chain.add(&first), Link::Continues);
            assert_eq!(chain.checksums(), Checksums::Chained(order));
            assert_eq!(chain.add(&next(8, first.stamp(), other)), Link::Broken);
            assert_eq!(chain.add(&next(8, START, order)), Link::Broken);
            assert_eq!(chain.last(), Some(first.stamp()), "a frame that does not fit is not added");
            assert_eq!(chain.add(&next(8, first.stamp(), order)), Link::Continues);
        }
    }

    #[test]
    fn other_salts_break_a_chain() {
        let frame = next(7, START, ByteOrder::Little);
        let stamp = FrameStamp { salts: [1, 3], ..frame.stamp() };
        let frame = frame.with_stamp(stamp);
        assert_eq!(Chain::after(Some(START), Checksums::Undecided).add(&frame), Link::Broken);
    }

    #[test]
    fn the_first_frame_proves_nothing_and_begins_a_chain() {
        let first = frame(7, START);
        let mut chain = Chain::default();
        assert_eq!(chain.add(&first), Link::Unknown);
        assert_eq!(chain.add(&next(8, START, ByteOrder::Big)), Link::Continues);
    }

    #[test]
    fn only_an_answer_that_repeats_the_break_shows_that_checksums_are_unusable() {
        let before = frame(7, START);
        let after = frame(8, FrameStamp { salts: [1, 2], checksums: [0, 0] });
        let continues = next(8, START, ByteOrder::Little);
        let classify = |pair: [&Frame; 2]| {
            let pair = pair.map(|frame| Frame::from_bytes(*frame.bytes()));
            classify_break(before.stamp(), after.stamp(), &pair)
        };
        assert_eq!(classify([&before, &after]), Break::ChecksumsUnusable);
        assert_eq!(classify([&before, &continues]), Break::Contradiction);
        assert_eq!(classify([&continues, &after]), Break::Contradiction);
        assert_eq!(classify_break(before.stamp(), after.stamp(), &[before]), Break::Contradiction);
    }
}
