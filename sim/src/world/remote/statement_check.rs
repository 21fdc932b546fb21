//! Checks an SQL statement of a client before the database sees it.
//!
//! The text is first read as a sequence of tokens, which needs no recursion and bounds the depth of all that
//! follows. Then the core's parser reads it, and its kind decides: kinds and pragmas that are not listed here
//! are refused.
//!
//! Refused are statements that reach beyond the database (`ATTACH`, `VACUUM INTO`, virtual tables), that
//! contradict the remote's log (checkpoints, another journal mode, `VACUUM`), and that weaken what an answer
//! promises (`PRAGMA synchronous`).

use turso_parser::ast::{Cmd, PragmaBody, PragmaName, QualifiedName, Stmt, TransactionType};
use turso_parser::lexer::Lexer;
use turso_parser::parser::Parser;
use turso_parser::token::TokenType;

use super::session::StatementLimits;

/// What a statement does, as far as the server has to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It changes nothing.
    Reads,
    /// It begins or ends a transaction, or changes a setting of the request. It takes no lock for writing.
    Controls,
    /// It changes rows, or it starts a transaction that can.
    Writes,
    /// It changes the schema.
    ChangesSchema,
}

/// The reason why a statement is not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{statement} is not allowed on this server")]
    NotAllowed { statement: String },
    #[error("the TEMP schema is not allowed on this server, because no state is kept between two requests")]
    Temporary,
    #[error("the statement has {bytes} bytes; the limit is {limit}")]
    TooLong { bytes: usize, limit: usize },
    #[error(
        "the statement has more than {limit} SELECT or VALUES clauses, with those of its views, triggers and foreign keys"
    )]
    TooManySelects { limit: usize },
    #[error(
        "parentheses, views, triggers or foreign keys are nested more than {limit} deep in the statement"
    )]
    TooDeep { limit: usize },
    #[error("{function} takes one whole number up to {limit} as its argument on this server")]
    BigValue { function: String, limit: usize },
    #[error("the request has more than one statement in one text")]
    MoreThanOne,
    #[error("{0}")]
    Syntax(String),
}

/// Checks one statement, without the views and triggers that it uses.
pub(super) fn check(sql: &str, limits: &StatementLimits) -> Result<Kind, Refusal> {
    if sql.len() > limits.sql_bytes {
        return Err(Refusal::TooLong { bytes: sql.len(), limit: limits.sql_bytes });
    }
    let writes_sequence = check_tokens(sql, limits)?;
    let mut parser = Parser::new(sql.as_bytes());
    let command = parser.next_cmd().map_err(|error| Refusal::Syntax(error.to_string()))?;
    if parser.next_cmd().map_err(|error| Refusal::Syntax(error.to_string()))?.is_some() {
        return Err(Refusal::MoreThanOne);
    }
    match command {
        None => Ok(Kind::Reads),
        Some(Cmd::Explain(statement) | Cmd::ExplainQueryPlan { stmt: statement, .. }) => {
            kind_of(&statement).map(|_| Kind::Reads)
        }
        Some(Cmd::Stmt(statement)) => match kind_of(&statement)? {
            Kind::Reads if writes_sequence => Ok(Kind::Writes),
            kind => Ok(kind),
        },
    }
}

/// Checks the tokens. Returns whether the statement calls a function that changes a sequence.
fn check_tokens(sql: &str, limits: &StatementLimits) -> Result<bool, Refusal> {
    let tokens = tokens(sql)?;
    let (mut selects, mut depth, mut writes_sequence) = (0, 0_usize, false);
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            TokenType::TK_SELECT | TokenType::TK_VALUES => selects += 1,
            TokenType::TK_LP => depth += 1,
            TokenType::TK_RP => depth = depth.saturating_sub(1),
            TokenType::TK_INTEGER | TokenType::TK_COMMA => continue,
            _ => {}
        }
        if selects > limits.selects {
            return Err(Refusal::TooManySelects { limit: limits.selects });
        }
        if depth > limits.nesting {
            return Err(Refusal::TooDeep { limit: limits.nesting });
        }
        let is_text = token.kind == TokenType::TK_STRING;
        match token.name.as_str() {
            "zeroblob" | "randomblob" if !is_text => check_blob(&tokens[index..], limits)?,
            "nextval" | "setval" if !is_text => writes_sequence = true,
            "load_extension" if !is_text => return Err(not_allowed(&token.name)),
            // A table's name may be written like a text.
            "sqlite_dbpage" => return Err(not_allowed(&token.name)),
            name => check_pragma_function(name)?,
        }
    }
    Ok(writes_sequence)
}

