//! The secrets that a command was given. They are never printed, not even in errors.

use std::path::PathBuf;

use super::{Failure, read_body, shown};
use crate::domain::signature::Secret;

/// Where secrets come from. A secret on the command line can be seen by other users of
/// the machine; a file cannot.
#[derive(clap::Args)]
pub struct SecretArgs {
    /// A whsec_ secret; may be given again. Others on this machine can see it: prefer a file
    #[arg(
        long = "secret",
        value_name = "SECRET",
        env = "OUTBOXD_SECRET",
        hide_env_values = true
    )]
    secrets: Vec<String>,
    /// A file with a secret on each line; may be given again; - reads stdin
    #[arg(long = "secret-file", value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl SecretArgs {
    /// All of them: those of the command line first, then those of the files.
    pub fn read(&self) -> Result<Vec<Secret>, Failure> {
        let mut secrets = Vec::new();
        for text in &self.secrets {
            let secret = Secret::parse(text.trim());
            secrets.push(secret.map_err(|fault| Failure::Usage(format!("--secret: {fault}")))?);
        }
        for path in &self.files {
            let at = |fault: &dyn std::fmt::Display| {
                Failure::Usage(format!("--secret-file {}: {fault}", shown(path)))
            };
            let text = String::from_utf8(read_body(path)?).map_err(|_| at(&"not text"))?;
            let before = secrets.len();
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
                secrets.push(Secret::parse(line).map_err(|fault| at(&fault))?);
            }
            if secrets.len() == before {
                return Err(at(&"holds no secret"));
            }
        }
        Ok(secrets)
    }

    /// All of them, at least one.
    pub fn require(&self) -> Result<Vec<Secret>, Failure> {
        let secrets = self.read()?;
        if secrets.is_empty() {
            let ask = "give a secret with --secret-file, --secret or OUTBOXD_SECRET";
            return Err(Failure::Usage(ask.to_owned()));
        }
        Ok(secrets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// With the file that the arguments name.
    fn args(secrets: &[&str], file: Option<&str>) -> (SecretArgs, tempfile::NamedTempFile) {
        let mut made = tempfile::NamedTempFile::new().unwrap();
        made.write_all(file.unwrap_or_default().as_bytes()).unwrap();
        let args = SecretArgs {
            secrets: secrets.iter().map(|s| s.to_string()).collect(),
            files: file.iter().map(|_| made.path().to_owned()).collect(),
        };
        (args, made)
    }

    #[test]
    fn secrets_come_from_arguments_and_files_and_never_show() {
        let (a, b) = (Secret::generate([1; 32]), Secret::generate([2; 32]));
        let (both, _file) = args(&[&a.reveal()], Some(&format!("\n {} \n\n", b.reveal())));
        assert!(both.require().unwrap() == [a, b]);
        for (bad, _file) in [
            args(&[], None),
            args(&[], Some(" \n")),
            args(&[], Some("whsec_HUSH!")),
        ] {
            let failure = bad.require().unwrap_err();
            assert!(matches!(failure, Failure::Usage(_)), "{failure}");
            assert!(!failure.to_string().contains("HUSH"), "{failure}");
        }
        let failure = args(&["whsec_HUSH!"], None).0.read().unwrap_err();
        assert!(!failure.to_string().contains("HUSH"), "{failure}");
    }
}
