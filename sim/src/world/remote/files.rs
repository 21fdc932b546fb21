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
    if range.is_empty() {
        return Ok(Vec::new());
    }
    read_at(io, &open(io, path)?, range)
}

/// Like [`read`], of an open file.
pub(crate) fn read_at(
    io: &Arc<dyn IO>,
    file: &Arc<dyn File>,
    range: Range<u64>,
) -> Result<Vec<u8>, LimboError> {
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
    let completion = file.pread(range.start, completion)?;
    io.wait_for_completion(completion)?;
    Ok(buffer.as_slice().to_vec())
}

pub(crate) fn read_all(io: &Arc<dyn IO>, path: &str) -> Result<Vec<u8>, LimboError> {
    read(io, path, 0..size(io, path)?)
}

/// Syncs a file's content.
pub(crate) fn sync(io: &Arc<dyn IO>, path: &str) -> Result<(), LimboError> {
    sync_file(io, &open(io, path)?)
}

/// Like [`sync`], of an open file.
pub(crate) fn sync_file(io: &Arc<dyn IO>, file: &Arc<dyn File>) -> Result<(), LimboError> {
    io.wait_for_completion(file.sync(Completion::new_sync(|_| ()), FileSyncType::Fsync)?)
}

/// Writes bytes at an offset of an open file.
pub(crate) fn write_at(
    io: &Arc<dyn IO>,
    file: &Arc<dyn File>,
    offset: u64,
    bytes: Vec<u8>,
) -> Result<(), LimboError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let buffer = Arc::new(Buffer::new(bytes));
    io.wait_for_completion(file.pwrite(offset, buffer, Completion::new_write(|_| ()))?)
}

/// Cuts an open file, or extends it with zeros.
pub(crate) fn truncate(io: &Arc<dyn IO>, file: &Arc<dyn File>, bytes: u64) -> Result<(), LimboError> {
    io.wait_for_completion(file.truncate(bytes, Completion::new_trunc(|_| ()))?)
}

/// Creates a file with these bytes. Its content is durable, its directory entry is not.
pub(crate) fn write_all(io: &Arc<dyn IO>, path: &str, bytes: &[u8]) -> Result<(), LimboError> {
    let file = io.open_file(path, OpenFlags::Create, false)?;
    write_at(io, &file, 0, bytes.to_vec())?;
    sync_file(io, &file)
}

fn open(io: &Arc<dyn IO>, path: &str) -> Result<Arc<dyn File>, LimboError> {
    io.open_file(path, OpenFlags::None, false)
}
