//! Determines which shard of a sweep this machine runs: from the option, or from the environment.

use clap::Args;
use plimsoll_sim::search::sweep::Shard;

use super::Problem;

/// The environment variables that name the shard. Plimsoll's own variable takes precedence.
const OWN: &str = "PLIMSOLL_SHARD";
const KUBERNETES: [&str; 2] = ["JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"];
const SLURM: [&str; 4] =
    ["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP"];

#[derive(Debug, Args)]
pub struct ShardOption {
    /// Run only the seeds of shard I of N, from 0/N to N-1/N. Defaults to PLIMSOLL_SHARD (I/N), to the index
    /// of a Kubernetes Indexed Job (JOB_COMPLETION_INDEX with JOB_COMPLETIONS), or to the index in a Slurm
    /// array (SLURM_ARRAY_TASK_ID with its count).
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
}

impl ShardOption {
    /// Whether the option was given.
    pub fn is_given(&self) -> bool {
        self.shard.is_some()
    }

    /// The shard. The whole sweep if neither the option nor the environment names one.
    #[expect(
        clippy::disallowed_methods,
        reason = "the environment selects the seeds and does not affect a history"
    )]
    pub fn shard(&self) -> Result<Shard, Problem> {
        match self.shard {
            Some(shard) => Ok(shard),
            None => from_environment(|name| std::env::var(name).ok()).map_err(Problem::Usage),
        }
    }
}

fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Shard, String> {
    let number = |name: &str| -> Result<Option<u64>, String> {
        let Some(text) = variable(name) else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|error| format!("{name} is `{text}`: {error}"))
    };
    if let Some(text) = variable(OWN) {
        return text.parse().map_err(|error| format!("{OWN}: {error}"));
    }
    let [index, count] = KUBERNETES;
    if let Some(at) = number(index)? {
        // Kubernetes does not pass the number of pods to a pod. If the number were guessed to be 1, every pod
        // would run the same seeds.
        let of = number(count)?.ok_or_else(|| {
            format!(
                "{index} is set but {count} is not: set it to the job's `completions`, or pass --shard I/N"
            )
        })?;
        return Shard::of(at, of).map_err(|error| format!("{index}/{count}: {error}"));
    }
    let [id, count, first, step] = SLURM;
    if let (Some(at), Some(of)) = (number(id)?, number(count)?) {
        let (first, step) = (number(first)?.unwrap_or(0), number(step)?.unwrap_or(1).max(1));
        let index = at
            .checked_sub(first)
            .ok_or_else(|| format!("{id} is {at}, which is below the array's first index {first}"))?;
        return Shard::of(index / step, of).map_err(|error| format!("{id}: {error}"));
    }
    Ok(Shard::WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard_of(variables: &[(&str, &str)]) -> Result<Shard, String> {
        from_environment(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_names_the_shard() {
        assert_eq!(shard_of(&[]), Ok(Shard::WHOLE));
        assert_eq!(shard_of(&[("PLIMSOLL_SHARD", "1/3"), ("JOB_COMPLETION_INDEX", "0")]), Shard::of(1, 3));
        assert_eq!(shard_of(&[("JOB_COMPLETION_INDEX", "5"), ("JOB_COMPLETIONS", "8")]), Shard::of(5, 8));
        let array = [("SLURM_ARRAY_TASK_ID", "7"), ("SLURM_ARRAY_TASK_COUNT", "4")];
        let array_with = |more: &[(&'static str, &'static str)]| shard_of(&[&array[..], more].concat());
        assert_eq!(array_with(&[("SLURM_ARRAY_TASK_MIN", "5")]), Shard::of(2, 4));
        assert_eq!(
            array_with(&[("SLURM_ARRAY_TASK_MIN", "1"), ("SLURM_ARRAY_TASK_STEP", "2")]),
            Shard::of(3, 4)
        );
    }

    #[test]
    fn an_environment_in_which_all_machines_would_run_the_same_shard_is_refused() {
        let error = shard_of(&[("JOB_COMPLETION_INDEX", "5")]).unwrap_err();
        assert!(error.contains("JOB_COMPLETIONS is not"), "{error}");
        assert!(shard_of(&[("JOB_COMPLETION_INDEX", "8"), ("JOB_COMPLETIONS", "8")]).is_err());
        assert!(shard_of(&[("PLIMSOLL_SHARD", "one")]).is_err());
    }
}
