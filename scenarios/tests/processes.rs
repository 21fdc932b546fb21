//! Two real processes on one directory. A process of its own plays the second one: this program, started with
//! the variable [`DATABASE`].
#![expect(clippy::disallowed_methods, reason = "the test needs real processes and real files")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use plimsoll_engine::{Error, LocalStorage, Options, SyncEngine};
use plimsoll_scenarios::sandbox::{Sandbox, rows};
use plimsoll_sim::world::in_process::InProcess;
use plimsoll_sim::world::in_process::block_on;
use plimsoll_sim::world::memory::Memory;
use plimsoll_sim::world::remote::Remote;
use turso_core::PlatformIO;

/// The path of the database that a second process opens.
const DATABASE: &str = "PLIMSOLL_SECOND_PROCESS";
const ROUNDS: usize = 20;

fn main() -> ExitCode {
    if let Some(path) = std::env::var_os(DATABASE) {
        second_process(&path.to_string_lossy());
        return ExitCode::SUCCESS;
    }
    let trials = vec![
        Trial::test("a_second_process_is_refused_and_nothing_is_lost", || {
            in_rounds(a_second_process_is_refused)
        }),
        Trial::test("a_killed_process_leaves_no_lock", || in_rounds(a_killed_process_leaves_no_lock)),
    ];
    // A child that one trial forks would hold the other trial's lock until it runs its program.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Opens the database, prints the result, and keeps it open until standard input ends.
fn second_process(path: &str) {
    // The database has been bootstrapped, so that opening it needs no request.
    let nobody = InProcess::new(Remote::create(Memory::create(), "nobody.db"), 1000);
    let io = std::sync::Arc::new(PlatformIO::new().expect("the platform has files"));
    let options = Options::new("second");
    let opened = block_on(SyncEngine::open(io, std::sync::Arc::new(LocalStorage), nobody, path, options));
    match &opened {
        Ok(engine) => {
            let written =
                engine.connect().and_then(|connection| connection.execute("INSERT INTO t VALUES ('second')"));
            println!("{}", written.map_or_else(|error| error.to_string(), |()| "open".into()));
        }
        Err(Error::InUse { .. }) => println!("in use"),
        Err(error) => println!("{error}"),
    }
    let _end = std::io::stdin().lines().next();
}

struct Second {
    child: Child,
    /// The line that it printed.
    said: String,
}

impl Second {
    fn start(path: &str) -> std::io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .env(DATABASE, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut said)?;
        Ok(Self { child, said: said.trim().to_owned() })
    }

    fn end(mut self) -> std::io::Result<()> {
        drop(self.child.stdin.take());
        self.child.wait().map(drop)
    }

    /// Kills it (SIGKILL on Unix).
    fn kill(mut self) -> std::io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

fn in_rounds(round: fn(&Sandbox, usize) -> Result<(), Failed>) -> Result<(), Failed> {
    let place = Sandbox::real();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    drop(place.open("a")?);
    (0..ROUNDS).try_for_each(|number| round(&place, number))
}

fn a_second_process_is_refused(place: &Sandbox, number: usize) -> Result<(), Failed> {
    let engine = place.open("a")?;
    engine.connect()?.execute(format!("INSERT INTO t VALUES ({number})"))?;
    let second = Second::start(&place.path("a"))?;
    let said = second.said.clone();
    block_on(engine.sync())?;
    engine.connect()?.execute(format!("INSERT INTO t VALUES ({number} + 0.5)"))?;
    second.end()?;
    block_on(engine.sync())?;
    if said != "in use" {
        return Err(format!("round {number}: the second process was told: {said}").into());
    }
    let expected = format!("{0}|{0}", 2 * (number + 1));
    let distinct = "SELECT count(*), count(DISTINCT v) FROM t";
    let (here, there) = (rows(&engine.connect()?, distinct), place.remote_rows(distinct));
    if (here.as_slice(), there.as_slice())
        != (std::slice::from_ref(&expected), std::slice::from_ref(&expected))
    {
        return Err(format!("round {number}: {here:?} here and {there:?} there instead of {expected}").into());
    }
    Ok(())
}

fn a_killed_process_leaves_no_lock(place: &Sandbox, number: usize) -> Result<(), Failed> {
    let second = Second::start(&place.path("a"))?;
    let is_refused = matches!(place.open("a"), Err(Error::InUse { .. }));
    let said = second.said.clone();
    second.kill()?;
    if said != "open" || !is_refused {
        return Err(format!("round {number}: {said}; refused beside it: {is_refused}").into());
    }
    let engine = place.open("a")?;
    block_on(engine.sync())?;
    let (here, there) =
        (rows(&engine.connect()?, "SELECT count(*) FROM t"), place.remote_rows("SELECT count(*) FROM t"));
    let expected = [(number + 1).to_string()];
    if here != expected || there != expected {
        return Err(format!("round {number}: {here:?} here, {there:?} there, expected {expected:?}").into());
    }
    Ok(())
}
