//! How failures are found and made small.
//!
//! | module | holds |
//! |---|---|
//! | [`generate`] | a seed's schedule |
//! | [`sweep`] | many seeds on all cores |
//! | [`explore`] | short schedules with every crash and every request outcome |
//! | [`shrink`] | a smaller schedule that fails in the same way |
//! | [`corpus`] | schedules that found something once, kept as tests |

pub mod corpus;
pub mod explore;
pub mod generate;
pub mod shrink;
pub mod sweep;
