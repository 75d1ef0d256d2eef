//! The secrets and public keys that a command was given. Secrets are never printed, not even in
//! errors.

use std::path::{Path, PathBuf};

use super::{Failure, read_body, shown};
use crate::domain::signature::{PublicKey, Secret};

/// Where secrets come from. A secret on the command line can be seen by other users of
/// the machine; a file cannot.
#[derive(clap::Args)]
pub struct SecretArgs {
    /// A whsec_ secret or whsk_ key; may be given again. Others on this machine can see it: prefer
    /// a file
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
            secrets.extend(read_lines(path, "--secret-file", "secret", Secret::parse)?);
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

/// Where public keys come from.
#[derive(clap::Args)]
pub struct PublicKeyArgs {
    /// A whpk_ public key; may be given again
    #[arg(long = "public-key", value_name = "KEY")]
    keys: Vec<String>,
    /// A file with a whpk_ public key on each line; may be given again; - reads stdin
    #[arg(long = "public-key-file", value_name = "FILE")]
    key_files: Vec<PathBuf>,
}

impl PublicKeyArgs {
    /// All of them: those of the command line first, then those of the files.
    pub fn read(&self) -> Result<Vec<PublicKey>, Failure> {
        let mut keys = Vec::new();
        for text in &self.keys {
            let key = PublicKey::parse(text.trim());
            keys.push(key.map_err(|fault| Failure::Usage(format!("--public-key: {fault}")))?);
        }
        for path in &self.key_files {
            let parse = PublicKey::parse;
            keys.extend(read_lines(path, "--public-key-file", "public key", parse)?);
        }
        Ok(keys)
    }
}

/// What stands on the lines of a file, at least one.
fn read_lines<T, E: std::fmt::Display>(
    path: &Path,
    option: &str,
    what: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, Failure> {
    let at = |fault: &dyn std::fmt::Display| {
        Failure::Usage(format!("{option} {}: {fault}", shown(path)))
    };
    let text = String::from_utf8(read_body(path)?).map_err(|_| at(&"not text"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let read: Result<Vec<T>, E> = lines.map(parse).collect();
    let read = read.map_err(|fault| at(&fault))?;
    if read.is_empty() {
        return Err(at(&format!("holds no {what}")));
    }
    Ok(read)
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

    #[test]
    fn public_keys_come_from_arguments_and_files() {
        let [a, b] = [[1; 32], [2; 32]].map(|seed| Secret::generate_ed25519(seed).unwrap());
        let [public_a, public_b] = [&a, &b].map(|key| key.public_key().unwrap());
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "\n {public_b} \n").unwrap();
        let args = |key: &str, file: Option<&Path>| PublicKeyArgs {
            keys: vec![key.to_owned()],
            key_files: file.into_iter().map(Path::to_owned).collect(),
        };
        let read = args(&public_a.to_string(), Some(file.path())).read();
        assert_eq!(read.unwrap(), [public_a, public_b]);
        let secret = a.reveal();
        let failure = args(&secret, None).read().unwrap_err().to_string();
        assert!(failure.starts_with("--public-key: this is a secret"));
        assert!(!failure.contains(&secret[5..]), "{failure}");
    }
}
