//! Measures the engine's operations, with the remote in this process: first a table of counted work, then
//! criterion's times.
//!
//! The benchmark asserts no figure. The test `scenarios/tests/it/cost.rs` checks that the work depends only
//! on the changes.

mod allocator;
mod stage;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use plimsoll_engine::PushMode;
use plimsoll_sim::world::in_process::InProcess;

use allocator::peak_bytes;
use stage::{Files, ROWS, Stage, remote_with_rows};

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

const MIB: usize = 1 << 20;
/// The length of a text that leaves no room for a second one on its page of 4096 bytes.
const PAGE_TEXT_BYTES: usize = 3_900;

/// A remote with a database of about this many MiB.
fn large_remote(mib: usize) -> InProcess {
    remote_with_rows(mib * MIB / 4096, PAGE_TEXT_BYTES)
}

/// The operations to measure, in addition to the bootstrap.
struct Operation {
    name: &'static str,
    rows: usize,
    push_mode: PushMode,
    prepare: fn(&Stage),
    run: fn(&Stage) -> u64,
}

const OPERATIONS: [Operation; 5] = [
    Operation {
        name: "pull of 10,000 rows",
        rows: ROWS,
        push_mode: PushMode::Statements,
        prepare: |stage| stage.write_remotely(ROWS),
        run: Stage::pull,
    },
    Operation {
        name: "pull on 10,000 pending rows",
        rows: ROWS,
        push_mode: PushMode::Statements,
        prepare: |stage| {
            stage.write_locally(ROWS);
            stage.write_remotely(1);
        },
        run: Stage::pull,
    },
    Operation {
        name: "push of 10,000 rows, statements",
        rows: ROWS,
        push_mode: PushMode::Statements,
        prepare: |stage| stage.write_locally(ROWS),
        run: Stage::push,
    },
    Operation {
        name: "push of 10,000 rows, frames",
        rows: ROWS,
        push_mode: PushMode::Frames,
        prepare: |stage| {
            // Frames are pushed after a frame that both sides know.
            stage.write_remotely(1);
            stage.pull();
            stage.write_locally(ROWS);
        },
        run: Stage::push,
    },
    Operation {
        name: "pull without news",
        rows: 1,
        push_mode: PushMode::Statements,
        prepare: |_| {},
        run: Stage::pull,
    },
];

/// Prints the counted work of each operation, once, on real files. The allocations of the remote count too.
fn table() {
    println!(
        "{:<32} {:>13} {:>13} {:>13} {:>7} {:>9} {:>6} {:>13}",
        "", "received", "sent", "written", "", "requests", "syncs", "peak"
    );
    for mib in [8, 64] {
        let remote = large_remote(mib);
        let (stage, peak) = peak_bytes(|| Stage::open(Files::Real, &remote, PushMode::Statements));
        print_row(&format!("bootstrap of {mib} MiB"), &stage, (mib * MIB) as u64, peak);
    }
    for operation in &OPERATIONS {
        let stage = Stage::small(Files::Real, operation.push_mode);
        (operation.prepare)(&stage);
        stage.meter.take();
        let (done, peak) = peak_bytes(|| (operation.run)(&stage));
        let received = if operation.name.starts_with("pull") { done } else { 0 };
        print_row(operation.name, &stage, received, peak);
    }
}

fn print_row(name: &str, stage: &Stage, received_bytes: u64, peak_bytes: usize) {
    let counts = stage.meter.take();
    let size = |bytes: u64| format!("{:.1} KiB", bytes as f64 / 1024.0);
    let ratio = if received_bytes == 0 {
        String::new()
    } else {
        format!("{:.2}×", counts.written_bytes as f64 / received_bytes as f64)
    };
    println!(
        "{name:<32} {:>13} {:>13} {:>13} {ratio:>7} {:>9} {:>6} {:>13}",
        size(received_bytes),
        size(counts.request_bytes),
        size(counts.written_bytes),
        counts.requests,
        counts.syncs,
        size(peak_bytes as u64),
    );
}

fn engine(criterion: &mut Criterion) {
    table();
    let large = large_remote(64);
    for (name, files) in [("real files", Files::Real), ("in memory", Files::Memory)] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).warm_up_time(std::time::Duration::from_millis(200));
        group.measurement_time(std::time::Duration::from_secs(2));
        group.throughput(Throughput::Bytes(64 * MIB as u64));
        group.bench_function("bootstrap of 64 MiB", |bencher| {
            bencher.iter_batched(
                || (),
                |()| Stage::open(files, &large, PushMode::Statements),
                BatchSize::PerIteration,
            );
        });
        for operation in &OPERATIONS {
            measure(&mut group, files, operation);
        }
        group.finish();
    }
}

fn measure(group: &mut BenchmarkGroup<'_, WallTime>, files: Files, operation: &Operation) {
    group.throughput(Throughput::Elements(operation.rows as u64));
    group.bench_function(operation.name, |bencher| {
        bencher.iter_batched(
            || {
                let stage = Stage::small(files, operation.push_mode);
                (operation.prepare)(&stage);
                stage
            },
            |stage| {
                (operation.run)(&stage);
                stage
            },
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, engine);
criterion_main!(benches);
