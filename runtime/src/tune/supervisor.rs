//! The process that outlives its candidates: it has a worker run them, watches it, and replaces it when one of them takes
//! it down.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tritune_codegen::KernelId;
use tritune_tuning::candidate::Candidate;
use tritune_tuning::case::Case;
use tritune_tuning::journal::Found;
use tritune_tuning::results::{Crossover, Sample};
use tritune_tuning::search::{Excluded, Findings, Lineup, Observer, Phase, Progress, Search};

use super::job::{Answer, Event, Job, Step};
use super::{Runner, TuneError};

/// A worker that says nothing for so long hangs: packing a gibibyte, the slowest of what it does, takes a few seconds.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Multiplications that a candidate has a further second for: scalar kernels do as many.
const RATE: f64 = 1e9;

/// So many workers may fail before the fault is looked for elsewhere than in candidates.
const MAX_RESTARTS: usize = 20;

/// Silence is counted in pieces of this length, so that time in which this process was stopped itself counts as one.
const SLICE: Duration = Duration::from_millis(100);

/// An interrupted worker has so long to come to the end of a pass.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs candidates in a process of their own. A kernel that crashes or hangs is out from then on, and says so in its
/// samples; what was found before is not measured again.
#[derive(Debug)]
pub struct Supervisor<W> {
    /// Makes the command that starts a worker, which calls [`serve`](super::worker::serve).
    worker: W,
    timeout: Duration,
    pool_bytes: usize,
    found: Found,
    restarts: usize,
}

/// Why a search was given up.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// There is no worker.
    #[error("cannot start a worker: {0}")]
    Start(io::Error),
    /// A worker ended for no reason that a candidate could have given it.
    #[error("a worker ended before it ran any kernel ({0})")]
    Ended(String),
    /// A worker ended while it ran no kernel.
    #[error(
        "a worker ended while it packed weights for {case}, where it runs no kernel ({why}): was there too little memory? \
         Each layout takes {} MiB, and this machine has {} MiB for others; tune fewer instruction sets at a time with --isa",
        pool_bytes >> 20, available.unwrap_or(0) >> 20
    )]
    Packing {
        /// Where.
        case: Case,
        /// What happened.
        why: String,
        /// Bytes of weights for a layout.
        pool_bytes: usize,
        /// Bytes of memory that are available, where the system says.
        available: Option<u64>,
    },
    /// A worker spoke another language.
    #[error("a worker said what is no event: {0}")]
    Foreign(String),
    /// Nothing seems to work.
    #[error("the search was given up after {MAX_RESTARTS} workers had failed, the last with {kernel} in {case}: {why}")]
    Restarts {
        /// The last candidate.
        kernel: KernelId,
        /// Where.
        case: Case,
        /// What happened.
        why: String,
    },
}

/// How a worker ended.
enum End {
    /// It came to the end, or was told to stop.
    Done,
    /// It did not: what it did last, and what happened.
    Fault(Progress, String),
}

impl<W: Fn() -> Command> Supervisor<W> {
    /// `worker` makes the command that starts a worker, which calls [`serve`](super::worker::serve); `pool_bytes` of
    /// weights are gone through before any is used again. `found` was found earlier.
    pub fn new(worker: W, pool_bytes: usize, found: Found) -> Self {
        Supervisor { worker, timeout: TIMEOUT, pool_bytes, found, restarts: 0 }
    }

