//! Draws applications: a schema, and then programs that use it.
//!
//! An application is drawn as a whole, because ordinary SQL is only ordinary next to its schema. What a
//! seed's application can do is drawn first ([`Features`]), so that two applications differ in kind. One
//! model of the schema is kept for all writers. A writer that has not seen a schema change yet sends
//! statements that fail, as in reality.
//!
//! | module | draws |
//! |---|---|
//! | `schema` | tables, columns, indexes, views, triggers |
//! | `values` | values |
//! | `statements` | INSERT, UPDATE, DELETE and what is around them |
//! | `changes` | changes of the schema |

mod changes;
mod schema;
mod statements;
mod values;

use rand::{Rng, RngExt};

use super::pick;
use crate::schedule::{Action, Step, TransactionEnd};
use schema::Table;

/// What an application can do. Each kind has a probability of its own.
#[derive(Debug, Clone)]
struct Features {
    without_rowid: bool,
    strict: bool,
    wide: bool,
    foreign_keys: bool,
    /// Whether connections enforce foreign keys.
    enforces: bool,
    odd_names: bool,
    generated: bool,
    expression_defaults: bool,
    checks: bool,
    triggers: bool,
    views: bool,
    indexes: bool,
    extremes: bool,
    large: bool,
    /// `INSERT OR REPLACE` and the other resolutions.
    resolutions: bool,
    upserts: bool,
    /// Upserts and updates that set a key.
    moves_keys: bool,
    bulk: bool,
    savepoints: bool,
    failures: bool,
    /// `CREATE TABLE … AS SELECT`.
    tables_from_queries: bool,
    /// Whether programs change the schema.
    changes: bool,
    /// Whether tables are rebuilt, as the migrations of frameworks do.
    rebuilds: bool,
    /// Whether several statements are often one transaction.
    transactions: bool,
}

impl Features {
    fn draw(rng: &mut impl Rng) -> Self {
        let mut one_in = |of: u32| rng.random_ratio(1, of);
        Self {
            without_rowid: one_in(12),
            strict: one_in(5),
            wide: one_in(12),
            foreign_keys: one_in(3),
            enforces: one_in(2),
            odd_names: one_in(4),
            generated: one_in(6),
            expression_defaults: one_in(4),
            checks: one_in(4),
            triggers: one_in(3),
            views: one_in(4),
            indexes: one_in(2),
            extremes: one_in(3),
            large: one_in(4),
            resolutions: one_in(2),
            upserts: one_in(2),
            moves_keys: one_in(3),
            bulk: one_in(2),
            savepoints: one_in(4),
            failures: one_in(3),
            tables_from_queries: one_in(6),
            changes: one_in(3),
            rebuilds: one_in(6),
            transactions: one_in(2),
        }
    }
}

/// An application: its features, and its schema as far as programs have been drawn.
pub(super) struct Application {
    features: Features,
    tables: Vec<Table>,
    views: Vec<String>,
    /// Whether there is a table `audit` for triggers.
    audit: bool,
    /// The number of names given so far.
    names: u32,
}

impl Application {
    /// Draws an application without tables.
    pub fn draw(rng: &mut impl Rng) -> Self {
        Self { features: Features::draw(rng), tables: Vec::new(), views: Vec::new(), audit: false, names: 0 }
    }

    /// Draws its schema, and a few rows.
    pub fn schema(&mut self, rng: &mut impl Rng) -> Vec<String> {
        let mut sql = vec!["CREATE TABLE audit (what, old)".to_owned()];
        for _ in 0..*pick(rng, &[1, 1, 2, 3, 5]) {
            let table = self.draw_table(rng);
            sql.push(table.create(&table.name));
            self.tables.push(table);
        }
        for table in self.tables.clone() {
            if self.features.indexes && rng.random_bool(0.5) {
                sql.push(self.draw_index(rng, &table));
            }
            if self.features.views && rng.random_bool(0.5) {
                sql.push(self.draw_view(rng, &table));
            }
            if self.features.triggers && rng.random_bool(0.6) {
                sql.extend(self.draw_trigger(rng, &table));
            }
            for _ in 0..rng.random_range(0..3) {
                sql.push(self.insert(rng, &table));
            }
        }
        sql
    }

    /// Draws a program of an application.
    pub fn program(&mut self, rng: &mut impl Rng) -> Vec<String> {
        let mut sql = self.statements(rng);
        if self.features.transactions && rng.random_bool(0.6) {
            sql.insert(0, pick(rng, &["BEGIN", "BEGIN", "BEGIN IMMEDIATE"]).to_string());
            sql.push(if rng.random_ratio(1, 10) { "ROLLBACK" } else { "COMMIT" }.to_owned());
        }
        if self.features.foreign_keys && self.features.enforces {
            sql.insert(0, "PRAGMA foreign_keys = ON".to_owned());
        }
        sql
    }

    /// Draws the statements of another writer's transaction.
    pub fn statements(&mut self, rng: &mut impl Rng) -> Vec<String> {
        if self.features.rebuilds && rng.random_ratio(1, 10) {
            return self.rebuild(rng);
        }
        let mut sql = Vec::new();
        for _ in 0..*pick(rng, &[1, 1, 2, 3, 5]) {
            match rng.random_range(0..12) {
                0 if self.features.changes => sql.extend(self.change(rng)),
                1 if self.features.tables_from_queries => sql.extend(self.table_from_query(rng)),
                2 if self.features.savepoints => {
                    let inside = self.statement(rng);
                    sql.push("SAVEPOINT s1".to_owned());
                    sql.extend(inside);
                    if rng.random_bool(0.5) {
                        sql.push("ROLLBACK TO s1".to_owned());
                    }
                    sql.push("RELEASE s1".to_owned());
                }
                _ => sql.extend(self.statement(rng)),
            }
        }
        sql
    }

    /// Puts a program in the place of most transactions.
    pub fn program_instead(&mut self, rng: &mut impl Rng, mut step: Step) -> Step {
        if rng.random_ratio(1, 6) {
            return step;
        }
        match step.action {
            Action::Transaction { client, end: TransactionEnd::Commit, .. } => {
                step.action = Action::Program { client, sql: self.program(rng) };
            }
            Action::RemoteTransaction { .. } => {
                step.action = Action::RemoteProgram { sql: self.statements(rng) };
            }
            _ => {}
        }
        step
    }

    /// A new name of a table. Some need quotes.
    fn new_name(&mut self, rng: &mut impl Rng) -> String {
        self.names += 1;
        let names: &[&str] = if self.features.odd_names {
            &["order", "select", "two words", "Ünï", "a\"b"]
        } else {
            &["task", "list", "doc"]
        };
        format!("{}{}", pick(rng, names), self.names)
    }

    /// A new name of another object.
    fn new_object(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}_{}", self.names)
    }
}
