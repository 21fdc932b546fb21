//! Counts what the views, triggers and foreign keys of a database add to a statement.
//!
//! The core expands them recursively while it compiles a statement, a table that two keys lead to twice, so their
//! number and depth must be known before. References are found among the tokens: each word that names a view, or a table with triggers,
//! counts as a use of it. A column with such a name is counted too. The error is on the safe side.

use std::collections::BTreeMap;

use turso_parser::token::TokenType;

use super::session::StatementLimits;
use super::statement_check::{Refusal, Token, tokens};

/// A row of `sqlite_schema`.
pub(super) struct SchemaObject {
    /// The name of the view or table, or of the trigger's table.
    pub name: String,
    /// Whether it is a table. A table matters only for its foreign keys.
    pub is_table: bool,
    pub sql: String,
}

/// The views, the tables that have triggers, and the tables that foreign keys with an action lead to.
#[derive(Default)]
pub(super) struct Expansion {
    weights: BTreeMap<String, Weight>,
}

/// What one use adds to a statement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Weight {
    selects: usize,
    depth: usize,
}

#[derive(Default)]
struct Node {
    own_selects: usize,
    /// The names in its text that are nodes, each as often as it is used.
    uses: Vec<String>,
}

impl Expansion {
    pub fn of(objects: &[SchemaObject]) -> Result<Expansion, Refusal> {
        let mut texts: BTreeMap<String, Vec<Token>> = BTreeMap::new();
        for object in objects {
            let (name, tokens) = (object.name.to_ascii_lowercase(), tokens(&object.sql)?);
            if object.is_table {
                add_foreign_keys(&name, &tokens, &mut texts);
            } else {
                texts.entry(name).or_default().extend(tokens);
            }
        }
        let nodes: BTreeMap<&str, Node> = texts
            .iter()
            .map(|(name, tokens)| {
                let is_use = |token: &&Token| token.name != *name && texts.contains_key(&token.name);
                let uses = tokens.iter().filter(is_use).map(|token| token.name.clone()).collect();
                (name.as_str(), Node { own_selects: selects(tokens), uses })
            })
            .collect();
        let mut weights = BTreeMap::new();
        for name in nodes.keys() {
            weigh(name, &nodes, &mut weights);
        }
        Ok(Expansion {
            weights: weights.into_iter().filter_map(|(name, weight)| Some((name, weight?))).collect(),
        })
    }

    /// Checks a statement together with all views and triggers that it uses.
    pub fn check(&self, sql: &str, limits: &StatementLimits) -> Result<(), Refusal> {
        if self.weights.is_empty() {
            return Ok(());
        }
        let tokens = tokens(sql)?;
        let mut total = Weight { selects: selects(&tokens), depth: 0 };
        for used in tokens.iter().filter_map(|token| self.weights.get(&token.name)) {
            total = total.with(*used);
        }
        if total.selects > limits.selects {
            return Err(Refusal::TooManySelects { limit: limits.selects });
        }
        if total.depth > limits.nesting {
            return Err(Refusal::TooDeep { limit: limits.nesting });
        }
        Ok(())
    }
}

/// Adds the foreign keys of the table `child` that have an action: a change of the parent changes the child.
fn add_foreign_keys(child: &str, tokens: &[Token], texts: &mut BTreeMap<String, Vec<Token>>) {
    let has_action = |token: &Token| matches!(token.kind, TokenType::TK_CASCADE | TokenType::TK_SET);
    if !tokens.iter().any(has_action) {
        return;
    }
    texts.entry(child.to_owned()).or_default();
    for pair in tokens.windows(2) {
        if pair[0].kind == TokenType::TK_REFERENCES {
            let action = [(TokenType::TK_UPDATE, ""), (TokenType::TK_ID, child)];
            let action = action.map(|(kind, name)| Token { kind, name: name.to_owned() });
            texts.entry(pair[1].name.clone()).or_default().extend(action);
        }
    }
}

impl Weight {
    fn with(self, used: Weight) -> Weight {
        Weight { selects: self.selects.saturating_add(used.selects), depth: self.depth.max(used.depth) }
    }
}

/// The number of clauses that the core translates one by one.
fn selects(tokens: &[Token]) -> usize {
    use TokenType::{TK_DELETE, TK_INSERT, TK_SELECT, TK_UPDATE, TK_VALUES};
    let counts =
        |token: &&Token| matches!(token.kind, TK_SELECT | TK_VALUES | TK_INSERT | TK_UPDATE | TK_DELETE);
    tokens.iter().filter(counts).count()
}

