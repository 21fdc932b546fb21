//! The content of a database as of a place in its log, as page references into the bytes it was read from.
//!
//! Two images are compared page by page, page count included: that is what "Draft as of its watermark equals Synced as
//! of its own" means. Building one costs a pass over frame headers; no page is copied.
//!
//! Left out: what the pages mean. Two databases with the same rows and different pages are different.

use std::fmt;

use super::{DatabaseHeader, PAGE_BYTES, Page, Wal};

/// A page that no file holds.
static ZEROS: Page = [0; PAGE_BYTES];

/// The pages of a database at one moment.
#[derive(Debug, Clone)]
pub struct DatabaseImage<'a> {
    page_count: u32,
    /// Page 1 first. Ends with the last page that some file holds: a page count may be a damaged file's claim of
    /// millions.
    pages: Vec<&'a Page>,
}

impl<'a> DatabaseImage<'a> {
    /// What a reader sees when the log ends at `frame_no`: the main file and the transactions that are complete by
    /// then. The page count is that of the newest commit frame, or of the main file.
    pub fn at(main: &'a [u8], wal: &Wal<'a>, frame_no: u64) -> DatabaseImage<'a> {
        match wal.commit_boundary_at_or_before(frame_no) {
            0 => DatabaseImage::of_main(main),
            commit => DatabaseImage::pages_at(main, wal, commit, wal.frame(commit).db_size),
        }
    }

    /// The main file under exactly `frame_count` frames, complete transaction or not. The page count is the caller's
    /// word, since inside a transaction the log has none.
    pub fn pages_at(main: &'a [u8], wal: &Wal<'a>, frame_count: u64, page_count: u32) -> DatabaseImage<'a> {
        DatabaseImage::overlay(main, wal.pages(frame_count), page_count)
    }

    /// A main file alone. Its page count is the header's, valid by SQLite's rule or not: these are the core's files
    /// ([`DatabaseHeader::page_count`]). Without a header, or with a count of 0, it is that of the whole pages.
    pub fn of_main(main: &'a [u8]) -> DatabaseImage<'a> {
        let whole_pages = main.as_chunks::<PAGE_BYTES>().0.len() as u32;
        let page_count = match DatabaseHeader::parse(main) {
            Some(header) if header.page_count != 0 => header.page_count,
            _ => whole_pages,
        };
        DatabaseImage::overlay(main, std::iter::empty(), page_count)
    }

    /// `page_count` pages of a main file, each replaced by the last of `frames` that carries it. A page that is in
    /// neither, or that the main file holds only in part, is zeros.
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

    /// Pages of the database.
    pub fn page_count(&self) -> u32 {
        self.page_count
    }

    /// One page, counted from 1; `None` beyond the page count.
    pub fn page(&self, page_no: u32) -> Option<&'a Page> {
        let index = (page_no as usize).checked_sub(1)?;
        (page_no <= self.page_count).then(|| self.pages.get(index).copied().unwrap_or(&ZEROS))
    }

    /// That they differ in length, or else the lowest page in which two images differ; `None` when they are equal.
    pub fn first_difference(&self, other: &DatabaseImage<'_>) -> Option<Difference> {
        self.first_difference_among(other, |_| true)
    }

    /// As [`first_difference`](Self::first_difference), but of the pages only those that are `compared`.
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

/// Where two images differ first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// They have different numbers of pages.
    PageCount {
        /// Pages of the image that was asked.
        left: u32,
        /// Pages of the image it was compared with.
        right: u32,
    },
    /// A page differs.
    Page {
        /// Counted from 1.
        page_no: u32,
        /// The first byte of the page that differs.
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
