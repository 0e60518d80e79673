//! `trireme member`: who belongs to the cluster, and changes of it while it serves.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use trireme_raft::etcd::MemberInfo;
use trireme_raft::{MemberChange, MemberId, Remote};

use crate::exit::ConfigContext;
use crate::reach::Reach;

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show the members
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Take a member out. Stop its process afterwards: it does not come back by itself
    Remove {
        /// Name or id
        member: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Put a learner in a voter's place, in one step (a machine that joins with --replace does so by
    /// itself)
    Replace {
        /// Name or id of the one that goes
        old: String,
        /// Name or id of the learner
        new: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Give a learner a vote
    Promote {
        /// Name or id
        member: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Go on alone with what a stopped master holds, when most of the others are lost for good
    Recover(crate::recover::Options),
    /// Give leadership to another member
    MoveLeader {
        /// Name or id
        member: String,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(crate) async fn run(options: Options) -> Result<()> {
    match options.command {
        Command::List { reach } => {
            let remote = reach.reach()?.client.remote;
            print!("{}", table(&remote.members().await?));
            Ok(())
        }
        Command::Remove { member, reach } => {
            let remote = reach.reach()?.client.remote;
            let (id, name) = find(&remote.members().await?, &member).config()?;
            change(&remote, &MemberChange::Remove(id)).await?;
            println!("{name} was removed");
            Ok(())
        }
        Command::Replace { old, new, reach } => {
            let remote = reach.reach()?.client.remote;
            let members = remote.members().await?;
            let ((old, old_name), (new, new_name)) =
                (find(&members, &old).config()?, find(&members, &new).config()?);
            change(&remote, &MemberChange::Replace { old, new }).await?;
            println!("{new_name} is in the place of {old_name}");
            Ok(())
        }
        Command::Promote { member, reach } => {
            let remote = reach.reach()?.client.remote;
            let (id, name) = find(&remote.members().await?, &member).config()?;
            change(&remote, &MemberChange::Promote(id)).await?;
            println!("{name} votes");
            Ok(())
        }
        Command::Recover(options) => crate::recover::run(&options),
        Command::MoveLeader { member, reach } => {
            let remote = reach.reach()?.client.remote;
            let (id, name) = find(&remote.members().await?, &member).config()?;
            remote.move_leader(id).await.context("leadership was not moved")?;
            println!("{name} leads");
            Ok(())
        }
    }
}

async fn change(remote: &Remote, change: &MemberChange) -> Result<()> {
    remote.change_members(change).await.context("nothing was changed")
}

/// The member of this name or id. Two may have one name, while one takes the other's place.
fn find(members: &[MemberInfo], wanted: &str) -> Result<(MemberId, String)> {
    let id = u64::from_str_radix(wanted, 16).ok();
    let by_id = members.iter().find(|member| Some(member.id) == id);
    let mut by_name = members.iter().filter(|member| member.name == wanted);
    match (by_id, by_name.next(), by_name.next()) {
        (Some(member), ..) | (None, Some(member), None) => Ok((MemberId(member.id), member.name.clone())),
        (None, Some(_), Some(_)) => bail!("more than one member is named {wanted:?}: give its id"),
        (None, None, _) => {
            let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            bail!("there is no member {wanted:?}; there are {}", names.join(", "))
        }
    }
}

fn table(members: &[MemberInfo]) -> String {
    let mut text = format!("{:<16}  {:<16}  {:<7}  {:<22}  STORE\n", "ID", "NAME", "VOTES", "PEERS");
    for member in members {
        let votes = if member.is_learner { "no" } else { "yes" };
        text += &format!(
            "{:016x}  {:<16}  {votes:<7}  {:<22}  {}\n",
            member.id, member.name, member.peer_address, member.client_address
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_name_or_id() {
        let member = |id, name: &str| MemberInfo { id, name: name.into(), ..MemberInfo::default() };
        let members = [member(0xab, "one"), member(0xcd, "two"), member(0xef, "two")];
        assert_eq!(find(&members, "one").unwrap().0, MemberId(0xab));
        assert_eq!(find(&members, "00000000000000ef").unwrap().0, MemberId(0xef));
        assert!(find(&members, "two").unwrap_err().to_string().contains("give its id"));
        assert!(find(&members, "six").unwrap_err().to_string().contains("one, two, two"));
    }
}
