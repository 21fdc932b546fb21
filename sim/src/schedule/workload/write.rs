//! The writes, and the SQL and the effects of each.
//!
//! To add a kind of write, add a variant here, an arm in [`plan`], and an entry in the generator's table of
//! features.

use serde::{Deserialize, Serialize};
use turso_core::Value;

use super::own::OwnChange;
use super::row::{Row, row_name};
use super::{Effect, Key, Table, Writer};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Write {
    /// Appends a row to `log`.
    Append {
        /// The size of the payload in bytes. Several thousand bytes need overflow pages.
        payload_bytes: u32,
    },
    /// Sets a row that may or may not exist (`ON CONFLICT DO UPDATE`).
    Upsert { table: Table, key: Key },
    /// Sets a row if it exists (`UPDATE`).
    Update { table: Table, key: Key },
    /// Replaces a row (`INSERT OR REPLACE`).
    Replace { table: Table, key: Key },
    /// Deletes one of the writer's own rows.
    Delete {
        table: Table,
        /// The row's number among the writer's own keys.
        own: u8,
    },
    /// Deletes a shared row, which others may be changing. In a client's transaction this write does nothing;
    /// only the remote's writer deletes shared rows. The reason: a rebase drops a delete that does not find
    /// its row, so the effect of a client's delete would depend on the time of its pull.
    Erase {
        table: Table,
        /// The row's number among the shared keys.
        shared: u8,
    },
    /// Gives one of the writer's own rows a key that was never used.
    Rekey {
        table: Table,
        /// The row's number among the writer's own keys.
        own: u8,
    },
    /// Swaps the keys of two of the writer's own rows. Meanwhile, one of them has a third key.
    Swap {
        table: Table,
        /// The first row's number among the writer's own keys.
        own: u8,
        /// The second row's number among the writer's own keys.
        with: u8,
    },
    /// Sets a row of `badge`, with a unique label. If another row of the writer has the label, that row is
    /// deleted.
    Claim {
        /// The row's number among the writer's own keys.
        own: u8,
        /// The label's number among the writer's own labels.
        label: u8,
    },
    /// Adds a row to `tally`, which has no key. Equal rows may exist already.
    Count {
        /// The value of the row.
        n: u8,
    },
    /// Changes the value of one of several equal rows of `tally`.
    Recount {
        /// The old value.
        n: u8,
        /// The new value.
        to: u8,
    },
    /// Deletes one of several equal rows of `tally`.
    Uncount {
        /// The value of the row.
        n: u8,
    },
    /// Deletes the big rows of `ballast`.
    Unload,
    /// Changes the writer's own table or its schema.
    Own(OwnChange),
    /// Adds a column to a shared table. No write sets this column.
    Widen { table: Table },
    /// Drops or renames a column that the writer has added.
    Narrow {
        table: Table,
        /// Whether the column is renamed instead of dropped.
        rename: bool,
    },
    /// Makes the transaction quiet: it inserts no row into `log`, and sets the writer's row of `quiet`
    /// instead. This must be the first write. Only writes to the writer's own rows may follow.
    Quiet,
    /// Makes the transaction void: it inserts no row into `log`, and only deletes a row of `ballast` that
    /// other writers may delete too. This must be the only write.
    Void {
        /// The number of the row, from [`VOID_BALLAST`](super::VOID_BALLAST).
        k: u8,
    },
    /// Adds a row to `loose`, unless a unique index forbids it.
    Loose {
        /// The value of the row.
        n: u8,
    },
    /// Drops the unique index on `loose` if it exists. Otherwise creates it if the rows are unique. In
    /// another database the rows may not be unique, and the index is refused there.
    Rule,
    /// Writes to a temporary table, which must stay invisible elsewhere. In a transaction on the remote this
    /// write does nothing. Only hand-written schedules use it; [`shapes`](super::shapes) explains why.
    Scratch { n: u8 },
    /// Creates a table with an index if it does not exist, and sets one of its rows.
    Extra {
        /// The number of the table.
        number: u8,
        /// The row's number among the writer's own keys.
        own: u8,
    },
}

