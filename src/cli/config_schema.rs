//! `outboxd config schema`: a description of the configuration file, for editors and programs.

use super::{Failure, print};
use crate::config::schema;

/// Describe the configuration file
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Print the JSON Schema (2020-12) of the configuration file
    Schema {
        /// Print it on one line
        #[arg(long)]
        json: bool,
    },
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let Command::Schema { json } = args.command;
    let schema = schema::schema();
    let text = match json {
        true => schema.to_string(),
        false => format!("{schema:#}"),
    };
    print(&(text + "\n"))
}
