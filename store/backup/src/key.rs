//! The key that seals a backup, and where it comes from.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ring::{hkdf, rand::SecureRandom};
use serde::{Deserialize, Serialize};

use crate::error::Error;

const KEY_BYTES: usize = 32;
/// Of a file or a command's output; a key in hexadecimal is 64 bytes.
const SOURCE_BYTES_MAX: u64 = 4096;
/// A command that has not ended by then is ended.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
const COMMAND_POLL: Duration = Duration::from_millis(20);

/// A 256-bit key. Never printed, logged or stored by this crate.
#[derive(Clone)]
pub struct Key {
    pub(crate) secret: hkdf::Prk,
    /// Tells keys apart, and tells nothing about them.
    pub(crate) id: [u8; 8],
}

/// Where a key is read from; the key itself is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeySource {
    /// A file that nobody but its owner can read.
    File(PathBuf),
    /// A shell command that prints it, such as the client of a key management service.
    Command(String),
}

pub(crate) struct Length(pub usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Key {
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, b"trireme backup").extract(&bytes);
        let mut id = [0; 8];
        let expanded = secret.expand(&[b"key id"], Length(id.len()));
        expanded.and_then(|okm| okm.fill(&mut id)).expect("the length is short");
        Self { secret, id }
    }

    /// Reads `64` hexadecimal digits; white space around them does not count.
    fn parse(text: &[u8], source: &str) -> Result<Self, Error> {
        let wrong =
            || Error::Key(format!("{source}: 64 hexadecimal digits are expected (openssl rand -hex 32)"));
        let digits = text.trim_ascii();
        if digits.len() != 2 * KEY_BYTES {
            return Err(wrong());
        }
        let mut bytes = [0; KEY_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self::from_bytes(bytes))
    }
}

impl KeySource {
    /// Reads the key. Blocks, for a command up to half a minute.
    pub fn read(&self) -> Result<Key, Error> {
        match self {
            Self::File(path) => Key::parse(&private_file(path)?, &path.display().to_string()),
            Self::Command(command) => Key::parse(&run(command)?, &format!("the output of {command:?}")),
        }
    }

    /// Writes a new key into a new file, mode 0600.
    pub fn generate(path: &std::path::Path) -> Result<(), Error> {
        let mut bytes = [0; KEY_BYTES];
        let random = ring::rand::SystemRandom::new();
        random.fill(&mut bytes).map_err(|_| Error::Key("there is no randomness".into()))?;
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        let mut file = file.map_err(Error::io(path.display()))?;
        std::io::Write::write_all(&mut file, format!("{digits}\n").as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(Error::io(path.display()))
    }
}

/// A file with secrets: refused when others can read or change it.
pub(crate) fn private_file(path: &std::path::Path) -> Result<Vec<u8>, Error> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(Error::io(&name))?;
    let mode = file.metadata().map_err(Error::io(&name))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Key(format!("{name} has mode {mode:04o}: others can read it; 0600 is expected")));
    }
    let mut bytes = Vec::new();
    file.take(SOURCE_BYTES_MAX).read_to_end(&mut bytes).map_err(Error::io(&name))?;
    Ok(bytes)
}

fn run(command: &str) -> Result<Vec<u8>, Error> {
    let failed = |why: String| Error::Key(format!("{command:?}: {why}"));
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let output = child.stdout.take().expect("it is a pipe");
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        output.take(SOURCE_BYTES_MAX).read_to_end(&mut bytes).map(|_| bytes)
    });
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < COMMAND_TIMEOUT => std::thread::sleep(COMMAND_POLL),
            waited => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(match waited {
                    Err(error) => error.to_string(),
                    Ok(_) => format!("no answer within {} s", COMMAND_TIMEOUT.as_secs()),
                }));
            }
        }
    };
    if !status.success() {
        return Err(failed(status.to_string()));
    }
    let read = reader.join().map_err(|_| failed("its output was not read".into()))?;
    read.map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_come_from_private_files_and_commands() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        KeySource::generate(&path).unwrap();
        let from_file = KeySource::File(path.clone()).read().unwrap();
        let from_command = KeySource::Command(format!("cat {}", path.display())).read().unwrap();
        assert_eq!(from_file.id, from_command.id);
        assert!(KeySource::generate(&path).is_err(), "a key was overwritten");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let refused = KeySource::File(path).read().err().unwrap().to_string();
        assert!(refused.contains("0640"), "{refused}");
        let refused = KeySource::Command("echo abc".into()).read().err().unwrap().to_string();
        assert!(refused.contains("64 hexadecimal"), "{refused}");
        assert!(KeySource::Command("exit 3".into()).read().is_err());
    }
}
