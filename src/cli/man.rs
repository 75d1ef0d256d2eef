//! `outboxd man`: the manual, one page for each command, made from the text of `--help`.

use std::path::PathBuf;

use super::Failure;

/// Write the manual pages into a directory: outboxd.1, outboxd-serve.1, …
#[derive(Clone, Debug, clap::Args)]
pub struct Man {
    /// The directory for the pages; created if it does not exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// `commands` are those of the whole program.
pub fn run(args: &Man, commands: clap::Command) -> Result<(), Failure> {
    // `outboxd help` has no page of its own.
    let commands = commands.disable_help_subcommand(true);
    let written = std::fs::create_dir_all(&args.dir)
        .and_then(|()| clap_mangen::generate_to(commands, &args.dir));
    written.map_err(|error| Failure::Failed(format!("{}: {error}", args.dir.display())))
}
