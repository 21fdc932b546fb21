//! Checks a page that a client has posted before it reaches the database.
//!
//! A frame brings one page, and most of its meaning is in other pages. What the page alone shows is checked:
//! a B-tree page has a header and cell pointers that stay inside the page; every other page begins with the
//! number of another page, as overflow pages and trunk pages of the freelist do. The schema names the root pages, and
//! each has to stay one of a table or of an index ([`RootKind`]). Not checked: the cells, the order of keys, and whether
//! the pages form a tree.

use crate::judge::format::{DATABASE_HEADER_BYTES, DatabaseHeader, PAGE_BYTES};

/// The reason why a page is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PageProblem {
    #[error("there is no page 0")]
    Number,
    #[error("page 1 is not the first page of a database with pages of {PAGE_BYTES} bytes")]
    DatabaseHeader,
    #[error("the first byte is neither a B-tree page's nor that of a page number below 16,777,216")]
    Kind,
    #[error("a pointer of the B-tree page leads out of the page")]
    Pointer,
}

const INTERIOR_INDEX: u8 = 2;
const INTERIOR_TABLE: u8 = 5;
const LEAF_INDEX: u8 = 10;
const LEAF_TABLE: u8 = 13;

/// The kind of a root page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RootKind {
    Table,
    Index,
}

/// Whether a page can be a root page of this kind. It is not page 1.
pub(super) fn is_of_kind(page: &[u8], kind: RootKind) -> bool {
    match kind {
        RootKind::Table => matches!(page[0], INTERIOR_TABLE | LEAF_TABLE),
        RootKind::Index => matches!(page[0], INTERIOR_INDEX | LEAF_INDEX),
    }
}

/// The number that page 1 counts up with each change of the schema.
pub(super) fn schema_version(page: &[u8]) -> u32 {
    const AT: usize = 40;
    u32::from_be_bytes([page[AT], page[AT + 1], page[AT + 2], page[AT + 3]])
}

/// Checks page `number` with these bytes.
pub(super) fn check(number: u32, page: &[u8]) -> Result<(), PageProblem> {
    match number {
        0 => Err(PageProblem::Number),
        1 => {
            let header = DatabaseHeader::parse(page);
            if header.is_none_or(|header| header.page_bytes as usize != PAGE_BYTES) {
                return Err(PageProblem::DatabaseHeader);
            }
            match page[DATABASE_HEADER_BYTES] {
                INTERIOR_TABLE | LEAF_TABLE => check_tree(page, DATABASE_HEADER_BYTES),
                _ => Err(PageProblem::Kind),
            }
        }
        _ => match page[0] {
            INTERIOR_INDEX | INTERIOR_TABLE | LEAF_INDEX | LEAF_TABLE => check_tree(page, 0),
            // The first byte of a page number, or an unused page.
            0 => Ok(()),
            _ => Err(PageProblem::Kind),
        },
    }
}

/// Checks the header at `start` and the array of cell pointers after it.
fn check_tree(page: &[u8], start: usize) -> Result<(), PageProblem> {
    let word = |at: usize| usize::from(u16::from_be_bytes([page[at], page[at + 1]]));
    let header_bytes = if page[start] < LEAF_INDEX { 12 } else { 8 };
    let (free, cells) = (word(start + 1), word(start + 3));
    let pointers = start + header_bytes;
    let after_pointers = pointers + 2 * cells;
    // The stored 0 stands for 65536, which no page of this size has.
    let content = match word(start + 5) {
        0 => PAGE_BYTES,
        stored => stored,
    };
    let is_inside = |at: usize| (after_pointers..PAGE_BYTES).contains(&at);
    let has_room = after_pointers <= content && content <= PAGE_BYTES;
    let is_sound = has_room
        && (free == 0 || is_inside(free))
        && (0..cells).all(|cell| is_inside(word(pointers + 2 * cell)));
    if is_sound { Ok(()) } else { Err(PageProblem::Pointer) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(cells: &[u16]) -> Vec<u8> {
        let mut page = vec![0; PAGE_BYTES];
        page[0] = LEAF_TABLE;
        page[3..5].copy_from_slice(&(cells.len() as u16).to_be_bytes());
        page[5..7].copy_from_slice(&4000_u16.to_be_bytes());
        for (place, cell) in page[8..].chunks_exact_mut(2).zip(cells) {
            place.copy_from_slice(&cell.to_be_bytes());
        }
        page
    }

    #[test]
    fn a_page_that_leads_out_of_itself_is_refused() {
        assert_eq!(check(2, &leaf(&[4000, 4050])), Ok(()));
        assert_eq!(check(2, &leaf(&[4096])), Err(PageProblem::Pointer));
        assert_eq!(check(2, &leaf(&[9])), Err(PageProblem::Pointer));
        assert_eq!(check(2, &leaf(&[4000; 2500])), Err(PageProblem::Pointer));
        let mut without_room = leaf(&[4000]);
        without_room[5..7].copy_from_slice(&4097_u16.to_be_bytes());
        assert_eq!(check(2, &without_room), Err(PageProblem::Pointer));
    }

    #[test]
    fn a_page_of_no_kind_is_refused() {
        assert_eq!(check(0, &leaf(&[])), Err(PageProblem::Number));
        assert_eq!(check(1, &leaf(&[])), Err(PageProblem::DatabaseHeader));
        assert_eq!(check(2, &[0xff; PAGE_BYTES]), Err(PageProblem::Kind));
        assert_eq!(check(2, &[0; PAGE_BYTES]), Ok(()), "an unused page");
    }
}
