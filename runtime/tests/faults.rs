//! Kernels that are wrong, crash or hang: the tuner goes on without them.
//!
//! This program is both sides: called with faults, it is the worker that has them.

use std::collections::HashSet;
use std::io::{self, BufReader};
use std::process::{self, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tritune::kernels::{Isa, KERNELS, Kernel, KernelId, Op, Runnable};
use tritune::tune::job::Event;
use tritune::tune::{Bench, BenchError, Plan, Runner, Supervisor, TuneError, Tuning, serve};
use tritune_tuning::candidate::Candidate;
use tritune_tuning::case::Case;
use tritune_tuning::journal::Found;
use tritune_tuning::pick::Weighting;
use tritune_tuning::results::{Crossover, Results, Sample};
use tritune_tuning::search::{Excluded, Findings, Measure, Observer, Phase, Progress, Search};
use tritune_tuning::stats::Caution;

/// Long enough for a sound kernel on a machine that is busy with other tests.
const TIMEOUT: Duration = Duration::from_secs(6);

const SEGFAULT: &str = "gemv_t200_1x8k32u1__scalar_dot";
const HANG: &str = "gemv_t167_1x8k96u1__scalar_dot";
const WRONG: &str = "gemv_t160_1x8k80u1__scalar_dot";
const ABORT: &str = "gemm_t160_4x8k80u1__scalar_dot";
const EXIT: &str = "gemm_t200_4x8k32u1__scalar_dot";
const TURNCOAT: &str = "gemm_t167_4x8k96u1__scalar_dot";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "worker") {
        return work(&arguments[1..]);
    }
    for (name, test) in [
        ("faulty_kernels_are_out_and_the_others_are_picked", faulty_kernels_are_out_and_the_others_are_picked as fn()),
        ("a_case_without_a_sound_kernel_is_settled", a_case_without_a_sound_kernel_is_settled),
        ("what_is_known_to_crash_is_not_run_again", what_is_known_to_crash_is_not_run_again),
        ("a_kernel_that_crashes_late_is_not_picked", a_kernel_that_crashes_late_is_not_picked),
        ("workers_that_do_not_work_are_told", workers_that_do_not_work_are_told),
        ("workers_end_with_their_supervisor", workers_end_with_their_supervisor),
        ("an_interrupt_stops_a_worker", an_interrupt_stops_a_worker),
        ("an_interrupt_stops_a_worker_that_hangs", an_interrupt_stops_a_worker_that_hangs),
    ] {
        print!("test {name} ... ");
        test();
        println!("ok");
    }
}

/// A bench of which some kernels are faulty, `KERNEL=FAULT` each.
struct Faulty<'a> {
    bench: Bench<'a>,
    faults: Vec<(KernelId, String)>,
    passes: usize,
}

fn work(arguments: &[String]) {
    let fault = |argument: &String| {
        let (kernel, fault) = argument.split_once('=').expect("KERNEL=FAULT");
        (kernel.parse().expect("a kernel"), fault.into())
    };
    let faults = arguments.iter().map(fault).collect();
    let kernels: Vec<Runnable> = KERNELS.iter().filter_map(Kernel::detect).collect();
    let faulty = |pool_bytes| Faulty { bench: Bench::new(&kernels, pool_bytes), faults, passes: 0 };
    serve(BufReader::new(io::stdin()), io::stdout(), faulty).expect("served");
}

impl Faulty<'_> {
    fn fails(&self, candidate: Candidate, fault: &str) -> bool {
        self.faults.iter().any(|(kernel, its)| *kernel == candidate.kernel && its == fault)
    }
}

fn wrong() -> BenchError {
    BenchError::Wrong { token: 0, row: 3, found: 8.0, expected: 7 }
}

fn segfault() -> ! {
    loop {
        // Rust's own handler takes the first one for the end of the stack, and finds that it was not.
        Command::new("sh").args(["-c", "kill -s SEGV $PPID"]).status().expect("there is a shell");
    }
}

fn hang() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

