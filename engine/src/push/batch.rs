//! A batch: local transactions that become one transaction on the remote, and the reasons why sending one can
//! stop.

use turso_core::Value;

use crate::error::Error;
use crate::tape::{ACKNOWLEDGEMENT_TABLE, Planner, Statement, Step, Transaction};

/// The reason why a push stops before everything is sent.
pub(super) enum Stop {
    /// The remote is no longer in the state on which the request was built.
    Stale,
    /// The remote refuses a statement of a local transaction.
    Refused(Error),
    /// The remote does not take a request with this many transactions, which are more than one.
    TooLarge {
        transactions: usize,
    },
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            Error::PushRefused { transaction_no: Some(_), .. } => Self::Refused(error),
            _ => Self::Failed(error),
        }
    }
}

impl Stop {
    /// The reason why a batch of this many transactions could not be sent.
    pub(super) fn of_batch(self, transactions: usize) -> Self {
        match self {
            Self::Failed(Error::RequestTooLarge { .. }) if transactions > 1 => {
                Self::TooLarge { transactions }
            }
            other => other,
        }
    }
}

/// Splits off as many whole transactions as the limits allow, at least one.
pub(super) fn split_batch(
    pending: &[Transaction],
    statements_max: usize,
    transactions_max: usize,
) -> Option<(&[Transaction], &[Transaction])> {
    let first = pending.first()?;
    let mut statements = first.statements_max();
    let mut count = 1;
    while count < transactions_max
        && let Some(next) = pending.get(count)
        && statements + next.statements_max() <= statements_max
    {
        statements += next.statements_max();
        count += 1;
    }
    Some(pending.split_at(count))
}

/// Planned transactions that become one transaction on the remote.
pub(super) struct Batch {
    /// The remote's triggers before the batch.
    pub(super) triggers: Option<String>,
    pub(super) replayed: Vec<(u64, Statement)>,
    pub(super) last_no: u64,
}

impl Batch {
    pub(super) fn plan(planner: &mut Planner<'_>, transactions: &[Transaction]) -> turso_core::Result<Self> {
        let mut batch = Self { triggers: planner.triggers(), replayed: Vec::new(), last_no: 0 };
        for transaction in transactions {
            batch.last_no = transaction.no;
            let steps = planner.plan(transaction)?;
            batch.add(steps);
        }
        batch.add(planner.resume());
        Ok(batch)
    }

    fn add(&mut self, steps: Vec<Step>) {
        let no = self.last_no;
        self.replayed.extend(steps.into_iter().map(|step| (no, step.statement)));
    }
}

pub(super) fn create_acknowledgement_table() -> Statement {
    Statement::bare(format!(
        "CREATE TABLE IF NOT EXISTS {ACKNOWLEDGEMENT_TABLE} (client_id TEXT PRIMARY KEY, pull_gen INTEGER, change_id INTEGER)"
    ))
}

pub(super) fn acknowledge(client: &str, no: u64) -> Statement {
    Statement {
        sql: format!(
            "INSERT OR REPLACE INTO {ACKNOWLEDGEMENT_TABLE} (client_id, pull_gen, change_id) VALUES (?, 0, ?)"
        ),
        args: vec![Value::build_text(client.to_owned()), Value::from_i64(no.cast_signed())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Transactions with these statement counts, numbered from 1.
    fn transactions(statements: &[usize]) -> Vec<Transaction> {
        (1..).zip(statements).map(|(no, &statements)| Transaction::of_statements(no, statements)).collect()
    }

    fn split(statements: &[usize], statements_max: usize) -> Option<(Vec<u64>, Vec<u64>)> {
        let numbers = |transactions: &[Transaction]| transactions.iter().map(|it| it.no).collect();
        let pending = transactions(statements);
        split_batch(&pending, statements_max, 4).map(|(batch, rest)| (numbers(batch), numbers(rest)))
    }

    #[test]
    fn a_batch_has_as_many_whole_transactions_as_fit() {
        assert_eq!(split(&[2, 3, 1, 1], 6), Some((vec![1, 2, 3], vec![4])));
        assert_eq!(split(&[2, 3, 1, 1], 5), Some((vec![1, 2], vec![3, 4])));
        assert_eq!(split(&[2, 3, 1, 1], 4), Some((vec![1], vec![2, 3, 4])));
        assert_eq!(split(&[2, 3, 1, 1], 7), Some((vec![1, 2, 3, 4], vec![])));
        assert_eq!(split(&[1, 1, 1, 1, 1], 9), Some((vec![1, 2, 3, 4], vec![5])));
    }

    #[test]
    fn a_transaction_that_is_too_long_is_a_batch_of_its_own() {
        assert_eq!(split(&[9, 1], 4), Some((vec![1], vec![2])));
        assert_eq!(split(&[1, 9], 4), Some((vec![1], vec![2])));
    }

    #[test]
    fn there_is_no_batch_of_nothing() {
        assert_eq!(split(&[], 4), None);
    }

    #[test]
    fn only_a_refused_local_transaction_is_tried_out() {
        let refused = |transaction_no| Error::PushRefused {
            transaction_no,
            sql: "INSERT".into(),
            message: "no".into(),
        };
        assert!(matches!(Stop::from(refused(Some(3))), Stop::Refused(_)));
        assert!(matches!(Stop::from(refused(None)), Stop::Failed(_)));
        assert!(matches!(Stop::from(Error::OperationInProgress), Stop::Failed(_)));
    }

    #[test]
    fn a_batch_of_one_transaction_does_not_get_smaller() {
        let too_large = || {
            let (request, detail) = ("POST /v2/pipeline".into(), String::new());
            Stop::from(Error::RequestTooLarge { request, body_bytes: 9, detail })
        };
        assert!(matches!(too_large().of_batch(2), Stop::TooLarge { transactions: 2 }));
        assert!(matches!(too_large().of_batch(1), Stop::Failed(Error::RequestTooLarge { .. })));
        assert!(matches!(Stop::Stale.of_batch(2), Stop::Stale));
    }
}
