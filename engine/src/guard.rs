//! The statements that an application must not run on the local database.
//!
//! The engine's watermarks are frame numbers of Draft's WAL, and a push sends the content of the change log.
//! A statement that moves the WAL, weakens its durability, switches capture off, or changes the engine's own
//! tables would break the sync silently, until rows are missing. The guard refuses such statements before any
//! statement of the same text runs.
//!
//! The guard works on the output of the core's own parser. Functions can occur anywhere in an expression, so
//! the guard checks the tokens for them: an identifier with the name of a forbidden function is refused
//! everywhere.
//!
//! Absent: a check of triggers that another client has created on the remote.

use turso_parser::ast::{AlterTableBody, Cmd, PragmaBody, QualifiedName, Stmt, TriggerCmd};
use turso_parser::lexer::Lexer;
use turso_parser::parser::Parser;
use turso_parser::token::TokenType;

use turso_core::LimboError;

use crate::engine_file::EngineFile;
use crate::error::{DatabaseContext, Error, Result};
use crate::schema_statement::SchemaStatement;
use crate::tape::is_internal;

/// The reason why a statement is refused.
type Reason = &'static str;

const MOVES_WAL: Reason = "only the engine may move the WAL, because its watermarks are frames of it";
const WEAKENS_DURABILITY: Reason = "a pushed transaction must not vanish from the local database";
const BREAKS_CAPTURE: Reason = "changes without capture are never pushed, and the next pull discards them";
const NOT_CAPTURED: Reason = "the change log does not record it, so the next pull would discard it";
const OWN_TABLE: Reason = "the table belongs to the engine";
const OTHER_DATABASE: Reason = "only the local database is synced, and its files must not be opened twice";
const NO_LOCAL_RULES: Reason = "the remote permanently refuses rows that break the schema's rules";
const FORMAT: Reason = "the file format is shared with the remote";
const UNKNOWN: Reason = "it is not on the list of harmless statements";
const NATIVE_CODE: Reason = "native code can do anything to the database";

/// The permitted uses of a pragma.
enum Pragma {
    /// Reading and setting.
    Free,
    /// Reading, also with an argument that names an object.
    Question,
    /// Reading only.
    ReadOnly(Reason),
    /// No use.
    Forbidden(Reason),
}

fn pragma(name: &str) -> Pragma {
    match name {
        "busy_timeout"
        | "cache_size"
        | "cache_spill"
        | "count_changes"
        | "empty_result_callbacks"
        | "foreign_keys"
        | "full_column_names"
        | "i_am_a_dummy"
        | "legacy_file_format"
        | "query_only"
        | "require_where"
        | "short_column_names"
        | "vdbe_trace" => Pragma::Free,
        "database_list" | "foreign_key_list" | "freelist_count" | "function_list" | "index_info"
        | "index_list" | "index_xinfo" | "integrity_check" | "list_types" | "module_list" | "page_count"
        | "quick_check" | "table_info" | "table_list" | "table_xinfo" => Pragma::Question,
        "auto_vacuum" | "encoding" | "page_size" | "max_page_count" => Pragma::ReadOnly(FORMAT),
        "application_id" | "user_version" => Pragma::ReadOnly(NOT_CAPTURED),
        "capture_data_changes_conn" | "unstable_capture_data_changes_conn" => {
            Pragma::ReadOnly(BREAKS_CAPTURE)
        }
        "data_sync_retry" | "fullfsync" | "synchronous" => Pragma::ReadOnly(WEAKENS_DURABILITY),
        "ignore_check_constraints" => Pragma::ReadOnly(NO_LOCAL_RULES),
        "locking_mode" => Pragma::ReadOnly("the engine's own connections need the database too"),
        "schema_version" => Pragma::ReadOnly("other connections use it to detect schema changes"),
        "temp_store" => Pragma::ReadOnly("temporary tables stay in memory"),
        // In this core even reading it switches capture off.
        "journal_mode" => Pragma::Forbidden(BREAKS_CAPTURE),
        "wal_checkpoint" => Pragma::Forbidden(MOVES_WAL),
        _ => Pragma::Forbidden(UNKNOWN),
    }
}

