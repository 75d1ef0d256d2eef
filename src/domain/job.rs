//! The name of a job: a replay, a purge, or the release of what could not be rendered.

use std::fmt;
use std::str::FromStr;

use super::name::BadName;
use super::time::Timestamp;

/// A job. The number of a job that has ended is used again; together with the time when the job
/// began the name is unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId {
    pub created_at: Timestamp,
    pub no: u32,
}

impl fmt::Display for JobId {
    /// `job_` and a ULID of both.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ulid = ulid::Ulid::from_parts(self.created_at.as_millis(), self.no.into());
        let mut text = [0; ulid::ULID_LEN];
        write!(f, "job_{}", ulid.array_to_str(&mut text))
    }
}

impl serde::Serialize for JobId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for JobId {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let ulid = text.strip_prefix("job_").ok_or(BadName::JobId)?;
        let ulid = ulid::Ulid::from_string(ulid).map_err(|_| BadName::JobId)?;
        Ok(JobId {
            created_at: Timestamp::from_millis(ulid.timestamp_ms()),
            no: u32::try_from(ulid.random()).map_err(|_| BadName::JobId)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_named_and_found_by_its_name() {
        let id = JobId {
            created_at: Timestamp::from_millis(1_767_225_600_000),
            no: 3,
        };
        assert_eq!(id.to_string(), "job_01KDVDNA000000000000000003");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in [
            "",
            "3",
            "job_3",
            "evt_01KDVDNA000000000000000003",
            "job_01KDVDNA00ZZZZZZZZZZZZZZZZ",
        ] {
            assert_eq!(bad.parse::<JobId>(), Err(BadName::JobId), "{bad}");
        }
    }
}
