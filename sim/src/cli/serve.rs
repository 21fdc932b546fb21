//! `plimsoll serve`: serves the remote over HTTP, on real files.

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;

use clap::Args;
use plimsoll_sim::serve::{ArchiveOptions, ServeError, Served, Server, import};

use super::output::outln;
use super::{Problem, STATUS_CLEAN};

#[derive(Debug, Args)]
pub struct Serve {
    /// The directory of the remote. An empty directory gets a new remote. Otherwise its remote is resumed.
    #[arg(long, value_name = "DIR", default_value = "remote")]
    data: PathBuf,
    /// The address to listen on. Port 0 selects a free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The number of frames after which a generation ends and the next one starts.
    #[arg(long, value_name = "FRAMES", default_value_t = 1000)]
    generation_frames_max: u64,
    /// The number of generations to keep, the current one included. Clients that need an older one start over with the
    /// current state. Keeps all by default.
    #[arg(long, value_name = "N")]
    keep_generations: Option<NonZero<u64>>,
    /// Begin with a copy of this SQLite database. It is checked and not changed. The directory must be new.
    #[arg(long, value_name = "FILE")]
    import: Option<PathBuf>,
    /// Do not print a line for each request.
    #[arg(long)]
    quiet: bool,
}

impl Serve {
    pub fn execute(self) -> Result<u8, Problem> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Problem::Runtime)?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> Result<u8, Problem> {
        let quiet = self.quiet;
        let log = move |served: &Served| {
            if !quiet {
                eprintln!(
                    "{} ({} bytes) -> {} ({} bytes)",
                    served.request,
                    served.request_bytes,
                    served.status.as_u16(),
                    served.answer_bytes
                );
            }
        };
        if let Some(source) = &self.import {
            import(&self.data, source).map_err(ServeError::from)?;
        }
        let options = ArchiveOptions {
            generation_frames_max: self.generation_frames_max,
            keep_generations: self.keep_generations,
        };
        let server = Server::bind(&self.data, self.listen, options, log).await?;
        let (generation, frames) =
            server.remote().with_remote(|remote| (remote.generation(), remote.frame_count()));
        outln!("listening on http://{}", server.address());
        outln!("serving {}: generation {generation}, {frames} frames", self.data.display());
        // A process that waits for the address reads it from a pipe.
        std::io::stdout().flush().map_err(Problem::Runtime)?;
        server.run(interrupted()?).await?;
        outln!("ended");
        Ok(STATUS_CLEAN)
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
            eprintln!("plimsoll: cannot wait for Ctrl-C: {error}");
            std::future::pending::<()>().await;
        }
    })
}
