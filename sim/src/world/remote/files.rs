//! Blocking file calls on a turso_core `IO`: the remote's file access besides the database itself.
//!
//! Every call returns the error of its completion, if there is one.

use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;

use turso_core::io::FileSyncType;
use turso_core::{Buffer, Completion, CompletionError, File, IO, LimboError, OpenFlags};

/// The path at which the core keeps the WAL of the database at `path`.
pub(crate) fn wal_path(path: &str) -> String {
    format!("{path}-wal")
}

/// The length in bytes of a file, which must exist.
pub(crate) fn size(io: &Arc<dyn IO>, path: &str) -> Result<u64, LimboError> {
    open(io, path)?.size()
}

/// Reads exactly the bytes of `range`. It is an error if the file ends before the range does.
pub(crate) fn read(io: &Arc<dyn IO>, path: &str, range: Range<u64>) -> Result<Vec<u8>, LimboError> {
    let length = range.end.checked_sub(range.start).expect("a range ends at or after its start") as usize;
    if length == 0 {
        return Ok(Vec::new());
    }
    let buffer = Arc::new(Buffer::new(vec![0; length]));
    let completion = Completion::new_read(buffer.clone(), move |read| match read {
        Ok((_, count)) if count as usize != length => {
            Some(CompletionError::IOError(ErrorKind::UnexpectedEof, "pread"))
        }
        Ok(_) | Err(_) => None, // the completion already carries the error
    });
    let completion = open(io, path)?.pread(range.start, completion)?;
    io.wait_for_completion(completion)?;
    Ok(buffer.as_slice().to_vec())
}

pub(crate) fn read_all(io: &Arc<dyn IO>, path: &str) -> Result<Vec<u8>, LimboError> {
    read(io, path, 0..size(io, path)?)
}

/// Syncs a file's content.
pub(crate) fn sync(io: &Arc<dyn IO>, path: &str) -> Result<(), LimboError> {
    let completion = open(io, path)?.sync(Completion::new_sync(|_| ()), FileSyncType::Fsync)?;
    io.wait_for_completion(completion)
}

/// Creates a file with these bytes. Its content is durable, its directory entry is not.
pub(crate) fn write_all(io: &Arc<dyn IO>, path: &str, bytes: &[u8]) -> Result<(), LimboError> {
    let file = io.open_file(path, OpenFlags::Create, false)?;
    if !bytes.is_empty() {
        let buffer = Arc::new(Buffer::new(bytes.to_vec()));
        io.wait_for_completion(file.pwrite(0, buffer, Completion::new_write(|_| ()))?)?;
    }
    io.wait_for_completion(file.sync(Completion::new_sync(|_| ()), FileSyncType::Fsync)?)
}

fn open(io: &Arc<dyn IO>, path: &str) -> Result<Arc<dyn File>, LimboError> {
    io.open_file(path, OpenFlags::None, false)
}
