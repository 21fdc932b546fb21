//! Draws statements that change rows.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::super::pick;
use super::Application;
use super::schema::{Column, Key, Table, quoted};
use super::values::{Class, value};

impl Application {
    /// Draws one statement, or a few that belong together.
    pub(super) fn statement(&mut self, rng: &mut impl Rng) -> Vec<String> {
        let Some(table) = self.tables.choose(rng).cloned() else { return Vec::new() };
        match rng.random_range(0..16) {
            0..5 => vec![self.insert(rng, &table)],
            5..7 if self.features.upserts => vec![self.upsert(rng, &table)],
            7 if self.features.bulk => vec![self.insert_from_query(rng, &table)],
            8 if self.features.bulk => vec![self.update_in_bulk(rng, &table)],
            9 if self.features.moves_keys && table.key != Key::None => vec![move_key(rng, &table)],
            10 | 11 => vec![self.delete(rng, &table)],
            12 => self.delete_and_insert_again(rng, &table),
            13 if self.features.failures => vec![self.fail_halfway(rng, &table)],
            _ => vec![self.update(rng, &table)],
        }
    }

    /// The names of the columns that a row names, and its values.
    fn rows(&self, rng: &mut impl Rng, table: &Table, count: usize) -> (Vec<String>, Vec<String>) {
        // A missing column gets its default.
        let columns: Vec<&Column> = table.settable().filter(|_| rng.random_ratio(5, 6)).collect();
        let is_assigned =
            table.key == Key::Autoincrement || table.key == Key::Rowid && rng.random_ratio(1, 6);
        let keys = if is_assigned { &[][..] } else { table.key.columns() };
        let mut names: Vec<String> = keys.iter().map(|name| (*name).to_owned()).collect();
        names.extend(columns.iter().map(|column| quoted(&column.name)));
        let mut row = || {
            let mut values = if is_assigned { Vec::new() } else { table.key_values(rng) };
            values.extend(columns.iter().map(|column| self.value_for(rng, column)));
            format!("({})", values.join(", "))
        };
        let rows = (0..count).map(|_| row()).collect();
        (names, rows)
    }

    fn value_for(&self, rng: &mut impl Rng, column: &Column) -> String {
        if column.name == "parent" {
            let number = rng.random_range(1..6);
            return match column.class {
                Class::Integer => number.to_string(),
                _ => format!("'k{number}'"),
            };
        }
        if !column.is_not_null && rng.random_ratio(1, 8) {
            return "NULL".to_owned();
        }
        value(rng, column.class, &self.features)
    }

    pub(super) fn insert(&self, rng: &mut impl Rng, table: &Table) -> String {
        let resolution = match self.features.resolutions && rng.random_bool(0.5) {
            true => *pick(
                rng,
                &[" OR REPLACE", " OR REPLACE", " OR IGNORE", " OR FAIL", " OR ROLLBACK", " OR ABORT"],
            ),
            false => "",
        };
        let count = *pick(rng, &[1, 1, 2, 4]);
        let (names, rows) = self.rows(rng, table, count);
        if names.is_empty() {
            return format!("INSERT INTO {} DEFAULT VALUES", table.quoted());
        }
        let returning = if rng.random_ratio(1, 10) { " RETURNING *" } else { "" };
        let (table, names, rows) = (table.quoted(), names.join(", "), rows.join(", "));
        format!("INSERT{resolution} INTO {table} ({names}) VALUES {rows}{returning}")
    }

    fn upsert(&self, rng: &mut impl Rng, table: &Table) -> String {
        let count = *pick(rng, &[1, 1, 3]);
        let (names, rows) = self.rows(rng, table, count);
        if names.is_empty() || table.key == Key::None || table.key == Key::Autoincrement {
            return self.insert(rng, table);
        }
        let unique = table.columns.iter().find(|column| column.is_unique && rng.random_bool(0.5));
        let target = unique.map_or_else(|| table.key.columns().join(", "), |column| quoted(&column.name));
        let set: Vec<String> = names
            .iter()
            .filter(|name| {
                let is_key = table.key.columns().contains(&name.as_str());
                if is_key { self.features.moves_keys && rng.random_bool(0.5) } else { rng.random_bool(0.6) }
            })
            .map(|name| format!("{name} = excluded.{name}"))
            .collect();
        let action = if set.is_empty() || rng.random_ratio(1, 6) {
            "NOTHING".to_owned()
        } else {
            format!("UPDATE SET {}", set.join(", "))
        };
        let (table, names, rows) = (table.quoted(), names.join(", "), rows.join(", "));
        format!("INSERT INTO {table} ({names}) VALUES {rows} ON CONFLICT ({target}) DO {action}")
    }

