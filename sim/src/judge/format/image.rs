//! The content of a database at a position of its log, as references to the pages it was read from.
//!
//! Two images are compared page by page, page count included. The invariant `watermark`, for example,
//! compares Draft and Synced in this way. Building an image costs one pass over the frame headers; no page is
//! copied.
//!
//! The meaning of the pages does not matter: two databases with the same rows and different pages are
//! different.

use std::fmt;

use super::{DatabaseHeader, PAGE_BYTES, Page, Wal};

/// The content of a page that no file holds.
static ZEROS: Page = [0; PAGE_BYTES];

/// The pages of a database at one moment.
#[derive(Debug, Clone)]
pub struct DatabaseImage<'a> {
    page_count: u32,
    /// The pages in order. The list ends with the last page that some file holds, because a damaged file
    /// can claim a page count of millions.
    pages: Vec<&'a Page>,
}

impl<'a> DatabaseImage<'a> {
    /// The database that a reader sees when the log ends at `frame_no`: the main file and the transactions
    /// that are complete by then. The page count is that of the newest commit frame, or of the main file.
    pub fn at(main: &'a [u8], wal: &Wal<'a>, frame_no: u64) -> DatabaseImage<'a> {
        match wal.commit_boundary_at_or_before(frame_no) {
            0 => DatabaseImage::of_main(main),
            commit => DatabaseImage::pages_at(main, wal, commit, wal.frame(commit).db_size),
        }
    }

    /// The main file with exactly `frame_count` frames applied, even if they end inside a transaction. The
    /// caller supplies the page count, because the log has none inside a transaction.
    pub fn pages_at(main: &'a [u8], wal: &Wal<'a>, frame_count: u64, page_count: u32) -> DatabaseImage<'a> {
        DatabaseImage::overlay(main, wal.pages(frame_count), page_count)
    }

    /// A main file alone. The page count is the header's, whether or not SQLite's rule makes it valid,
    /// because turso_core wrote these files ([`DatabaseHeader::page_count`]). Without a header, or with a
    /// count of 0, it is the number of whole pages.
    pub fn of_main(main: &'a [u8]) -> DatabaseImage<'a> {
        let whole_pages = main.as_chunks::<PAGE_BYTES>().0.len() as u32;
        let page_count = match DatabaseHeader::parse(main) {
            Some(header) if header.page_count != 0 => header.page_count,
            _ => whole_pages,
        };
        DatabaseImage::overlay(main, std::iter::empty(), page_count)
    }

    /// The first `page_count` pages of a main file, each replaced by the last of `frames` that carries this
    /// page. A page is zeros if no frame carries it and the main file does not hold all of it.
    pub fn overlay(
        main: &'a [u8],
        frames: impl Iterator<Item = (u32, &'a Page)>,
        page_count: u32,
    ) -> DatabaseImage<'a> {
        let mut pages: Vec<&'a Page> = main.as_chunks().0.iter().take(page_count as usize).collect();
        for (page_no, page) in frames {
            if page_no == 0 || page_no > page_count {
                continue; // cut off again by a later transaction
            }
            let index = page_no as usize - 1;
            if index >= pages.len() {
                pages.resize(index + 1, &ZEROS);
            }
            pages[index] = page;
        }
        DatabaseImage { page_count, pages }
    }

    pub fn page_count(&self) -> u32 {
        self.page_count
    }

    /// The page `page_no`, counted from 1; `None` beyond the page count.
    pub fn page(&self, page_no: u32) -> Option<&'a Page> {
        let index = (page_no as usize).checked_sub(1)?;
        (page_no <= self.page_count).then(|| self.pages.get(index).copied().unwrap_or(&ZEROS))
    }

    /// The first difference between two images: the page counts, or else the lowest page that differs.
    /// `None` when they are equal.
    pub fn first_difference(&self, other: &DatabaseImage<'_>) -> Option<Difference> {
        self.first_difference_among(other, |_| true)
    }

    /// Like [`first_difference`](Self::first_difference), but compares only the pages in `compared`.
    pub fn first_difference_among(
        &self,
        other: &DatabaseImage<'_>,
        compared: impl Fn(u32) -> bool,
    ) -> Option<Difference> {
        if self.page_count != other.page_count {
            return Some(Difference::PageCount { left: self.page_count, right: other.page_count });
        }
        let stored = self.pages.len().max(other.pages.len()) as u32;
        (1..=stored).find_map(|page_no| {
            let (left, right) = (self.page(page_no)?, other.page(page_no)?);
            if left == right || !compared(page_no) {
                return None;
            }
            let offset = left.iter().zip(right).position(|(left, right)| left != right);
            let offset = offset.expect("different pages differ in a byte") as u32;
            Some(Difference::Page { page_no, offset })
        })
    }
}

/// The first difference between two images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    PageCount {
        /// The page count of the left image.
        left: u32,
        /// The page count of the right image.
        right: u32,
    },
    Page {
        /// The page number, counted from 1.
        page_no: u32,
        /// The offset of the first byte that differs.
        offset: u32,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::PageCount { left, right } => {
                write!(f, "{left} pages on the left, {right} on the right")
            }
            Difference::Page { page_no, offset } => {
                write!(f, "page {page_no} differs from byte {offset} on")
            }
        }
    }
}
