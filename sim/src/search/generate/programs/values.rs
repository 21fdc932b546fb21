//! Draws values, as literals or expressions of SQL.

use rand::{Rng, RngExt};

use super::super::pick;
use super::Features;

/// The class of a column's type: which values an application writes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Integer,
    Real,
    Text,
    Blob,
    Any,
}

impl Class {
    pub const ALL: [Self; 5] = [Self::Integer, Self::Text, Self::Text, Self::Real, Self::Blob];

    /// A declared type of this class.
    pub fn declared(self, rng: &mut impl Rng, is_strict: bool) -> &'static str {
        match (self, is_strict) {
            (Self::Integer, true) => word(rng, &["INTEGER", "INT"]),
            (Self::Integer, false) => word(rng, &["INTEGER", "INT", "BIGINT", "BOOLEAN", "NUMERIC"]),
            (Self::Real, true) => "REAL",
            (Self::Real, false) => word(rng, &["REAL", "DOUBLE PRECISION", "DECIMAL(10, 2)"]),
            (Self::Text, true) => "TEXT",
            (Self::Text, false) => word(rng, &["TEXT", "VARCHAR(200)", "DATETIME", "JSON", ""]),
            (Self::Blob, _) => "BLOB",
            (Self::Any, true) => "ANY",
            (Self::Any, false) => "",
        }
    }
}

/// A value that a column of this class can hold. Texts have a digit, so that messages about them have one
/// signature.
pub(super) fn value(rng: &mut impl Rng, class: Class, features: &Features) -> String {
    if features.extremes && rng.random_ratio(1, 6) {
        return extreme(rng, class).to_owned();
    }
    let small = rng.random_range(0..10);
    match class {
        Class::Integer => small.to_string(),
        Class::Real => format!("{small}.5"),
        Class::Text if features.large && rng.random_ratio(1, 6) => {
            format!("'large{small}' || hex(zeroblob({}))", pick(rng, &[500, 3000, 9000]))
        }
        Class::Text => format!("'v{small}'"),
        Class::Blob if features.large && rng.random_ratio(1, 3) => {
            format!("zeroblob({})", pick(rng, &[700, 5000, 40_000]))
        }
        Class::Blob => format!("x'0{small}'"),
        Class::Any => {
            let class = *pick(rng, &Class::ALL);
            value(rng, class, features)
        }
    }
}

/// A value at the limits of its type, or one that is easily damaged on its way.
fn extreme(rng: &mut impl Rng, class: Class) -> &'static str {
    match class {
        Class::Integer => word(rng, &["9223372036854775807", "-9223372036854775807 - 1", "-1", "4294967296"]),
        Class::Real => word(rng, &["-0.0", "9e999", "-9e999", "1e-300", "3.0", "9007199254740993.0"]),
        Class::Text => word(
            rng,
            &[
                "''",
                "'O''Brien 1'",
                "'\u{1f600} 1'",
                "'a' || char(0) || '1'",
                "CAST(x'ff31' AS TEXT)",
                "'2026-11-29 16:07:02'",
                "'{\"a\": [1, null]}'",
                "'1'",
                "'1e3'",
            ],
        ),
        Class::Blob => word(rng, &["x''", "x'00'", "CAST('text1' AS BLOB)", "zeroblob(200000)"]),
        Class::Any => word(rng, &["NULL", "1", "1.0", "'1'", "x'31'"]),
    }
}

fn word(rng: &mut impl Rng, from: &[&'static str]) -> &'static str {
    let word: &&str = pick(rng, from);
    word
}