impl Write {
    /// Whether the write changes only rows, columns and tables that belong to the writer.
    pub fn is_own(self) -> bool {
        match self {
            Self::Upsert { key, .. } | Self::Update { key, .. } | Self::Replace { key, .. } => {
                matches!(key, Key::Own(_))
            }
            Self::Append { .. }
            | Self::Erase { .. }
            | Self::Unload
            | Self::Quiet
            | Self::Void { .. }
            | Self::Loose { .. }
            | Self::Rule => false,
            _ => true,
        }
    }

    /// Whether the effect does not depend on earlier transactions.
    pub fn is_independent(self) -> bool {
        matches!(
            self,
            Self::Append { .. }
                | Self::Upsert { .. }
                | Self::Update { .. }
                | Self::Replace { .. }
                | Self::Delete { .. }
                | Self::Erase { .. }
                | Self::Rekey { .. }
                | Self::Extra { .. }
        )
    }
}

/// One SQL statement of a write, and its effects.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    /// A query that returns a row if the statement finds its row; `None` for a statement that needs no row.
    /// The query is needed because turso_core's count of changed rows includes those of the change capture.
    pub(crate) finds: Option<String>,
    /// The statement with its values written into it.
    pub(crate) sql: String,
    /// The effects that the statement has if it finds its row.
    pub(crate) effects: Vec<Effect>,
}

impl Planned {
    pub(crate) fn always(sql: String, effects: Vec<Effect>) -> Self {
        Self { finds: None, sql, effects }
    }

    pub(super) fn on_row(row: &Row, sql: String, effects: Vec<Effect>) -> Self {
        let finds = format!("SELECT 1 FROM {} WHERE {}", row.table.name(), row.condition());
        Self { finds: Some(finds), sql, effects }
    }
}

/// The SQL that changes the columns of a shared table. The name of a column shows the writer that added it.
pub(crate) fn alter<E>(
    writer: Writer,
    write: Write,
    token: &str,
    query: &mut impl FnMut(&str) -> Result<Vec<Vec<Value>>, E>,
) -> Result<Vec<Planned>, E> {
    let alter = |table: Table, how: String| {
        Planned::always(format!("ALTER TABLE {} {how}", table.name()), Vec::new())
    };
    Ok(match write {
        Write::Widen { table } => {
            vec![alter(table, format!("ADD COLUMN \"w {token}\" DEFAULT 'd'"))]
        }
        Write::Narrow { table, rename } => {
            let columns = query(&format!("PRAGMA table_info({})", table.name()))?;
            let own = format!("w {writer}.");
            let added = columns.iter().map(|row| row[1].to_string()).rfind(|name| name.starts_with(&own));
            let how = |name: String| {
                if rename {
                    format!("RENAME COLUMN \"{name}\" TO \"w {token}\"")
                } else {
                    format!("DROP COLUMN \"{name}\"")
                }
            };
            added.map(|name| alter(table, how(name))).into_iter().collect()
        }
        _ => Vec::new(),
    })
}

/// The SQL that creates or drops the unique index on `loose`; none if the rows violate it.
pub(crate) fn rule<E>(
    query: &mut impl FnMut(&str) -> Result<Vec<Vec<Value>>, E>,
) -> Result<Option<Planned>, E> {
    let has_rule = !query("SELECT 1 FROM sqlite_schema WHERE name = 'loose_rule'")?.is_empty();
    let is_broken = !query("SELECT 1 FROM loose GROUP BY v HAVING count(*) > 1")?.is_empty();
    let sql = match (has_rule, is_broken) {
        (true, _) => "DROP INDEX loose_rule",
        (false, false) => "CREATE UNIQUE INDEX loose_rule ON loose (v)",
        (false, true) => return Ok(None),
    };
    Ok(Some(Planned::always(sql.into(), Vec::new())))
}

