//! Draws changes of the schema.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::super::pick;
use super::Application;
use super::schema::{Column, Key, Table, quoted};
use super::values::{Class, value};

impl Application {
    /// Draws a change of the schema.
    pub(super) fn change(&mut self, rng: &mut impl Rng) -> Vec<String> {
        let Some(number) = (0..self.tables.len()).collect::<Vec<_>>().choose(rng).copied() else {
            return Vec::new();
        };
        let table = self.tables[number].clone();
        let target = table.quoted();
        match rng.random_range(0..12) {
            0..3 => self.add_column(rng, number),
            3 => {
                let Some(column) = droppable(&table).choose(rng).cloned() else { return Vec::new() };
                self.tables[number].columns.retain(|other| other.name != column);
                vec![format!("ALTER TABLE {target} DROP COLUMN {}", quoted(&column))]
            }
            4 => {
                let Some(column) = droppable(&table).choose(rng).cloned() else { return Vec::new() };
                let name = self.new_object("renamed");
                let renamed = self.tables[number].columns.iter_mut().find(|other| other.name == column);
                renamed.expect("the column was drawn from the table").name.clone_from(&name);
                vec![format!("ALTER TABLE {target} RENAME COLUMN {} TO {name}", quoted(&column))]
            }
            5 => {
                let name = self.new_name(rng);
                self.tables[number].name.clone_from(&name);
                vec![format!("ALTER TABLE {target} RENAME TO {}", quoted(&name))]
            }
            6 => vec![self.draw_index(rng, &table)],
            7 => vec![self.draw_view(rng, &table)],
            8 => self.draw_trigger(rng, &table).into_iter().collect(),
            9 => match self.views.choose(rng).cloned() {
                Some(view) => vec![format!("DROP VIEW {view}")],
                None => Vec::new(),
            },
            10 if self.tables.len() > 1 => {
                self.tables.remove(number);
                vec![format!("DROP TABLE {target}")]
            }
            _ => {
                let table = self.draw_table(rng);
                let sql = vec![table.create(&table.name), self.insert(rng, &table)];
                self.tables.push(table);
                sql
            }
        }
    }

    fn add_column(&mut self, rng: &mut impl Rng, number: usize) -> Vec<String> {
        let name = self.new_object("added");
        let table = &self.tables[number];
        let class = *pick(rng, &Class::ALL);
        let declared = class.declared(rng, table.is_strict());
        let default = match rng.random_range(0..4) {
            0 => String::new(),
            1 => format!(" NOT NULL DEFAULT {}", ["0", "''", "1.5"].choose(rng).expect("it is not empty")),
            2 if class == Class::Text => " DEFAULT CURRENT_TIMESTAMP".to_owned(),
            _ => format!(" DEFAULT ({})", value(rng, class, &self.features)),
        };
        let sql = format!("ALTER TABLE {} ADD COLUMN {name} {declared}{default}", table.quoted());
        let is_not_null = default.contains("NOT NULL");
        self.tables[number].columns.push(Column {
            name,
            class,
            definition: format!("{declared}{default}"),
            is_not_null,
            is_unique: false,
            is_generated: false,
        });
        vec![sql]
    }

    pub(super) fn table_from_query(&mut self, rng: &mut impl Rng) -> Vec<String> {
        let Some(table) = self.tables.choose(rng).cloned() else { return Vec::new() };
        let name = self.new_name(rng);
        let columns: Vec<Column> = table
            .columns
            .iter()
            .map(|column| Column {
                definition: String::new(),
                is_not_null: false,
                is_unique: false,
                is_generated: false,
                ..column.clone()
            })
            .collect();
        let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
        let sql =
            format!("CREATE TABLE {} AS SELECT {} FROM {}", quoted(&name), names.join(", "), table.quoted());
        self.tables.push(Table { name, key: Key::None, columns, constraints: Vec::new(), options: "" });
        vec![sql]
    }

    /// Rebuilds a table with another shape, as the migrations of Django, Rails and Prisma do where ALTER
    /// TABLE is not enough: create, copy, drop, rename.
    pub(super) fn rebuild(&mut self, rng: &mut impl Rng) -> Vec<String> {
        let Some(number) = (0..self.tables.len()).collect::<Vec<_>>().choose(rng).copied() else {
            return Vec::new();
        };
        let old = self.tables[number].clone();
        let mut new = old.clone();
        let added = self.draw_column(rng, &old, &format!("since{}", self.names + 1));
        self.names += 1;
        if rng.random_ratio(1, 3)
            && let Some(dropped) = droppable(&old).first()
        {
            new.columns.retain(|column| column.name != *dropped);
        }
        let kept: Vec<String> = old
            .key
            .columns()
            .iter()
            .map(|name| (*name).to_owned())
            .chain(new.settable().map(|column| quoted(&column.name)))
            .collect();
        new.columns.push(added);
        let (kept, from) = (kept.join(", "), old.quoted());
        let aside = format!("new__{}", old.name);
        let into = quoted(&aside);
        let mut sql = vec![
            new.create(&aside),
            format!("INSERT INTO {into} ({kept}) SELECT {kept} FROM {from}"),
            format!("DROP TABLE {from}"),
            format!("ALTER TABLE {into} RENAME TO {from}"),
        ];
        if kept.is_empty() {
            sql.remove(1);
        }
        self.tables[number] = new;
        sql
    }
}

/// The columns that nothing else in the table depends on.
fn droppable(table: &Table) -> Vec<String> {
    let is_free = |column: &&Column| {
        !column.is_unique
            && !column.is_generated
            && column.name != "parent"
            && !column.definition.contains("CHECK")
    };
    table.columns.iter().skip(1).filter(is_free).map(|column| column.name.clone()).collect()
}