/// Checks `zeroblob(N)`: the core allocates the value at once, whatever its length.
fn check_blob(tokens: &[Token], limits: &StatementLimits) -> Result<(), Refusal> {
    let is_small = match tokens {
        [_, open, length, close, ..] => {
            open.kind == TokenType::TK_LP
                && close.kind == TokenType::TK_RP
                && length.name.parse().is_ok_and(|length: usize| length <= limits.answer_bytes)
        }
        _ => false,
    };
    if is_small {
        return Ok(());
    }
    Err(Refusal::BigValue { function: tokens[0].name.clone(), limit: limits.answer_bytes })
}

/// Checks the table-valued form of a pragma: `pragma_table_info('t')`.
fn check_pragma_function(name: &str) -> Result<(), Refusal> {
    let pragma = name.strip_prefix("pragma_").and_then(|pragma| pragma.parse::<PragmaName>().ok());
    match pragma {
        Some(pragma) if !takes_argument(&pragma) && !is_readable(&pragma) => Err(not_allowed(name)),
        _ => Ok(()),
    }
}

/// A token that has a meaning: spaces and comments are left out.
pub(super) struct Token {
    pub kind: TokenType,
    /// The text in lower case and without quotes.
    pub name: String,
}

/// The tokens of a statement.
pub(super) fn tokens(sql: &str) -> Result<Vec<Token>, Refusal> {
    let mut tokens = Vec::new();
    for token in Lexer::new(sql.as_bytes()) {
        let token = token.map_err(|error| Refusal::Syntax(error.to_string()))?;
        // The lexer gives spaces and comments this type.
        if token.token_type == TokenType::TK_NONE {
            continue;
        }
        let text = String::from_utf8_lossy(token.value);
        let name = match text.chars().next() {
            Some(quote @ ('"' | '\'' | '`')) if text.len() >= 2 => {
                text[1..text.len() - 1].replace(&format!("{quote}{quote}"), &quote.to_string())
            }
            _ => text.into_owned(),
        };
        tokens.push(Token { kind: token.token_type, name: name.to_ascii_lowercase() });
    }
    Ok(tokens)
}

fn kind_of(statement: &Stmt) -> Result<Kind, Refusal> {
    match statement {
        Stmt::Select(_) => Ok(Kind::Reads),
        Stmt::Savepoint { .. } | Stmt::Release { .. } | Stmt::Rollback { .. } | Stmt::Commit { .. } => {
            Ok(Kind::Controls)
        }
        Stmt::Begin { typ: None | Some(TransactionType::Deferred), .. } => Ok(Kind::Controls),
        Stmt::Begin { typ: Some(TransactionType::Concurrent), .. } => Err(not_allowed("BEGIN CONCURRENT")),
        Stmt::Begin { .. } | Stmt::Insert { .. } | Stmt::Update(_) | Stmt::Delete { .. } => Ok(Kind::Writes),
        Stmt::Analyze { .. } | Stmt::Reindex { .. } => Ok(Kind::ChangesSchema),
        Stmt::CreateTable { temporary: true, .. }
        | Stmt::CreateTrigger { temporary: true, .. }
        | Stmt::CreateView { temporary: true, .. } => Err(Refusal::Temporary),
        Stmt::CreateTable { tbl_name: name, .. }
        | Stmt::CreateTrigger { trigger_name: name, .. }
        | Stmt::CreateView { view_name: name, .. }
        | Stmt::CreateIndex { idx_name: name, .. } => changes_schema(name),
        Stmt::AlterTable(alter) => changes_schema(&alter.name),
        Stmt::DropIndex { .. }
        | Stmt::DropTable { .. }
        | Stmt::DropTrigger { .. }
        | Stmt::DropView { .. } => Ok(Kind::ChangesSchema),
        Stmt::Pragma { name, body } => kind_of_pragma(name, body.as_ref()),
        other => Err(not_allowed(keywords_of(other))),
    }
}

