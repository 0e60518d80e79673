//! The log's way to the disk: a directory and its files, small enough that a simulation can lose,
//! tear and flip what was written.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

/// Zeros are written in pieces of this size.
const ZERO_CHUNK_BYTES: usize = 1024 * 1024;

/// One file of the log.
pub trait LogFile: Send + Sync + 'static {
    fn size(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset`; fails where the file is shorter.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Returns once what was written is on the disk (`fdatasync`).
    fn sync(&self) -> io::Result<()>;

    /// Takes the blocks for a new file of `bytes` from the disk.
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.zero(0, bytes)
    }

    /// Writes zeros over `from..to`, growing the file where needed, so that later writes within
    /// find their blocks allocated: neither ENOSPC nor metadata is left for them.
    fn zero(&self, from: u64, to: u64) -> io::Result<()> {
        let zeros = vec![0u8; ZERO_CHUNK_BYTES.min((to - from) as usize)];
        let mut at = from;
        while at < to {
            let n = zeros.len().min((to - at) as usize);
            self.write_all_at(&zeros[..n], at)?;
            at += n as u64;
        }
        Ok(())
    }
}

/// Where the log's files live.
pub trait LogDir: Send + Sync + 'static {
    /// Names of the files there.
    fn list(&self) -> io::Result<Vec<String>>;
    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;
    /// Opens a file for reading what is on the disk, past what memory holds of it, where the file
    /// system can. Nothing is written to it.
    fn open_direct(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        self.open(name)
    }
    /// Makes an empty file; replaces one of that name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations and removals durable.
    fn sync(&self) -> io::Result<()>;
    /// Bytes that can still be written to the directory's disk.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// A directory of the operating system.
pub struct OsDir {
    path: PathBuf,
}

impl OsDir {
    /// Opens `path`, making it where it does not exist. Files in it are readable by the owner
    /// alone: the log holds Secrets.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        std::fs::create_dir_all(&path)?;
        Ok(Self { path })
    }
}

impl LogDir for OsDir {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path.join(name))?;
        Ok(Arc::new(OsFile(file)))
    }

    fn open_direct(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let path = self.path.join(name);
        match OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path) {
            Ok(file) => Ok(Arc::new(DirectFile(file))),
            // Not every file system has direct reads.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.open(name),
            Err(error) => Err(error),
        }
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.path.join(name))?;
        Ok(Arc::new(OsFile(file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    #[allow(unsafe_code)]
    fn free_bytes(&self) -> io::Result<u64> {
        let path = CString::new(self.path.as_os_str().as_bytes())?;
        let mut found = MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: the path is a string that ends with a zero and lives across the call, and the
        // call fills the structure it is given before it returns zero.
        let found = unsafe {
            if libc::statvfs(path.as_ptr(), found.as_mut_ptr()) != 0 {
                return Err(io::Error::last_os_error());
            }
            found.assume_init()
        };
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

/// Where direct reads begin and end, in the file and in memory.
const DIRECT_ALIGN: usize = 4096;

/// A file that is read past the page cache.
struct DirectFile(File);

impl LogFile for DirectFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = offset - offset % DIRECT_ALIGN as u64;
        let skip = (offset - from) as usize;
        let wanted = skip + buffer.len();
        let len = wanted.next_multiple_of(DIRECT_ALIGN);
        let mut space = vec![0u8; len + DIRECT_ALIGN];
        let start = space.as_ptr().align_offset(DIRECT_ALIGN);
        let aligned = space.get_mut(start..start + len).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut read = 0;
        while read < wanted {
            match self.0.read_at(&mut aligned[read..], from + read as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                // Short, but within the file's end: the next read begins where blocks do.
                Ok(n) if read + n < wanted && n % DIRECT_ALIGN != 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(n) => read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer.copy_from_slice(&aligned[skip..wanted]);
        Ok(())
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

struct OsFile(File);

impl LogFile for OsFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    #[allow(unsafe_code)]
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let bytes = i64::try_from(bytes).map_err(io::Error::other)?;
        // SAFETY: the descriptor is open for as long as `self` lives, and no memory is passed.
        match unsafe { libc::posix_fallocate(self.0.as_raw_fd(), 0, bytes) } {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }
}