    /// With another [`TIMEOUT`].
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Supervisor { timeout, ..self }
    }

    fn is_out(&self, candidate: &Candidate) -> bool {
        self.found.excluded.iter().any(|out| out.kernel == candidate.kernel)
    }

    /// Starts a worker, and listens to it until it ends or has to be ended.
    fn attend(
        &self,
        step: Step,
        interrupt: &AtomicBool,
        heard: &mut impl FnMut(Event),
    ) -> Result<End, SupervisorError> {
        let mut worker = Worker::start((self.worker)()).map_err(SupervisorError::Start)?;
        worker.tell(&Job { pool_bytes: self.pool_bytes, steps: vec![step] });
        // What it was about last, and whether it still is.
        let (mut last, mut running): (Option<Progress>, bool) = (None, false);
        let (mut silence, mut stopped) = (Duration::ZERO, false);
        loop {
            let limit = last.map_or(self.timeout, |progress| self.patience(&progress.case));
            let interrupted = interrupt.load(Ordering::Relaxed);
            match worker.lines.recv_timeout(SLICE) {
                Ok(line) => {
                    silence = Duration::ZERO;
                    let Ok(event) = serde_json::from_str(&line) else {
                        return Err(SupervisorError::Foreign(line.chars().take(200).collect()));
                    };
                    let asks = if let Event::Progress(progress) = &event { Some(*progress) } else { None };
                    heard(event);
                    running = asks.is_some();
                    if asks.is_some() {
                        last = asks;
                        stopped = interrupt.load(Ordering::Relaxed);
                        worker.tell(&if stopped { Answer::Stop } else { Answer::Go });
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    silence += SLICE;
                    if interrupted && silence >= PATIENCE {
                        return Ok(End::Done);
                    }
                    if silence >= limit {
                        let Some(progress) = last else {
                            return Err(SupervisorError::Ended(format!("it said nothing for {limit:.0?}")));
                        };
                        return Ok(fault(
                            progress,
                            &format!("did not answer within {} s", limit.as_secs_f64().round()),
                        ));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = worker.end(self.timeout).map_err(SupervisorError::Start)?;
                    return match (last, status) {
                        _ if stopped => Ok(End::Done),
                        (_, Some(status)) if status.success() && !running => Ok(End::Done),
                        (Some(progress), status) => Ok(fault(progress, &format!("crashed: {}", how(status)))),
                        (None, status) => Err(SupervisorError::Ended(how(status))),
                    };
                }
            }
        }
    }

    /// Takes note of a fault. `accused`: what was running is known.
    fn note(
        &mut self,
        Progress { phase, candidate, case, .. }: Progress,
        why: String,
        accused: bool,
        observer: &mut impl Observer,
    ) -> Result<(), SupervisorError> {
        if phase == Phase::Packing {
            return Err(SupervisorError::Packing { case, why, pool_bytes: self.pool_bytes, available: available() });
        }
        self.restarts += 1;
        if self.restarts > MAX_RESTARTS {
            return Err(SupervisorError::Restarts { kernel: candidate.kernel, case, why });
        }
        if accused {
            let out = Excluded { case, kernel: candidate.kernel, why };
            observer.excluded(&out);
            self.found.excluded.push(out);
        }
        Ok(())
    }

    /// How long the worker may be about one thing of a case.
    fn patience(&self, case: &Case) -> Duration {
        let products = case.shape.weights() as f64 * case.m as f64;
        self.timeout.saturating_add(Duration::try_from_secs_f64(products / RATE).unwrap_or(Duration::MAX))
    }

    /// What was found out, in the order of cases and candidates.
    fn findings(&self, search: &Search<'_>, mut ended: HashMap<Case, Vec<Sample>>) -> Findings {
        let complete = !search.interrupt.load(Ordering::Relaxed);
        let mut findings = Findings { samples: Vec::new(), complete, excluded: Vec::new() };
        for Lineup { case, candidates } in search.lineups {
            let mut samples = ended.remove(case).unwrap_or_default();
            for candidate in candidates {
                let sampled = samples.iter().any(|sample| sample.candidate() == *candidate);
                if let Some(out) = self.found.excluded.iter().find(|out| out.kernel == candidate.kernel && !sampled) {
                    samples.push(Sample { failed: Some(out.reason(case)), ..Sample::new(*case, *candidate, &[]) });
                }
            }
            let known = |candidate: &Candidate| samples.iter().any(|sample| sample.candidate() == *candidate);
            findings.complete &= candidates.iter().all(known);
            samples.sort_by_key(|sample| candidates.iter().position(|candidate| *candidate == sample.candidate()));
            findings.samples.extend(samples);
        }
        findings
    }
}

impl<W: Fn() -> Command> Runner for Supervisor<W> {
    fn search(&mut self, search: &Search<'_>, observer: &mut impl Observer) -> Result<Findings, TuneError> {
        let start = Instant::now();
        let mut ended: HashMap<Case, Vec<Sample>> = HashMap::new();
        for lineup in search.lineups {
            if let Some(samples) = self.found.settled(lineup) {
                ended.insert(lineup.case, samples.into());
            }
        }
        let mut fraction = 0.0f64;
        while !search.interrupt.load(Ordering::Relaxed) {
            let mut lineups: Vec<Lineup> =
                search.lineups.iter().filter(|lineup| !ended.contains_key(&lineup.case)).cloned().collect();
            lineups.iter_mut().for_each(|lineup| lineup.candidates.retain(|candidate| !self.is_out(candidate)));
            // Where every candidate has failed there is nothing left to find out.
            let hopeless = lineups.extract_if(.., |lineup| lineup.candidates.is_empty());
            ended.extend(hopeless.map(|lineup| (lineup.case, Vec::new())));
            let left = search.budget.saturating_sub(start.elapsed());
            if lineups.is_empty() || left.is_zero() {
                break;
            }
            let before = search.lineups.len() - lineups.len();
            let step = Step::Search { lineups, seconds: left.as_secs_f64(), caution: search.caution };
            let mut excluded = Vec::new();
            let end = self.attend(step, search.interrupt, &mut |event| match event {
                Event::Progress(progress) => {
                    // The worker knows of its part only.
                    let (cases, done) = (search.lineups.len(), before + progress.done);
                    let share = progress.fraction * progress.cases as f64 - progress.done as f64;
                    fraction = fraction.max((done as f64 + share.clamp(0.0, 1.0)) / cases as f64);
                    observer.progress(&Progress { done, cases, fraction, ..progress });
                }
                Event::Finished { case, samples, settled } => {
                    observer.finished(&case, &samples, settled);
                    ended.insert(case, samples);
                }
                Event::Excluded(out) => {
                    observer.excluded(&out);
                    excluded.push(out);
                }
                Event::Crossover(_) => (),
            })?;
            self.found.excluded.extend(excluded);
            let End::Fault(progress, why) = end else { break };
            // What goes wrong after the end of a case may be the fault of any of its candidates.
            let accused = !ended.contains_key(&progress.case);
            self.note(progress, why, accused, observer)?;
        }
        Ok(self.findings(search, ended))
    }

    fn crossover(
        &mut self,
        picks: &[Candidate],
        case: &Case,
        budget: Duration,
        interrupt: &AtomicBool,
        observer: &mut impl Observer,
    ) -> Result<Option<Crossover>, TuneError> {
        let of_tensor = |known: &&Crossover| (known.shape, known.threads) == (case.shape, case.threads);
        if let Some(known) = self.found.crossovers.iter().find(of_tensor) {
            return Ok(Some(known.clone()));
        }
        let out = picks.iter().any(|pick| self.is_out(pick));
        if out || budget.is_zero() || interrupt.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (mut found, mut excluded) = (None, Vec::new());
        let step = Step::Crossover { picks: picks.into(), case: *case, seconds: budget.as_secs_f64() };
        let end = self.attend(step, interrupt, &mut |event| match event {
            Event::Progress(progress) => observer.progress(&progress),
            Event::Crossover(crossover) => {
                crossover.iter().for_each(|crossover| observer.crossed(crossover));
                found = crossover;
            }
            Event::Excluded(out) => {
                observer.excluded(&out);
                excluded.push(out);
            }
            Event::Finished { .. } => (),
        })?;
        self.found.excluded.extend(excluded);
        if let End::Fault(progress, why) = end {
            self.note(progress, why, true, observer)?;
            return Ok(None);
        }
        Ok(found)
    }

    fn excluded(&self) -> &[Excluded] {
        &self.found.excluded
    }
}

fn available() -> Option<u64> {
    crate::model::session::available_memory()
}

fn fault(progress: Progress, what: &str) -> End {
    let when = match progress.phase {
        Phase::Packing => "its weights were packed",
        Phase::Checking => "it was checked",
        Phase::Timing => "it was timed",
        Phase::Crossing => "a crossover was looked for",
    };
    End::Fault(progress, format!("{what} while {when}"))
}

/// How a process ended: `signal 11 (SIGSEGV)`.
fn how(status: Option<ExitStatus>) -> String {
    let Some(status) = status else { return "it did not end when it was done".into() };
    status.to_string().replacen(": ", " ", 1).trim_end_matches(" (core dumped)").into()
}

/// A process that is ended when nobody attends to it any more.
struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    /// What it writes.
    lines: Receiver<String>,
}

impl Worker {
    fn start(mut command: Command) -> io::Result<Worker> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C is for the supervisor: a worker that it ended would look like one that crashed.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let (heard, lines) = mpsc::channel();
        let output = child.stdout.take();
        thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
                let Ok(line) = line else { return };
                if heard.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Worker { input: child.stdin.take(), child, lines })
    }

    fn tell(&mut self, what: &impl serde::Serialize) {
        let text = serde_json::to_string(what).map_err(io::Error::from);
        let told = self
            .input
            .as_mut()
            .zip(text.ok())
            .map(|(input, text)| writeln!(input, "{text}").and_then(|()| input.flush()));
        // A worker that does not listen has ended, or is about to: how is told by its exit status.
        if !matches!(told, Some(Ok(()))) {
            self.input = None;
        }
    }

    /// Waits for the end of a process that has closed its output; `None` where it does not come.
    fn end(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        let mut waited = Duration::ZERO;
        while waited < timeout {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(SLICE / 10);
            waited += SLICE / 10;
        }
        Ok(None)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It fails where the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