impl Measure for Faulty<'_> {
    type Error = BenchError;

    fn pack(&mut self, candidate: Candidate, case: &Case) -> Result<(), BenchError> {
        self.bench.pack(candidate, case)
    }

    fn check(&mut self, candidate: Candidate, case: &Case) -> Result<(), BenchError> {
        self.bench.check(candidate, case)?;
        match () {
            () if self.fails(candidate, "segfault") => segfault(),
            () if self.fails(candidate, "exit") => process::exit(0),
            () if self.fails(candidate, "wrong") => Err(wrong()),
            () => Ok(()),
        }
    }

    fn time(&mut self, candidate: Candidate, case: &Case) -> Result<f64, BenchError> {
        let seconds = self.bench.time(candidate, case)?;
        self.passes += 1;
        match () {
            () if self.fails(candidate, "hang") => hang(),
            () if self.fails(candidate, "abort") => process::abort(),
            () if self.fails(candidate, "turncoat") && self.passes > 1 => Err(wrong()),
            () => Ok(seconds),
        }
    }

    fn convicts(error: &BenchError) -> bool {
        Bench::convicts(error)
    }
}

impl Runner for Faulty<'_> {
    fn search(&mut self, search: &Search<'_>, observer: &mut impl Observer) -> Result<Findings, TuneError> {
        Ok(search.run(self, observer))
    }

    fn crossover(
        &mut self,
        picks: &[Candidate],
        case: &Case,
        budget: Duration,
        interrupt: &AtomicBool,
        observer: &mut impl Observer,
    ) -> Result<Option<Crossover>, TuneError> {
        if let Some(fails) = picks.iter().find(|pick| self.fails(**pick, "late")) {
            let (candidate, leader) = (*fails, None);
            let (done, cases, left, rounds, fraction, time_left) = (0, 1, 1, 0, 0.0, Duration::ZERO);
            let (phase, case) = (Phase::Crossing, *case);
            let progress = Progress { phase, case, candidate, done, cases, left, rounds, leader, fraction, time_left };
            observer.progress(&progress);
            process::abort();
        }
        self.bench.crossover(picks, case, budget, interrupt, observer)
    }
}

fn plan(seconds: u64) -> Plan {
    let tuning = Tuning {
        shapes: vec!["96x320".parse().expect("a shape")],
        threads: vec![1],
        isas: vec![Isa::Scalar],
        budget: Duration::from_secs(seconds),
        objective: Weighting::default(),
        pool_bytes: Some(1 << 20),
        command: "a test".into(),
    };
    tuning.plan().expect("there are kernels")
}

fn supervisor(faults: &[(&str, &str)], found: Found) -> Supervisor<impl Fn() -> Command> {
    let faults: Vec<String> = faults.iter().map(|(kernel, fault)| format!("{kernel}={fault}")).collect();
    let worker = move || {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("worker").args(&faults);
        command
    };
    Supervisor::new(worker, 1 << 20, found).with_timeout(TIMEOUT)
}

/// Writes down what it is told, and may interrupt.
#[derive(Default)]
struct Diary<'a> {
    progress: usize,
    fractions: Vec<f64>,
    finished: Vec<(Case, Vec<Sample>)>,
    excluded: Vec<Excluded>,
    crossed: Vec<Crossover>,
    interrupts: Option<(usize, &'a AtomicBool)>,
}

impl Observer for Diary<'_> {
    fn progress(&mut self, progress: &Progress) {
        self.progress += 1;
        self.fractions.push(progress.fraction);
        if let Some((_, flag)) = self.interrupts.filter(|(after, _)| self.progress > *after) {
            flag.store(true, Ordering::Relaxed);
        }
    }

    fn finished(&mut self, case: &Case, samples: &[Sample], settled: bool) {
        if settled {
            self.finished.push((*case, samples.into()));
        }
    }

    fn excluded(&mut self, excluded: &Excluded) {
        self.excluded.push(excluded.clone());
    }

    fn crossed(&mut self, crossover: &Crossover) {
        self.crossed.push(crossover.clone());
    }
}

fn run(seconds: u64, supervisor: &mut Supervisor<impl Fn() -> Command>, observer: &mut impl Observer) -> Results {
    let quiet = AtomicBool::new(false);
    plan(seconds).run(supervisor, Caution::Calm, &quiet, observer).expect("measured")
}

