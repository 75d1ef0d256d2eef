//! What the configuration takes from outside the file. A parameter, so that nothing
//! below reads the process's environment on its own.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// What the product's own variables begin with.
pub(super) const PREFIX: &str = "OUTBOXD_";

/// Variables of the product that name no key.
pub(super) const OTHERS: [&str; 5] = [
    "OUTBOXD_BOOT_ID_FILE",
    "OUTBOXD_CONFIG",
    "OUTBOXD_SECRET",
    "OUTBOXD_TOKEN_FILE",
    "OUTBOXD_URL",
];

/// The directories and files that the service manager and the user name, and the keys that
/// are given by variables.
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
    /// Every other `OUTBOXD_…`: each should name a key. In the order of their names.
    pub assignments: Vec<Assignment>,
}

/// A variable that should name a key. `Debug` never shows its value.
#[derive(Clone, PartialEq, Eq)]
pub struct Assignment {
    pub name: String,
    pub value: OsString,
}

impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Assignment({:?})", self.name)
    }
}

impl Environment {
    /// Where the configuration is, unless something else names one.
    pub const SYSTEM_CONFIG: &'static str = "/etc/outboxd/outboxd.toml";

    /// The environment of this process.
    pub fn of_process() -> Self {
        Self::from_variables(std::env::vars_os())
    }

    /// The environment of these variables; of two with one name the first counts. For those
    /// that name no key an empty value is none.
    pub fn from_variables(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut all: BTreeMap<String, OsString> = BTreeMap::new();
        for (name, value) in variables {
            let name = name.to_string_lossy().into_owned();
            all.entry(name).or_insert(value);
        }
        let given = |name: &str| all.get(name).filter(|value| !value.is_empty());
        let first = |name| {
            let listed = given(name)?;
            std::env::split_paths(listed).find(|path| !path.as_os_str().is_empty())
        };
        Environment {
            config: given("OUTBOXD_CONFIG").map(PathBuf::from),
            system_config: Some(PathBuf::from(Self::SYSTEM_CONFIG)),
            state_directory: first("STATE_DIRECTORY"),
            runtime_directory: first("RUNTIME_DIRECTORY"),
            credentials_directory: given("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            assignments: assignments(all),
        }
    }
}

fn assignments(all: BTreeMap<String, OsString>) -> Vec<Assignment> {
    let services: BTreeSet<String> = all
        .keys()
        .filter_map(|name| Some(name.strip_suffix("_SERVICE_HOST")?.to_owned()))
        .collect();
    all.into_iter()
        .filter(|(name, _)| name.starts_with(PREFIX) && !OTHERS.contains(&name.as_str()))
        .filter(|(name, _)| !services.iter().any(|service| tells_of(service, name)))
        .map(|(name, value)| Assignment { name, value })
        .collect()
}

/// Whether Kubernetes tells a pod of a service by this variable. It does so for all services
/// of the namespace, and one of them is likely to be called outboxd.
fn tells_of(service: &str, name: &str) -> bool {
    let Some(rest) = name.strip_prefix(service) else {
        return false;
    };
    let among = |kinds: &[&str]| kinds.iter().any(|kind| rest.starts_with(kind));
    ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"].contains(&rest)
        || among(&["_SERVICE_PORT_", "_PORT_"])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn of(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter();
        Environment::from_variables(variables.map(|(name, value)| (name.into(), value.into())))
    }

    fn names(env: &Environment) -> Vec<&str> {
        env.assignments.iter().map(|given| &*given.name).collect()
    }

    #[test]
    fn takes_the_first_directory_and_no_empty_value() {
        let env = of(&[
            ("STATE_DIRECTORY", "/var/lib/outboxd:/var/lib/other"),
            ("RUNTIME_DIRECTORY", "/run/outboxd"),
            ("CREDENTIALS_DIRECTORY", ""),
        ]);
        assert_eq!(env.state_directory, Some("/var/lib/outboxd".into()));
        assert_eq!(env.runtime_directory, Some("/run/outboxd".into()));
        assert_eq!(env.credentials_directory, None);
        assert_eq!(env.config, None);
        assert_eq!(env.system_config, Some("/etc/outboxd/outboxd.toml".into()));
        assert_eq!(env.assignments, []);
    }

    #[test]
    fn every_other_variable_of_the_product_is_an_assignment() {
        let env = of(&[
            ("PATH", "/bin"),
            ("OUTBOXD_LOG__LEVEL", "debug"),
            ("OUTBOXD_CONFIG", "/c.toml"),
            ("OUTBOXD_URL", "http://127.0.0.1:1"),
            ("OUTBOXD_ENDPOINT", "[{ secret = 'hunter2' }]"),
            ("OUTBOXD_ENDPOINT", "[]"),
            ("OUTBOXD_LISTEN__UNIX", ""),
            ("OUTBOX_LOG", "x"),
        ]);
        assert_eq!(env.config.as_deref(), Some(Path::new("/c.toml")));
        assert_eq!(
            names(&env),
            [
                "OUTBOXD_ENDPOINT",
                "OUTBOXD_LISTEN__UNIX",
                "OUTBOXD_LOG__LEVEL"
            ]
        );
        assert_eq!(env.assignments[0].value, "[{ secret = 'hunter2' }]");
        let shown = format!("{env:?}");
        assert!(shown.contains("OUTBOXD_ENDPOINT") && !shown.contains("hunter2"));
    }

    #[test]
    fn what_kubernetes_tells_of_services_is_left_alone() {
        let env = of(&[
            ("OUTBOXD_SERVICE_HOST", "10.0.0.7"),
            ("OUTBOXD_SERVICE_PORT", "7717"),
            ("OUTBOXD_SERVICE_PORT_HTTP", "7717"),
            ("OUTBOXD_PORT", "tcp://10.0.0.7:7717"),
            ("OUTBOXD_PORT_7717_TCP", "tcp://10.0.0.7:7717"),
            ("OUTBOXD_PORT_7717_TCP_ADDR", "10.0.0.7"),
            ("OUTBOXD_INBOUND_SERVICE_HOST", "10.0.0.8"),
            ("OUTBOXD_INBOUND_PORT", "tcp://10.0.0.8:443"),
            ("OUTBOXD_LISTEN_PORT", "7717"),
        ]);
        assert_eq!(names(&env), ["OUTBOXD_LISTEN_PORT"]);
        assert_eq!(
            names(&of(&[("OUTBOXD_PORT", "7717")])),
            ["OUTBOXD_PORT"],
            "without a service it is a slip"
        );
    }

    #[test]
    fn the_variables_that_the_code_reads_are_known() {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut found = BTreeSet::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                for reading in ["env = \"", "var(\"", "var_os(\"", "given(\""] {
                    let read = text.split(reading).skip(1);
                    let read = read.filter_map(|rest| rest.split('"').next());
                    found.extend(
                        read.filter(|name| name.starts_with(PREFIX))
                            .map(str::to_owned),
                    );
                }
            }
        }
        assert_eq!(found, OTHERS.map(str::to_owned).into());
    }
}
