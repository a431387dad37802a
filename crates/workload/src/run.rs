//! A run from start to verdict.
//!
//! ```text
//!   cluster ─▶ tables ─▶ clients ┬─ until the time is up ─▶ heal ─▶ last reads ─▶ verdict
//!                        nemesis ┘
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use checker::{History, Options, Outcome};
use indicatif::{ProgressBar, ProgressStyle};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::args::CheckArgs;
use crate::cluster::Cluster;
use crate::connect::Connector;
use crate::error::CheckError;
use crate::faults::Nemesis;
use crate::recorder::Recorder;
use crate::report;
use crate::session::Session;
use crate::timeline::{Event, Second, Seen, Timeline};
use crate::workloads::{Findings, Running, Shared, Workload};

/// How long a statement of the preparation, or the last read, is tried again.
const PATIENCE: Duration = Duration::from_secs(60);
/// A client whose attempt failed waits for this before the next.
const BREATH: Duration = Duration::from_millis(20);
/// Processes of one workload are numbered from a multiple of this.
pub(crate) const PROCESSES: u32 = 1000;

/// One workload's result.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Which.
    pub workload: Workload,
    /// Acknowledged transactions.
    pub ok: usize,
    /// Rolled back for certain.
    pub failed: usize,
    /// Of unknown outcome.
    pub unknown: usize,
    /// Read-only snapshots among them that stayed open.
    pub snapshots: usize,
    /// What was checked, in a line.
    pub checked: String,
    /// How many anomalies there are.
    pub count: usize,
    /// The first of them, as stories.
    pub anomalies: Vec<String>,
}

/// What a run showed.
#[derive(Debug, Clone, Default)]
pub struct Outlook {
    /// Per workload.
    pub checked: Vec<Checked>,
    /// Each fault, and the longest time after it without a transaction over the nodes it left alone.
    pub pauses: Vec<(String, Duration)>,
    /// Nodes that ended although nobody killed them.
    pub exits: Vec<String>,
    /// Errors of the class "internal error" (XX…), which no client should see: code and message.
    pub internal: Vec<(String, String)>,
    pub(crate) seconds: Vec<Second>,
    pub(crate) events: Vec<Event>,
    pub(crate) errors: Vec<(String, Seen)>,
    pub(crate) as_of: bool,
}

impl Outlook {
    /// Whether no anomaly was found and every node lived.
    #[must_use]
    pub fn valid(&self) -> bool {
        self.exits.is_empty() && self.checked.iter().all(|checked| checked.count == 0)
    }

    /// Acknowledged transactions of all workloads.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.checked.iter().map(|checked| checked.ok).sum()
    }

    /// The longest pause after any fault.
    #[must_use]
    pub fn longest_pause(&self) -> Duration {
        self.pauses.iter().map(|(_, pause)| *pause).max().unwrap_or_default()
    }
}

/// Runs a check, prints what it shows, and answers whether the cluster kept its promise.
pub fn check(args: &CheckArgs) -> Result<bool, CheckError> {
    if let Some(file) = &args.recheck {
        return recheck(file, args);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| CheckError::Spawn { program: "the clients".to_owned(), source })?;
    let outlook = runtime.block_on(run(args))?;
    report::print(args, &outlook);
    Ok(outlook.valid())
}

