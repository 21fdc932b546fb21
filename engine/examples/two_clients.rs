//! Two clients share a list of tasks through a server, each in files of its own.
//!
//! ```sh
//! cargo run --release -- serve --data /tmp/tasks-server            # in one terminal
//! cargo run -p plimsoll-engine --features http --example two_clients -- http://127.0.0.1:8080
//! ```

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use plimsoll_engine::{HttpRemote, LocalConnection, LocalStorage, Options, PushMode, SyncEngine};
use turso_core::PlatformIO;

type Engine = SyncEngine<HttpRemote>;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "an example has arguments")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:8080".into());
    let directory = tempfile::tempdir()?;

    println!("1. Two clients open; each bootstraps a copy of what the server at {url} holds.");
    let laptop = open(&url, directory.path(), "laptop", PushMode::Statements).await?;
    let phone = open(&url, directory.path(), "phone", PushMode::Frames).await?;

    println!("\n2. Both write, without the network: their commits are local, durable and visible at once.");
    let on_laptop = laptop.connect()?;
    on_laptop.execute("CREATE TABLE IF NOT EXISTS task (id TEXT PRIMARY KEY, title TEXT, done INTEGER)")?;
    on_laptop.execute("INSERT OR REPLACE INTO task VALUES ('milk', 'buy milk', 0)")?;
    show("laptop", &on_laptop)?;

    println!("\n3. The laptop syncs: a push, then a pull.");
    let report = laptop.sync().await?;
    println!(
        "   pushed {} transactions in {} requests, pulled {} frames",
        report.push.transactions, report.push.requests, report.pull.frames
    );

    println!("\n4. The phone pulls, and sees the table.");
    let report = phone.pull().await?;
    println!("   pulled {} frames of 4120 bytes", report.frames);
    let on_phone = phone.connect()?;
    show("phone", &on_phone)?;

    println!("\n5. Both change the same row, and neither knows of the other.");
    on_laptop.execute("UPDATE task SET title = 'buy oat milk' WHERE id = 'milk'")?;
    on_phone.execute("UPDATE task SET done = 1 WHERE id = 'milk'")?;
    show("laptop", &on_laptop)?;
    show("phone", &on_phone)?;

    println!("\n6. They sync in turn. An update carries the columns that it set, so both changes stand.");
    phone.sync().await?;
    let report = laptop.sync().await?;
    println!("   the laptop reports {:?}", report.pull.conflicts);
    phone.sync().await?;
    show("laptop", &on_laptop)?;
    show("phone", &on_phone)?;

    println!("\n7. A sync with nothing to do sends nothing and writes nothing.");
    let report = phone.sync().await?;
    println!(
        "   {} push requests, {} frames, rebased: {}",
        report.push.requests, report.pull.frames, report.pull.rebased
    );
    Ok(())
}

async fn open(
    url: &str,
    directory: &Path,
    name: &str,
    push_mode: PushMode,
) -> Result<Engine, Box<dyn Error>> {
    let remote = HttpRemote::builder(url).build()?;
    let path = directory.join(name).display().to_string();
    let options = Options::new(name).push_mode(push_mode);
    let engine =
        SyncEngine::open(Arc::new(PlatformIO::new()?), Arc::new(LocalStorage), remote, &path, options)
            .await?;
    println!("   {name}: {path}-draft, known to the server as {}", engine.metadata()?.client_unique_id);
    Ok(engine)
}

fn show(name: &str, connection: &LocalConnection) -> Result<(), Box<dyn Error>> {
    let rows = connection.query("SELECT id, title, done FROM task ORDER BY id", &[])?;
    for row in rows {
        println!("   {name:<7} {}", row.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "));
    }
    Ok(())
}