fn reasons<'a>(results: &'a Results, kernel: &str) -> Vec<&'a str> {
    let samples = results.samples.iter().filter(|sample| sample.kernel.to_string() == kernel);
    samples.map(|sample| sample.failed.as_deref().unwrap_or("it is sound")).collect()
}

fn faulty_kernels_are_out_and_the_others_are_picked() {
    let mut diary = Diary::default();
    let faults = [
        (SEGFAULT, "segfault"),
        (HANG, "hang"),
        (WRONG, "wrong"),
        (ABORT, "abort"),
        (EXIT, "exit"),
        (TURNCOAT, "turncoat"),
    ];
    // One of them takes six seconds off the time.
    let results = run(16, &mut supervisor(&faults, Found::default()), &mut diary);
    assert!(results.complete);
    for (kernel, reason) in [
        (SEGFAULT, "crashed: signal 11 (SIGSEGV) while it was checked"),
        (HANG, "did not answer within 6 s while it was timed"),
        (WRONG, "token 0, row 3: 8 where 7 is right"),
        (ABORT, "crashed: signal 6 (SIGABRT) while it was timed"),
        (EXIT, "crashed: exit status 0 while it was checked"),
        (TURNCOAT, "token 0, row 3: 8 where 7 is right"),
    ] {
        let reasons = reasons(&results, kernel);
        assert!(reasons[0].ends_with(reason) && !reasons[0].contains("left out"), "{kernel}: {reasons:?}");
        let elsewhere = |other: &&str| other.starts_with("left out: in ") && other.contains(reason);
        assert!(reasons[1..].iter().all(elsewhere), "{kernel}: {reasons:?}");
    }
    assert_eq!(diary.excluded.len(), faults.len(), "each once: {:?}", diary.excluded);
    let picked: Vec<String> = results.picks.iter().map(|pick| pick.kernel.to_string()).collect();
    assert_eq!(picked[0], "gemv_t200_1x8k64u1__scalar_dot");
    assert!(picked.iter().all(|kernel| kernel.contains("x8k64u1__scalar_dot")), "{picked:?}");
    let folder = tempfile::tempdir().expect("a folder");
    results.save(&folder.path().join("m.toml")).expect("believable");
}

fn a_case_without_a_sound_kernel_is_settled() {
    let kernels: Vec<String> = KERNELS.iter().map(|kernel| kernel.id.to_string()).collect();
    let gemm = kernels.iter().filter(|kernel| kernel.starts_with("gemm") && kernel.contains("scalar"));
    let faults: Vec<(&str, &str)> = gemm.map(|kernel| (kernel.as_str(), "exit")).collect();
    let mut diary = Diary::default();
    let results = run(5, &mut supervisor(&faults, Found::default()), &mut diary);
    assert!(results.complete, "nothing is left to be measured");
    assert_eq!(diary.excluded.len(), faults.len());
    assert!(!results.picks.is_empty() && results.picks.iter().all(|pick| pick.case.op == Op::Gemv));
}

fn what_is_known_to_crash_is_not_run_again() {
    // Time enough for everything to be settled.
    let mut first = Diary::default();
    let before = run(60, &mut supervisor(&[(SEGFAULT, "segfault")], Found::default()), &mut first);
    let found = Found { finished: first.finished, excluded: first.excluded, crossovers: first.crossed };
    let kept = found.finished.clone();
    assert!(kept.len() >= 2, "both cases: {kept:?}");
    // Whatever was measured again would be found to be wrong.
    let all: Vec<(String, &str)> = before.kernels.iter().map(|kernel| (kernel.name.to_string(), "wrong")).collect();
    let all: Vec<(&str, &str)> = all.iter().map(|(kernel, fault)| (kernel.as_str(), *fault)).collect();
    let mut again = Diary::default();
    let after = run(60, &mut supervisor(&all, found), &mut again);
    assert!(after.complete && again.excluded.is_empty(), "{:?}", again.excluded);
    let kernels = |results: &Results| results.picks.iter().map(|pick| pick.kernel).collect::<Vec<_>>();
    assert_eq!(kernels(&after), kernels(&before));
    let mut seen = HashSet::new();
    // Who was compared with its other schedules, too, keeps the times among its rivals.
    let among_rivals = |sample: &&Sample| seen.insert((sample.case, sample.candidate()));
    for sample in kept.iter().flat_map(|(_, samples)| samples).filter(among_rivals) {
        let same = |other: &&Sample| other.case == sample.case && other.candidate() == sample.candidate();
        let now = after.samples.iter().find(same).expect("it is not forgotten");
        assert!(now.failed.is_none() && now.times == sample.times, "{now:?}");
    }
    assert_eq!(reasons(&after, SEGFAULT)[0], "crashed: signal 11 (SIGSEGV) while it was checked");
}

