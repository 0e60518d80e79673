//! How a process ends, for those who restart it.

use std::fmt;
use std::process::ExitCode;

/// Starting again would end the same way: a busy port, a data directory of another cluster. The
/// value is `EX_CONFIG` of sysexits.h; the systemd unit and `trireme up` do not restart on it.
pub(crate) const CONFIG: u8 = 78;
/// Of a command that judges something: there is no verdict.
pub(crate) const COULD_NOT: u8 = 2;

/// Marks an error as one of configuration.
#[derive(Debug)]
pub(crate) struct ConfigError(anyhow::Error);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Marks an error of a command that judges something as one because of which it could not.
#[derive(Debug)]
pub(crate) struct CouldNot(pub(crate) anyhow::Error);

impl fmt::Display for CouldNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for CouldNot {}

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
            ExitCode::from(match () {
                () if error.is::<ConfigError>() => CONFIG,
                () if error.is::<CouldNot>() => COULD_NOT,
                () => 1,
            })
        }
    }
}