fn changes_schema(name: &QualifiedName) -> Result<Kind, Refusal> {
    match &name.db_name {
        Some(schema) if schema.as_str().eq_ignore_ascii_case("temp") => Err(Refusal::Temporary),
        _ => Ok(Kind::ChangesSchema),
    }
}

fn kind_of_pragma(name: &QualifiedName, body: Option<&PragmaBody>) -> Result<Kind, Refusal> {
    let text = name.name.as_str().to_ascii_lowercase();
    let refused = || not_allowed(&format!("PRAGMA {text}"));
    let pragma = text.parse::<PragmaName>().map_err(|_| refused())?;
    match body {
        _ if takes_argument(&pragma) => Ok(Kind::Reads),
        None if is_readable(&pragma) => Ok(Kind::Reads),
        Some(_) => match pragma {
            // Stored in the database's header.
            PragmaName::UserVersion | PragmaName::ApplicationId => Ok(Kind::Writes),
            // Holds for the rest of the request, and decides what a statement expands to.
            PragmaName::ForeignKeys => Ok(Kind::Controls),
            _ => Err(not_allowed(&format!("setting PRAGMA {text}"))),
        },
        None => Err(refused()),
    }
}

/// Whether the argument of a pragma names the object to look at.
fn takes_argument(pragma: &PragmaName) -> bool {
    matches!(
        pragma,
        PragmaName::TableInfo
            | PragmaName::TableXinfo
            | PragmaName::TableList
            | PragmaName::IndexInfo
            | PragmaName::IndexXinfo
            | PragmaName::IndexList
            | PragmaName::ForeignKeyList
            | PragmaName::IntegrityCheck
            | PragmaName::QuickCheck
    )
}

/// Whether a pragma without an argument only reads.
fn is_readable(pragma: &PragmaName) -> bool {
    matches!(
        pragma,
        PragmaName::ApplicationId
            | PragmaName::AutoVacuum
            | PragmaName::BusyTimeout
            | PragmaName::CacheSize
            | PragmaName::Encoding
            | PragmaName::ForeignKeys
            | PragmaName::FreelistCount
            | PragmaName::FunctionList
            | PragmaName::JournalMode
            | PragmaName::LockingMode
            | PragmaName::MaxPageCount
            | PragmaName::PageCount
            | PragmaName::PageSize
            | PragmaName::QueryOnly
            | PragmaName::SchemaVersion
            | PragmaName::Synchronous
            | PragmaName::UserVersion
    )
}

fn not_allowed(statement: &str) -> Refusal {
    Refusal::NotAllowed { statement: statement.to_owned() }
}

