//! The generated applications: what they send is SQL that SQLite itself accepts.

use plimsoll_sim::schedule::Action;
use plimsoll_sim::search::generate::{Profile, generate};
use rusqlite::Connection;

/// A statement may fail because of the rows that are there, and after a failed change of the schema so may
/// those that rely on it. It must not fail because nobody can read it.
#[test]
fn most_statements_of_applications_are_accepted_and_all_can_be_read() {
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..200 {
        let schedule = generate(seed, Profile::Programs);
        let sqlite = Connection::open_in_memory().unwrap();
        for step in schedule.all_steps() {
            let (Action::Program { sql, .. } | Action::RemoteProgram { sql }) = &step.action else {
                continue;
            };
            for statement in sql {
                match sqlite.execute_batch(statement) {
                    Ok(()) => accepted += 1,
                    Err(error) => {
                        let error = error.to_string();
                        let creates = step.id == 1 && statement.starts_with("CREATE");
                        assert!(!creates, "seed {seed}: {statement}: {error}");
                        let is_unreadable = ["syntax error", "incomplete input", "unrecognized token"];
                        assert!(
                            !is_unreadable.iter().any(|reason| error.contains(reason)),
                            "seed {seed}: {statement}: {error}"
                        );
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(accepted > 5 * refused, "{accepted} accepted, {refused} refused");
}
