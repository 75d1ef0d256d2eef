//! Why a command failed, and with which exit code.

use std::io;
use std::path::PathBuf;

use super::paint::plain;

/// `Display` is what the user reads after `error: `.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line or the configuration is wrong.
    #[error("{0}")]
    Usage(String),
    #[error("cannot read {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(
        "cannot reach outboxd at {at}: {source}\n\
         start it with `outboxd serve`, or say where it is: --url, --unix or OUTBOXD_URL"
    )]
    Unreachable { at: String, source: io::Error },
    #[error("{at} broke off: {why}")]
    BrokeOff { at: String, why: String },
    /// The daemon answered with an error; control characters in its words are escaped.
    #[error("{} (HTTP {status})", plain(detail))]
    Refused { status: u16, detail: String },
    #[error(
        "{} (HTTP {status})\nname the file that holds the token: --token-file or OUTBOXD_TOKEN_FILE",
        plain(detail)
    )]
    NotAllowed { status: u16, detail: String },
    #[error("{at} does not answer like outboxd: {why}")]
    Foreign { at: String, why: String },
    #[error("cannot write the output: {0}")]
    Output(io::Error),
}

impl Failure {
    /// 1 failed, 2 usage or configuration error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) | Failure::File { .. } => 2,
            _ => 1,
        }
    }
}
