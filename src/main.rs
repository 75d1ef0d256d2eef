//! Arguments and exit codes; everything else is in the library.
#![forbid(unsafe_code)]
#![deny(
    clippy::allow_attributes,
    clippy::disallowed_methods,
    clippy::exit,
    clippy::panic,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::unwrap_used
)]

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use outboxd::cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A durable webhook outbox: accepts events, signs them, delivers them, retries for days.
#[derive(Parser)]
#[command(name = "outboxd", version, arg_required_else_help = true)]
enum Command {
    Serve(cli::serve::Serve),
    Check(cli::check::CheckArgs),
    Demo(cli::demo::Demo),
    Listen(cli::listen::Listen),
    Sign(cli::sign::Sign),
    Verify(cli::verify::Verify),
    Keygen(cli::keygen::Keygen),
    VerifyStore(cli::verify_store::VerifyStore),
    Send(cli::send::Args),
    Status(cli::status::Args),
    Events(cli::events::Args),
    Deliveries(cli::deliveries::Args),
    Endpoints(cli::endpoints::Args),
    Dead(cli::dead::Args),
    Replay(cli::replay::Args),
    Explain(cli::explain::Args),
    Doctor(cli::doctor::Args),
    Render(cli::render::Args),
    Filter(cli::filter_test::Args),
    Sources(cli::sources::Args),
    Health(cli::health::Args),
    Config(cli::config_schema::Args),
    Completions(cli::completions::Completions),
    Man(cli::man::Man),
    Tail(cli::tail::Args),
    Login(cli::login::Args),
    Jobs(cli::jobs::Args),
    Backup(cli::backup::Args),
    Restore(cli::restore::Restore),
}

fn main() -> ExitCode {
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(said) => return cli::refuse_or_help(&said),
    };
    let done = match command {
        // These report their own failures.
        Command::Serve(args) => return cli::serve::run(&args),
        Command::Check(args) => return cli::check::check(&args),
        Command::VerifyStore(args) => return cli::verify_store::run(&args),
        Command::Sign(args) => cli::sign::run(&args),
        Command::Verify(args) => cli::verify::run(&args),
        Command::Keygen(args) => cli::keygen::run(&args),
        Command::Restore(args) => cli::restore::run(&args),
        Command::Listen(args) => cli::wait(cli::listen::run(args, cli::configured)),
        Command::Demo(args) => cli::wait(cli::demo::run(args)),
        Command::Send(args) => cli::wait(cli::send::run(args, cli::configured)),
        Command::Status(args) => cli::wait(cli::status::run(args, cli::configured)),
        Command::Events(args) => cli::wait(cli::events::run(args, cli::configured)),
        Command::Deliveries(args) => cli::wait(cli::deliveries::run(args, cli::configured)),
        Command::Endpoints(args) => cli::wait(cli::endpoints::run(args, cli::configured)),
        Command::Dead(args) => cli::wait(cli::dead::run(args, cli::configured)),
        Command::Replay(args) => cli::wait(cli::replay::run(args, cli::configured)),
        Command::Explain(args) => cli::wait(cli::explain::run(args, cli::configured)),
        Command::Doctor(args) => cli::wait(cli::doctor::run(args, cli::configured)),
        Command::Render(args) => cli::wait(cli::render::run(args, cli::configured)),
        Command::Filter(args) => cli::wait(cli::filter_test::run(args, cli::configured)),
        Command::Health(args) => cli::wait(cli::health::run(args, cli::configured)),
        Command::Config(args) => cli::config_schema::run(&args),
        Command::Completions(args) => cli::completions::run(&args, Command::command()),
        Command::Man(args) => cli::man::run(&args, Command::command()),
        Command::Sources(args) => cli::wait(cli::sources::run(args, cli::configured)),
        Command::Jobs(args) => cli::wait(cli::jobs::run(args, cli::configured)),
        Command::Backup(args) => cli::wait(cli::backup::run(args, cli::configured)),
        Command::Tail(args) => cli::wait(cli::tail::run(args, cli::configured)),
        Command::Login(args) => cli::wait(cli::login::run(args, cli::configured)),
    };
    cli::exit(done)
}
