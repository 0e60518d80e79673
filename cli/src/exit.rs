//! How a process ends, for those who restart it.

use std::fmt;
use std::process::ExitCode;

/// Starting again would end the same way: a busy port, a data directory of another cluster. The
/// value is `EX_CONFIG` of sysexits.h; the systemd unit and `trireme up` do not restart on it.
pub(crate) const CONFIG: u8 = 78;

/// Marks an error as one of configuration.
#[derive(Debug)]
pub(crate) struct ConfigError(anyhow::Error);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for ConfigError {}

pub(crate) trait ConfigContext<T> {
    /// Marks a failure as one that repeating does not mend.
    fn config(self) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> ConfigContext<T> for Result<T, E> {
    fn config(self) -> anyhow::Result<T> {
        self.map_err(|error| ConfigError(error.into()).into())
    }
}

/// Prints what went wrong and gives the exit code that says whether to try again.
pub(crate) fn code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trireme: {error:#}");
            ExitCode::from(if error.is::<ConfigError>() { CONFIG } else { 1 })
        }
    }
}