/// The SQL of one write. `token` is unique to the write.
pub(crate) fn plan(writer: Writer, write: Write, token: &str) -> Vec<Planned> {
    match write {
        Write::Append { payload_bytes } => vec![Planned::always(
            format!("INSERT INTO log (token, payload) VALUES ('{token}', zeroblob({payload_bytes}))"),
            vec![Effect::Appended(token.to_owned())],
        )],
        Write::Upsert { table, key } => {
            let row = Row::new(table, writer, key);
            let (name, columns, values, set) =
                (table.name(), row.columns(), row.values(), table.token_column());
            let sql = format!(
                "INSERT INTO {name} ({columns}, {set}) VALUES ({values}, '{token}') \
                 ON CONFLICT ({columns}) DO UPDATE SET {set} = excluded.{set}"
            );
            vec![Planned::always(sql, vec![row.set(token)])]
        }
        Write::Update { table, key } => {
            let row = Row::new(table, writer, key);
            let (name, set) = (table.name(), table.token_column());
            let sql = format!("UPDATE {name} SET {set} = '{token}' WHERE {}", row.condition());
            vec![Planned::on_row(&row, sql, vec![row.set(token)])]
        }
        Write::Replace { table, key } => {
            let row = Row::new(table, writer, key);
            let (name, columns, set) = (table.name(), row.columns(), table.token_column());
            let values = row.values();
            let sql =
                format!("INSERT OR REPLACE INTO {name} ({columns}, {set}) VALUES ({values}, '{token}')");
            vec![Planned::always(sql, vec![row.set(token)])]
        }
        Write::Delete { table, own } => delete(&Row::new(table, writer, Key::Own(own))),
        Write::Erase { table, shared } if writer == Writer::Remote => {
            delete(&Row::new(table, writer, Key::Shared(shared)))
        }
        Write::Erase { .. } => Vec::new(),
        Write::Rekey { table, own } => rekey(&Row::new(table, writer, Key::Own(own)), token),
        Write::Swap { table, own, with } => swap(table, writer, [own, with], token),
        Write::Claim { own, label } => {
            let row = Row::new(Table::Item, writer, Key::Own(own));
            let label = format!("{writer}-{label}");
            let k = row.number;
            let sql =
                format!("INSERT OR REPLACE INTO badge (k, label, token) VALUES ({k}, '{label}', '{token}')");
            let row = row_name("badge", k);
            vec![Planned::always(sql, vec![Effect::Claimed { row, label, token: token.to_owned() }])]
        }
        Write::Count { n } => {
            let sql = format!("INSERT INTO tally (owner, n) VALUES ('{writer}', {})", counted(n));
            vec![Planned::always(sql, vec![Effect::Counted(tally(writer, n), 1)])]
        }
        Write::Recount { n, to } => {
            let effects = vec![Effect::Counted(tally(writer, n), -1), Effect::Counted(tally(writer, to), 1)];
            vec![on_one_of_tally(writer, n, &format!("UPDATE tally SET n = {}", counted(to)), effects)]
        }
        Write::Uncount { n } => {
            let effects = vec![Effect::Counted(tally(writer, n), -1)];
            vec![on_one_of_tally(writer, n, "DELETE FROM tally", effects)]
        }
        Write::Unload => {
            let gone = ["ballast/1", "ballast/2"].map(|row| Effect::Gone(row.to_owned()));
            vec![Planned::always("DELETE FROM ballast WHERE k < 3".into(), gone.into())]
        }
        Write::Quiet => {
            let sql = format!("INSERT OR REPLACE INTO quiet (writer, token) VALUES ('{writer}', '{token}')");
            vec![Planned::always(sql, vec![Effect::Quieted(writer, token.to_owned())])]
        }
        Write::Void { k } => {
            let sql = format!("DELETE FROM ballast WHERE k = {k}");
            vec![Planned::always(sql, vec![Effect::Gone(row_name("ballast", k))])]
        }
        Write::Scratch { n } if writer != Writer::Remote => vec![
            Planned::always("CREATE TEMP TABLE IF NOT EXISTS scratch (n)".into(), Vec::new()),
            Planned::always(format!("INSERT INTO scratch VALUES ({n})"), Vec::new()),
            Planned::always(
                if n % 3 == 2 { "DROP TABLE scratch" } else { "DELETE FROM scratch" }.into(),
                Vec::new(),
            ),
        ],
        Write::Scratch { .. } => Vec::new(),
        Write::Loose { n } => {
            vec![Planned::always(format!("INSERT OR IGNORE INTO loose VALUES ({n})"), Vec::new())]
        }
        // These writes depend on the current content, so other functions plan them.
        Write::Own(_) | Write::Widen { .. } | Write::Narrow { .. } | Write::Rule => Vec::new(),
        Write::Extra { number, own } => extra(number, &format!("{writer}-{own}"), token),
    }
}

