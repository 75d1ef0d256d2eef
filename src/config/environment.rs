//! What the configuration takes from outside the file. A parameter, so that nothing
//! below reads the process's environment on its own.

use std::ffi::OsString;
use std::path::PathBuf;

/// The directories and files that the service manager and the user name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `$OUTBOXD_CONFIG`.
    pub config: Option<PathBuf>,
    /// The file that is read, if it is there, when no other is named.
    pub system_config: Option<PathBuf>,
    /// The first of `$STATE_DIRECTORY` (systemd.exec(5)).
    pub state_directory: Option<PathBuf>,
    /// The first of `$RUNTIME_DIRECTORY`.
    pub runtime_directory: Option<PathBuf>,
    /// `$CREDENTIALS_DIRECTORY`, where bare names of secret files are looked up.
    pub credentials_directory: Option<PathBuf>,
}

impl Environment {
    /// Where the configuration is, unless something else names one.
    pub const SYSTEM_CONFIG: &'static str = "/etc/outboxd/outboxd.toml";

    /// The environment of this process.
    pub fn of_process() -> Self {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// The environment that `variable` tells. An empty value is none.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let given = |name| variable(name).filter(|value| !value.is_empty());
        let first = |name| {
            let listed = given(name)?;
            std::env::split_paths(&listed).find(|path| !path.as_os_str().is_empty())
        };
        Environment {
            config: given("OUTBOXD_CONFIG").map(PathBuf::from),
            system_config: Some(PathBuf::from(Self::SYSTEM_CONFIG)),
            state_directory: first("STATE_DIRECTORY"),
            runtime_directory: first("RUNTIME_DIRECTORY"),
            credentials_directory: given("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_first_directory_and_no_empty_value() {
        let env = Environment::from_variables(|name| match name {
            "STATE_DIRECTORY" => Some("/var/lib/outboxd:/var/lib/other".into()),
            "RUNTIME_DIRECTORY" => Some("/run/outboxd".into()),
            "CREDENTIALS_DIRECTORY" => Some("".into()),
            _ => None,
        });
        assert_eq!(env.state_directory, Some("/var/lib/outboxd".into()));
        assert_eq!(env.runtime_directory, Some("/run/outboxd".into()));
        assert_eq!(env.credentials_directory, None);
        assert_eq!(env.config, None);
        assert_eq!(env.system_config, Some("/etc/outboxd/outboxd.toml".into()));
    }
}