fn keywords_of(statement: &Stmt) -> &'static str {
    match statement {
        Stmt::Attach { .. } => "ATTACH",
        Stmt::Detach { .. } => "DETACH",
        Stmt::Vacuum { into: Some(_), .. } => "VACUUM INTO",
        Stmt::Vacuum { .. } => "VACUUM",
        Stmt::CreateVirtualTable(_) => "CREATE VIRTUAL TABLE",
        Stmt::CreateMaterializedView { .. } => "CREATE MATERIALIZED VIEW",
        Stmt::CreateType { .. } | Stmt::DropType { .. } => "a user-defined type",
        Stmt::CreateDomain { .. } | Stmt::DropDomain { .. } => "a domain",
        Stmt::CreateSequence { .. } | Stmt::DropSequence { .. } => "a sequence",
        Stmt::Optimize { .. } => "OPTIMIZE INDEX",
        _ => "this statement",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(sql: &str) -> Result<Kind, Refusal> {
        check(sql, &StatementLimits::default())
    }

    #[test]
    fn statements_are_told_apart_by_what_they_do() {
        for sql in [
            "SELECT 1",
            "PRAGMA table_info(t)",
            "PRAGMA user_version",
            "EXPLAIN DELETE FROM t",
            "SELECT * FROM pragma_table_info('t')",
            "-- only a comment",
        ] {
            assert_eq!(checked(sql), Ok(Kind::Reads), "{sql}");
        }
        for sql in ["BEGIN", "COMMIT", "ROLLBACK TO s"] {
            assert_eq!(checked(sql), Ok(Kind::Controls), "{sql}");
        }
        for sql in
            ["INSERT INTO t VALUES (1)", "BEGIN IMMEDIATE", "PRAGMA user_version = 3", "SELECT nextval('s')"]
        {
            assert_eq!(checked(sql), Ok(Kind::Writes), "{sql}");
        }
        for sql in ["CREATE TABLE t (v)", "ALTER TABLE t ADD COLUMN w", "DROP TABLE t"] {
            assert_eq!(checked(sql), Ok(Kind::ChangesSchema), "{sql}");
        }
    }

    #[test]
    fn a_statement_that_reaches_beyond_its_request_is_refused() {
        for sql in [
            "ATTACH 'x.db' AS x",
            "DETACH x",
            "VACUUM",
            "VACUUM INTO 'copy.db'",
            "EXPLAIN VACUUM INTO 'copy.db'",
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "PRAGMA wal_checkpoint",
            "PRAGMA journal_mode = delete",
            "PRAGMA journal_mode('mvcc')",
            "PRAGMA synchronous = OFF",
            "PRAGMA query_only = 1",
            "PRAGMA max_page_count = 1",
            "PRAGMA no_such_pragma",
            "SELECT * FROM pragma_wal_checkpoint",
            "SELECT * FROM \"pragma_wal_checkpoint\"",
            "CREATE VIRTUAL TABLE v USING csv(filename='secret')",
            "SELECT load_extension('x')",
            "UPDATE sqlite_dbpage SET data = NULL",
            "BEGIN CONCURRENT",
        ] {
            assert!(matches!(checked(sql), Err(Refusal::NotAllowed { .. })), "{sql}: {:?}", checked(sql));
        }
        for sql in
            ["CREATE TEMP TABLE t (v)", "CREATE TABLE temp.t (v)", "CREATE TEMPORARY VIEW v AS SELECT 1"]
        {
            assert_eq!(checked(sql), Err(Refusal::Temporary), "{sql}");
        }
        assert_eq!(checked("SELECT 1; SELECT 2"), Err(Refusal::MoreThanOne));
    }

    #[test]
    fn a_statement_without_measure_is_refused_before_it_is_parsed() {
        let limits = StatementLimits::default();
        let chain = |count: usize| vec!["SELECT 1"; count].join(" UNION ALL ");
        assert_eq!(checked(&chain(limits.selects)), Ok(Kind::Reads));
        let too_many = Err(Refusal::TooManySelects { limit: limits.selects });
        assert_eq!(checked(&chain(limits.selects + 1)), too_many);
        let nested = format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000));
        assert_eq!(checked(&nested), Err(Refusal::TooDeep { limit: limits.nesting }));
        let long = format!("SELECT '{}'", "x".repeat(limits.sql_bytes));
        assert!(matches!(checked(&long), Err(Refusal::TooLong { .. })));
    }

    #[test]
    fn a_blob_needs_a_small_length_in_digits() {
        assert_eq!(checked("SELECT zeroblob(1000)"), Ok(Kind::Reads));
        for sql in
            ["SELECT zeroblob(1000000000)", "SELECT randomblob(1000*1000*1000)", "SELECT \"zeroblob\"(?)"]
        {
            assert!(matches!(checked(sql), Err(Refusal::BigValue { .. })), "{sql}");
        }
    }
}