fn a_kernel_that_crashes_late_is_not_picked() {
    // Any of them takes its worker down once a crossover is looked for.
    let kernels: Vec<String> = KERNELS.iter().map(|kernel| kernel.id.to_string()).collect();
    let faults: Vec<(&str, &str)> = kernels.iter().map(|kernel| (kernel.as_str(), "late")).collect();
    let mut diary = Diary::default();
    let results = run(5, &mut supervisor(&faults, Found::default()), &mut diary);
    assert!(results.complete && results.crossovers.is_empty());
    let [out] = &diary.excluded[..] else { panic!("{:?}", diary.excluded) };
    assert_eq!(out.why, "crashed: signal 6 (SIGABRT) while a crossover was looked for");
    assert!(results.picks.len() > 1 && results.picks.iter().all(|pick| pick.kernel != out.kernel), "{}", out.kernel);
    for reason in reasons(&results, &out.kernel.to_string()) {
        assert!(reason.contains("SIGABRT"), "{reason}");
    }
}

/// A worker that is a line of shell.
fn shell(script: String) -> Supervisor<impl Fn() -> Command> {
    let worker = move || {
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        command
    };
    Supervisor::new(worker, 1 << 20, Found::default()).with_timeout(Duration::from_secs(1))
}

fn workers_that_do_not_work_are_told() {
    let refusal = |mut supervisor: Supervisor<_>| {
        let quiet = AtomicBool::new(false);
        let result = plan(5).run(&mut supervisor, Caution::Calm, &quiet, &mut ());
        result.expect_err("no worker").to_string()
    };
    let silent = refusal(shell("exec sleep 60".into()));
    assert!(silent.contains("before it ran any kernel (it said nothing for 1s)"), "{silent}");
    let failing = refusal(shell("exit 5".into()));
    assert!(failing.contains("before it ran any kernel (exit status 5)"), "{failing}");
    let foreign = refusal(shell("echo hello; exec sleep 60".into()));
    assert!(foreign.contains("no event: hello"), "{foreign}");

    // One that always fails: the fault is not looked for in kernels for ever.
    let kernel: KernelId = SEGFAULT.parse().expect("a kernel");
    let case = Case { shape: "96x320".parse().expect("a shape"), threads: 1, op: kernel.op, m: 1 };
    let (candidate, phase, time_left) = (kernel.into(), Phase::Checking, Duration::ZERO);
    let (done, cases, left, rounds, leader, fraction) = (0, 1, 1, 0, None, 0.0);
    let progress = Progress { phase, case, candidate, done, cases, left, rounds, leader, fraction, time_left };
    let line = serde_json::to_string(&Event::Progress(progress)).expect("JSON");
    let hopeless = refusal(shell(format!("echo '{line}'; exit 1")));
    assert!(hopeless.contains("given up after 20 workers had failed"), "{hopeless}");
    assert!(hopeless.contains(SEGFAULT) && hopeless.contains("exit status 1"), "{hopeless}");

    // One that fails where no kernel runs, as for lack of memory: no kernel is blamed.
    let packing = Event::Progress(Progress { phase: Phase::Packing, ..progress });
    let packing = serde_json::to_string(&packing).expect("JSON");
    let starved = refusal(shell(format!("echo '{packing}'; kill -9 $$")));
    assert!(starved.contains("signal 9") && starved.contains("too little memory"), "{starved}");

    let missing = || Command::new("/there/is/no/such/program");
    let quiet = AtomicBool::new(false);
    let mut supervisor = Supervisor::new(missing, 1, Found::default());
    let error = plan(5).run(&mut supervisor, Caution::Calm, &quiet, &mut ()).expect_err("no worker");
    assert!(error.to_string().contains("cannot start a worker"), "{error}");
}