/// Weighs `root` and all that it uses, without recursion. A use that closes a cycle adds nothing: the core
/// refuses a cycle of views, and a trigger does not fire itself again.
fn weigh(root: &str, nodes: &BTreeMap<&str, Node>, weights: &mut BTreeMap<String, Option<Weight>>) {
    let mut stack = Vec::new();
    let visit =
        |name: &str, stack: &mut Vec<(String, usize)>, weights: &mut BTreeMap<String, Option<Weight>>| {
            if !weights.contains_key(name) {
                weights.insert(name.to_owned(), None);
                stack.push((name.to_owned(), 0));
            }
        };
    visit(root, &mut stack, weights);
    while let Some((name, next)) = stack.pop() {
        let node = &nodes[name.as_str()];
        match node.uses.get(next) {
            Some(used) => {
                stack.push((name, next + 1));
                visit(used, &mut stack, weights);
            }
            None => {
                let used = node.uses.iter().filter_map(|used| weights.get(used).copied().flatten());
                let all = used.fold(Weight { selects: node.own_selects, depth: 0 }, Weight::with);
                weights.insert(name, Some(Weight { depth: all.depth + 1, ..all }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expansion(views: &[(&str, &str)]) -> Expansion {
        let objects: Vec<SchemaObject> = views
            .iter()
            .map(|(name, sql)| SchemaObject {
                name: (*name).to_owned(),
                is_table: sql.starts_with("CREATE TABLE"),
                sql: (*sql).to_owned(),
            })
            .collect();
        Expansion::of(&objects).unwrap()
    }

    #[test]
    fn views_count_as_often_as_they_are_used() {
        let doubling: Vec<(String, String)> = (1..40)
            .map(|n| {
                (format!("v{n}"), format!("CREATE VIEW v{n} AS SELECT * FROM v{m} a, v{m} b", m = n - 1))
            })
            .chain([("v0".into(), "CREATE VIEW v0 AS SELECT 1 AS x".into())])
            .collect();
        let views: Vec<(&str, &str)> =
            doubling.iter().map(|(name, sql)| (name.as_str(), sql.as_str())).collect();
        let expansion = expansion(&views);
        let limits = StatementLimits::default();
        assert_eq!(expansion.check("SELECT * FROM v3", &limits), Ok(()));
        let too_many = Err(Refusal::TooManySelects { limit: limits.selects });
        assert_eq!(expansion.check("SELECT * FROM \"V39\"", &limits), too_many);
        assert_eq!(expansion.check("SELECT 1", &limits), Ok(()));
    }

    #[test]
    fn the_depth_of_views_is_known_without_recursion() {
        let chain: Vec<(String, String)> = (1..50_000)
            .map(|n| (format!("v{n}"), format!("CREATE VIEW v{n} AS SELECT * FROM v{}", n - 1)))
            .collect();
        let views: Vec<(&str, &str)> =
            chain.iter().map(|(name, sql)| (name.as_str(), sql.as_str())).collect();
        let expansion = expansion(&views);
        let limits = StatementLimits { selects: usize::MAX, ..StatementLimits::default() };
        let deepest = format!("SELECT * FROM v{}", limits.nesting);
        assert_eq!(expansion.check(&deepest, &limits), Ok(()));
        assert_eq!(
            expansion.check("SELECT * FROM v49999", &limits),
            Err(Refusal::TooDeep { limit: limits.nesting })
        );
    }

    #[test]
    fn foreign_keys_count_from_the_parent_to_the_child() {
        let keys = |action: &str| {
            let tables: Vec<(String, String)> = (1..20)
                .map(|n| {
                    let key = format!("REFERENCES t{} {action}", n - 1);
                    (format!("t{n}"), format!("CREATE TABLE t{n} (a {key}, b {key})"))
                })
                .collect();
            let tables: Vec<(&str, &str)> =
                tables.iter().map(|(name, sql)| (name.as_str(), sql.as_str())).collect();
            expansion(&tables)
        };
        let limits = StatementLimits::default();
        let too_many = Err(Refusal::TooManySelects { limit: limits.selects });
        assert_eq!(keys("ON DELETE CASCADE").check("DELETE FROM t0", &limits), too_many);
        assert_eq!(keys("ON DELETE CASCADE").check("DELETE FROM t17", &limits), Ok(()));
        assert_eq!(keys("").check("DELETE FROM t0", &limits), Ok(()), "without an action nothing cascades");
    }

    #[test]
    fn names_that_form_a_cycle_are_weighed_once() {
        let expansion = expansion(&[
            ("total", "CREATE VIEW total AS SELECT sum(v) AS total, count(*) AS other FROM t"),
            ("other", "CREATE VIEW other AS SELECT total FROM t"),
            ("t", "CREATE TRIGGER r AFTER INSERT ON t BEGIN INSERT INTO t VALUES (1); END"),
        ]);
        assert_eq!(expansion.check("SELECT * FROM total, other, t", &StatementLimits::default()), Ok(()));
    }
}
