//! What is measured: one test of one model.

use std::fmt;

use tritune_tuning::text::counted;

/// What a program is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// A prompt of so many tokens.
    Prompt(usize),
    /// A generation of so many tokens.
    Generation(usize),
}

/// A test, with as many tokens in the context and as many threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) task: Task,
    pub(super) depth: usize,
    pub(super) threads: usize,
}

impl Case {
    /// All that follow from lists of prompts, generations, depths and threads; none of 0 tokens.
    pub(super) fn all(prompts: &[usize], generations: &[usize], depths: &[usize], threads: &[usize]) -> Vec<Case> {
        let prompts = prompts.iter().filter(|n| **n > 0).map(|n| Task::Prompt(*n));
        let generations = generations.iter().filter(|n| **n > 0).map(|n| Task::Generation(*n));
        let tasks: Vec<Task> = prompts.chain(generations).collect();
        let mut cases = Vec::new();
        for &task in &tasks {
            for &depth in depths {
                cases.extend(threads.iter().map(|&threads| Case { task, depth, threads }));
            }
        }
        cases
    }

    pub(super) fn prompt(&self) -> usize {
        if let Task::Prompt(n) = self.task { n } else { 0 }
    }

    pub(super) fn generation(&self) -> usize {
        if let Task::Generation(n) = self.task { n } else { 0 }
    }

    /// The test's name, as llama-bench has it: `tg128`, `tg128 @ d4000`.
    pub(super) fn test(&self) -> String {
        let test = match self.task {
            Task::Prompt(n) => format!("pp{n}"),
            Task::Generation(n) => format!("tg{n}"),
        };
        if self.depth > 0 { format!("{test} @ d{}", self.depth) } else { test }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.test(), counted(self.threads, "thread"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_all_combinations_of_what_is_asked_for() {
        let cases = Case::all(&[512, 0], &[128], &[0, 4000], &[1, 2]);
        let names: Vec<String> = cases.iter().map(Case::to_string).collect();
        assert_eq!(
            names,
            [
                "pp512, 1 thread",
                "pp512, 2 threads",
                "pp512 @ d4000, 1 thread",
                "pp512 @ d4000, 2 threads",
                "tg128, 1 thread",
                "tg128, 2 threads",
                "tg128 @ d4000, 1 thread",
                "tg128 @ d4000, 2 threads",
            ]
        );
        assert_eq!((cases[0].prompt(), cases[0].generation()), (512, 0));
        assert_eq!((cases[7].prompt(), cases[7].generation()), (0, 128));
        assert_eq!(Case::all(&[0], &[0], &[0], &[1]), []);
    }
}
