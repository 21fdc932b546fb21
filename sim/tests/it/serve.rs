//! `plimsoll serve` as a process: it survives its surroundings, and the signals that end it end it soon.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use turso_core::{Database, IO, OpenOptions, PlatformIO, SqliteDialect};

/// A statement that runs until it is stopped.
const ENDLESS: &str =
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";

struct Served {
    process: Child,
    address: String,
}

impl Served {
    /// Starts the command in a shell that first runs `before`, with standard error as given.
    fn start(data: &Path, before: &str, arguments: &str, stderr: Stdio) -> Self {
        let program = env!("CARGO_BIN_EXE_plimsoll");
        let line = format!(
            "{before}\nexec '{program}' serve --data '{}' --listen 127.0.0.1:0 {arguments}",
            data.display()
        );
        let mut process = Command::new("sh")
            .args(["-c", &line])
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("there is a shell");
        let mut said = String::new();
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped"));
        lines.read_line(&mut said).expect("the output is text");
        let address = said.trim().strip_prefix("listening on http://").expect("it listens").to_owned();
        // What it prints later needs a reader.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self { process, address }
    }

    fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(self.process.id().try_into().expect("a process id is positive"));
        kill(process, signal).expect("the process runs");
    }

    fn end(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.process.wait().expect("it is a child")
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).expect("it listens")
    }

    fn send(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).expect("it receives");
        answer(stream)
    }

    fn get(&self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
    }

    fn execute(&self, sql: &str) -> String {
        self.send(&pipeline(sql))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A test that has failed leaves no server behind; one that has ended it finds nothing to kill.
        drop(self.process.kill());
    }
}