/// Functions that act like statements, and table-valued forms of forbidden pragmas.
fn forbidden_function(name: &str) -> Option<Reason> {
    match name {
        "load_extension" => Some(NATIVE_CODE),
        "setval" | "nextval" => Some(NOT_CAPTURED),
        _ => match pragma(name.strip_prefix("pragma_")?) {
            Pragma::Forbidden(reason) => Some(reason),
            Pragma::Free | Pragma::Question | Pragma::ReadOnly(_) => None,
        },
    }
}

/// A statement that may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Allowed<'a> {
    pub(crate) sql: &'a str,
    /// The extra steps for a schema change; `None` for other statements.
    pub(crate) care: Option<SchemaStatement>,
    /// Whether the core computes the answer when it compiles the statement. It then does not notice later
    /// schema changes.
    pub(crate) is_answered_when_compiled: bool,
}

/// Checks every statement of a text.
///
/// # Errors
/// [`Error::StatementRefused`] for the first forbidden statement; the core's error for a text that does not
/// parse.
pub(crate) fn check<'a>(file: &EngineFile, sql: &'a str) -> Result<Vec<Allowed<'a>>> {
    let refused =
        |statement: &str, reason| Error::StatementRefused { statement: statement.trim().to_owned(), reason };
    let unparsed = |error| Err(LimboError::from(error)).while_doing("parsing a statement", file);
    for token in Lexer::new(sql.as_bytes()) {
        let Ok(token) = token else { break }; // The parser reports the error.
        if token.token_type == TokenType::TK_ID
            && let Ok(text) = std::str::from_utf8(token.value)
            && let Some(reason) =
                forbidden_function(&text.trim_matches(['"', '`', '[', ']']).to_ascii_lowercase())
        {
            return Err(refused(sql, reason));
        }
    }
    let mut parser = Parser::new(sql.as_bytes());
    let mut statements = Vec::new();
    let mut begin = 0;
    while let Some(cmd) = parser.next_cmd().or_else(unparsed)? {
        let end = parser.offset().min(sql.len());
        let text = sql.get(begin..end).unwrap_or(sql);
        let care = match &cmd {
            Cmd::Stmt(stmt) => SchemaStatement::of(stmt),
            Cmd::Explain(_) | Cmd::ExplainQueryPlan { .. } => None,
        };
        let is_answered_when_compiled = matches!(&cmd, Cmd::Stmt(Stmt::Pragma { .. }));
        let (Cmd::Stmt(stmt) | Cmd::Explain(stmt) | Cmd::ExplainQueryPlan { stmt, .. }) = cmd;
        if let Err(reason) = judge(&stmt) {
            return Err(refused(text, reason));
        }
        statements.push(Allowed { sql: text, care, is_answered_when_compiled });
        begin = end;
    }
    Ok(statements)
}

