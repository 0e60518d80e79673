//! The backup in a master's own configuration.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use trireme_backup::{KeySource, Location};
use trireme_raft::Replica;

use super::stored::{self, Stored};

/// Flags of `trireme server`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerOptions {
    /// Have the cluster backed up there, as with `trireme backup start --to`, where no backup is made
    /// when this master starts
    #[arg(long = "backup-to", value_parser = super::location, value_name = "LOCATION")]
    backup_to: Option<Location>,
    /// File of AWS_…=value lines on every master, mode 0600 [default: their environment]
    #[arg(long, value_name = "FILE", requires = "backup_to")]
    backup_credentials_file: Option<PathBuf>,
    /// File with the backup's key on every master, mode 0600
    #[arg(long, value_name = "FILE", requires = "backup_to", conflicts_with = "backup_key_command")]
    backup_key_file: Option<PathBuf>,
    /// Command that prints the backup's key: for --backup-to, and for `trireme backup start
    /// --key-command`, which must name the same
    #[arg(long, value_name = "COMMAND")]
    backup_key_command: Option<String>,
    /// Between two bases of the backup: the longer, the more log there is to apply when restoring
    #[arg(long, default_value = "24h", value_parser = super::base_every)]
    backup_base_every: Duration,
    /// How far back one can go with the backup
    #[arg(long, default_value = "30d", value_parser = super::duration)]
    backup_keep: Duration,
}

impl ServerOptions {
    pub(crate) fn key_command(&self) -> Option<String> {
        self.backup_key_command.clone()
    }

    /// The backup that is wanted, if one is. The key is looked at where it is in a file: a master that
    /// cannot read it is of no use to the backup, and says so when it starts.
    pub(crate) fn wanted(&self) -> Result<Option<Stored>> {
        let Some(mut location) = self.backup_to.clone() else { return Ok(None) };
        location.credentials =
            self.backup_credentials_file.as_deref().map(crate::up::absolute).transpose()?;
        let key = match (&self.backup_key_file, &self.backup_key_command) {
            (Some(file), _) => KeySource::File(crate::up::absolute(file)?),
            (None, Some(command)) => KeySource::Command(command.clone()),
            (None, None) => anyhow::bail!(
                "--backup-to needs --backup-key-file or --backup-key-command: a backup holds every Secret \
                 (trireme backup key FILE)"
            ),
        };
        if let KeySource::File(_) = &key {
            key.read().context("--backup-key-file")?;
        }
        let (base_every_s, keep_s) = (self.backup_base_every.as_secs(), self.backup_keep.as_secs());
        Ok(Some(Stored { location, key, base_every_s, keep_s }))
    }

    /// The flags that say the same to this master when it is started again.
    pub(crate) fn command_line(&self) -> String {
        let mut line = String::new();
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        for (flag, value) in [
            ("--backup-to", self.backup_to.as_ref().map(ToString::to_string)),
            ("--backup-credentials-file", path(&self.backup_credentials_file)),
            ("--backup-key-file", path(&self.backup_key_file)),
            ("--backup-key-command", self.backup_key_command.as_ref().map(|text| quoted(text))),
        ] {
            line += &value.map(|value| format!(" {flag} {value}")).unwrap_or_default();
        }
        if self.backup_to.is_some() {
            let (every, keep) = (self.backup_base_every.as_secs(), self.backup_keep.as_secs());
            line += &format!(" --backup-base-every {every}s --backup-keep {keep}s");
        }
        line
    }
}

/// `text` as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Starts the backup that a master's configuration wants, where none is made; once for each start of
/// the master, so that `trireme backup stop` is heeded.
pub(super) async fn start(replica: &Replica, wanted: &Stored) -> Result<()> {
    let now = match stored::config(replica, false).await? {
        Some(now) => now.stored,
        None => {
            if stored::try_config(replica, wanted, None).await?.is_some() {
                let location = wanted.location.to_string();
                tracing::info!(location, "the backup was started, as this master is configured");
                return Ok(());
            }
            // Another master was first.
            match stored::config(replica, false).await? {
                Some(now) => now.stored,
                None => return Ok(()),
            }
        }
    };
    if now != *wanted {
        let (goes, configured) = (now.location.to_string(), wanted.location.to_string());
        tracing::warn!(
            goes,
            configured,
            "the backup is made otherwise than this master is configured, and stays so until `trireme \
             backup start`"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: ServerOptions,
    }

    fn parse(arguments: &[&str]) -> Result<ServerOptions, String> {
        let all = [&["server"], arguments].concat();
        Cli::try_parse_from(all).map(|cli| cli.options).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(parse(&[]).unwrap().wanted().unwrap(), None);
        let refused = parse(&["--backup-key-file", "/k"]).unwrap_err();
        assert!(refused.contains("--backup-to"), "{refused}");
        let refused = parse(&["--backup-to", "/b"]).unwrap().wanted().unwrap_err().to_string();
        assert!(refused.contains("--backup-key-file or --backup-key-command"), "{refused}");
        let absent = parse(&["--backup-to", "/b", "--backup-key-file", "/absent/key"]).unwrap();
        let refused = format!("{:#}", absent.wanted().unwrap_err());
        assert!(refused.contains("--backup-key-file") && refused.contains("/absent/key"), "{refused}");
        let refused = parse(&["--backup-to", "/b", "--backup-base-every", "1s"]).unwrap_err();
        assert!(refused.contains("a minute at least"), "{refused}");
    }

    #[test]
    fn the_same_is_wanted_after_the_next_start() {
        let wanted =
            parse(&["--backup-to", "s3://b/p", "--backup-key-command", "kms 'a b'", "--backup-keep", "7d"]);
        let wanted = wanted.unwrap();
        assert_eq!(
            wanted.command_line(),
            r" --backup-to s3://b/p --backup-key-command 'kms '\''a b'\''' --backup-base-every 86400s --backup-keep 604800s"
        );
        let stored = wanted.wanted().unwrap().unwrap();
        assert_eq!(stored.key, KeySource::Command("kms 'a b'".into()));
        assert_eq!((stored.base_every_s, stored.keep_s), (86_400, 604_800));
    }
}