fn workers_end_with_their_supervisor() {
    for script in ["exec 0</dev/null; exec \"$0\" worker", "printf '%s\\n' '{\"mood\":1}' | \"$0\" worker"] {
        let program = std::env::current_exe().expect("this program");
        let output = Command::new("sh").arg("-c").arg(script).arg(program).output().expect("a shell");
        assert!(!output.status.success(), "a worker without a job: {script}");
    }
    // A job, and nobody who answers: it ends though a kernel would never come back.
    let case = Case { shape: "96x320".parse().expect("a shape"), threads: 1, op: Op::Gemv, m: 1 };
    let lineup =
        tritune_tuning::search::Lineup { case, candidates: vec![HANG.parse::<KernelId>().expect("a kernel").into()] };
    let step = tritune::tune::job::Step::Search { lineups: vec![lineup], seconds: 1e9, caution: Caution::Calm };
    let job = serde_json::to_string(&tritune::tune::job::Job { pool_bytes: 1 << 20, steps: vec![step] }).expect("JSON");
    let mut worker = Command::new(std::env::current_exe().expect("this program"));
    worker.args(["worker", &format!("{HANG}=hang")]).stdin(process::Stdio::piped()).stdout(process::Stdio::piped());
    let mut worker = worker.spawn().expect("a worker");
    let mut input = worker.stdin.take().expect("piped");
    io::Write::write_all(&mut input, format!("{job}\n\"go\"\n\"go\"\n\"go\"\n").as_bytes()).expect("it listens");
    let mut said = io::BufRead::lines(BufReader::new(worker.stdout.take().expect("piped")));
    // Packing, checking, timing: it hangs.
    for _ in 0..3 {
        assert!(said.next().expect("a line").expect("text").contains("progress"));
    }
    assert!(worker.try_wait().expect("a status").is_none());
    drop(input);
    assert_eq!(worker.wait().expect("a status").code(), Some(3));
}

fn an_interrupt_stops_a_worker() {
    let interrupt = AtomicBool::new(false);
    let mut diary = Diary { interrupts: Some((10, &interrupt)), ..Diary::default() };
    let mut supervisor = supervisor(&[], Found::default());
    let results = plan(5).run(&mut supervisor, Caution::Calm, &interrupt, &mut diary).expect("measured");
    assert!(!results.complete && !results.samples.is_empty() && diary.finished.is_empty());
    assert_eq!(diary.progress, 11);
}

fn an_interrupt_stops_a_worker_that_hangs() {
    let interrupt = AtomicBool::new(false);
    let mut diary = Diary { interrupts: Some((0, &interrupt)), ..Diary::default() };
    // It announces a pass, and is deaf to the answer.
    let kernel: KernelId = HANG.parse().expect("a kernel");
    let case = Case { shape: "96x320".parse().expect("a shape"), threads: 1, op: kernel.op, m: 1 };
    let (candidate, phase, time_left) = (kernel.into(), Phase::Timing, Duration::ZERO);
    let (done, cases, left, rounds, leader, fraction) = (0, 1, 1, 0, None, 0.0);
    let progress = Progress { phase, case, candidate, done, cases, left, rounds, leader, fraction, time_left };
    let line = serde_json::to_string(&Event::Progress(progress)).expect("JSON");
    let mut supervisor = shell(format!("echo '{line}'; exec sleep 600")).with_timeout(Duration::from_secs(500));
    let results = plan(5).run(&mut supervisor, Caution::Calm, &interrupt, &mut diary).expect("stopped");
    assert!(!results.complete && results.samples.is_empty() && diary.excluded.is_empty());
}
