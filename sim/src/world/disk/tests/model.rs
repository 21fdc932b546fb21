//! Tests the disk against a naive model: the list of all operations, replayed from the start for every query.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const PATHS: [&str; 4] = ["a-draft", "a-draft-wal", "a-info.tmp", "a-info"];

#[derive(Clone)]
enum ModelStep {
    Create(&'static str, usize),
    Remove(&'static str),
    Rename(&'static str, &'static str, usize),
    Write(usize, usize, Vec<u8>),
    Truncate(usize, usize),
}

/// Every operation so far, and whether a sync has covered it.
#[derive(Default)]
struct Model {
    history: Vec<(ModelStep, bool)>,
    files: usize,
}

type Tree = BTreeMap<&'static str, Vec<u8>>;

impl Model {
    fn replay(&self, mut counts: impl FnMut(bool) -> bool) -> (BTreeMap<&'static str, usize>, Vec<Vec<u8>>) {
        let mut names = BTreeMap::new();
        let mut files = vec![Vec::new(); self.files];
        for (step, synced) in &self.history {
            if !counts(*synced) {
                continue;
            }
            match step {
                ModelStep::Create(path, file) => drop(names.insert(*path, *file)),
                ModelStep::Remove(path) => drop(names.remove(path)),
                ModelStep::Rename(from, to, file) => {
                    names.remove(from);
                    names.insert(*to, *file);
                }
                ModelStep::Write(_, _, bytes) if bytes.is_empty() => {}
                ModelStep::Write(file, offset, bytes) => {
                    let longer = files[*file].len().max(offset + bytes.len());
                    files[*file].resize(longer, 0);
                    files[*file].splice(*offset..offset + bytes.len(), bytes.iter().copied());
                }
                ModelStep::Truncate(file, len) => files[*file].resize(*len, 0),
            }
        }
        (names, files)
    }

    fn tree(&self, counts: impl FnMut(bool) -> bool) -> Tree {
        let (names, files) = self.replay(counts);
        names.into_iter().map(|(path, file)| (path, files[file].clone())).collect()
    }

    fn names(&self) -> BTreeMap<&'static str, usize> {
        self.replay(|_| true).0
    }

    fn push(&mut self, step: ModelStep) {
        self.history.push((step, false));
    }

    fn sync(&mut self, covered: impl Fn(&ModelStep) -> bool) {
        for (step, synced) in &mut self.history {
            *synced |= covered(step);
        }
    }

    /// Drops the operations that a power loss undoes. The survivors are durable.
    fn lose_power(&mut self, survivors: &[u32]) {
        let mut unsynced = 0;
        self.history.retain_mut(|(_, synced)| {
            if !*synced {
                *synced = survivors.contains(&unsynced);
                unsynced += 1;
            }
            *synced
        });
    }
}

fn tree_of(read: impl Fn(&str) -> Option<Arc<Vec<u8>>>) -> Tree {
    PATHS.into_iter().filter_map(|path| Some((path, read(path)?.to_vec()))).collect()
}

/// The next operation of the process, or the next crash.
#[derive(Debug, Clone)]
enum Event {
    /// An operation on a file. A file that does not exist is created instead.
    OnFile(&'static str, FileOperation),
    SyncDirectory,
    LosePower(Survival),
    Kill,
}

#[derive(Debug, Clone)]
enum FileOperation {
    Remove,
    RenameTo(&'static str),
    Sync,
    Truncate { len: u64 },
    Write { offset: u64, bytes: Vec<u8> },
}

fn event() -> impl Strategy<Value = Event> {
    let path = || select(&PATHS[..]);
    let operation = prop_oneof![
        1 => Just(FileOperation::Remove),
        1 => path().prop_map(FileOperation::RenameTo),
        2 => Just(FileOperation::Sync),
        1 => (0..60_u64).prop_map(|len| FileOperation::Truncate { len }),
        5 => (0..40_u64, vec(any::<u8>(), 0..20)).prop_map(|(offset, bytes)| FileOperation::Write { offset, bytes }),
    ];
    let survival =
        (0..=100_u8, any::<u64>()).prop_map(|(keep_percent, key)| Survival::Subset { keep_percent, key });
    prop_oneof![
        40 => (path(), operation).prop_map(|(path, operation)| Event::OnFile(path, operation)),
        4 => Just(Event::SyncDirectory),
        1 => survival.prop_map(Event::LosePower),
        1 => Just(Event::Kill),
    ]
}

/// A process on a disk, and the model that performs the same operations.
struct Pair {
    disk: Disk,
    process: Process,
    model: Model,
}

impl Pair {
    fn perform(&mut self, event: Event) {
        let Self { disk, process, model } = self;
        match event {
            Event::OnFile(path, operation) => match model.names().get(path) {
                Some(&file) => self.touch(path, file, operation),
                None => {
                    process.create(path);
                    model.push(ModelStep::Create(path, model.files));
                    model.files += 1;
                }
            },
            Event::SyncDirectory => {
                process.sync_dir(PATHS[0]);
                model.sync(|step| !matches!(step, ModelStep::Write(..) | ModelStep::Truncate(..)));
            }
            Event::LosePower(survival) => {
                disk.crash_now(&power_loss(survival));
                let report = disk.take_crash().expect("the machine has just crashed");
                model.lose_power(&report.survivors);
                disk.restart();
                *process = Process::start(disk);
            }
            Event::Kill => {
                disk.crash_now(&CrashKind::Kill);
                disk.restart();
                *process = Process::start(disk);
            }
        }
    }

    fn touch(&mut self, path: &'static str, file: usize, operation: FileOperation) {
        let Self { process, model, .. } = self;
        match operation {
            FileOperation::Remove => {
                process.remove(path);
                model.push(ModelStep::Remove(path));
            }
            FileOperation::RenameTo(to) => {
                process.rename(path, to);
                model.push(ModelStep::Rename(path, to, file));
            }
            FileOperation::Sync => {
                process.sync(path);
                model.sync(|step| matches!(step, ModelStep::Write(of, ..) | ModelStep::Truncate(of, _) if *of == file));
            }
            FileOperation::Truncate { len } => {
                process.truncate(path, len);
                model.push(ModelStep::Truncate(file, len as usize));
            }
            FileOperation::Write { offset, bytes } => {
                process.write(path, offset, &bytes);
                model.push(ModelStep::Write(file, offset as usize, bytes));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_disk_agrees_with_a_naive_model(events in vec(event(), 0..100)) {
        let (disk, _, _guard) = new_disk();
        let mut pair = Pair { process: Process::start(&disk), disk, model: Model::default() };
        for event in events {
            pair.perform(event);
            let Pair { disk, model, .. } = &pair;
            prop_assert_eq!(tree_of(|path| disk.read(path)), model.tree(|_| true), "visible files");
            prop_assert_eq!(tree_of(|path| disk.durable(path)), model.tree(|synced| synced), "durable files");
        }
    }
}
