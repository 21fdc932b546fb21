//! `plimsoll serve`: serves the remote over HTTP, on real files.
//!
//! Nothing around the process ends it by accident. The log goes to standard error through a buffer that drops
//! lines when nobody reads them. A client that hangs up and a file that reaches its size limit are errors, not
//! signals. The signals that end it are SIGINT and SIGTERM; SIGHUP does nothing.

use std::fmt;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::num::{NonZero, ParseIntError};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use plimsoll_sim::serve::{ArchiveOptions, Limits, ServeError, Server, Settings, Token, import};
use plimsoll_sim::world::remote::{BatonLimits, StatementLimits};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;

use super::output::outln;
use super::{Problem, STATUS_CLEAN};

/// Serve a remote over HTTP, on real files, to clients on this machine.
///
/// For the engine's clients and for libsql clients on this machine: to develop and to test against a real
/// network. An acknowledged write is on the disk.
///
/// Not protected against: a client that has the token, or any program on this machine if there is no token. It may
/// read and change everything in the database, and one SQL function call (such as replace) can make the server
/// use memory without a limit: bound it from outside, for example with a cgroup. There is no TLS: other
/// machines should reach the server only through a proxy that adds it.
#[derive(Debug, Args)]
pub struct Serve {
    /// The directory of the remote. An empty directory gets a new remote. Otherwise its remote is resumed.
    #[arg(long, value_name = "DIR", default_value = "remote")]
    data: PathBuf,
    /// The number of frames after which a generation ends and the next one starts.
    #[arg(long, value_name = "FRAMES", value_parser = positive::<u64>, default_value_t = 1000)]
    generation_frames_max: u64,
    /// The number of generations to keep, the current one included. Clients that need an older one start over with the
    /// current state. Keeps all by default.
    #[arg(long, value_name = "N")]
    keep_generations: Option<NonZero<u64>>,
    /// Begin with a copy of this SQLite database. It is checked and not changed. The directory must be new.
    #[arg(long, value_name = "FILE")]
    import: Option<PathBuf>,
    /// Log only warnings and errors, not every request.
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    connections: Connections,
    #[command(flatten)]
    statements: Statements,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
struct Access {
    /// The address to listen on. Port 0 selects a free port. Any address but loopback needs --token-file.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// A file with the token that every request has to carry (authorization: Bearer TOKEN), except /healthz.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A name of this server. Requests for other names are refused, except localhost and addresses.
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits of connections and requests")]
struct Connections {
    /// Open connections; at most half of the file descriptors that the process may open.
    #[arg(long, value_name = "COUNT", value_parser = positive::<usize>, default_value_t = Limits::default().connections)]
    connections_max: usize,
    /// Bytes of a request's head.
    #[arg(long, value_name = "BYTES", value_parser = positive::<usize>, default_value_t = Limits::default().head_bytes)]
    head_bytes_max: usize,
    /// Headers of a request.
    #[arg(long, value_name = "COUNT", value_parser = positive::<usize>, default_value_t = Limits::default().headers)]
    headers_max: usize,
    /// Time for a request's head, and for which an unused connection is kept.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(Limits::default().head_time))]
    head_seconds_max: Seconds,
    /// Bytes of a request's body.
    #[arg(long, value_name = "BYTES", value_parser = positive::<usize>, default_value_t = Limits::default().body_bytes)]
    body_bytes_max: usize,
    /// Bytes of all bodies in memory: those of requests, and the results of SQL.
    #[arg(long, value_name = "BYTES", value_parser = positive::<usize>, default_value_t = Limits::default().bodies_bytes)]
    bodies_bytes_max: usize,
    /// Time for the next part of a request's body.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(Limits::default().body_idle_time))]
    body_idle_seconds_max: Seconds,
    /// Time for a client to take the next part of an answer.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(Limits::default().write_time))]
    write_seconds_max: Seconds,
    /// Time for a request, from its head to the head of its answer.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(Limits::default().request_time))]
    request_seconds_max: Seconds,
    /// Requests that run SQL at the same time, and requests that append frames. More have to wait.
    #[arg(long, value_name = "COUNT", value_parser = positive::<usize>, default_value_t = Limits::default().requests_at_once)]
    requests_at_once_max: usize,
    /// Bytes of a pushed transaction that is held open over several requests. There is at most one.
    #[arg(long, value_name = "BYTES", value_parser = positive::<usize>, default_value_t = BatonLimits::default().bytes)]
    held_bytes_max: usize,
    /// Time for a pushed transaction that is held open over several requests.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(BatonLimits::default().time))]
    held_seconds_max: Seconds,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits of SQL")]
struct Statements {
    /// Time for a statement.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(Limits::default().statement_time))]
    statement_seconds_max: Seconds,
    /// Bytes by which the memory of the server may grow while a request runs SQL. Only on Linux.
    #[arg(long, value_name = "BYTES", value_parser = positive::<u64>, default_value_t = Limits::default().statement_memory_bytes)]
    statement_memory_bytes_max: u64,
    /// Statements in a request.
    #[arg(long, value_name = "COUNT", value_parser = positive::<usize>, default_value_t = StatementLimits::default().statements)]
    statements_max: usize,
    /// Bytes of a statement's text.
    #[arg(long, value_name = "BYTES", value_parser = positive::<usize>, default_value_t = StatementLimits::default().sql_bytes)]
    statement_bytes_max: usize,
    /// SELECT and VALUES clauses of a statement, with those of its views, triggers and cascading foreign keys.
    #[arg(long, value_name = "COUNT", value_parser = positive::<usize>, default_value_t = StatementLimits::default().selects)]
    statement_selects_max: usize,
    /// Depth of parentheses, and of views, triggers and foreign keys that lead to each other.
    #[arg(long, value_name = "DEPTH", value_parser = positive::<usize>, default_value_t = StatementLimits::default().nesting)]
    statement_depth_max: usize,
    /// Rows of a statement's result.
    #[arg(long, value_name = "COUNT", value_parser = positive::<usize>, default_value_t = StatementLimits::default().rows)]
    rows_max: usize,
    /// Bytes of the results of a request.
    #[arg(long, value_name = "BYTES", value_parser = positive::<usize>, default_value_t = StatementLimits::default().answer_bytes)]
    answer_bytes_max: usize,
}

/// Parses a limit. A limit of nothing would refuse everything.
fn positive<T: FromStr<Err = ParseIntError> + From<u8> + PartialOrd>(text: &str) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(limit) if limit >= T::from(1) => Ok(limit),
        Ok(_) => Err("expected at least 1".into()),
        Err(error) => Err(error.to_string()),
    }
}

impl Serve {
    pub fn execute(self) -> Result<u8, Problem> {
        ignore_signals();
        let _log = log(self.quiet);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Problem::Runtime)?;
        let status = runtime.block_on(self.serve());
        // A statement that nothing can interrupt must not hold up the end of the process.
        runtime.shutdown_background();
        status
    }