fn judge(stmt: &Stmt) -> std::result::Result<(), Reason> {
    match stmt {
        Stmt::Pragma { name, body } => judge_pragma(name.name.as_str(), body.as_ref()),
        Stmt::Attach { .. } | Stmt::Detach { .. } => Err(OTHER_DATABASE),
        Stmt::Vacuum { .. } => Err(MOVES_WAL),
        Stmt::CreateSequence { .. } | Stmt::DropSequence { .. } => Err(NOT_CAPTURED),
        Stmt::AlterTable(alter) => {
            not_own(&alter.name)?;
            match &alter.body {
                AlterTableBody::RenameTo(name) => not_own_name(name.as_str()),
                AlterTableBody::AddColumn(_)
                | AlterTableBody::AlterColumn { .. }
                | AlterTableBody::RenameColumn { .. }
                | AlterTableBody::DropColumn(_) => Ok(()),
            }
        }
        Stmt::CreateTable { tbl_name: name, .. }
        | Stmt::CreateView { view_name: name, .. }
        | Stmt::CreateMaterializedView { view_name: name, .. }
        | Stmt::DropTable { tbl_name: name, .. }
        | Stmt::DropView { view_name: name, .. }
        | Stmt::DropIndex { idx_name: name, .. }
        | Stmt::DropTrigger { trigger_name: name, .. }
        | Stmt::Insert { tbl_name: name, .. }
        | Stmt::Delete { tbl_name: name, .. } => not_own(name),
        Stmt::CreateVirtualTable(table) => not_own(&table.tbl_name),
        Stmt::Update(update) => not_own(&update.tbl_name),
        Stmt::CreateIndex { idx_name, tbl_name, .. } => {
            not_own(idx_name)?;
            not_own_name(tbl_name.as_str())
        }
        Stmt::CreateTrigger { trigger_name, tbl_name, commands, .. } => {
            not_own(trigger_name)?;
            not_own(tbl_name)?;
            commands.iter().try_for_each(|command| match command {
                TriggerCmd::Update { tbl_name, .. }
                | TriggerCmd::Insert { tbl_name, .. }
                | TriggerCmd::Delete { tbl_name, .. } => not_own_name(tbl_name.as_str()),
                TriggerCmd::Select(_) => Ok(()),
            })
        }
        Stmt::Analyze { .. }
        | Stmt::Begin { .. }
        | Stmt::Commit { .. }
        | Stmt::CreateType { .. }
        | Stmt::CreateDomain { .. }
        | Stmt::DropType { .. }
        | Stmt::DropDomain { .. }
        | Stmt::Reindex { .. }
        | Stmt::Release { .. }
        | Stmt::Rollback { .. }
        | Stmt::Savepoint { .. }
        | Stmt::Select(_)
        | Stmt::Optimize { .. } => Ok(()),
    }
}

fn judge_pragma(name: &str, body: Option<&PragmaBody>) -> std::result::Result<(), Reason> {
    match (pragma(&name.to_ascii_lowercase()), body) {
        (Pragma::Free | Pragma::ReadOnly(_), None) | (Pragma::Free, Some(_)) => Ok(()),
        (Pragma::Question, None | Some(PragmaBody::Call(_) | PragmaBody::Equals(_))) => Ok(()),
        (Pragma::ReadOnly(reason), Some(_)) | (Pragma::Forbidden(reason), _) => Err(reason),
    }
}

fn not_own(name: &QualifiedName) -> std::result::Result<(), Reason> {
    not_own_name(name.name.as_str())
}

