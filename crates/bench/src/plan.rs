//! What is measured in one go: workloads one after another, on one target or on two in turn.

use std::time::Duration;

use crate::{
    compare::{Ratio, Round, compare},
    keys::Keys,
    memory::Memory,
    session::{SessionError, TargetSession},
    tally::Tally,
    target::Target,
    value::Pattern,
    workload::{OutOfBounds, Workload, within},
};

/// Most workloads of a plan.
const WORKLOADS: u64 = 100;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// One target, or two that are compared.
    pub targets: Vec<Target>,
    /// What is asked of each.
    pub workloads: Vec<Workload>,
    /// How often each workload is measured on each target.
    pub rounds: u64,
    /// For how long each is asked before it is measured first.
    pub warm_up: Duration,
    /// Threads that ask; see [`TargetSession::open`].
    pub threads: Option<usize>,
    /// What the names of keys begin with.
    pub prefix: String,
    /// Whether values are left where they are.
    pub keep: bool,
}

/// Why a plan cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It has no end.
    #[error(transparent)]
    OutOfBounds(#[from] OutOfBounds),
    /// A target.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Nothing can be got that was not set.
    #[error("{0}: none of its keys could be set: {1}")]
    Fill(Target, String),
}

/// What came of a workload.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What was asked.
    pub workload: Workload,
    /// What each target did in each round, in the order in which they were measured.
    pub rounds: Vec<Round>,
    /// What happened while keys were set before and deleted after, for each target.
    pub around: Vec<Tally>,
    /// How much memory each target used once the keys were set, as far as it tells.
    pub memory: Vec<Memory>,
    /// How the targets compare, if there are two.
    pub ratios: Vec<Ratio>,
}

impl Measured {
    /// All rounds of a target as one.
    pub fn total(&self, target: usize) -> Round {
        let mut total = Round {
            target,
            took: Duration::ZERO,
            tally: Tally::default(),
        };
        for round in self.rounds.iter().filter(|round| round.target == target) {
            total.took += round.took;
            total.tally.merge(&round.tally);
        }
        total
    }

    /// Requests that failed, on all targets, those before and after included.
    pub fn failures(&self) -> u64 {
        let tallies = self
            .rounds
            .iter()
            .map(|round| &round.tally)
            .chain(&self.around);
        tallies.map(Tally::failures).sum()
    }
}

impl Plan {
    /// Checks that it ends.
    ///
    /// # Errors
    ///
    /// The first limit that it does not keep.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        within(
            "the number of workloads",
            self.workloads.len() as u64,
            1,
            WORKLOADS,
        )?;
        within("the number of rounds", self.rounds, 1, 1_000)?;
        within("the number of threads", self.threads.unwrap_or(1), 1, 256)?;
        within("the length of the prefix", self.prefix.len(), 1, 200)?;
        within(
            "the warm-up in seconds",
            self.warm_up.as_secs_f64(),
            0.0,
            3_600.0,
        )?;
        self.workloads.iter().try_for_each(Workload::check)
    }

    /// Measures; `told` hears what is done next.
    ///
    /// # Errors
    ///
    /// If it has no end, or a target cannot be reached or be filled at all.
    /// Requests that fail are counted, and are no error.
    pub fn run(&self, mut told: impl FnMut(String)) -> Result<Vec<Measured>, PlanError> {
        self.check()?;
        let largest = self.workloads.iter().map(Workload::largest).max();
        let pattern = Pattern::up_to(largest.unwrap_or(0));
        let measure = |workload| self.measure(workload, &pattern, &mut told);
        self.workloads.iter().map(measure).collect()
    }

    fn measure(
        &self,
        workload: &Workload,
        pattern: &Pattern,
        told: &mut impl FnMut(String),
    ) -> Result<Measured, PlanError> {
        told(workload.describe());
        let mut sessions = Vec::new();
        let mut around = Vec::new();
        let mut memory = Vec::new();
        for target in &self.targets {
            let keys = Keys::new(&self.prefix);
            let mut session = TargetSession::open(
                target,
                self.threads,
                workload.connections,
                workload.timeout,
                keys,
                pattern.clone(),
            )?;
            told(format!("  {target}: setting {} keys", workload.key_count()));
            let filled = session.fill(workload)?;
            if filled.succeeded() == 0 {
                let why = filled.failed.into_keys().next().unwrap_or_default();
                return Err(PlanError::Fill(target.clone(), why));
            }
            around.push(filled);
            memory.push(session.memory(target, workload.timeout));
            sessions.push(session);
        }
        let mut rounds = Vec::new();
        for number in 0..self.rounds {
            for target in self.order(number) {
                let session = &mut sessions[target];
                if number == 0 && !self.warm_up.is_zero() {
                    let duration = self.warm_up;
                    session.measure(&Workload {
                        duration,
                        ..workload.clone()
                    })?;
                }
                let (took, tally) = session.measure(workload)?;
                let round = Round {
                    target,
                    took,
                    tally,
                };
                told(format!("  {}", self.line(number, &round)));
                rounds.push(round);
            }
        }
        if !self.keep {
            for (session, around) in sessions.iter_mut().zip(&mut around) {
                around.merge(&session.delete(workload.key_count())?);
            }
        }
        Ok(Measured {
            workload: workload.clone(),
            ratios: compare(&rounds),
            rounds,
            around,
            memory,
        })
    }

    /// The target that was first is last the next time, as order may matter.
    fn order(&self, number: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.targets.len()).collect();
        if number % 2 == 1 {
            order.reverse();
        }
        order
    }

    fn line(&self, number: u64, round: &Round) -> String {
        let seconds = round.took.as_secs_f64();
        format!(
            "round {}: {}: {:.0} requests/s, {:.3} GB/s, {} failed",
            number + 1,
            self.targets[round.target],
            round.tally.succeeded() as f64 / seconds,
            round.tally.bytes() as f64 / seconds / 1e9,
            round.tally.failures(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::small;

    fn plan() -> Plan {
        Plan {
            targets: vec![
                "redis://127.0.0.1:1".parse().unwrap(),
                "redis://127.0.0.1:2".parse().unwrap(),
            ],
            workloads: vec![small()],
            rounds: 3,
            warm_up: Duration::ZERO,
            threads: None,
            prefix: "bench:".into(),
            keep: false,
        }
    }

    #[test]
    fn whoever_was_first_is_last_the_next_time() {
        let orders = [0, 1, 2].map(|number| plan().order(number));
        assert_eq!(orders, [[0, 1], [1, 0], [0, 1]]);
    }

    #[test]
    fn a_plan_without_an_end_is_refused_before_anything_is_asked() {
        let refused = |change: fn(&mut Plan)| {
            let mut plan = plan();
            change(&mut plan);
            matches!(
                plan.run(|_| panic!("something was done")),
                Err(PlanError::OutOfBounds(_))
            )
        };
        assert!(refused(|plan| plan.rounds = 0));
        assert!(refused(|plan| plan.rounds = 1_001));
        assert!(refused(|plan| plan.workloads.clear()));
        assert!(refused(|plan| plan.workloads = vec![small(); 101]));
        assert!(refused(|plan| plan.workloads[0].rate = Some(f64::INFINITY)));
        assert!(refused(|plan| plan.threads = Some(0)));
        assert!(refused(|plan| plan.prefix.clear()));
        assert!(refused(|plan| plan.warm_up = Duration::MAX));
    }

    #[test]
    fn a_target_that_is_not_there_is_told_by_its_name() {
        let error = plan().run(|_| {}).unwrap_err().to_string();
        assert!(error.starts_with("redis://127.0.0.1:1: "), "{error}");
    }
}
