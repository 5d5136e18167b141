//! The process that runs candidates. It may crash or hang; its supervisor does not.

use std::io::{self, BufRead, Write};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use tritune_tuning::case::Case;
use tritune_tuning::results::Sample;
use tritune_tuning::search::{Excluded, Observer, Progress, Search};

use super::job::{Answer, Event, Job, Step};
use super::{Runner, TuneError};

/// Exit status of a worker whose supervisor has ended.
const ABANDONED: i32 = 3;

/// Why a worker did not do its job.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It was not told what to do.
    #[error("a worker of `tritune tune`, which starts it, is given its job on standard input: {0}")]
    Job(String),
    /// It could not say what it did.
    #[error("the tuner does not listen: {0}")]
    Deaf(io::Error),
    /// It could not run anything.
    #[error(transparent)]
    Tune(#[from] TuneError),
}

/// Does the job that is written to `input`, with the runner that `bench` makes for so many bytes of pools of weights, and tells
/// of it on `output`. The process ends when `input` does, even while a candidate runs: nobody would learn of it.
///
/// # Errors
/// Where there is no job, or nobody to tell.
pub fn serve<R: Runner>(
    mut input: impl BufRead + Send + 'static,
    output: impl Write,
    bench: impl FnOnce(usize) -> R,
) -> Result<(), WorkerError> {
    let mut line = String::new();
    input.read_line(&mut line).map_err(|error| WorkerError::Job(error.to_string()))?;
    let job: Job = serde_json::from_str(&line).map_err(|error| WorkerError::Job(error.to_string()))?;
    let (said, answers) = mpsc::channel();
    thread::spawn(move || {
        for line in input.lines() {
            let answer = line.map_err(|_| ()).and_then(|line| serde_json::from_str(&line).map_err(|_| ()));
            // What is no answer is none that says to go on.
            if said.send(answer.unwrap_or(Answer::Stop)).is_err() {
                return;
            }
        }
        process::exit(ABANDONED);
    });
    let interrupt = AtomicBool::new(false);
    let mut line = Line { output, answers, interrupt: &interrupt, failed: None };
    let mut runner = bench(job.pool_bytes);
    for step in &job.steps {
        match step {
            Step::Search { lineups, seconds, caution } => {
                let search = Search { lineups, budget: budget(*seconds), caution: *caution, interrupt: &interrupt };
                runner.search(&search, &mut line)?;
            }
            Step::Crossover { picks, case, seconds } => {
                let found = runner.crossover(picks, case, budget(*seconds), &interrupt, &mut line)?;
                line.say(&Event::Crossover(found));
            }
        }
    }
    line.failed.map_or(Ok(()), |error| Err(WorkerError::Deaf(error)))
}

fn budget(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// The line to the supervisor.
struct Line<'a, W> {
    output: W,
    answers: Receiver<Answer>,
    /// Stops the search.
    interrupt: &'a AtomicBool,
    failed: Option<io::Error>,
}

impl<W: Write> Line<'_, W> {
    fn say(&mut self, event: &Event) {
        let said = serde_json::to_string(event).map_err(io::Error::from);
        let said = said.and_then(|text| writeln!(self.output, "{text}")).and_then(|()| self.output.flush());
        if let Err(error) = said {
            self.failed = Some(error);
            self.interrupt.store(true, Ordering::Relaxed);
        }
    }
}

impl<W: Write> Observer for Line<'_, W> {
    fn progress(&mut self, progress: &Progress) {
        self.say(&Event::Progress(*progress));
        if self.failed.is_none() && self.answers.recv() != Ok(Answer::Go) {
            self.interrupt.store(true, Ordering::Relaxed);
        }
    }

    fn finished(&mut self, case: &Case, samples: &[Sample], settled: bool) {
        self.say(&Event::Finished { case: *case, samples: samples.into(), settled });
    }

    fn excluded(&mut self, excluded: &Excluded) {
        self.say(&Event::Excluded(excluded.clone()));
    }
}