fn recheck(path: &Path, args: &CheckArgs) -> Result<bool, CheckError> {
    let fail = |source| CheckError::File { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(fail)?;
    let history = History::read_lines(std::io::BufReader::new(file))?;
    let found = checker::check(&history, &Options::at(args.level.level()))?;
    report::print_recheck(&history, &found);
    Ok(found.valid())
}

/// A workload, its clients' record and its number among the workloads.
struct Job {
    workload: Workload,
    running: Arc<Running>,
    recorder: Arc<Recorder>,
    first_process: u32,
}

/// Runs a check.
pub async fn run(args: &CheckArgs) -> Result<Outlook, CheckError> {
    args.validate()?;
    let bar = progress(args);
    bar.set_message("finding the cluster");
    let mut cluster = Cluster::open(args).await?;
    let as_of = understands_as_of(&cluster).await;
    let shared = Shared { level: args.level.level(), as_of };
    bar.set_message("making tables");
    let workloads: Vec<(Workload, Arc<Running>)> =
        args.workload.iter().map(|&w| (w, Arc::new(Running::new(w, shared)))).collect();
    for (_, running) in &workloads {
        prepare(&cluster, running).await?;
    }
    if args.start.is_some() {
        cluster.wait_replicated().await?;
    }

    let origin = Instant::now();
    let timeline = Timeline::new(origin);
    let job = |(n, (workload, running)): (usize, (Workload, Arc<Running>))| Job {
        workload,
        running,
        recorder: Arc::new(Recorder::new(origin, timeline.clone())),
        first_process: u32::try_from(n).expect("workloads are few") * PROCESSES,
    };
    let jobs: Vec<Job> = workloads.into_iter().enumerate().map(job).collect();
    let until = origin + Duration::from_secs(args.seconds);
    let clients = start_clients(args, &cluster, &jobs, &timeline, until);
    let watching = watch(bar.clone(), timeline.clone(), origin, until);

    let mut exits = Vec::new();
    let faults = wreak(args, &mut cluster, &timeline, until);
    let (wreaked, ()) = tokio::join!(faults, watching);
    // What a fault left behind is healed first: clients that wait for a paused node end by it.
    exits.extend(cluster.unexpected_exit());
    wreaked?;
    cluster.heal().await?;
    for client in clients {
        client.await.map_err(|e| CheckError::NotReady(format!("a client panicked: {e}")))?;
    }
    let lasted = origin.elapsed();
    bar.set_message("last reads");
    for job in &jobs {
        last_read(&cluster, job, &timeline).await?;
    }
    bar.set_message("checking");
    exits.extend(cluster.unexpected_exit());
    let mut outlook = outlook(&timeline, lasted, exits, as_of);
    for job in jobs {
        outlook.checked.push(judge(args, &job).await?);
    }
    bar.finish_and_clear();
    if args.keep
        && let Some(folder) = cluster.folder()
    {
        report::note(&format!("data and logs are in {}", folder.display()));
    }
    Ok(outlook)
}

fn progress(args: &CheckArgs) -> ProgressBar {
    let bar = ProgressBar::new(args.seconds);
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} s  {msg}");
    bar.set_style(style.expect("a valid template"));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// Moves the progress bar until the time is up.
async fn watch(bar: ProgressBar, timeline: Timeline, origin: Instant, until: Instant) {
    while Instant::now() < until {
        bar.set_position(origin.elapsed().as_secs());
        let open = timeline.events().into_iter().rev().find(|event| event.until.is_none());
        let fault = open.map(|event| format!(", {}", event.text)).unwrap_or_default();
        bar.set_message(format!("{} transactions{fault}", timeline.acknowledged()));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bar.set_message("ending");
}

async fn wreak(
    args: &CheckArgs,
    cluster: &mut Cluster,
    timeline: &Timeline,
    until: Instant,
) -> Result<(), CheckError> {
    if args.faults.is_empty() {
        return Ok(());
    }
    let every = Duration::from_secs(args.fault_every);
    let mut nemesis = Nemesis::new(&args.faults, args.seed, every, timeline.clone());
    nemesis.run(cluster, |hold| Instant::now() + hold < until).await
}

async fn understands_as_of(cluster: &Cluster) -> bool {
    let Ok(client) = cluster.wait_serving(0).await else { return false };
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY AS OF SYSTEM TIME '-0.001s'";
    let understood = client.simple_query(begin).await.is_ok();
    drop(client.simple_query("ROLLBACK").await);
    understood
}

/// Makes a workload's tables, each statement again while it is told to.
async fn prepare(cluster: &Cluster, running: &Running) -> Result<(), CheckError> {
    let setup = |statement: &str, reason: String| CheckError::Setup {
        statement: statement.to_owned(),
        reason,
    };
    let url = &cluster.urls[0];
    let connected = cluster.connector.connect(url).await;
    let client = connected.map_err(|error| CheckError::no_node(url, &error))?;
    for statement in running.schema() {
        let start = Instant::now();
        while let Err(error) = client.simple_query(&statement).await {
            let again = error.code().is_some_and(|code| code.code() == "40001");
            if !again || start.elapsed() > PATIENCE {
                let reason =
                    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
                return Err(setup(&statement, reason));
            }
        }
    }
    Ok(())
}

fn start_clients(
    args: &CheckArgs,
    cluster: &Cluster,
    jobs: &[Job],
    timeline: &Timeline,
    until: Instant,
) -> Vec<tokio::task::JoinHandle<()>> {
    let mut clients = Vec::new();
    for job in jobs {
        for n in 0..u32::from(args.clients) {
            let client = Client {
                urls: cluster.urls.clone(),
                connector: cluster.connector.clone(),
                process: job.first_process + n,
                running: Arc::clone(&job.running),
                recorder: Arc::clone(&job.recorder),
                timeline: timeline.clone(),
                rng: StdRng::seed_from_u64(args.seed ^ (u64::from(job.first_process + n) << 32)),
                pause: Duration::from_secs(1) / args.rate,
            };
            clients.push(tokio::spawn(client.work(until)));
        }
    }
    clients
}

struct Client {
    urls: Vec<String>,
    connector: Connector,
    process: u32,
    running: Arc<Running>,
    recorder: Arc<Recorder>,
    timeline: Timeline,
    rng: StdRng,
    pause: Duration,
}

impl Client {
    /// One transaction after another; over another node every few seconds, and when a connection ends.
    /// Clients that stayed where they are would gather on the node that has been well for longest.
    async fn work(mut self, until: Instant) {
        let mut node = usize::try_from(self.process).expect("small");
        while Instant::now() < until {
            node = (node + 1) % self.urls.len();
            let moves = Instant::now() + Duration::from_millis(self.rng.random_range(500..4_000));
            let (recorder, timeline) = (Arc::clone(&self.recorder), self.timeline.clone());
            let who = (self.process, node);
            let to = (&self.connector, self.urls[node].as_str());
            let session = Session::connect(to, who, recorder, timeline).await;
            let Some(mut session) = session else {
                tokio::time::sleep(BREATH).await;
                continue;
            };
            while session.usable() && Instant::now() < until.min(moves) {
                let begun = Instant::now();
                let step = self.running.step(&mut session, &mut self.rng, self.process).await;
                let pause = if step.is_err() { BREATH } else { self.pause };
                tokio::time::sleep(pause.saturating_sub(begun.elapsed())).await;
            }
        }
    }
}

/// Reads everything once, over whichever node answers.
async fn last_read(cluster: &Cluster, job: &Job, timeline: &Timeline) -> Result<(), CheckError> {
    let start = Instant::now();
    let mut process = job.first_process + PROCESSES - 2;
    for node in (0..cluster.urls.len()).cycle() {
        // Simple and extended, so that not one protocol alone says what is left.
        process ^= 1;
        let (recorder, timeline) = (Arc::clone(&job.recorder), timeline.clone());
        let to = (&cluster.connector, cluster.urls[node].as_str());
        if let Some(mut session) = Session::connect(to, (process, node), recorder, timeline).await
            && job.running.last(&mut session).await.is_ok()
        {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            break;
        }
        tokio::time::sleep(BREATH).await;
    }
    Err(CheckError::NotReady("the last read finds no node that answers".to_owned()))
}

async fn judge(args: &CheckArgs, job: &Job) -> Result<Checked, CheckError> {
    let history = job.recorder.history();
    let name = format!("{:?}", job.workload).to_lowercase();
    if let Some(folder) = &args.history {
        let path = folder.join(format!("{name}.jsonl"));
        let fail = |source| CheckError::File { path: path.clone(), source };
        std::fs::create_dir_all(folder).map_err(fail)?;
        let file = std::fs::File::create(&path).map_err(fail)?;
        history.write_lines(std::io::BufWriter::new(file))?;
    }
    let count = |outcome| history.count(outcome);
    let (ok, failed, unknown) =
        (count(Outcome::Ok), count(Outcome::Failed), count(Outcome::Unknown));
    let snapshots = history.txns.iter().filter(|txn| txn.snapshot.is_some()).count();
    let running = Arc::clone(&job.running);
    let findings = tokio::task::spawn_blocking(move || running.verdict(&history)).await;
    let Findings { checked, anomalies, count } =
        findings.map_err(|e| CheckError::NotReady(format!("the checker panicked: {e}")))??;
    let workload = job.workload;
    Ok(Checked { workload, ok, failed, unknown, snapshots, checked, count, anomalies })
}

fn outlook(timeline: &Timeline, lasted: Duration, exits: Vec<String>, as_of: bool) -> Outlook {
    let events = timeline.events();
    let pauses = events
        .iter()
        .enumerate()
        .map(|(n, event)| (event.text.clone(), timeline.pause_after(n, lasted)))
        .collect();
    let errors: Vec<(String, Seen)> = timeline.errors().into_iter().collect();
    let internal = errors
        .iter()
        .filter(|(code, _)| code.starts_with("XX"))
        .map(|(code, seen)| (code.clone(), seen.first.clone()))
        .collect();
    Outlook {
        checked: Vec::new(),
        pauses,
        exits,
        internal,
        seconds: timeline.seconds(),
        events,
        errors,
        as_of,
    }
}
