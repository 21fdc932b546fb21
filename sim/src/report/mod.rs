//! Renders results for people and machines. The commands choose what to render.
//!
//! | module | renders |
//! |---|---|
//! | [`sweep`] | a sweep's result: as JSON that can be merged, and as a summary |
//! | [`timeline`] | a history in lanes, for a terminal |
//! | [`page`] | a history in lanes, as a self-contained HTML page |
//! | `rows` | events as lines in English, for both |
//!
//! Guarantees: this module runs no history and does no I/O. It turns values into text.

pub mod page;
mod rows;
pub mod sweep;
pub mod timeline;