fn pipeline(sql: &str) -> String {
    let body = format!(r#"{{"requests":[{{"type":"execute","stmt":{{"sql":"{sql}","want_rows":true}}}}]}}"#);
    format!(
        "POST /v2/pipeline HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn answer(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // What arrived before an error is the answer.
    drop(stream.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_ok(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200 ")
}

#[test]
fn sigterm_ends_it_while_a_statement_runs() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::start(
        directory.path(),
        "",
        "--statement-seconds-max 3600 --request-seconds-max 3600",
        Stdio::null(),
    );
    let mut stream = served.connect();
    stream.write_all(pipeline(ENDLESS).as_bytes()).unwrap();
    assert!(is_ok(&served.get("/info")));
    assert!(served.end().success());
    let answer = answer(stream);
    assert!(answer.is_empty() || answer.contains("SQLITE_INTERRUPT"), "{answer}");
}

#[test]
fn sighup_does_not_end_it() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::start(directory.path(), "", "", Stdio::null());
    served.signal(Signal::SIGHUP);
    assert!(is_ok(&served.get("/info")));
    assert!(served.end().success());
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    // More lines than a pipe holds.
    const REQUESTS: usize = 1500;
    for is_closed in [false, true] {
        let mut served = Served::start(directory.path(), "", "", Stdio::piped());
        let stderr = served.process.stderr.take().unwrap();
        let kept = if is_closed { None } else { Some(stderr) };
        for _ in 0..REQUESTS {
            assert!(is_ok(&served.get("/info")));
        }
        let results = served.execute("CREATE TABLE IF NOT EXISTS t (v)");
        assert!(results.contains(r#""type":"ok""#), "{results}");
        assert!(served.end().success());
        drop(kept);
    }
    let served = Served::start(directory.path(), "exec 2>&-", "", Stdio::null());
    assert!(is_ok(&served.get("/info")), "without a standard error");
    assert!(served.end().success());
}

#[test]
fn writes_to_a_directory_that_is_gone_are_not_acknowledged() {
    let parent = tempfile::tempdir().unwrap();
    let (data, moved) = (parent.path().join("data"), parent.path().join("moved"));
    let served = Served::start(&data, "", "", Stdio::null());
    assert!(is_ok(&served.execute("CREATE TABLE t (v)")));
    std::fs::rename(&data, &moved).unwrap();
    let refused = served.execute("INSERT INTO t VALUES (1)");
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("was removed or replaced"), "{refused}");
    assert!(served.get("/healthz").starts_with("HTTP/1.1 503 "));
    // Another server's directory in its place is not written either.
    std::fs::create_dir(&data).unwrap();
    assert!(Served::start(&data, "", "", Stdio::null()).end().success());
    assert!(served.execute("INSERT INTO t VALUES (2)").starts_with("HTTP/1.1 503 "));
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&moved, &data).unwrap();
    assert!(is_ok(&served.get("/healthz")));
    let kept = served.execute("INSERT INTO t VALUES (3) RETURNING v");
    assert!(is_ok(&kept) && kept.contains(r#""value":"3""#), "{kept}");
    std::fs::remove_dir_all(&data).unwrap();
    assert!(served.execute("INSERT INTO t VALUES (4)").starts_with("HTTP/1.1 503 "));
    assert!(served.end().success());
}

#[test]
fn a_client_that_hangs_up_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::start(directory.path(), "", "", Stdio::null());
    assert!(is_ok(&served.execute("CREATE TABLE t (v)")));
    for _ in 0..50 {
        let mut stream = served.connect();
        stream.write_all(b"GET /export/1 HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(20).as_slice()).unwrap();
    }
    assert!(is_ok(&served.get("/info")));
    assert!(served.end().success());
}

#[test]
fn a_file_at_its_size_limit_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    // Units of 512 bytes, or of 1024 in some shells.
    let served = Served::start(directory.path(), "ulimit -f 256", "", Stdio::null());
    assert!(served.execute("CREATE TABLE t (v)").contains(r#""type":"ok""#));
    let fill = "INSERT INTO t SELECT hex(randomblob(1000)) FROM generate_series(1, 10)";
    let mut count = 0;
    let failed = loop {
        let answer = served.execute(fill);
        if !answer.contains(r#""type":"ok""#) {
            break answer;
        }
        count += 10;
        assert!(count < 10_000, "the limit is never reached");
    };
    assert!(failed.contains("SQLITE_IOERR") || failed.contains("SQLITE_ERROR"), "{failed}");
    let rows = served.execute("SELECT count(*) FROM t");
    assert!(rows.contains(&format!(r#""value":"{count}""#)), "{count}: {rows}");
    assert!(is_ok(&served.get("/info")));
    assert!(served.end().success());
}

#[test]
fn more_connections_than_file_descriptors_do_not_end_it() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::start(directory.path(), "ulimit -n 96", "", Stdio::null());
    let idle: Vec<TcpStream> = (0..300).map(|_| served.connect()).collect();
    let refused = served.get("/info");
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 503 "), "{refused}");
    drop(idle);
    while !is_ok(&served.get("/info")) {}
    assert!(served.execute("CREATE TABLE t (v)").contains(r#""type":"ok""#));
    assert!(served.end().success());
}

/// The generation cannot be closed, because the next snapshot would be longer than files may be.
#[test]
fn its_log_has_requests_and_what_went_wrong_behind_them() {
    let directory = tempfile::tempdir().unwrap();
    let (data, log) = (directory.path().join("data"), directory.path().join("log"));
    let stderr = || Stdio::from(std::fs::File::create(&log).unwrap());
    let served = Served::start(&data, "ulimit -f 256", "--generation-frames-max 8", stderr());
    assert!(is_ok(&served.execute("CREATE TABLE t (v)")));
    for _ in 0..200 {
        served.execute("INSERT INTO t SELECT hex(randomblob(1000)) FROM generate_series(1, 10)");
    }
    assert!(served.end().success());
    let lines = std::fs::read_to_string(&log).unwrap();
    assert!(lines.contains("method=POST uri=/v2/pipeline"), "{}", &lines[..lines.len().min(2000)]);
    assert!(lines.contains("status=200"));
    assert!(lines.contains(" WARN "), "no warning in {} lines", lines.lines().count());
    let quiet = Served::start(&directory.path().join("quiet"), "", "--quiet", stderr());
    assert!(is_ok(&quiet.get("/info")));
    assert!(quiet.end().success());
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "");
}

#[test]
fn a_database_is_imported_served_with_a_token_and_backed_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let io: Arc<dyn IO> = Arc::new(PlatformIO::new().unwrap());
    let source = Database::open(io, &path("source.db"), OpenOptions::new(Arc::new(SqliteDialect))).unwrap();
    let connection = source.connect().unwrap();
    for sql in ["CREATE TABLE t (v)", "INSERT INTO t VALUES ('kept')", "PRAGMA wal_checkpoint(TRUNCATE)"] {
        connection.execute(sql).unwrap();
    }
    drop((connection, source));
    const TOKEN: &str = "0123456789abcdef";
    std::fs::write(path("token"), TOKEN).unwrap();
    let arguments =
        format!("--import '{}' --token-file '{}' --allow-host here.test", path("source.db"), path("token"));
    let served = Served::start(&directory.path().join("data"), "", &arguments, Stdio::null());
    let select = pipeline("SELECT v FROM t");
    assert!(served.send(&select).starts_with("HTTP/1.1 401 "));
    let with_token = |host: &str| {
        select.replacen("host: localhost", &format!("host: {host}\r\nauthorization: Bearer {TOKEN}"), 1)
    };
    assert!(served.send(&with_token("here.test")).contains(r#""value":"kept""#));
    assert!(served.send(&with_token("there.test")).starts_with("HTTP/1.1 421 "));
    let backup = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .args(["backup", "--data", &path("data"), "--to", &path("copy")])
        .output()
        .unwrap();
    assert!(backup.status.success(), "{backup:?}");
    // The server still has its database for itself.
    assert!(served.send(&with_token("localhost")).contains(r#""value":"kept""#));
    let copy = Served::start(&directory.path().join("copy"), "", "", Stdio::null());
    assert!(copy.execute("SELECT v FROM t").contains(r#""value":"kept""#));
    let history = |info: &str| info.split("history_id").nth(1).map(str::to_owned);
    let info = "GET /info HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer 0123456789abcdef\r\n\r\n";
    assert_ne!(history(&served.send(info)), history(&copy.get("/info")));
    assert!(copy.end().success() && served.end().success());
}

#[test]
fn every_address_but_loopback_needs_a_token() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .args(["serve", "--listen", "0.0.0.0:0", "--data"])
        .arg(directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--token-file"), "{output:?}");
}

#[test]
fn its_help_names_every_limit_with_its_default() {
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll")).args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let flags = [
        "connections-max",
        "head-bytes-max",
        "headers-max",
        "head-seconds-max",
        "body-bytes-max",
        "bodies-bytes-max",
        "body-idle-seconds-max",
        "write-seconds-max",
        "request-seconds-max",
        "requests-at-once-max",
        "held-bytes-max",
        "held-seconds-max",
        "statement-seconds-max",
        "statement-memory-bytes-max",
        "statements-max",
        "statement-bytes-max",
        "statement-selects-max",
        "statement-depth-max",
        "rows-max",
        "answer-bytes-max",
    ];
    for flag in flags {
        let text = help.split_once(&format!("--{flag} ")).unwrap_or_else(|| panic!("no --{flag}")).1;
        let of_flag = text.split("\n      --").next().unwrap();
        assert!(of_flag.contains("[default: "), "--{flag}");
    }
    assert!(help.contains("Not protected against"));
}
