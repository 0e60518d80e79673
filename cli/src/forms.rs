//! The two forms of `trireme restore`: with `--from` and a place for it, a new cluster is made out of
//! an old one's state; with an object or a namespace, a cluster that runs is changed, from a named
//! backup where `--from` is given as well. Their flags have little in common, so that each is a
//! command of its own.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};

use super::{Cli, Command};

pub(crate) const RESTORE: &str = "restore";
pub(crate) const RESTORE_FROM: &str = "restore-from";
const FROM: &str = "--from";
/// What there is to choose from, for help and for those who named neither.
pub(crate) const USAGE: &str =
    "trireme restore <KIND/NAME | --namespace NAME> --at MOMENT [--from BACKUP] [OPTIONS]
       trireme restore --from WHERE <--dir FOLDER | --data-dir FOLDER --name NAME> [OPTIONS]";
/// The same as a message has it.
pub(crate) const BOTH: &str = "  \
a part of a cluster that runs: trireme restore KIND/NAME (or --namespace NAME) --at MOMENT [--from WHERE]
  a new cluster out of a backup: trireme restore --from WHERE --dir FOLDER (or --data-dir FOLDER --name NAME) \
[--at TIME | --revision N]";
pub(crate) const ABOUT: &str = "\
The first form changes a part of a cluster that runs: one object, or a namespace. The second makes a new cluster \
out of a backup, or out of a master's data; its options: trireme restore --from WHERE --help";

/// The command line, with the form of `restore` that is meant. Ends the process where none is.
pub(crate) fn parse(words: Vec<OsString>) -> Cli {
    choose(words).unwrap_or_else(|error| error.exit())
}

fn choose(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    let Some(as_new) = as_new_cluster(&words) else { return Cli::try_parse_from(words) };
    let refused = match Cli::try_parse_from(as_new) {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    match Cli::try_parse_from(words) {
        Ok(cli) if matches!(&cli.command, Command::Restore(options) if options.names_something()) => Ok(cli),
        Ok(_) => Err(refused),
        Err(error) => match (unknown(&refused), unknown(&error)) {
            (Some(live), Some(new)) if live != new => Err(Cli::command().error(
                ErrorKind::ArgumentConflict,
                format!(
                    "{live} and {new} cannot be given together: there are two forms of `trireme restore`.\n{BOTH}"
                ),
            )),
            _ => Err(refused),
        },
    }
}

/// The words of the form that makes a new cluster, if they can be of it.
fn as_new_cluster(words: &[OsString]) -> Option<Vec<OsString>> {
    let is_from = |word: &OsString| word.to_str().is_some_and(|w| w == FROM || w.starts_with("--from="));
    // Only what is for all commands comes before the command's name.
    let at = match words.get(1)?.to_str()? {
        "--log" => 3,
        word if word.starts_with("--log=") => 2,
        _ => 1,
    };
    if words.get(at)? != RESTORE || !words.iter().any(is_from) {
        return None;
    }
    let mut words = words.to_vec();
    words[at] = RESTORE_FROM.into();
    Some(words)
}

/// The argument that a form does not know.
fn unknown(error: &clap::Error) -> Option<String> {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(argument))) => Some(argument.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(line: &str) -> Result<Command, String> {
        let words = line.split_whitespace().map(OsString::from).collect();
        choose(words).map(|cli| cli.command).map_err(|error| error.to_string())
    }

    #[test]
    fn the_form_is_told_by_what_is_to_be_restored() {
        for new in [
            "trireme restore --from /b --dir /new",
            "trireme restore --from=/b --dir /new --at 2026-11-20T10:42:00Z --key-file k",
            "trireme --log debug restore --from /b --data-dir /new --name a --revision 7",
        ] {
            assert!(matches!(chosen(new), Ok(Command::RestoreFrom(_))), "{new}");
        }
        for live in [
            "trireme restore -n shop --at -2h",
            "trireme restore deployment/web --at -2h --from /b --key-file k --dir /cluster",
            "trireme restore --namespace shop --revision 7 --from s3://b/c --yes",
            "trireme --log=debug restore cm/a --from=/b --at 2026-11-20T10:42:00Z",
        ] {
            assert!(matches!(chosen(live), Ok(Command::Restore(_))), "{live}");
        }
        for (mixed, named) in [
            (
                "trireme restore --namespace shop --from /b --data-dir /new --name a",
                ["--namespace", "--data-dir"],
            ),
            ("trireme restore cm/a --from /b --dir /new --masters 3", ["cm/a", "--masters"]),
            ("trireme restore --from /b --dir /new --yes --pki-from /p", ["--yes", "--pki-from"]),
        ] {
            let error = chosen(mixed).unwrap_err();
            assert!(error.contains("two forms"), "{mixed}: {error}");
            assert!(named.iter().all(|word| error.contains(word)), "{mixed}: {error}");
        }
        for (wrong, says) in [
            ("trireme restore --from /b", "--data-dir"),
            ("trireme restore --from /b --drr /new", "--drr"),
            ("trireme restore --from /b --dir /new --at yesterday", "RFC 3339"),
        ] {
            let error = chosen(wrong).unwrap_err();
            assert!(error.contains(says) && !error.contains("two forms"), "{wrong}: {error}");
        }
    }
}