fn not_own_name(name: &str) -> std::result::Result<(), Reason> {
    if is_internal(&name.to_ascii_lowercase()) { Err(OWN_TABLE) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine_file::FileRole;

    fn draft() -> EngineFile {
        EngineFile::of("x", FileRole::Draft)
    }

    #[test]
    fn what_would_break_the_engine_is_refused() {
        for sql in [
            "PRAGMA wal_checkpoint",
            "PRAGMA main.wal_checkpoint(TRUNCATE)",
            "pragma WAL_CHECKPOINT('truncate')",
            "PRAGMA \"wal_checkpoint\"",
            "/* harmless */ PRAGMA wal_checkpoint; SELECT 1",
            "SELECT 1; PRAGMA wal_checkpoint",
            "EXPLAIN PRAGMA wal_checkpoint",
            "PRAGMA journal_mode",
            "PRAGMA journal_mode = DELETE",
            "SELECT * FROM pragma_journal_mode",
            "SELECT (SELECT count(*) FROM \"pragma_journal_mode\")",
            "PRAGMA capture_data_changes_conn('off')",
            "PRAGMA unstable_capture_data_changes_conn = 'off'",
            "PRAGMA synchronous = OFF",
            "PRAGMA data_sync_retry = 0",
            "PRAGMA locking_mode = EXCLUSIVE",
            "PRAGMA schema_version = 7",
            "PRAGMA user_version = 7",
            "PRAGMA something_new",
            "VACUUM",
            "VACUUM INTO 'elsewhere.db'",
            "ATTACH 'local.db-synced' AS s",
            "DETACH s",
            "DELETE FROM turso_cdc",
            "DELETE FROM main.\"Turso_CDC\"",
            "UPDATE turso_cdc_version SET version = 'v9'",
            "INSERT INTO plimsoll_transaction_mark VALUES (9)",
            "INSERT OR REPLACE INTO turso_sync_last_change_id VALUES ('a', 0, 9)",
            "WITH x AS (SELECT 1) DELETE FROM turso_cdc",
            "DROP TABLE turso_cdc",
            "ALTER TABLE turso_cdc RENAME TO t",
            "ALTER TABLE t RENAME TO turso_cdc",
            "CREATE INDEX i ON turso_cdc (change_id)",
            "CREATE TEMP TABLE turso_cdc (v)",
            "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM turso_cdc; END",
            "CREATE TRIGGER g AFTER INSERT ON turso_cdc BEGIN SELECT 1; END",
            "DELETE FROM sqlite_sequence",
            "UPDATE sqlite_dbpage SET data = zeroblob(4096)",
            "SELECT load_extension('x')",
            "SELECT setval('__turso_internal_autoincrement_turso_cdc', 1)",
            "BEGIN; INSERT INTO t VALUES (1); DELETE FROM turso_cdc; COMMIT",
        ] {
            let refusal = check(&draft(), sql);
            assert!(matches!(refusal, Err(Error::StatementRefused { .. })), "{sql}: {refusal:?}");
        }
    }

    #[test]
    fn what_an_application_needs_is_allowed() {
        for (sql, statements) in [
            ("", 0),
            ("SELECT * FROM turso_cdc", 1),
            ("SELECT 'PRAGMA wal_checkpoint', 'load_extension'", 1),
            ("INSERT INTO t VALUES ('turso_cdc'); -- DELETE FROM turso_cdc", 1),
            ("BEGIN IMMEDIATE; SAVEPOINT a; RELEASE a; COMMIT;", 4),
            ("CREATE TABLE plimsoll_line (v); DROP TABLE plimsoll_line", 2),
            ("CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE u SET v = 1; END", 1),
            ("PRAGMA table_info(t); PRAGMA integrity_check; PRAGMA foreign_keys = ON", 3),
            ("PRAGMA synchronous; PRAGMA busy_timeout = 100", 2),
            ("SELECT name FROM pragma_table_info('t')", 1),
            ("ALTER TABLE t ADD COLUMN c", 1),
        ] {
            assert_eq!(check(&draft(), sql).unwrap().len(), statements, "{sql}");
        }
    }

    #[test]
    fn a_text_comes_apart_into_its_statements_and_the_unrecorded_ones_are_known() {
        let sql = "INSERT INTO t VALUES (';'); CREATE VIEW v AS SELECT 1; EXPLAIN DROP VIEW v; ALTER TABLE t RENAME TO u";
        let statements = check(&draft(), sql).unwrap();
        let cared: Vec<bool> = statements.iter().map(|statement| statement.care.is_some()).collect();
        assert_eq!(cared, [false, true, false, true]);
        assert_eq!(statements.iter().map(|statement| statement.sql).collect::<String>(), sql);
    }

    #[test]
    fn the_refusal_names_the_statement() {
        let error = check(&draft(), "SELECT 1; PRAGMA wal_checkpoint ; SELECT 2").unwrap_err();
        assert!(error.to_string().contains("`PRAGMA wal_checkpoint"), "{error}");
        assert!(!error.to_string().contains("SELECT"), "{error}");
    }

    #[test]
    fn a_text_that_does_not_parse_is_the_cores_error() {
        assert!(matches!(check(&draft(), "SELEC 1"), Err(Error::Database { .. })));
    }
}
