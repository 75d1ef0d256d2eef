//! `outboxd completions`: scripts with which shells complete commands and options.

use super::{Failure, print};

/// Print the completions for a shell
///
/// For bash: outboxd completions bash > /etc/bash_completion.d/outboxd
#[derive(Clone, Debug, clap::Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// `commands` are those of the whole program.
pub fn run(args: &Completions, mut commands: clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    let name = commands.get_name().to_owned();
    clap_complete::generate(args.shell, &mut commands, name, &mut script);
    print(&String::from_utf8_lossy(&script))
}