    fn insert_from_query(&self, rng: &mut impl Rng, table: &Table) -> String {
        let names: Vec<String> = table.settable().map(|column| quoted(&column.name)).collect();
        let keys: Vec<String> = match table.key {
            Key::None | Key::Autoincrement => Vec::new(),
            Key::Rowid => vec!["id + 5".to_owned()],
            Key::Composite => vec!["id || 'c1'".to_owned(), "part".to_owned()],
            _ => vec!["id || 'c1'".to_owned()],
        };
        let key_names = if keys.is_empty() { &[][..] } else { table.key.columns() };
        let into: Vec<&str> = key_names.iter().copied().chain(names.iter().map(String::as_str)).collect();
        let from: Vec<&str> = keys.iter().chain(&names).map(String::as_str).collect();
        let resolution = *pick(rng, &["", " OR IGNORE", " OR REPLACE"]);
        let (table, limit) = (table.quoted(), rng.random_range(1..4));
        format!(
            "INSERT{resolution} INTO {table} ({}) SELECT {} FROM {table} ORDER BY 1 LIMIT {limit}",
            into.join(", "),
            from.join(", ")
        )
    }

    /// One or two assignments to columns.
    fn assignments(&self, rng: &mut impl Rng, table: &Table) -> Option<String> {
        let columns: Vec<&Column> = table.settable().collect();
        let count = rng.random_range(1..3);
        let assigned: Vec<String> = columns.sample(rng, count).map(|column| quoted(&column.name)).collect();
        let mut set = Vec::new();
        for name in assigned {
            let column = columns.iter().find(|column| quoted(&column.name) == name)?;
            let to = match column.class {
                Class::Integer if rng.random_ratio(1, 4) => format!("coalesce({name}, 0) + 1"),
                Class::Text if rng.random_ratio(1, 4) => format!("substr({name} || 'u1', 1, 12)"),
                _ => self.value_for(rng, column),
            };
            set.push(format!("{name} = {to}"));
        }
        (!set.is_empty()).then(|| set.join(", "))
    }

    fn update(&self, rng: &mut impl Rng, table: &Table) -> String {
        let Some(set) = self.assignments(rng, table) else { return self.insert(rng, table) };
        let resolution = match self.features.resolutions && rng.random_ratio(1, 4) {
            true => *pick(rng, &[" OR REPLACE", " OR IGNORE"]),
            false => "",
        };
        let condition = table.condition(rng, &self.features);
        format!("UPDATE{resolution} {} SET {set} WHERE {condition}", table.quoted())
    }

    fn update_in_bulk(&self, rng: &mut impl Rng, table: &Table) -> String {
        let Some(set) = self.assignments(rng, table) else { return self.insert(rng, table) };
        let target = table.quoted();
        match self.tables.choose(rng).filter(|other| other.name != table.name && rng.random_bool(0.4)) {
            Some(other) => format!("UPDATE {target} SET {set} FROM {} AS other", other.quoted()),
            None => format!("UPDATE {target} SET {set}"),
        }
    }

    fn delete(&self, rng: &mut impl Rng, table: &Table) -> String {
        if self.features.bulk && rng.random_ratio(1, 6) {
            return format!("DELETE FROM {}", table.quoted());
        }
        format!("DELETE FROM {} WHERE {}", table.quoted(), table.condition(rng, &self.features))
    }

    fn delete_and_insert_again(&self, rng: &mut impl Rng, table: &Table) -> Vec<String> {
        vec![self.delete(rng, table), self.insert(rng, table)]
    }

    /// A statement that fails at its second row, if the table has a key.
    fn fail_halfway(&self, rng: &mut impl Rng, table: &Table) -> String {
        let (names, rows) = self.rows(rng, table, 1);
        if names.is_empty() {
            return self.insert(rng, table);
        }
        let resolution = *pick(rng, &["", " OR FAIL", " OR ROLLBACK"]);
        let (table, names) = (table.quoted(), names.join(", "));
        format!("INSERT{resolution} INTO {table} ({names}) VALUES {0}, {0}", rows[0])
    }
}

/// Sets a key, or exchanges two.
fn move_key(rng: &mut impl Rng, table: &Table) -> String {
    let (from, to) = (table.key_values(rng), table.key_values(rng));
    let name = table.quoted();
    if rng.random_ratio(1, 4) && from[0] != to[0] {
        return format!(
            "UPDATE {name} SET id = CASE id WHEN {0} THEN {1} WHEN {1} THEN {0} ELSE id END",
            from[0], to[0]
        );
    }
    let resolution = *pick(rng, &["", "", " OR REPLACE", " OR IGNORE"]);
    format!("UPDATE{resolution} {name} SET id = {} WHERE id IS {}", to[0], from[0])
}