/// Gives a row a key that was never used.
fn rekey(row: &Row, token: &str) -> Vec<Planned> {
    let fresh = row.with_fresh_key(token);
    let sql = format!(
        "UPDATE {} SET {}, {} = '{token}' WHERE {}",
        row.table.name(),
        fresh.assignments(),
        row.table.token_column(),
        row.condition()
    );
    vec![Planned::on_row(row, sql, vec![row.gone(), fresh.set(token)])]
}

/// Swaps the keys of two of the writer's own rows.
fn swap(table: Table, writer: Writer, own: [u8; 2], token: &str) -> Vec<Planned> {
    let [one, other] = own.map(|own| Row::new(table, writer, Key::Own(own)));
    let middle = one.with_fresh_key(token);
    let pass = |from: &Row, to: &Row, effects| {
        let (to, from) = (to.assignments(), from.condition());
        Planned::always(format!("UPDATE {} SET {to} WHERE {from}", table.name()), effects)
    };
    let swapped = if own[0] == own[1] { Vec::new() } else { vec![Effect::Swapped(one.name(), other.name())] };
    vec![pass(&one, &middle, Vec::new()), pass(&other, &one, Vec::new()), pass(&middle, &other, swapped)]
}

/// Creates an extra table with an index if it does not exist, and sets its row `id`.
fn extra(number: u8, id: &str, token: &str) -> Vec<Planned> {
    let table = format!("extra_{number}");
    let create = format!("CREATE TABLE IF NOT EXISTS {table} (id TEXT PRIMARY KEY, token TEXT)");
    let index = format!("CREATE INDEX IF NOT EXISTS {table}_token ON {table} (token)");
    let insert = format!("INSERT OR REPLACE INTO {table} VALUES ('{id}', '{token}')");
    let set = Effect::Set(row_name(&table, id), token.to_owned());
    vec![
        Planned::always(create, Vec::new()),
        Planned::always(index, Vec::new()),
        Planned::always(insert, vec![set]),
    ]
}

fn delete(row: &Row) -> Vec<Planned> {
    let sql = format!("DELETE FROM {} WHERE {}", row.table.name(), row.condition());
    vec![Planned::on_row(row, sql, vec![row.gone()])]
}

/// The value in `tally`: 0 is stored as NULL.
fn counted(n: u8) -> String {
    if n == 0 { "NULL".to_owned() } else { n.to_string() }
}

fn tally(writer: Writer, n: u8) -> String {
    row_name("tally", format!("{writer}/{n}"))
}

/// A statement on one of the writer's equal rows of `tally`.
fn on_one_of_tally(writer: Writer, n: u8, what: &str, effects: Vec<Effect>) -> Planned {
    let n = counted(n);
    let one = format!("SELECT rowid FROM tally WHERE owner = '{writer}' AND n IS {n} ORDER BY rowid LIMIT 1");
    Planned { sql: format!("{what} WHERE rowid = ({one})"), finds: Some(one), effects }
}
