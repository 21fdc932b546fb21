//! Finds failures and shrinks them.
//!
//! | module | holds |
//! |---|---|
//! | [`generate`] | the schedule of a seed |
//! | [`sweep`] | runs many seeds on all cores |
//! | [`seeds`] | a set of seeds as ranges |
//! | [`explore`] | runs short schedules with every crash and every request outcome |
//! | [`shrink`] | finds a smaller schedule with the same failure |
//! | [`child`] | runs a history in a process that can be ended |
//! | [`corpus`] | schedules that once failed, kept as tests |

pub mod child;
pub mod corpus;
pub mod explore;
pub mod generate;
pub mod seeds;
pub mod shrink;
pub mod sweep;
