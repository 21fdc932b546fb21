//! What people and machines read: rendering, apart from the commands that ask for it.
//!
//! | module | renders |
//! |---|---|
//! | [`sweep`] | a sweep's result, as JSON to be merged and as the summary |
//! | [`timeline`] | a history in lanes, for a terminal |
//! | [`page`] | a history in lanes, as a self-contained HTML page |
//! | `rows` | events as lines in English, for both |
//!
//! Guarantees: nothing here runs, reads or writes anything; text in, text out.

pub mod page;
mod rows;
pub mod sweep;
pub mod timeline;