    async fn serve(self) -> Result<u8, Problem> {
        // A signal during the start ends the server as soon as it has started.
        let interrupted = interrupted()?;
        if let Some(source) = &self.import {
            import(&self.data, source).map_err(ServeError::from)?;
        }
        let (data, address) = (self.data.clone(), self.access.listen);
        let server = Server::bind(&data, address, self.settings()?).await?;
        let (generation, frames) =
            server.remote().with_remote(|remote| (remote.generation(), remote.frame_count()));
        outln!("listening on http://{}", server.address());
        outln!("serving {}: generation {generation}, {frames} frames", data.display());
        // A process that waits for the address reads it from a pipe.
        std::io::stdout().flush().map_err(Problem::Runtime)?;
        server.run(interrupted).await?;
        outln!("ended");
        Ok(STATUS_CLEAN)
    }

    fn settings(self) -> Result<Settings, ServeError> {
        let Self { access, connections, statements, .. } = self;
        let limits = Limits {
            batons: BatonLimits { bytes: connections.held_bytes_max, time: connections.held_seconds_max.0 },
            connections: connections.connections_max,
            head_bytes: connections.head_bytes_max,
            headers: connections.headers_max,
            head_time: connections.head_seconds_max.0,
            body_bytes: connections.body_bytes_max,
            bodies_bytes: connections.bodies_bytes_max,
            body_idle_time: connections.body_idle_seconds_max.0,
            write_time: connections.write_seconds_max.0,
            request_time: connections.request_seconds_max.0,
            requests_at_once: connections.requests_at_once_max,
            statement_time: statements.statement_seconds_max.0,
            statement_memory_bytes: statements.statement_memory_bytes_max,
            statements: StatementLimits {
                statements: statements.statements_max,
                sql_bytes: statements.statement_bytes_max,
                selects: statements.statement_selects_max,
                nesting: statements.statement_depth_max,
                rows: statements.rows_max,
                answer_bytes: statements.answer_bytes_max,
            },
        };
        let token = access.token_file.map(|path| Token::read(&path)).transpose()?;
        let hosts = access.allow_host;
        let archive = ArchiveOptions {
            generation_frames_max: self.generation_frames_max,
            keep_generations: self.keep_generations,
        };
        Ok(Settings { archive, limits, token, hosts })
    }
}

/// A time limit, written in seconds.
#[derive(Debug, Clone, Copy)]
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_secs_f64().fmt(f)
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
        match Duration::try_from_secs_f64(seconds) {
            Ok(time) if !time.is_zero() => Ok(Self(time)),
            _ => Err("expected more than 0 seconds".into()),
        }
    }
}

/// Starts the log: requests, warnings and errors, on standard error. What nobody reads is dropped.
fn log(quiet: bool) -> WorkerGuard {
    /// The number of lines that wait to be written.
    const LINES_MAX: usize = 10_000;
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(LINES_MAX).lossy(true).finish(std::io::stderr());
    let requests = if quiet { LevelFilter::WARN } else { LevelFilter::INFO };
    let targets = Targets::new()
        .with_default(LevelFilter::ERROR)
        .with_target("plimsoll_sim", LevelFilter::WARN)
        .with_target("plimsoll_sim::serve", requests)
        .with_target("tower_http", requests);
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(targets).with(lines))
        .expect("no log has been started before");
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    guard
}

/// Ignores the signals that would end the process because of something outside it. The write that caused one
/// fails instead.
fn ignore_signals() {
    #[cfg(unix)]
    {
        use nix::sys::signal::{SigHandler, Signal, signal};
        for ignored in [Signal::SIGPIPE, Signal::SIGXFSZ, Signal::SIGHUP] {
            // SAFETY: no handler is installed, so nothing runs when the signal arrives.
            unsafe { signal(ignored, SigHandler::SigIgn) }.expect("these signals can be ignored");
        }
    }
}

/// Resolves when a signal asks the process to end.
#[cfg(unix)]
fn interrupted() -> Result<impl Future<Output = ()>, Problem> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Problem::Runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Problem::Runtime)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn interrupted() -> Result<impl Future<Output = ()>, Problem> {
    Ok(async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!("cannot wait for Ctrl-C: {error}");
            std::future::pending::<()>().await;
        }
    })
}
