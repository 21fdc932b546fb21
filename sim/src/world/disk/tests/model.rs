//! The disk against a naive model: the whole history as a list, replayed from the start for every question.

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

/// Every operation ever made and whether a sync has covered it.
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

    /// What a power loss leaves, which is then all there ever was.
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

/// What a process does next, or what befalls it.
#[derive(Debug, Clone)]
enum Deed {
    /// To a file; one that is not there is made instead.
    To(&'static str, Doing),
    SyncDirectory,
    LosePower(Survival),
    Kill,
}

#[derive(Debug, Clone)]
enum Doing {
    Remove,
    RenameTo(&'static str),
    Sync,
    Truncate { len: u64 },
    Write { offset: u64, bytes: Vec<u8> },
}

fn deed() -> impl Strategy<Value = Deed> {
    let path = || select(&PATHS[..]);
    let doing = prop_oneof![
        1 => Just(Doing::Remove),
        1 => path().prop_map(Doing::RenameTo),
        2 => Just(Doing::Sync),
        1 => (0..60_u64).prop_map(|len| Doing::Truncate { len }),
        5 => (0..40_u64, vec(any::<u8>(), 0..20)).prop_map(|(offset, bytes)| Doing::Write { offset, bytes }),
    ];
    let survival =
        (0..=100_u8, any::<u64>()).prop_map(|(keep_percent, key)| Survival::Subset { keep_percent, key });
    prop_oneof![
        40 => (path(), doing).prop_map(|(path, doing)| Deed::To(path, doing)),
        4 => Just(Deed::SyncDirectory),
        1 => survival.prop_map(Deed::LosePower),
        1 => Just(Deed::Kill),
    ]
}

/// A process on a disk, and the model, at which everything is done side by side.
struct Pair {
    disk: Disk,
    process: Process,
    model: Model,
}

impl Pair {
    fn undergo(&mut self, deed: Deed) {
        let Self { disk, process, model } = self;
        match deed {
            Deed::To(path, doing) => match model.names().get(path) {
                Some(&file) => self.touch(path, file, doing),
                None => {
                    process.create(path);
                    model.push(ModelStep::Create(path, model.files));
                    model.files += 1;
                }
            },
            Deed::SyncDirectory => {
                process.sync_dir(PATHS[0]);
                model.sync(|step| !matches!(step, ModelStep::Write(..) | ModelStep::Truncate(..)));
            }
            Deed::LosePower(survival) => {
                disk.crash_now(&power_loss(survival));
                let report = disk.take_crash().expect("the crash was ordered");
                model.lose_power(&report.survivors);
                disk.restart();
                *process = Process::start(disk);
            }
            Deed::Kill => {
                disk.crash_now(&CrashKind::Kill);
                disk.restart();
                *process = Process::start(disk);
            }
        }
    }

    fn touch(&mut self, path: &'static str, file: usize, doing: Doing) {
        let Self { process, model, .. } = self;
        match doing {
            Doing::Remove => {
                process.remove(path);
                model.push(ModelStep::Remove(path));
            }
            Doing::RenameTo(to) => {
                process.rename(path, to);
                model.push(ModelStep::Rename(path, to, file));
            }
            Doing::Sync => {
                process.sync(path);
                model.sync(|step| matches!(step, ModelStep::Write(of, ..) | ModelStep::Truncate(of, _) if *of == file));
            }
            Doing::Truncate { len } => {
                process.truncate(path, len);
                model.push(ModelStep::Truncate(file, len as usize));
            }
            Doing::Write { offset, bytes } => {
                process.write(path, offset, &bytes);
                model.push(ModelStep::Write(file, offset as usize, bytes));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_disk_agrees_with_a_naive_model(deeds in vec(deed(), 0..100)) {
        let (disk, _, _guard) = new_disk();
        let mut pair = Pair { process: Process::start(&disk), disk, model: Model::default() };
        for deed in deeds {
            pair.undergo(deed);
            let Pair { disk, model, .. } = &pair;
            prop_assert_eq!(tree_of(|path| disk.read(path)), model.tree(|_| true), "what is seen");
            prop_assert_eq!(tree_of(|path| disk.durable(path)), model.tree(|synced| synced), "what is durable");
        }
    }
}
